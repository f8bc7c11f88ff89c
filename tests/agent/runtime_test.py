"""What a turn carries out: the fixed order, permits, the clocks."""

import asyncio

import pytest

from agent.batches import standing_orders
from agent.core import effects as ef
from agent.core import events as ev
from agent.core.jobs import CancelJob, StartJob
from agent.store.rows import Batch, Committed, HeadRow
from drivers.contract import Permit
from tests.agent.runtime_bench import ALLOW, SAVE, SEND, Bench, bench

# --- the fixed order ------------------------------------------------------------------------------


def test_safe_then_durable_then_energise_then_tell_whatever_order_they_came_in() -> None:
    async def scene(b: Bench) -> None:
        lock = ef.LockPlug(1, 1, True)
        other = ef.StopPower(2, 1)
        b.station.plan["e"] = [SEND, ALLOW, lock, SAVE, ef.ReadMeter(1), other]
        b.runtime.post("e")
        await asyncio.sleep(1)
        assert b.log == ["stop", "commit", "lock", "allow 16", "send x", "read meter"]

    bench(scene)


def test_slow_work_begins_after_what_it_follows_from_is_on_disk() -> None:
    async def scene(b: Bench) -> None:
        b.station.plan["e"] = [StartJob("j", "an order"), CancelJob("i"), SAVE]
        b.runtime.post("e")
        await asyncio.sleep(1)
        assert b.log == ["commit", "job j: an order", "cancel i"]

    bench(scene)


def test_a_stop_leaves_before_a_commit_that_takes_long() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 1.0
        b.station.plan["e"] = [SAVE, ef.StopPower(1, 1), SEND]
        b.runtime.post("e")
        await asyncio.sleep(0.5)
        assert b.log == ["stop", "commit"]
        await asyncio.sleep(1)
        assert b.log == ["stop", "commit", "send x"]

    bench(scene)


def test_events_that_wait_together_share_one_commit() -> None:
    async def scene(b: Bench) -> None:
        for number in range(5):
            b.station.plan[f"e{number}"] = [ef.Save(f"k{number}", "1")]
            b.runtime.post(f"e{number}")
        await asyncio.sleep(1)
        assert [dict(batch.save) for batch in b.batches] == [{f"k{n}": "1" for n in range(5)}]

    bench(scene)


def test_asking_for_the_head_alone_writes_nothing() -> None:
    async def scene(b: Bench) -> None:
        b.station.plan["e"] = [ef.FetchHead()]
        b.runtime.post("e")
        await asyncio.sleep(1)
        assert b.batches == [Batch()]
        assert ev.OutboxHead(None, 0) in b.router.seen

    bench(scene)


@pytest.mark.parametrize(
    ("effects", "committed", "is_told"),
    [
        ([ef.SettleRow(1)], Committed(None, 3), False),
        ([ef.SettleRow(1)], Committed(None, 3, is_news=True), True),
        ([ef.SettleRow(1), ef.FetchHead()], Committed(None, 3), True),
        ([ef.SettleRow(1), SAVE], Committed(None, 3), True),
        ([ef.FreezeBody(1, "{}")], Committed(None, 3), True),
    ],
)
def test_the_head_is_told_unless_nothing_but_answers_was_stored(
    effects: list[object], committed: Committed, is_told: bool
) -> None:
    async def scene(b: Bench) -> None:
        b.committed = committed
        b.station.plan["e"] = effects
        b.runtime.post("e")
        await asyncio.sleep(1)
        assert (ev.OutboxHead(None, 3) in b.router.seen) is is_told

    bench(scene)


def test_the_head_is_told_with_what_follows_it() -> None:
    first, second = (
        HeadRow(n, f"m{n}", "TransactionEvent", "{}", "b", False, "Updated", 0.0, n, "")
        for n in (1, 2)
    )

    async def scene(b: Bench) -> None:
        b.committed = Committed(first, 2, (second,))
        b.station.plan["e"] = [ef.FetchHead()]
        b.runtime.post("e")
        await asyncio.sleep(1)
        (told,) = (event for event in b.router.seen if isinstance(event, ev.OutboxHead))
        assert told.row is not None
        assert [(row.row_id, row.attempts) for row in (told.row, *told.following)] == [
            (1, 1),
            (2, 2),
        ]

    bench(scene)


def test_the_core_is_not_asked_about_what_only_the_link_is_concerned_with() -> None:
    async def scene(b: Bench) -> None:
        for fact in (ev.FrameReceived("[]"), ev.OutboxHead(None, 0), ev.LinkHeard(), "e"):
            b.runtime.post(fact)
        await asyncio.sleep(1)
        assert b.station.seen == ["e"]
        assert len(b.router.seen) == 4

    bench(scene)


@pytest.mark.parametrize(
    ("effects", "left"),
    [
        ([ALLOW], [ALLOW]),
        ([ALLOW, ef.StopPower(1, 1)], []),
        ([ef.StopPower(1, 1), ALLOW], [ALLOW]),
        ([ALLOW, ef.StopPower(1, 1), ALLOW], [ALLOW]),
        ([ALLOW, ef.StopPower(2, 1)], [ALLOW]),
        ([ALLOW, ef.WithdrawCurrent(1, 1, 8.0)], [ef.AllowPower(1, 1, 8.0, Permit(0))]),
        ([ALLOW, ef.WithdrawCurrent(2, 1, 8.0)], [ALLOW]),
        ([ALLOW, ef.WithdrawCurrent(1, 1, 20.0)], [ALLOW]),
        ([ALLOW, ef.AllowPower(1, 1, 20.0, Permit(1))], [ef.AllowPower(1, 1, 20.0, Permit(1))]),
    ],
)
def test_an_order_taken_back_in_the_same_batch_is_not_given(
    effects: list[object], left: list[object]
) -> None:
    assert standing_orders(effects) == left


def test_a_card_that_starts_and_stops_in_one_batch_leaves_power_off() -> None:
    async def scene(b: Bench) -> None:
        b.station.plan |= {"start": [SAVE, ALLOW], "stop": [ef.StopPower(1, 1)]}
        b.runtime.post("start")
        b.runtime.post("stop")
        await asyncio.sleep(1)
        assert b.log == ["stop", "commit"]

    bench(scene)


# --- permits --------------------------------------------------------------------------------------


def test_an_event_carries_the_permit_of_the_moment_it_was_posted() -> None:
    async def scene(b: Bench) -> None:
        b.runtime.post("before")
        b.permit = Permit(1)
        b.runtime.post("after")
        await asyncio.sleep(1)
        assert [now.permit for now in b.station.nows] == [0, 1]

    bench(scene)


def test_a_fact_that_waits_for_the_disk_keeps_the_time_it_happened_at() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 5.0
        b.station.plan["first"] = [SAVE]
        b.runtime.post("first")
        await asyncio.sleep(1)
        b.runtime.post("second")
        await asyncio.sleep(10)
        first, second = (
            now
            for now, seen in zip(b.station.nows, b.station.seen, strict=True)
            if seen in ("first", "second")
        )
        assert first.at_s == first.mono_s
        assert second.at_s == first.at_s + 1.0
        assert second.mono_s == first.at_s + 5.0

    bench(scene)


def test_an_order_that_waited_for_the_disk_while_the_guard_stopped_is_refused() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 1.0
        b.station.plan["e"] = [SAVE, ALLOW]
        b.runtime.post("e")
        await asyncio.sleep(0.5)
        b.permit = Permit(1)
        await asyncio.sleep(1)
        assert b.log == ["commit", "refused"]
        assert len(b.refusals()) == 1

    bench(scene)


# --- clocks ---------------------------------------------------------------------------------------


def test_the_time_of_the_csms_counts_until_ntp_has_one() -> None:
    async def scene(b: Bench) -> None:
        now = b.runtime.now()
        assert (now.utc_known, now.utc_s()) == (False, 1e9)
        b.runtime.post(ev.ClockSet(2e9, 0.0))
        await asyncio.sleep(1)
        now = b.runtime.now()
        assert (now.utc_known, now.utc_s()) == (True, 2e9 + 1)
        b.is_synced = True
        now = b.runtime.now()
        assert (now.utc_known, now.utc_s()) == (True, 1e9 + 1)

    bench(scene)


def test_a_clock_that_differs_by_the_travel_time_is_left_alone() -> None:
    async def scene(b: Bench) -> None:
        b.runtime.post(ev.ClockSet(2e9, 0.0))
        await asyncio.sleep(1)
        b.runtime.post(ev.ClockSet(2e9 + 0.4, 1.0))
        await asyncio.sleep(1)
        assert b.runtime.now().utc_s() == 2e9 + 2
        b.runtime.post(ev.ClockSet(2e9 + 60, 2.0))
        await asyncio.sleep(1)
        assert b.runtime.now().utc_s() == 2e9 + 61

    bench(scene)
