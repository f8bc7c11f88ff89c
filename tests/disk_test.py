"""The disk fails under the whole agent: nothing is sold that cannot be recorded, nothing that was
sold is lost, the technician sees why, and it goes on by itself."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.core import events as ev
from agent.errors import StoreError
from agent.ocpp.messages import parse_time
from agent.store import file as store_file
from agent.store.file import DATABASE
from agent.store.rows import Batch, Committed
from hil.parts.faulty_disk import FAULTS, FULL, READ_ERROR, FaultyDisk
from hil.scenarios.day import begin, drained
from hil.sim import SimBench
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual

CARD, OTHER = "04A1B2C3", "04D4E5F6"
NEXT_STEP = {
    "full": "free space there",
    "read-only": "mount it writable",
    "write error": "look for disk errors",
    "sync error": "look for disk errors",
}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    faulty = FaultyDisk()
    monkeypatch.setattr(store_file, "open_database", faulty.connect)
    return faulty


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    variables = {"SampledDataCtrlr.TxUpdatedInterval": "60"}

    async def scene() -> None:
        async with SimBench(variables=variables, **bench) as sim:
            await sim.csms.wait_for("StatusNotification")
            before_wh = {e: sim.board.meter(e).energy_wh for e in (1, 2)}
            await test(sim)
            await all_is_told(sim, before_wh)

    run_virtual(scene())


async def all_is_told(bench: SimBench, before_wh: dict[int, float]) -> None:
    """Every event once and in order, every Wh billed, and the disk forgiven."""
    await bench.until(lambda: bench.agent.status()["link"] == "online")
    await drained(bench)
    status = bench.agent.status()
    assert "disk" not in status
    evidence = Evidence(
        calls=bench.csms.calls,
        meters_wh={e: (before_wh[e], bench.board.meter(e).energy_wh) for e in (1, 2)},
        waiting=status["queue"],
        set_aside=status["set_aside"],
        violations=bench.csms.violations,
    )
    assert judge(evidence).problems == ()


def events(bench: SimBench) -> list[Any]:
    return [event for each in bench.csms.transactions.values() for event in each]


def draws(bench: SimBench, evse_id: int = 1) -> float:
    return bench.board.connector(evse_id, 1).drawn_a


async def until_off(bench: SimBench) -> None:
    await bench.until(lambda: draws(bench) == 0.0, limit_s=120)


async def leave(bench: SimBench, evse_id: int = 1) -> None:
    """The EV leaves; what was sold is over."""
    bench.plug_out(evse_id)
    await bench.until(lambda: bench.connector(evse_id)["status"] == "Available")


# --- while it runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_power_goes_off_and_comes_back_by_itself_with_the_disk(
    disk: FaultyDisk, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        disk.fault = fault
        await until_off(bench)
        guard, loop = bench.agent.guard.moves, bench.agent.runtime.moves
        await asyncio.sleep(1800)
        assert bench.agent.guard.moves - guard > 1000, "the watchdog sees the guard"
        assert bench.agent.runtime.moves - loop > 1000, "and the loop"
        assert draws(bench) == 0.0
        assert NEXT_STEP[fault] in bench.agent.status()["disk"]
        disk.fault = None
        await bench.until(lambda: "disk" not in bench.agent.status(), limit_s=10)
        await asyncio.sleep(120)
        assert draws(bench) > 0, "the EV still waits, so it charges on"
        states = [e["transactionInfo"]["chargingState"] for e in events(bench)]
        assert states[1:5] == ["Charging", "Charging", "SuspendedEVSE", "SuspendedEVSE"]
        await leave(bench)

    with caplog.at_level(logging.WARNING):
        run(scene)
    said = [r.getMessage() for r in caplog.records if NEXT_STEP[fault] in r.getMessage()]
    assert 1 <= len(said) <= 5, "once, then every ten minutes"
    assert "events are stored again" in caplog.messages


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_new_is_sold_where_it_cannot_be_recorded(disk: FaultyDisk, fault: str) -> None:
    async def scene(bench: SimBench) -> None:
        disk.fault = fault
        bench.plug_in(1)
        await asyncio.sleep(5)
        bench.swipe(CARD)
        for _ in range(600):
            await asyncio.sleep(1)
            assert draws(bench) == 0.0
        assert NEXT_STEP[fault] in bench.agent.status()["disk"]
        assert bench.csms.transactions == {}
        bench.plug_out(1)
        await asyncio.sleep(5)
        disk.fault = None
        await bench.until(lambda: bench.connector(1)["status"] == "Available")
        await asyncio.sleep(300)
        assert draws(bench) == 0.0, "a driver who left gets nothing"

    run(scene)


def test_a_car_that_leaves_while_nothing_can_be_stored_is_ended_when_the_disk_is_back(
    disk: FaultyDisk,
) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await asyncio.sleep(30)
        disk.fault = FULL
        bench.swipe(CARD)
        await until_off(bench)
        await asyncio.sleep(600)
        bench.plug_out(1)
        await asyncio.sleep(600)
        assert events(bench)[-1]["eventType"] != "Ended"
        disk.fault = None
        await bench.until(lambda: events(bench)[-1]["eventType"] == "Ended")
        assert events(bench)[-1]["transactionInfo"]["stoppedReason"] == "Local"

    run(scene)


def test_what_waits_for_the_disk_is_bounded(disk: FaultyDisk) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        disk.fault = FULL
        await until_off(bench)
        runtime = bench.agent.runtime
        for number in range(20_000):
            runtime.post(ev.FrameReceived(f'[2,"{number}","Heartbeat",{{}}]'))
            if number % 100 == 0:
                await asyncio.sleep(10)
        await asyncio.sleep(10)
        assert len(runtime._inbox) < 1_100
        disk.fault = None
        await bench.until(lambda: "disk" not in bench.agent.status())
        await leave(bench)
        bench.csms.violations.clear()  # answers to calls that the CSMS never made

    run(scene)


def test_an_hour_of_flicker_costs_no_event(disk: FaultyDisk) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        for number in range(60):
            disk.fault = FAULTS[number % len(FAULTS)] if number % 2 == 0 else None
            await asyncio.sleep(61)
        disk.fault = None
        await bench.until(lambda: "disk" not in bench.agent.status())
        await leave(bench)
        assert disk.refusals > 20

    run(scene)


def test_a_disk_that_cannot_be_read_for_a_while_holds_everything_up(disk: FaultyDisk) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await bench.network.drop()
        await asyncio.sleep(3600)
        bench.agent.store._database._connection.execute("PRAGMA cache_size=0")
        disk.fault = READ_ERROR
        await asyncio.sleep(600)
        await bench.network.accept()
        await asyncio.sleep(600)
        disk.fault = None
        await bench.until(lambda: "disk" not in bench.agent.status())
        await leave(bench)

    run(scene)


class SlowStore:
    """Commits of the agent's store take this long."""

    def __init__(self, bench: SimBench) -> None:
        self.seconds = 0.0
        self._commit = bench.agent.store.commit
        bench.agent.store.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, batch: Batch) -> Committed:
        await asyncio.sleep(self.seconds)
        return await self._commit(batch)


def test_a_slow_disk_is_told_and_sells_nothing_new_until_it_is_fast() -> None:
    async def scene(bench: SimBench) -> None:
        slow = SlowStore(bench)
        await begin(bench, 1, CARD)
        slow.seconds = 4.0
        bench.plug_in(2)
        await asyncio.sleep(10)
        bench.swipe(OTHER)
        await asyncio.sleep(300)
        assert "the disk took 4.0 s; check or replace the card" in bench.agent.status()["disk"]
        assert draws(bench, 2) == 0.0
        assert draws(bench, 1) > 0.0, "what is sold is recorded, if late"
        slow.seconds = 0.0
        await bench.until(lambda: draws(bench, 2) > 0.0)
        await leave(bench, 2)
        await leave(bench, 1)

    run(scene)


def test_what_waited_for_a_slow_disk_is_told_with_its_own_time() -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        slow = SlowStore(bench)
        bench.plug_in(2)
        await asyncio.sleep(5.0)
        slow.seconds = 9.0
        bench.swipe(OTHER)
        await asyncio.sleep(3.0)
        happened_s = parse_time(bench.csms.utc())
        bench.board.ev_state(1, 1, "B")
        await asyncio.sleep(30.0)
        slow.seconds = 0.0
        await bench.until(lambda: "disk" not in bench.agent.status(), limit_s=900)
        await drained(bench)
        events = bench.csms.of("TransactionEvent")
        told = next(e for e in events if e["transactionInfo"]["chargingState"] == "SuspendedEV")
        assert abs(parse_time(told["timestamp"]) - happened_s) < 2.0
        for evse_id in (1, 2):
            await leave(bench, evse_id)

    run(scene)


def test_a_disk_that_hangs_stops_power() -> None:
    async def scene(bench: SimBench) -> None:
        slow = SlowStore(bench)
        await begin(bench, 1, CARD)
        slow.seconds = 300.0
        await until_off(bench)
        assert "the disk does not answer; check or replace" in bench.agent.status()["disk"]
        await asyncio.sleep(300)
        slow.seconds = 0.0
        await bench.until(lambda: "disk" not in bench.agent.status(), limit_s=900)
        await leave(bench)

    run(scene)


# --- stops and starts -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("how", ["stop", "crash", "power_cut"])
def test_however_it_ends_while_nothing_can_be_stored_the_next_start_ends_the_transaction(
    disk: FaultyDisk, fault: str, how: str
) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await asyncio.sleep(90)
        disk.fault = fault
        await until_off(bench)
        await asyncio.sleep(60)
        await getattr(bench, how)()
        assert draws(bench) == 0.0
        disk.fault = None
        await bench.start(cold=how == "power_cut")
        await bench.until(lambda: events(bench)[-1]["eventType"] == "Ended")
        assert draws(bench) == 0.0
        reason = "PowerLoss" if how == "power_cut" else "Reboot"
        assert events(bench)[-1]["transactionInfo"]["stoppedReason"] == reason

    run(scene)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_start_on_a_disk_that_takes_nothing_shows_why_and_sells_nothing(
    disk: FaultyDisk, fault: str
) -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await asyncio.sleep(90)
        await bench.stop()
        disk.fault = fault
        await bench.start(cold=False)
        bench.plug_in(2)
        await asyncio.sleep(10)
        bench.swipe(OTHER)
        await asyncio.sleep(600)
        assert NEXT_STEP[fault] in bench.agent.status()["disk"]
        assert draws(bench, 1) == draws(bench, 2) == 0.0
        disk.fault = None
        bench.plug_out(2)
        await bench.until(lambda: events(bench)[-1]["eventType"] == "Ended")

    run(scene)


def test_a_database_that_is_gone_is_begun_anew_and_told() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.stop()
        (bench.directory / DATABASE).unlink()
        await bench.start()
        (notice,) = bench.agent.status()["store"]
        assert "was gone and is begun anew" in notice
        assert "check the storage" in notice
        await begin(bench, 1, CARD)
        await leave(bench)

    run(scene)


def test_a_first_start_has_nothing_to_tell() -> None:
    async def scene(bench: SimBench) -> None:
        assert "store" not in bench.agent.status()

    run(scene)


def test_a_newer_database_is_refused_before_anything_is_built() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await bench.stop()
            with closing(sqlite3.connect(bench.directory / DATABASE)) as connection:
                connection.execute("PRAGMA user_version=9")
            with pytest.raises(StoreError, match="install the newer chargepoint again, or stop"):
                await bench.start()

    run_virtual(scene())


# --- damage ---------------------------------------------------------------------------------------


def spoil(path: Path, marker: bytes, *, last: bool = False) -> None:
    """One byte of what stands there."""
    content = path.read_bytes()
    at = content.rindex(marker) if last else content.index(marker)
    with path.open("r+b") as file:
        file.seek(at + len(marker))
        file.write(b"\xff")


def test_a_damaged_database_costs_no_event_that_can_still_be_read() -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await bench.network.drop()
        await asyncio.sleep(900)
        await bench.stop()
        content = bytearray((bench.directory / DATABASE).read_bytes())
        content[4096 + 8 : 4096 + 12] = b"\xff\xff\xff\xff"  # where the outbox begins
        (bench.directory / DATABASE).write_bytes(content)
        await bench.start(cold=False)
        (notice,) = bench.agent.status()["store"]
        assert "was damaged" in notice
        assert "send it to the manufacturer" in notice
        assert (bench.directory / f"{DATABASE}.corrupt-1").read_bytes() == content
        await bench.network.accept()
        await bench.until(lambda: bool(events(bench)) and events(bench)[-1]["eventType"] == "Ended")

    run(scene)


def test_damage_while_charging_is_mended_without_a_restart() -> None:
    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD)
        await asyncio.sleep(300)
        database = bench.agent.store._database
        assert database is not None
        database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        database._connection.execute("PRAGMA cache_size=0")
        path = bench.directory / DATABASE
        await asyncio.sleep(10)
        database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        content = bytearray(path.read_bytes())
        for page in range(1, len(content) // 4096):
            content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
        path.write_bytes(content)
        await bench.until(lambda: "store" in bench.agent.status(), limit_s=120)
        await bench.until(lambda: "disk" not in bench.agent.status(), limit_s=10)
        await asyncio.sleep(120)
        assert draws(bench) > 0.0
        await leave(bench)

    run(scene)
