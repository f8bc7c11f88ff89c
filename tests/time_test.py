"""Clocks that are wrong, unknown, or step: intervals hold, order is seqNo, times are right."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from hil.parts.csms import Silent
from hil.scenarios.day import CARD_A, begin, drained, end
from hil.sim import SimBench
from hil.virtual_time import run_virtual

YEAR_S = 365 * 86_400.0
SAMPLES = {"SampledDataCtrlr.TxUpdatedInterval": "60"}
KNOWN_HERE = {"AuthCtrlr.OfflineTxForUnknownIdEnabled": "true"}
CLOCK_ERRORS = {
    "right": 0.0,
    "years behind": -30 * YEAR_S,
    "no battery: 1970": -1_790_000_000.0,
    "a day ahead": 86_400.0,
}


def utc_of(text: str) -> float:
    assert text.endswith("Z"), f"{text} is not UTC"
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def times_of(event: dict[str, Any]) -> Iterator[float]:
    """All times of a TransactionEvent, its own first."""
    yield utc_of(event["timestamp"])
    for value in event.get("meterValue", ()):
        yield utc_of(value["timestamp"])


def events_of(bench: SimBench) -> list[dict[str, Any]]:
    return [event for events in bench.csms.transactions.values() for event in events]


def assert_times(bench: SimBench, within: tuple[float, float], slack_s: float = 1.5) -> None:
    """Every time lies in the interval and they rise with seqNo."""
    for events in bench.csms.transactions.values():
        own = [utc_of(event["timestamp"]) for event in events]
        assert own == sorted(own)
    for event in events_of(bench):
        for at_s in times_of(event):
            assert within[0] - slack_s <= at_s <= within[1] + slack_s, event


@pytest.mark.parametrize("error_s", CLOCK_ERRORS.values(), ids=CLOCK_ERRORS)
def test_what_happens_before_the_first_sync_is_dated_right_when_it_is_sent(error_s: float) -> None:
    async def scene() -> None:
        bench = SimBench(variables=SAMPLES | KNOWN_HERE, clock_error_s=error_s)
        await bench.network.drop()
        async with bench:
            began_s = bench.utc_s()
            await begin(bench, 1, CARD_A)
            await asyncio.sleep(600)
            await end(bench, 1, CARD_A)
            ended_s = bench.utc_s()
            await asyncio.sleep(600)
            await bench.network.accept()
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            assert len(events_of(bench)) > 10
            assert_times(bench, (began_s, ended_s))
            assert all(event["offline"] for event in events_of(bench))
            bench.csms.check()

    run_virtual(scene())


@pytest.mark.parametrize("error_s", CLOCK_ERRORS.values(), ids=CLOCK_ERRORS)
def test_a_cold_boot_before_the_first_sync_still_dates_the_life_before(error_s: float) -> None:
    async def scene() -> None:
        bench = SimBench(variables=SAMPLES | KNOWN_HERE, clock_error_s=error_s)
        await bench.network.drop()
        async with bench:
            began_s = bench.utc_s()
            await begin(bench, 1, CARD_A)
            await asyncio.sleep(600)
            await bench.power_cut()
            await asyncio.sleep(60)
            await bench.start()
            await asyncio.sleep(120)
            await bench.network.accept()
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            assert_times(bench, (began_s, bench.utc_s()), slack_s=2.0)
            assert events_of(bench)[-1]["transactionInfo"]["stoppedReason"] == "PowerLoss"

    run_virtual(scene())


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 20 * YEAR_S, -20 * YEAR_S])
def test_a_clock_that_steps_while_charging_moves_no_interval_and_no_order(step_s: float) -> None:
    async def scene() -> None:
        async with SimBench(variables=SAMPLES, is_synced=False) as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD_A)
            await asyncio.sleep(300)
            bench.clock_error_s += step_s
            await asyncio.sleep(300)
            await end(bench, 1, CARD_A)
            await drained(bench)
            (events,) = bench.csms.transactions.values()
            periodic = [e for e in events if e["triggerReason"] == "MeterValuePeriodic"]
            assert len(periodic) == 10
            own = [utc_of(event["timestamp"]) for event in events]
            assert own == sorted(own)
            gaps = [b - a for a, b in pairwise(utc_of(e["timestamp"]) for e in periodic)]
            assert all(abs(gap - 60) < 1 for gap in gaps), gaps
            bench.csms.check()

    run_virtual(scene())


def test_a_heartbeat_that_corrects_the_clock_leaves_what_was_recorded_as_it_was() -> None:
    async def scene() -> None:
        async with SimBench(variables=SAMPLES) as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD_A)
            await bench.network.drop()
            await asyncio.sleep(200)
            told_s = bench.utc_s()
            bench.csms.clock_error_s = 7200.0
            await bench.network.accept()
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            for event in events_of(bench):
                if event.get("offline"):
                    assert utc_of(event["timestamp"]) <= told_s + 1
            await end(bench, 1, CARD_A)
            await bench.csms.wait_for("Heartbeat", timeout_s=600)
            await begin(bench, 1, CARD_A)
            await drained(bench)
            last = events_of(bench)[-1]
            assert abs(utc_of(last["timestamp"]) - bench.utc_s() - 7200) < 30


@pytest.mark.parametrize("change", ["2026-03-29T01:00:00", "2026-10-25T01:00:00"])
def test_a_change_of_summer_time_moves_nothing(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board stands in a zone with summer time; the change falls into the charge."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()

    async def scene() -> None:
        async with SimBench(
            variables=SAMPLES, is_synced=True, utc_at_zero_s=utc_of(change + "Z") - 300
        ) as bench:
            await bench.csms.wait_for("StatusNotification")
            began_s = bench.utc_s()
            await begin(bench, 1, CARD_A)
            await asyncio.sleep(600)
            await end(bench, 1, CARD_A)
            await drained(bench)
            assert_times(bench, (began_s, bench.utc_s()))
            (events,) = bench.csms.transactions.values()
            periodic = [e for e in events if e["triggerReason"] == "MeterValuePeriodic"]
            gaps = [b - a for a, b in pairwise(utc_of(e["timestamp"]) for e in periodic)]
            assert len(gaps) == 9
            assert all(abs(gap - 60) < 1 for gap in gaps), gaps
            bench.csms.check()

    try:
        run_virtual(scene())
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_busy_station_still_asks_for_the_time_once_a_day() -> None:
    async def scene() -> None:
        often = {"SampledDataCtrlr.TxUpdatedInterval": "250"}
        async with SimBench(variables=often) as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD_A, current_a=6.0)
            await asyncio.sleep(2.1 * 86_400)
            assert len(bench.csms.of("Heartbeat")) >= 2

    run_virtual(scene())


def test_an_event_is_sent_again_with_the_same_times_although_the_clock_moved() -> None:
    """Times that were open are frozen at the first send, over a restart, too."""

    async def scene() -> None:
        bench = SimBench(variables=SAMPLES | KNOWN_HERE, clock_error_s=-5 * YEAR_S)
        await bench.network.drop()
        async with bench:
            await begin(bench, 1, CARD_A)
            await asyncio.sleep(100)
            bench.csms.answer["TransactionEvent"] = Silent()
            await bench.network.accept()
            first = await bench.csms.wait_for("TransactionEvent", timeout_s=600)
            await bench.power_cut()
            bench.csms.answer.clear()
            bench.csms.clock_error_s = 3600.0
            await asyncio.sleep(30)
            await bench.start()
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            sent = [c.payload for c in bench.csms.calls if c.action == "TransactionEvent"]
            again = next(p for p in sent[1:] if p["seqNo"] == first["seqNo"])
            assert list(times_of(again)) == list(times_of(first))

    run_virtual(scene())
