"""The queue of the agent in numbers: how fast a long one drains and what that costs, and what its
length does to a restart. The agent is its own process on the desk bench; the CSMS is the barest
there is (`figures_server`), in a process of its own, too."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from hil import figures_client, figures_rows, figures_server
from hil.desk import BenchError, DeskBench
from hil.figures_process import cost_of, memory_of
from hil.figures_store import body, measure_commits

DRAINED = 6_000
WARM_UP = 500
"""Events before the counted ones: the start and the first use of everything lie there."""
PING_PONGS = 4_000
POWER_ON_S = 3.2
"""The controllers of the desk answer this long after their power came."""
IDLE_S = 3.0
LIMIT_S = 120.0
QUEUE_ROWS = 2_000_000
"""No queue here is so long that it would be thinned."""


class Drain(Struct, frozen=True):
    """`events` left the queue, each answered, and stored as answered, before the next."""

    events: int
    took_s: float
    cpu_s: float
    written_bytes: int
    idle_cpu_s: float
    """Of `cpu_s`, what polling the devices uses in that time, whether anything drains or not."""
    ping_pong_s: float
    """One bare frame of that size and its answer, next to nothing at either end."""
    commit_s: float
    """One such row deleted by bare SQLite, FULL, on the same disk."""


class Restart(Struct, frozen=True):
    """A start with `rows` in the queue; seconds from starting the process."""

    rows: int
    boot_s: float
    first_s: float | None
    """Of the first event that is sent, where there is one."""
    rss_kb: int


class BareServer:
    """The process of `figures_server`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}/ocpp"
        self._process = process

    async def boot(self) -> float:
        """CLOCK_MONOTONIC of the next BootNotification. Raises BenchError."""
        told = await self._line(lambda told: "boot_s" in told, "BootNotification")
        return float(told["boot_s"])

    async def event(self, number: int | None = None) -> float:
        """The same of a TransactionEvent: the next that is told, or a hundredth."""
        what = "an event" if number is None else f"event {number}"
        told = await self._line(
            lambda told: "event" in told and number in (None, told["event"]), what
        )
        return float(told["at_s"])

    async def _line(self, is_it: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(LIMIT_S):
                while not is_it(told := await _told(self._process)):
                    pass
                return told
        except TimeoutError:
            raise BenchError(f"waited {LIMIT_S:g} s in vain for {what} at the bare CSMS") from None


async def _told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise BenchError("the bare CSMS ended; run `python -m hil.figures_server` to see why")
    told: dict[str, Any] = json.loads(line)
    return told


@asynccontextmanager
async def bare_server(hold_after: int | None = None) -> AsyncIterator[BareServer]:
    """A CSMS that answers at once; TransactionEvents only up to `hold_after`."""
    arguments = () if hold_after is None else (str(hold_after),)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, figures_server.__file__, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield BareServer(process, (await _told(process))["port"])
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def desk_at(server: BareServer) -> AsyncIterator[DeskBench]:
    """A desk bench whose agent dials the bare server; its controllers are up."""
    async with DeskBench() as desk:
        text = desk.config.read_text().replace(desk.server.url, server.url)
        desk.config.write_text(f"{text}queue_rows: {QUEUE_ROWS}\n")
        await asyncio.sleep(POWER_ON_S)
        yield desk


# --- draining -----------------------------------------------------------------------------------


async def measure_drain(
    events: int = DRAINED, idle_s: float = IDLE_S, ping_pongs: int = PING_PONGS
) -> Drain:
    """Drains a long queue, `events` of it under observation (a multiple of 100)."""
    async with bare_server() as server, desk_at(server) as desk:
        ping_pong_s = await _ping_pong_s(server.url, ping_pongs)
        commit_s = await measure_commits(desk.directory)
        await figures_rows.fill(_database(desk), WARM_UP + events)
        await desk.start_agent()
        assert desk.pid is not None
        began_s = await server.event(WARM_UP)
        before = cost_of(desk.pid)
        took_s = await server.event(WARM_UP + events) - began_s
        after = cost_of(desk.pid)
        await asyncio.sleep(idle_s / 2)
        idle_rate = await _idle_rate(desk.pid, idle_s)
    return Drain(
        events,
        took_s,
        after.cpu_s - before.cpu_s,
        after.written_bytes - before.written_bytes,
        idle_rate * took_s,
        ping_pong_s,
        commit_s,
    )


async def _idle_rate(pid: int, idle_s: float) -> float:
    before = cost_of(pid)
    await asyncio.sleep(idle_s)
    return (cost_of(pid).cpu_s - before.cpu_s) / idle_s


async def _ping_pong_s(url: str, count: int) -> float:
    frame = f'[2,"00000000-0000-4000-8000-000000000001","DataTransfer",{body(1)}]'
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, figures_client.__file__, f"{url}/BARE", frame, str(count)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"the bare client ended with exit code {process.returncode}")
    return float(out) / count


def _database(desk: DeskBench) -> Path:
    return desk.directory / "data" / "chargepoint.db"


# --- restarting ---------------------------------------------------------------------------------


async def measure_restarts(
    lengths: Sequence[int], starts: int, idle_s: float = IDLE_S
) -> list[list[Restart]]:
    """Starts on a queue of each length of which nothing is answered, taken in turns; each ended
    by SIGKILL."""
    async with bare_server(hold_after=0) as server, desk_at(server) as desk:
        for rows in lengths:
            await figures_rows.fill(_database(desk), rows)
            _change(_database(desk), "chargepoint.db", f"{rows}.db")
        await _restart(desk, server, 0, idle_s)  # makes the bytecode; not counted
        found: list[list[Restart]] = [[] for _ in lengths]
        for _ in range(starts):
            for rows, restarts in zip(lengths, found, strict=True):
                _change(_database(desk), f"{rows}.db", "chargepoint.db")
                restarts.append(await _restart(desk, server, rows, idle_s))
                _change(_database(desk), "chargepoint.db", f"{rows}.db")
    return found


def _change(database: Path, name: str, to: str) -> None:
    """The database and its log under another name."""
    for end in ("", "-wal"):
        source, target = database.with_name(name + end), database.with_name(to + end)
        target.unlink(missing_ok=True)
        if source.exists():
            source.rename(target)


async def _restart(desk: DeskBench, server: BareServer, rows: int, idle_s: float) -> Restart:
    began_s = time.monotonic()
    await desk.start_agent()
    boot_s = await server.boot() - began_s
    first_s = await server.event() - began_s if rows else None
    await asyncio.sleep(idle_s)
    assert desk.pid is not None
    rss_kb = memory_of(desk.pid).rss_kb
    await desk.kill_agent()
    return Restart(rows, boot_s, first_s, rss_kb)
