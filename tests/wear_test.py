"""Wear: how often and how much the agent writes, and that its file stays as small as it can.

Files are real, syncs are not: the tests switch them off and count commits instead, of which each
is one sync (`make bench` counts the system calls).
"""

import asyncio
import sqlite3
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.store import Batch, NewRow, Store, StoreFault, open_store
from agent.store import file as store_file
from agent.store.outbox import SWEEP
from agent.store.rows import TokenRow
from hil import figures_rows
from hil.figures_store import TRANSACTION, body
from hil.sim import SimBench
from hil.virtual_time import run_virtual

SESSIONS_A_DAY = 20
SIMULATED_SESSIONS = 10
EVENTS = figures_rows.EVENTS_A_SESSION
LOG_BYTES = 8_388_608
"""The limit of the log beside the file; it is emptied into it every thousand pages."""


class Unsynced(sqlite3.Connection):
    """Leaves it to the system when bytes reach the disk."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=FULL", "synchronous=OFF"), *parameters)


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*arguments, **options, factory=Unsynced)

    monkeypatch.setattr(store_file, "open_database", connect)


text_of = cache(body)


def row(number: int) -> NewRow:
    place = number % EVENTS
    kind = "Started" if place == 0 else "Ended" if place == EVENTS - 1 else "Updated"
    return NewRow(f"{number:036x}", "TransactionEvent", text_of(place), "b", False, kind, 0.0)


def size(path: Path) -> tuple[int, int]:
    """(file, log) in bytes."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size, log.stat().st_size if log.exists() else 0


# --- how often ------------------------------------------------------------------------------------


def commits_of(bench: SimBench) -> list[Batch]:
    """What the agent's store is told to make durable from now on."""
    store, batches = bench.agent.store, list[Batch]()
    commit = store.commit

    async def counted(batch: Batch) -> Any:
        if batch != Batch():
            batches.append(batch)
        return await commit(batch)

    store.commit = counted  # type: ignore[method-assign]
    return batches


STARTED_TOGETHER = {
    "TxCtrlr.TxStartPoint": "EVConnected",
    "SampledDataCtrlr.TxUpdatedInterval": "60",
}


async def charge_together(bench: SimBench) -> None:
    await bench.until(lambda: bench.csms.boot_status == "Accepted")
    for evse_id in (1, 2):
        bench.plug_in(evse_id)
    await asyncio.sleep(5.0)


def test_an_event_costs_one_commit_and_its_answer_another() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1, variables=STARTED_TOGETHER) as bench:
            await bench.until(lambda: bench.csms.boot_status == "Accepted")
            bench.plug_in()
            await asyncio.sleep(5.0)
            batches = commits_of(bench)
            await asyncio.sleep(3600.0)
            events = sum(len(batch.enqueue) for batch in batches)
            answers = sum(len(batch.settle) for batch in batches)
            assert events == answers == 60
            assert len(batches) == events + answers

    run_virtual(scene())


def test_values_of_two_evses_at_one_instant_share_a_commit() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=2, variables=STARTED_TOGETHER) as bench:
            await charge_together(bench)
            batches = commits_of(bench)
            await asyncio.sleep(3600.0)
            recording = [batch for batch in batches if batch.enqueue]
            assert [len(batch.enqueue) for batch in recording] == [2] * 60
            for batch in recording:
                assert {key for key, _ in batch.save} >= {"transaction/1", "transaction/2"}

    run_virtual(scene())


def test_a_charger_where_nothing_happens_writes_nothing() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=2) as bench:
            await bench.until(lambda: bench.csms.boot_status == "Accepted")
            await asyncio.sleep(60.0)
            batches = commits_of(bench)
            await asyncio.sleep(6 * 3600.0)
            assert batches == []

    run_virtual(scene())


# --- how much -------------------------------------------------------------------------------------


async def record(
    store: Store,
    first: int,
    count: int,
    at_once: int = EVENTS,
    tokens: tuple[TokenRow, ...] = (),
) -> None:
    for number in range(first, first + count, at_once):
        rows = tuple(row(n) for n in range(number, min(number + at_once, first + count)))
        state = ("transaction/1", f"{number} {TRANSACTION}")
        await store.commit(Batch(enqueue=rows, save=(state,), save_tokens=tokens))


async def drain(store: Store, at_once: int = EVENTS) -> None:
    while rows := await store.waiting_rows(0, at_once):
        await store.commit(Batch(settle=tuple(row.row_id for row in rows)))


@pytest.mark.usefixtures("unsynced")
async def test_after_a_drain_the_file_is_used_again_and_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path), inline=True)
    await record(store, 0, 3000)
    await drain(store)
    peak, _ = size(path)
    for outage in range(1, 4):
        await record(store, outage * 3000, 3000)
        await drain(store)
        assert size(path)[0] <= peak * 1.02
    assert size(path)[1] <= LOG_BYTES
    await store.close()
    assert size(path) == (pytest.approx(peak, rel=0.02), 0)


@pytest.mark.usefixtures("unsynced")
async def test_a_year_of_charging_leaves_a_small_file(tmp_path: Path) -> None:
    """All 108,000 events of twelve months, twenty short charges a day: busier than most. Each
    charge is recorded in one commit and answered in one, which spares two hundred thousand commits
    and changes no row; what a single event writes is measured by `make bench`. Every charge brings
    a card that was never seen; once the network is away for a week."""
    path = tmp_path / "store.db"
    store = await open_store(str(path), inline=True)
    sizes = []
    for month in range(12):
        for session in range(SESSIONS_A_DAY * 30):
            number = month * 1000 + session
            token = TokenRow(f"card{number}", "ISO14443", '{"status":"Accepted"}', 0.0, True)
            await record(store, number * EVENTS, EVENTS, tokens=(token,))
            if month != 5 or session >= SESSIONS_A_DAY * 7:
                await drain(store)
        sizes.append(size(path)[0])
        assert size(path)[1] <= LOG_BYTES
    await store.close()
    assert max(sizes[:5]) < 1_000_000, "a charger that is online needs a megabyte"
    assert max(sizes) < 5_000_000, "an outage as much as it records"
    assert sizes[-1] == sizes[6], "nothing is added after it"
    assert (await open_and_count(path)) == 0


async def open_and_count(path: Path) -> int:
    store = await open_store(str(path), inline=True)
    await store.close()
    return store.counts().waiting


async def charge_for_a_day(bench: SimBench) -> int:
    """Short charges, one after the other; how many events they made, all of them answered."""
    batches = commits_of(bench)
    for _ in range(SIMULATED_SESSIONS):
        bench.plug_in()
        await asyncio.sleep(42 * 60.0)
        bench.plug_out()
        await asyncio.sleep(102 * 60.0)
    events = sum(len(batch.enqueue) for batch in batches)
    assert events == sum(len(batch.settle) for batch in batches)
    return events


async def written_by_the_store(path: Path, events: int) -> float:
    """Bytes per event that is recorded and answered, a commit each."""
    store = await open_store(str(path), inline=True)
    await record(store, 0, 1, at_once=1)
    before = counted("wchar")
    for number in range(1, events + 1):
        await record(store, number, 1, at_once=1)
        await store.commit(Batch(settle=(number,)))
    written = counted("wchar") - before
    await store.close()
    return written / events


@pytest.mark.usefixtures("unsynced")
def test_days_of_the_whole_agent_write_what_their_events_need(tmp_path: Path) -> None:
    """The year above is one of the store alone; this ties it to the agent: a day of charging
    writes as many bytes per event as the store does for one event and one answer."""

    async def scene() -> None:
        variables = STARTED_TOGETHER | {"SampledDataCtrlr.TxUpdatedInterval": "180"}
        async with SimBench(evse_count=1, variables=variables) as bench:
            await bench.until(lambda: bench.csms.boot_status == "Accepted")
            path = bench.directory / "chargepoint.db"
            await asyncio.sleep(60.0)
            for _ in range(2):
                before = counted("wchar")
                events = await charge_for_a_day(bench)
                written = (counted("wchar") - before) / events
                assert events == SIMULATED_SESSIONS * EVENTS
                assert written == pytest.approx(expected, rel=0.1)
            assert size(path)[0] < 100_000
            assert size(path)[1] <= LOG_BYTES

    expected = asyncio.run(written_by_the_store(tmp_path / "store.db", 300))
    run_virtual(scene())


# --- however long the queue -----------------------------------------------------------------------

WINDOW = 960
"""Rows settled between two looks: thirty times as many as are read ahead."""


class Watched(Unsynced):
    """Counts what SQLite's machine does."""

    steps = 0

    def watch(self) -> None:
        self.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        Watched.steps += 1
        return 0


async def settle_window(store: Store) -> tuple[int, int]:
    """(steps of SQLite's machine, bytes read) for the next rows from the head, one commit each."""
    steps, read = Watched.steps, counted("rchar")
    for _ in range(WINDOW):
        head = (await store.head()).head
        assert head is not None
        await store.commit(Batch(settle=(head.row_id,)))
    return Watched.steps - steps, counted("rchar") - read


async def test_a_long_queue_drains_flat_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row costs no more when many wait behind it than the last rows do: a search through them
    would show in the steps, a scan or a count in the bytes."""
    made: list[Watched] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(sqlite3.connect(*arguments, **options, factory=Watched))
        return made[-1]

    monkeypatch.setattr(store_file, "open_database", connect)
    path = tmp_path / "store.db"
    await figures_rows.fill(path, 20 * WINDOW)
    store = await open_store(str(path), inline=True)
    made[-1].watch()
    windows = [await settle_window(store)]
    made[-1].set_progress_handler(None, 0)
    while store.counts().waiting > WINDOW:
        rows = await store.waiting_rows(0, 32)
        await store.commit(Batch(settle=tuple(row.row_id for row in rows)))
    made[-1].watch()
    windows.append(await settle_window(store))
    assert store.counts().waiting == 0
    await store.close()
    (first_steps, first_read), (last_steps, last_read) = windows
    assert WINDOW < first_steps <= 1.1 * last_steps
    assert 0 < first_read <= 1.1 * last_read


def counted(name: str) -> int:
    """What the kernel counted of this process so far: `rchar`, `wchar`, in bytes."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def test_a_long_queue_is_opened_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await figures_rows.fill(path, 30_000)
    before = counted("rchar")
    store = await open_store(str(path), inline=True)
    committed = await store.head()
    read = counted("rchar") - before
    assert committed.head is not None
    assert (committed.head.row_id, committed.waiting) == (1, 30_000)
    assert read < 1_000_000 < path.stat().st_size / 10
    await store.commit(Batch(settle=(1,), enqueue=(row(1),)))
    assert store.counts().waiting == 30_000
    await store.close()


async def test_damage_inside_a_long_queue_is_noticed_where_it_is_read(tmp_path: Path) -> None:
    """The start does not look for it; what can be read is kept, the file is set aside."""
    path = tmp_path / "store.db"
    await figures_rows.fill(path, 15_000)
    with path.open("rb+") as file:
        content = file.read()
        file.seek(content.index(b'"seqNo":7,', len(content) // 2))
        file.write(b'"seqNo":8,')
    store = await open_store(str(path), inline=True)
    assert store.counts().waiting == 15_000
    kept, after = 0, 0
    faults = []
    while after < 15_000:
        try:
            rows = await store.waiting_rows(after, 500)
        except StoreFault as fault:
            faults.append(str(fault))
            assert len(faults) < 3
        else:
            kept, after = kept + len(rows), rows[-1].row_id
    assert len(faults) == 1
    assert "sets the damaged file aside by itself" in faults[0]
    assert kept == 14_999
    assert (tmp_path / "store.db.corrupt-1").exists()
    await store.close()


@pytest.mark.usefixtures("unsynced")
async def test_a_queue_far_above_its_limit_is_thinned_a_little_with_each_commit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    await figures_rows.fill(path, 24_000)
    store = await open_store(str(path), inline=True, max_rows=22_000)
    waiting = [24_000]
    while waiting[-1] > 22_000 and len(waiting) < 400:
        waiting.append((await store.commit(Batch(enqueue=(row(0),)))).waiting)
    steps = [before + 1 - after for before, after in pairwise(waiting)]
    assert waiting[-1] <= 22_000
    assert 0 <= min(steps) <= max(steps) <= SWEEP
    rows = await store.waiting_rows(0, 30_000)
    kinds = [row.event_type for row in rows]
    assert kinds.count("Started") == 24_000 // EVENTS + len(steps)
    assert kinds.count("Ended") == 24_000 // EVENTS
    assert waiting[-1] == len(rows)
    assert store.counts().thinned == 24_000 + len(steps) - len(rows)
    await store.close()
    assert await open_and_count(path) == len(rows), "told by its ids it would seem longer"
