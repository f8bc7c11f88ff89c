"""When the runtime turns: facts, deadlines, a full inbox, nothing at all, a bug, a restart."""

import asyncio

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, Now
from agent.runtime import EVENTS_PER_BATCH
from hil.virtual_time import run_virtual
from tests.agent.runtime_bench import SAVE, SEND, Bench, bench


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


def test_an_inbox_that_never_runs_empty_hides_no_deadline() -> None:
    """A CSMS that floods, and a disk that takes its time for each of its words."""

    async def scene(b: Bench) -> None:
        b.station.plan["store"] = [SAVE]
        b.delay_s = 0.1
        b.station.due_s = b.now_s + 1.0
        for _ in range(100):
            b.runtime.post("store")
            await asyncio.sleep(0.05)
        seen = zip(b.station.nows, b.station.seen, strict=True)
        ticks = [now for now, event in seen if event == ev.Tick()]
        assert 4 <= len(ticks) <= 6
        assert ticks[0].mono_s < b.station.due_s + 0.3

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
