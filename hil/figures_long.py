"""A queue of a million rows, drained to its end by the real agent: does it stay flat?"""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from agent.store import Batch, NewRow, open_store
from agent.store.wal import log_of
from hil import figures_rows
from hil.desk import DeskBench
from hil.figures_process import cost_of, memory_of
from hil.figures_queue import BareServer, bare_server, desk_at
from hil.figures_store import body

STEPS = 100
"""Looks at the agent on the way."""
END_STEPS = 5
"""Steps that are compared at the begin and at the end; the first step holds the start."""
RECORDED_AFTER = 200
"""One event for so many drained ones."""


class Look(Struct, frozen=True):
    """The agent, its file and its log when `answered` events were on the wire."""

    answered: int
    at_s: float
    cpu_s: float
    read_bytes: int
    written_bytes: int
    rss_kb: int
    file_bytes: int
    log_bytes: int


class Stretch(Struct, frozen=True):
    """Between two looks."""

    events: int
    took_s: float
    cpu_s: float
    read_bytes: int
    written_bytes: int


class LongDrain(Struct, frozen=True):
    """`looks` are in time's order; the file when the agent has closed it, and when `recorded`
    events were put into it after that."""

    rows: int
    looks: list[Look]
    closed_bytes: int
    recorded: int
    recorded_bytes: int

    @property
    def first(self) -> Stretch:
        """A twentieth of the queue, behind the start."""
        return _between(self.looks[1], self.looks[1 + END_STEPS])

    @property
    def last(self) -> Stretch:
        """The last twentieth."""
        return _between(self.looks[-1 - END_STEPS], self.looks[-1])

    @property
    def whole(self) -> Stretch:
        return _between(self.looks[0], self.looks[-1])


def _between(before: Look, after: Look) -> Stretch:
    return Stretch(
        after.answered - before.answered,
        after.at_s - before.at_s,
        after.cpu_s - before.cpu_s,
        after.read_bytes - before.read_bytes,
        after.written_bytes - before.written_bytes,
    )


async def measure_long_drain(
    rows: int, say: Callable[[str], None], steps: int = STEPS
) -> LongDrain:
    """Says after each of `steps` how it goes; each is a multiple of 100 events."""
    async with bare_server() as server, desk_at(server) as desk:
        database = desk.directory / "data" / "chargepoint.db"
        say(f"filling the queue with {rows} events")
        await figures_rows.fill(database, rows)
        say(f"the file holds {database.stat().st_size / 1e6:.0f} MB; the agent starts")
        await desk.start_agent()
        looks: list[Look] = []
        for step in range(1, steps + 1):
            looks.append(await _look(desk, database, server, rows * step // steps))
            if step > 1:
                say(_progress(looks[-2], looks[-1], rows))
        await desk.stop_agent()
        closed_bytes = database.stat().st_size
        say("recording again into the same file")
        recorded = rows // RECORDED_AFTER
        await _record(database, recorded)
        return LongDrain(rows, looks, closed_bytes, recorded, database.stat().st_size)


async def _look(desk: DeskBench, database: Path, server: BareServer, answered: int) -> Look:
    at_s = await server.event(answered)
    assert desk.pid is not None
    return _seen(answered, at_s, desk.pid, database)


def _seen(answered: int, at_s: float, pid: int, database: Path) -> Look:
    cost = cost_of(pid)
    log = log_of(database)
    return Look(
        answered,
        at_s,
        cost.cpu_s,
        cost.read_bytes,
        cost.written_bytes,
        memory_of(pid).rss_kb,
        database.stat().st_size,
        log.stat().st_size if log.exists() else 0,
    )


def _progress(before: Look, now: Look, rows: int) -> str:
    step = _between(before, now)
    return (
        f"{rows - now.answered:9d} left, {step.events / step.took_s:5.0f}/s, "
        f"{1000 * step.cpu_s / step.events:.2f} ms CPU each, RSS {now.rss_kb / 1024:.1f} MB, "
        f"file {now.file_bytes / 1e6:.1f} MB, log {now.log_bytes / 1e6:.1f} MB"
    )


async def _record(database: Path, count: int) -> None:
    store = await open_store(str(database))
    waiting = store.counts().waiting
    assert waiting <= 1, f"{waiting} events are left; one answer may have come too late"
    try:
        for number in range(count):
            text = body(number)
            row = NewRow(f"{number:036x}", "TransactionEvent", text, "b", False, "Updated", 0.0)
            await store.commit(Batch(enqueue=(row,)))
    finally:
        await store.close()
