"""`make bench`: start time, memory and disk syncs of the agent, measured in one run.

Nothing is asserted: each figure is printed beside its aim, the raw numbers as JSON at the end.
"""

import argparse
import asyncio
import json
import logging
import math
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from hil import figures_client
from hil.desk import BenchError, DeskBench
from hil.figures_syncs import Answered, Syncs, committed, strace_works, traced

RUNS = 7
IDLE_S = 6.0
POWER_ON_S = 3.2
"""The controllers of the desk answer this long after their power came."""
START_RATIO = 1.5
IDLE_MB = 36.0
SYNCS = 1.0
NO_STRACE = (
    "strace is missing or may not trace: syncs are counted as commits of the store in a "
    "simulated charge; for the real calls install the package strace (apt-get install strace)"
)


class Figure(Struct, frozen=True):
    """A measured value and what it should not exceed (None: only told)."""

    name: str
    value: float
    unit: str
    aim: float | None
    note: str

    def line(self) -> str:
        """As printed."""
        value = f"{self.value:.2f} {self.unit}".rstrip()
        if self.aim is None:
            verdict = ""
        else:
            met = "met" if self.value <= self.aim else "NOT met"
            verdict = f"aim <= {self.aim:g}: {met}"
        return f"{self.name:<44} {value:>10}  {verdict:<18} {self.note}".rstrip()


class Memory(Struct, frozen=True):
    """Of one process, kB as the kernel counts (1024 bytes)."""

    rss_kb: int
    pss_kb: int | None


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(f"... {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0 whatever the figures are, 1 when the bench itself failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="starts of each kind, at least 1")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="wait before memory is read")
    arguments = parser.parse_args(argv)
    logging.getLogger().setLevel(logging.CRITICAL)
    began_s = time.monotonic()
    try:
        agent_s, bare_s, memory = asyncio.run(
            measure_process(max(1, arguments.runs), arguments.idle_s)
        )
        syncs, answered = measure_syncs()
    except BenchError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    figures = [
        start_figure(agent_s, bare_s),
        *memory_figures(memory),
        *sync_figures(syncs, answered),
    ]
    print()
    for figure in figures:
        print(figure.line())
    took_s = time.monotonic() - began_s
    raw = {
        "agent_start_s": agent_s,
        "bare_start_s": bare_s,
        "memory": memory,
        "syncs": syncs,
        "answered": answered,
        "took_s": took_s,
        "figures": figures,
    }
    print(json.dumps(_rounded(to_builtins(raw))))
    return 0


# --- a and b: one desk bench --------------------------------------------------------------------


async def measure_process(runs: int, idle_s: float) -> tuple[list[float], list[float], Memory]:
    """Seconds from start to BootNotification of agent and bare client, and the idle agent."""
    async with DeskBench() as desk:
        say(f"desk bench: 2 OpenEVSE, 2 SDM630, 1 card reader on ptys; {runs} starts each")
        await asyncio.sleep(POWER_ON_S)
        await agent_start(desk)  # makes the database and the bytecode; not counted
        frame = _boot_frame(desk)
        await desk.stop_agent()
        agent_s: list[float] = []
        bare_s: list[float] = []
        for number in range(1, runs + 1):
            bare_s.append(await bare_start(desk, frame))
            agent_s.append(await agent_start(desk))
            say(f"start {number}: agent {agent_s[-1]:.3f} s, bare client {bare_s[-1]:.3f} s")
            if number < runs:
                await desk.stop_agent()
        say(f"memory of the idle agent, in {idle_s:g} s")
        await asyncio.sleep(idle_s)
        assert desk.pid is not None
        return agent_s, bare_s, memory_of(desk.pid)


async def agent_start(desk: DeskBench) -> float:
    """Starts the agent; seconds until its BootNotification came out of the socket."""
    seen = len(desk.csms.trace)
    began_s = asyncio.get_running_loop().time()
    await desk.start_agent()
    return await _boot_seen_s(desk, seen) - began_s


async def bare_start(desk: DeskBench, frame: list[Any]) -> float:
    """The same of a process that does nothing but send this frame with another message id."""
    desk.csms.expect_boot()
    seen = len(desk.csms.trace)
    text = json.dumps([frame[0], str(uuid.uuid4()), *frame[2:]], separators=(",", ":"))
    url = f"{desk.server.url}/BARE"
    began_s = asyncio.get_running_loop().time()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, figures_client.__file__, url, text), cwd=desk.directory
    )
    took_s = await _boot_seen_s(desk, seen) - began_s
    await process.wait()
    desk.csms.expect_boot()
    return took_s


async def _boot_seen_s(desk: DeskBench, seen: int) -> float:
    """Loop time of the first frame after `seen` others: the BootNotification."""
    trace = desk.csms.trace
    await desk.wait_until(lambda: desk.csms.boot_status == "Accepted", "the boot", 30.0)
    return next(at_s for at_s, way, _ in list(trace)[seen:] if way == "<")


def _boot_frame(desk: DeskBench) -> list[Any]:
    frames = (json.loads(text) for _, way, text in desk.csms.trace if way == "<")
    frame: list[Any] = next(frame for frame in frames if frame[2] == "BootNotification")
    return frame


def memory_of(pid: int) -> Memory:
    """What a process holds; PSS shares what others map too, where the kernel tells it."""
    status = Path(f"/proc/{pid}/status").read_text()
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        rollup = ""
    rss_kb = _kb(status, "VmRSS")
    assert rss_kb is not None, "a running process has VmRSS"
    return Memory(rss_kb, _kb(rollup, "Pss"))


def _kb(text: str, name: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return None


# --- c ------------------------------------------------------------------------------------------


def measure_syncs() -> tuple[Syncs, Answered | None]:
    """At the system call where strace works, else at the store's commits."""
    if strace_works():
        say("a charge without network under strace, then the network again (about 40 s)")
        with tempfile.TemporaryDirectory() as directory:
            return asyncio.run(traced(Path(directory)))
    say(NO_STRACE)
    return committed(), None


# --- the figures --------------------------------------------------------------------------------


def start_figure(agent_s: list[float], bare_s: list[float]) -> Figure:
    agent, bare = statistics.median(agent_s), statistics.median(bare_s)
    note = f"median of {len(agent_s)}: agent {agent:.3f} s, bare websockets client {bare:.3f} s"
    return Figure("start to BootNotification, agent : bare", agent / bare, "", START_RATIO, note)


def memory_figures(memory: Memory) -> list[Figure]:
    found = [Figure("idle memory, RSS", memory.rss_kb / 1024, "MB", IDLE_MB, "2 EVSEs, 5 devices")]
    if memory.pss_kb is not None:
        note = "its share where pages are shared with other processes"
        found.append(Figure("idle memory, PSS", memory.pss_kb / 1024, "MB", None, note))
    return found


def sync_figures(syncs: Syncs, answered: Answered | None) -> list[Figure]:
    note = f"{syncs.count} {syncs.how}, {syncs.events} events recorded"
    found = [Figure("syncs per recorded TransactionEvent", syncs.per_event, "", SYNCS, note)]
    if answered is not None and answered.events:
        note = f"{answered.count} {syncs.how}, {answered.events} waiting events answered"
        value = answered.count / answered.events
        found.append(Figure("syncs per answered TransactionEvent", value, "", SYNCS, note))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
