"""The runtime with recording parts: what happens in which order, and what does not happen."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agent.batches import standing_orders
from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, Now
from agent.core.jobs import CancelJob, StartJob
from agent.core.policy import Policy
from agent.runtime import DISK_PROBE, EVENTS_PER_BATCH, ClockReading, Runtime
from agent.store.rows import Batch, Committed, HeadRow, StoreFault
from drivers.contract import MeterReading, Payer, Permit, Signing
from hil.virtual_time import run_virtual

PLACE = (1, 1)
ALLOW = ef.AllowPower(1, 1, 16.0, Permit(0))
SAVE = ef.Save("k", "1")
SEND = ef.SendFrame("x")


class Station:
    """A pure room that answers each event with what the test planned."""

    def __init__(self) -> None:
        self.plan: dict[object, list[object]] = {}
        self.seen: list[object] = []
        self.nows: list[Now] = []
        self.due_s: float | None = None
        self.policy = Policy()

    def handle(self, event: object, now: Now) -> list[object]:
        self.seen.append(event)
        self.nows.append(now)
        if event == "bug":
            raise RuntimeError("a bug in the core")
        return self.plan.get(event, []) if isinstance(event, str) else []

    def deadline(self, now: Now) -> float | None:
        return self.due_s


class Router:
    """Nothing of OCPP."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def handle(self, event: object, now: Now) -> tuple[list[object], list[object]]:
        self.seen.append(event)
        return [], []

    def translate(self, effect: object, now: Now) -> list[object]:
        return [effect]

    def deadline(self, now: Now) -> float | None:
        return None

    def sent_late(self, by_s: float) -> None:
        pass


class Bench:
    """The parts around a runtime; `log` is what happened, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.batches: list[Batch] = []
        self.faults = 0
        self.delay_s = self.read_delay_s = 0.0
        self.committed = Committed(None, 0)
        self.permit = Permit(0)
        self.moves = 0
        self.is_synced = False
        self.station = Station()
        self.router = Router()
        self.runtime = Runtime(
            station=self.station,  # type: ignore[arg-type]
            router=self.router,  # type: ignore[arg-type]
            store=self,  # type: ignore[arg-type]
            guard=self,  # type: ignore[arg-type]
            hardware=self,
            wire=self,
            jobs=self,
            chores=self,
            read_clock=lambda: ClockReading(self.now_s, 1e9 + self.now_s, self.is_synced, "b"),
            random=lambda: 0.5,
            new_id=lambda: "id",
            watch=lambda effect: None,
        )

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # the store

    async def commit(self, batch: Batch) -> Committed:
        self.batches.append(batch)
        self.log.append("commit")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.faults:
            self.faults -= 1
            self.log.append("fault")
            raise StoreFault("the disk is full; free space")
        return self.committed

    # the workroom

    def start(self, job_id: str, order: object) -> None:
        self.log.append(f"job {job_id}: {order}")

    def cancel(self, job_id: str) -> None:
        self.log.append(f"cancel {job_id}")

    async def close(self) -> None:
        self.log.append("close")

    # the store, read

    async def look_up(self, value_key: str, type: str) -> str | None:
        self.log.append(f"look up {value_key}")
        if self.read_delay_s:
            await asyncio.sleep(self.read_delay_s)
        return None

    # the guard

    def stop(self, place: tuple[int, int], *, emergency: bool) -> None:
        self.log.append("stop")

    def withdraw(self, place: tuple[int, int], limit_a: float) -> None:
        self.log.append(f"withdraw {limit_a:g}")

    def allow(self, place: tuple[int, int], limit_a: float, permit: Permit) -> str | None:
        if permit < self.permit:
            self.log.append("refused")
            return "void"
        self.log.append(f"allow {limit_a:g}")
        return None

    def stop_all(self, cause: str) -> None:
        self.log.append("stop all")

    # wire and hardware

    def do(self, order: ef.Chore) -> None:
        self.log.append(f"chore {type(order).__name__}")

    def dial(self, effect: ef.Dial) -> None:
        self.log.append("dial")

    def hangup(self, reason: str) -> None:
        self.log.append("hangup")

    def send(self, text: str) -> None:
        self.log.append(f"send {text}")

    def read_meter(self, evse_id: int, signing: Signing, payer: Payer | None) -> None:
        self.log.append("read meter")

    def lock_plug(self, place: tuple[int, int], locked: bool) -> None:
        self.log.append("lock" if locked else "unlock")

    def refusals(self) -> list[ev.OrderRefused]:
        return [event for event in self.station.seen if isinstance(event, ev.OrderRefused)]


def bench(test: Callable[[Bench], Coroutine[Any, Any, None]], for_s: float = 100.0) -> Bench:
    """Runs the runtime around the test."""
    parts: list[Bench] = []

    async def scene() -> None:
        parts.append(Bench())
        running = asyncio.create_task(parts[0].runtime.run())
        try:
            await test(parts[0])
        finally:
            if not running.done():
                running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(scene())
    return parts[0]


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


# --- the disk -------------------------------------------------------------------------------------


def test_while_the_disk_refuses_power_is_off_and_nothing_is_told() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 3
        b.station.plan["e"] = [SAVE, ALLOW, SEND]
        b.runtime.post("e")
        await asyncio.sleep(2.5)
        assert b.log == ["commit", "fault", "stop all"] * 3
        assert b.runtime.disk_fault is not None
        moves = b.runtime.moves
        assert moves >= 3, "the watchdog sees that the loop tries"
        await asyncio.sleep(10)
        assert "send x" in b.log
        assert b.runtime.disk_fault is None

    bench(scene)


def test_an_order_older_than_a_disk_fault_is_decided_anew() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 1
        b.station.plan["e"] = [SAVE, ALLOW]
        b.runtime.post("e")
        await asyncio.sleep(10)
        assert not any(line.startswith("allow") for line in b.log)
        assert len(b.refusals()) == 1

    bench(scene)


def test_after_a_slow_commit_nothing_is_energised_until_a_fast_one() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 3.0
        b.station.plan |= {"e": [SAVE, ALLOW, SEND], "again": [ALLOW]}
        b.runtime.post("e")
        await asyncio.sleep(3.5)
        assert b.log[:2] == ["commit", "send x"]
        assert "stop all" not in b.log
        assert b.runtime.disk_fault is not None
        b.delay_s = 0.0
        await asyncio.sleep(20)
        b.runtime.post("again")
        await asyncio.sleep(1)
        assert b.log[-1] == "allow 16"
        assert DISK_PROBE in dict(b.batches[1].save)
        assert len(b.batches) <= 4

    bench(scene)


def test_a_commit_that_hangs_stops_power() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 60.0
        b.station.plan["e"] = [SAVE, SEND]
        b.runtime.post("e")
        await asyncio.sleep(12)
        assert b.log == ["commit", "stop all"]
        await asyncio.sleep(60)
        assert b.log[2] == "send x"

    bench(scene)


def test_a_question_to_the_store_that_hangs_stops_power_too() -> None:
    """The core hears nothing while it waits, whatever it waits for."""

    async def scene(b: Bench) -> None:
        b.read_delay_s = 30.0
        b.station.plan["e"] = [ef.LookUp(IdToken("C", "ISO14443"))]
        b.runtime.post("e")
        await asyncio.sleep(9)
        assert b.log == ["look up c"]
        await asyncio.sleep(2)
        assert b.log == ["look up c", "stop all"]
        assert b.runtime.disk_fault == "the disk does not answer; check or replace the card"
        await asyncio.sleep(30)
        b.runtime.post("more")
        await asyncio.sleep(1)
        assert b.runtime.disk_fault is None

    bench(scene)


def test_a_signed_reading_is_not_pushed_out_by_the_plain_ones_after_it() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 50
        b.station.plan["e"] = [SAVE]
        b.runtime.post("e")
        await asyncio.sleep(0.5)
        b.runtime.post(ev.MeterRead(1, MeterReading(0.0, 1.0, signing=Signing.END)))
        for number in range(10):
            b.runtime.post(ev.MeterRead(1, MeterReading(1.0 + number, 1.0, signing=Signing.LATER)))
            await asyncio.sleep(1)
        b.faults = 0
        await asyncio.sleep(2)
        reads = [e.reading.signing for e in b.station.seen if isinstance(e, ev.MeterRead)]
        assert Signing.END in reads
        assert len(reads) <= 4

    bench(scene)


def test_readings_do_not_pile_up_while_nothing_can_be_stored() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 50
        b.station.plan["e"] = [SAVE]
        b.runtime.post("e")
        for number in range(30):
            for evse_id in (1, 2):
                b.runtime.post(ev.MeterRead(evse_id, MeterReading(float(number), 1.0)))
            b.runtime.post(f"card {number}")
            await asyncio.sleep(1)
        b.faults = 0
        await asyncio.sleep(2)
        reads = [event for event in b.station.seen if isinstance(event, ev.MeterRead)]
        assert [(read.evse_id, read.reading.at_s) for read in reads[-2:]] == [(1, 29.0), (2, 29.0)]
        assert len(reads) <= 6
        cards = [event for event in b.station.seen if str(event).startswith("card")]
        assert cards == [f"card {number}" for number in range(30)]

    bench(scene)


# --- the loop -------------------------------------------------------------------------------------


def test_a_bug_in_a_pure_room_ends_the_run() -> None:
    async def scene() -> None:
        b = Bench()
        b.runtime.post("bug")
        with pytest.raises(RuntimeError, match="a bug in the core"):
            await b.runtime.run()

    run_virtual(scene())


def test_what_a_fact_announces_is_handled_before_the_next_fact() -> None:
    async def scene(b: Bench) -> None:
        b.station.plan["first"] = [ef.Announce("follows")]
        b.runtime.post("first")
        b.runtime.post("second")
        await asyncio.sleep(1)
        assert b.station.seen == ["first", "follows", "second"]

    bench(scene)


def test_a_deadline_is_a_tick_and_a_past_one_does_not_spin() -> None:
    async def scene(b: Bench) -> None:
        b.station.due_s = 5.0
        await asyncio.sleep(4.9)
        assert b.station.seen == []
        await asyncio.sleep(0.2)
        assert isinstance(b.station.seen[0], ev.Tick)
        before = len(b.station.seen)
        await asyncio.sleep(1)
        assert len(b.station.seen) - before <= 51

    bench(scene)


def test_what_fell_due_while_the_disk_was_busy_is_a_tick_at_once() -> None:
    """A silent CSMS is not forgotten for the length of a commit and the quiet after it."""

    async def scene(b: Bench) -> None:
        began_s = b.now_s

        def deadline(now: Now) -> float | None:
            return began_s + 1.0 if now.mono_s < began_s + 1.0 else None

        b.station.deadline = deadline  # type: ignore[method-assign]
        b.station.plan["store"] = [SAVE]
        b.delay_s = 2.0
        b.runtime.post("store")
        await asyncio.sleep(5.0)
        assert b.station.seen == ["store", ev.Tick()]
        assert b.station.nows[1].mono_s == pytest.approx(began_s + 2.0, abs=0.05)

    bench(scene)


def test_a_link_that_talks_all_the_time_hides_no_deadline_of_the_core() -> None:
    """What moves it without a fact: the board's clock, where values are aligned with it."""

    async def scene(b: Bench) -> None:
        for number in range(40):
            b.runtime.post(ev.FrameReceived("x"))
            await asyncio.sleep(0.1)
            if number == 10:
                b.station.due_s = b.now_s + 0.5
        assert isinstance(b.station.seen[0], ev.Tick)

    bench(scene)


def test_a_full_inbox_leaves_the_others_their_turns() -> None:
    async def scene(b: Bench) -> None:
        for number in range(20 * EVENTS_PER_BATCH):
            b.runtime.post(f"e{number}")
        for _ in range(4):
            await asyncio.sleep(0)
        assert 0 < len(b.station.seen) < 20 * EVENTS_PER_BATCH

    bench(scene)


def test_an_event_posted_while_it_waits_wakes_the_loop_at_once() -> None:
    async def scene(b: Bench) -> None:
        await asyncio.sleep(3)
        b.runtime.post("e")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert b.station.seen == ["e"]

    bench(scene)


def test_the_loop_turns_when_nothing_happens() -> None:
    async def scene(b: Bench) -> None:
        await asyncio.sleep(95)
        assert b.runtime.moves >= 9
        assert b.station.seen == []

    bench(scene)


def test_a_look_up_comes_back_as_a_fact() -> None:
    async def scene(b: Bench) -> None:
        token = IdToken("AA", "ISO14443")
        b.station.plan["e"] = [ef.LookUp(token)]
        b.runtime.post("e")
        await asyncio.sleep(1)
        assert ev.LookedUp(token, None) in b.station.seen

    bench(scene)


def test_a_restart_ends_the_run_after_what_was_before_it() -> None:
    async def scene() -> None:
        b = Bench()
        b.station.plan["e"] = [ef.Restart("process", "test"), SAVE, SEND]
        b.runtime.post("e")
        await b.runtime.run()
        assert b.log == ["commit", "send x"]

    run_virtual(scene())


def test_an_unknown_effect_is_a_bug_that_shows() -> None:
    async def scene() -> None:
        b = Bench()
        with pytest.raises(TypeError, match="no room carries out"):
            await b.runtime.perform([object()])

    run_virtual(scene())


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
