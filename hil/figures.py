"""`make bench`: start, memory, disk and queue of the agent, measured in one run.

Nothing is asserted: each figure is printed beside its aim, the raw numbers as JSON at the end.
"""

import argparse
import asyncio
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from hil import figures_client
from hil import figures_guard as guard
from hil.desk import BenchError, DeskBench
from hil.figures_calls import call_figures, measure_calls
from hil.figures_jobs import MEGABYTES, job_figures, measure_jobs
from hil.figures_lines import (
    Figure,
    drain_figures,
    long_drain_figures,
    memory_figures,
    recording_figures,
    restart_figures,
    start_figure,
    sync_figures,
)
from hil.figures_long import measure_long_drain
from hil.figures_process import Memory, memory_of
from hil.figures_queue import DRAINED, POWER_ON_S, measure_drain, measure_restarts
from hil.figures_store import measure_recording
from hil.figures_syncs import Answered, Syncs, committed, strace_works, traced

PARTS = ("start", "syncs", "recording", "calls", "drain", "restart", "guard", "jobs")
LONG = "long-drain"
"""Only when it is asked for: it takes a quarter of an hour and two gigabytes."""
LONG_ROWS = 1_000_000
RUNS = 7
IDLE_S = 6.0
LENGTHS = (0, 10_000, 1_000_000)
RESTARTS = 5
ROW_BYTES = 1_500
"""Room for one waiting event on the disk, generously."""
NO_STRACE = (
    "strace is missing or may not trace: syncs are counted as commits of the store in a "
    "simulated charge; for the real calls install the package strace (apt-get install strace)"
)


ONLY_TOOLS = ("typing_extensions",)
"""Imported by what the agent imports, where it is there; no dependency of the wheel brings it."""


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(f"... {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0 whatever the figures are, 1 when the bench itself failed."""
    arguments = _parser().parse_args(argv)
    began_s = time.monotonic()
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    try:
        with in_silence(), as_installed():
            for part in arguments.parts:
                found, values = _MEASURES[part](arguments)
                figures += found
                raw |= values
    except BenchError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    print()
    for figure in figures:
        print(figure.line())
    raw |= {"took_s": time.monotonic() - began_s, "figures": figures}
    print(json.dumps(_rounded(to_builtins(raw))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    more = f"default: all but {LONG}"
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, LONG), default=PARTS, help=more)
    parser.add_argument("--rows", type=_rows, default=LONG_ROWS, help=f"of the {LONG}")
    parser.add_argument("--runs", type=_count, default=RUNS, help="starts of each kind")
    parser.add_argument("--stops", type=_count, default=guard.STOPS, help="by the guard, of each")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="wait before memory is read")
    return parser


def _count(text: str) -> int:
    return max(1, int(text))


def _rows(text: str) -> int:
    """A multiple of 10,000: the bare CSMS tells of every hundredth event."""
    return max(1, int(text) // 10_000) * 10_000


@contextmanager
def in_silence() -> Iterator[None]:
    """What is logged in this process would stand between the figures."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(before)


@contextmanager
def as_installed() -> Iterator[None]:
    """Processes started within find their bytecode, as those of a package that pip installed, and
    nothing that only developers' tools bring along."""
    names = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONPATH")
    before = {name: os.environ.pop(name, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="chargepoint-installed-") as directory:
        os.environ["PYTHONPYCACHEPREFIX"] = directory
        places = (str(_without_tools(Path(directory))), before["PYTHONPATH"])
        os.environ["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _without_tools(directory: Path) -> Path:
    """Where `msgspec` finds what it finds on a board: it takes its types from the standard library
    unless that package is there, which mypy and pytest need and nothing else."""
    absent = directory / "absent"
    absent.mkdir()
    for name in ONLY_TOOLS:
        (absent / f"{name}.py").write_text(f'raise ImportError("{name} is not on the board")\n')
    return absent


# --- the parts ----------------------------------------------------------------------------------

Measured = tuple[list[Figure], dict[str, Any]]
"""(figures, raw values by name)"""


def _start(arguments: argparse.Namespace) -> Measured:
    agent_s, bare_s, memory = asyncio.run(measure_process(arguments.runs, arguments.idle_s))
    figures = [start_figure(agent_s, bare_s), *memory_figures(memory)]
    return figures, {"agent_start_s": agent_s, "bare_start_s": bare_s, "memory": memory}


def _syncs(arguments: argparse.Namespace) -> Measured:
    syncs, answered = measure_syncs()
    return sync_figures(syncs, answered), {"syncs": syncs, "answered": answered}


def _recording(arguments: argparse.Namespace) -> Measured:
    say("recording, each event durable before the next")
    with tempfile.TemporaryDirectory() as directory:
        recorded = asyncio.run(measure_recording(Path(directory)))
    return recording_figures(recorded), {"recorded": recorded}


def _calls(arguments: argparse.Namespace) -> Measured:
    say("what a CSMS asks: remote starts, inventories, ten thousand questions (about 80 s)")
    calls = asyncio.run(measure_calls())
    return call_figures(calls), {"calls": calls}


def _drain(arguments: argparse.Namespace) -> Measured:
    say(f"draining {DRAINED} events to a CSMS that answers at once (about 25 s)")
    drain = asyncio.run(measure_drain())
    return drain_figures(drain), {"drain": drain}


def _restart(arguments: argparse.Namespace) -> Measured:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    lengths = [rows for rows in LENGTHS if rows * ROW_BYTES < free / 2]
    say(f"starts on queues of {', '.join(map(str, lengths))} events (about 80 s)")
    if lengths != list(LENGTHS):
        say(f"a longer queue needs more room in {tempfile.gettempdir()}: left out")
    found = asyncio.run(measure_restarts(lengths, RESTARTS))
    return restart_figures(found), {"restarts": found}


def _guard(arguments: argparse.Namespace) -> Measured:
    count = arguments.stops + min(arguments.stops, guard.IDLE_STOPS)
    took_s = count * guard.SECONDS_A_STOP + 40
    say(f"{arguments.stops} stops by the guard, idle and loaded (about {took_s:.0f} s)")
    found = asyncio.run(guard.measure_guard(arguments.stops))
    return guard.guard_figures(found), {"guard": found}


def _jobs(arguments: argparse.Namespace) -> Measured:
    say(f"a firmware of {MEGABYTES} MB is fetched and checked (about 5 s)")
    found = asyncio.run(measure_jobs())
    return job_figures(found), {"jobs": found}


def _long_drain(arguments: argparse.Namespace) -> Measured:
    found = asyncio.run(measure_long_drain(arguments.rows, say))
    return long_drain_figures(found), {"long_drain": found}


_MEASURES = {
    "start": _start,
    "syncs": _syncs,
    "recording": _recording,
    "calls": _calls,
    "drain": _drain,
    "restart": _restart,
    "guard": _guard,
    "jobs": _jobs,
    LONG: _long_drain,
}


# --- the start: one desk bench --------------------------------------------------------------------


async def measure_process(runs: int, idle_s: float) -> tuple[list[float], list[float], Memory]:
    """Seconds from start to BootNotification of agent and bare client, and the idle agent."""
    async with DeskBench() as desk:
        say(f"desk bench: 2 OpenEVSE, 2 SDM630, 1 card reader on ptys; {runs} starts each")
        await asyncio.sleep(POWER_ON_S)
        await agent_start(desk)  # makes the database and the bytecode; not counted
        frame = _boot_frame(desk)
        await desk.stop_agent()
        await bare_start(desk, frame)
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


# --- syncs ----------------------------------------------------------------------------------------


def measure_syncs() -> tuple[Syncs, Answered | None]:
    """At the system call where strace works, else at the store's commits."""
    if strace_works():
        say("a charge without network under strace, then the network again (about 40 s)")
        with tempfile.TemporaryDirectory() as directory:
            return asyncio.run(traced(Path(directory)))
    say(NO_STRACE)
    return committed(), None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
