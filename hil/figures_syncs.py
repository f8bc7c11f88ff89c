"""How often the disk is asked to sync for one recorded TransactionEvent: counted at the system
call where strace is there, at the store's commits where it is not."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from hil.desk import DeskBench
from hil.sim import SimBench
from hil.virtual_time import run_virtual

RECORDING_S = 12.0
SETTLED_S = 1.5
STRACE_LINE = re.compile(r"^(?:\d+\s+)?(\d+\.\d+) (?:fsync|fdatasync|sync|msync)\(")


class Syncs(Struct, frozen=True):
    """What was counted while `events` TransactionEvents were recorded, and how."""

    count: int
    events: int
    how: str

    @property
    def per_event(self) -> float:
        return self.count / self.events if self.events else float("nan")


class Answered(Struct, frozen=True):
    """What was counted while the CSMS answered `events` that had waited."""

    count: int
    events: int


def strace_works() -> bool:
    """It is installed and the system lets it trace."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "-e", "trace=fsync", "-o", os.devnull, sys.executable, "-c", ""]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def count_syncs(trace: str, from_s: float, to_s: float) -> int:
    """Sync calls that began between two UTC times, in the output of `strace -f -ttt`."""
    found = (STRACE_LINE.match(line) for line in trace.splitlines())
    return sum(1 for match in found if match and from_s <= float(match[1]) < to_s)


async def traced(directory: Path) -> tuple[Syncs, Answered]:
    """Counts in a desk bench whose agent runs under strace; the link is cut while it records."""
    output = directory / "strace.txt"
    async with DeskBench(sample_interval_s=1) as desk:
        process = await _start_traced(desk, output)
        try:
            began_s, before = await _charge_offline(desk)
            recorded_s, waiting = _utc_s(desk), await desk.queue_length()
            await desk.restore_network()
            await desk.wait_until(lambda: _is_empty(desk), "the queue to drain", 30.0)
            await asyncio.sleep(SETTLED_S)
            answered_s = _utc_s(desk)
        finally:
            process.terminate()
            await process.wait()
    trace = output.read_text()
    recorded = Syncs(count_syncs(trace, began_s, recorded_s), waiting - before, "sync calls")
    return recorded, Answered(count_syncs(trace, recorded_s, answered_s), waiting)


async def _start_traced(desk: DeskBench, output: Path) -> asyncio.subprocess.Process:
    with desk.agent_log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *strace_command(output),
            *(sys.executable, "-m", "agent.cli", "run", str(desk.config)),
            cwd=desk.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


async def _charge_offline(desk: DeskBench) -> tuple[float, int]:
    """A charge whose link breaks; returns (UTC, queue length) from when to count."""
    await desk.wait_until(lambda: desk.csms.boot_status == "Accepted", "the boot", 30.0)
    desk.plug_in(1)
    await asyncio.sleep(SETTLED_S)
    await desk.swipe("04A1B2C3")
    await desk.wait_until(lambda: desk.drawn_a(1) > 0, "the charge", 30.0)
    await desk.cut_network()
    counted_from = await _after_next_event(desk)
    await asyncio.sleep(RECORDING_S)
    desk.plug_out(1)
    await desk.wait_until(lambda: desk.drawn_a(1) == 0, "the end of the charge", 30.0)
    await asyncio.sleep(SETTLED_S)
    return counted_from


def strace_command(output: Path) -> tuple[str, ...]:
    """Put before a command: its sync calls go to a file, the process stays our own child."""
    what = "trace=fsync,fdatasync,sync,msync"
    return ("strace", "-D", "-f", "-ttt", "-e", what, "-o", str(output))


async def _after_next_event(desk: DeskBench) -> tuple[float, int]:
    """(UTC, queue length) just after an event was recorded, with none under way."""
    before = await desk.queue_length()

    async def has_grown() -> bool:
        return await desk.queue_length() > before

    await desk.wait_until(has_grown, "an event in the queue", 30.0)
    return _utc_s(desk), await desk.queue_length()


async def _is_empty(desk: DeskBench) -> bool:
    return await desk.queue_length() == 0


def _utc_s(desk: DeskBench) -> float:
    return asyncio.get_running_loop().time() + desk.utc_offset_s


def committed() -> Syncs:
    """Counts the store's commits in a simulated charge without network; each is one sync."""
    return run_virtual(_commits_of_a_charge())


async def _commits_of_a_charge() -> Syncs:
    variables = {"SampledDataCtrlr.TxUpdatedInterval": "60"}
    async with SimBench(evse_count=1, variables=variables) as bench:
        await bench.until(lambda: bench.csms.boot_status == "Accepted")
        bench.plug_in()
        bench.swipe()
        await bench.until(lambda: bench.connector().get("charging_state") == "Charging")
        await bench.network.drop()
        await asyncio.sleep(5.0)
        before = bench.agent.store.counts().waiting
        commits = _count_commits(bench)
        await asyncio.sleep(3600.0)
        bench.plug_out()
        await asyncio.sleep(30.0)
        events = bench.agent.store.counts().waiting - before
        return Syncs(len(commits), events, "commits of the store in a simulated charge")


def _count_commits(bench: SimBench) -> list[object]:
    """Every batch that the agent's store commits from now on."""
    store = bench.agent.store
    commit, batches = store.commit, list[object]()

    async def counted(batch):  # type: ignore[no-untyped-def]
        if batch != type(batch)():
            batches.append(batch)
        return await commit(batch)

    store.commit = counted  # type: ignore[method-assign]
    return batches
