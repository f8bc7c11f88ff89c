"""What the running station hands to those who trace: everything, masked, and never too much."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from agent import frame_trace
from agent.app import Agent
from agent.console import ConsoleError
from agent.core.effects import SendFrame
from agent.core.events import FrameReceived, LinkClosed
from agent.frame_trace import Listener
from hil.scenarios.day import begin, drained, end
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CARD = "04A1B2C3D4E5F6"
Told = dict[str, Any]


class Follower:
    """One who listens; `told` grows."""

    def __init__(self, agent: Agent) -> None:
        self.told: list[Told] = []
        self._task = asyncio.create_task(self._follow(agent))

    async def _follow(self, agent: Agent) -> None:
        told = agent._trace()
        try:
            async for one in told:
                self.told.append(one)
        finally:
            await told.aclose()

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def test_a_charge_is_followed_frame_by_frame_and_nobody_pays_afterwards() -> None:
    async def scene() -> tuple[list[Told], list[tuple[float, str, str]]]:
        async with SimBench(evse_count=1) as bench:
            await bench.csms.wait_for("StatusNotification")
            await drained(bench)
            before = len(bench.csms.trace)
            follower = Follower(bench.agent)
            await asyncio.sleep(0.1)
            await begin(bench, 1, CARD)
            await end(bench, 1, CARD)
            await drained(bench)
            crossed = list(bench.csms.trace)[before:]
            bench.network.cut()
            await asyncio.sleep(5)
            await follower.leave()
            assert bench.agent._session.tap is None
            many = len(follower.told)
            await asyncio.sleep(600)
            assert len(follower.told) == many
            return follower.told, crossed

    told, crossed = run_virtual(scene())
    frames = [one for one in told if "kind" in one]
    ids = [json.loads(text)[1] for _, _, text in crossed]
    assert [one["message_id"] for one in frames] == ids
    assert len(ids) > 10
    assert "up when this trace began" in told[0]["text"]
    assert [one["text"][:7] for one in told if one["direction"] == "link"][1] == "closed:"
    authorize = [one for one in frames if one["action"] == "Authorize"]
    assert [(one["direction"], one["kind"]) for one in authorize[:2]] == [
        ("sent", "call"),
        ("heard", "result"),
    ]
    assert authorize[0]["payload"]["idToken"] == {"idToken": "04A1...", "type": "ISO14443"}
    assert authorize[1]["payload"] == {"idTokenInfo": {"status": "Accepted"}}
    assert CARD not in json.dumps(told)
    started = next(one for one in frames if one["action"] == "TransactionEvent")
    assert started["payload"]["eventType"] == "Started"
    assert started["time"].endswith("Z")
    assert len(started["time"]) == 24


def test_the_answer_to_a_call_that_was_under_way_is_told_by_its_action() -> None:
    async def scene() -> list[Told]:
        async with SimBench(evse_count=1) as bench:
            await bench.csms.wait_for("StatusNotification")
            await drained(bench)
            bench.network.latency_s = 2.0
            bench.swipe(CARD)
            await bench.until(lambda: bench.agent.view.connection.in_flight is not None)
            follower = Follower(bench.agent)
            await asyncio.sleep(20)
            await follower.leave()
            return follower.told

    told = run_virtual(scene())
    first = next(one for one in told if "kind" in one)
    assert (first["kind"], first["action"]) == ("result", "Authorize")


def test_only_so_many_may_listen_at_once() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            followers = [Follower(bench.agent) for _ in range(frame_trace.LISTENERS)]
            await asyncio.sleep(0.1)
            with pytest.raises(ConsoleError, match="end one of them"):
                bench.agent._trace()
            await followers[0].leave()
            assert bench.agent._session.tap is not None, "the others still listen"
            await bench.agent._trace().aclose()
            for follower in followers[1:]:
                await follower.leave()

    run_virtual(scene())


def taken(listener: Listener, count: int) -> list[Told]:
    async def take() -> list[Told]:
        return [await asyncio.wait_for(listener.next(), 5) for _ in range(count)]

    return asyncio.run(take())


def put(listener: Listener, happened: object) -> None:
    listener.put(0.0, happened, len(getattr(happened, "text", "")))


def listener(hide: Callable[[str], str] = lambda text: text) -> Listener:
    return Listener(hide, {})


def test_who_does_not_keep_up_loses_frames_and_is_told_how_many() -> None:
    slow = listener()
    for number in range(frame_trace.FRAMES_KEPT + 7):
        put(slow, SendFrame(f'[2,"{number}","Heartbeat",{{}}]'))
    told = taken(slow, frame_trace.FRAMES_KEPT + 1)
    assert told[-1]["text"].startswith("7 came faster")
    assert told[-2]["message_id"] == str(frame_trace.FRAMES_KEPT - 1)
    put(slow, SendFrame('[2,"x","Heartbeat",{}]'))
    assert taken(slow, 1)[0]["message_id"] == "x"


def test_what_waits_is_bounded_by_its_size_too() -> None:
    slow = listener()
    large = f'[2,"x","DataTransfer",{{"data":"{"y" * 200_000}"}}]'
    for _ in range(10):
        put(slow, FrameReceived(large))
    assert len(slow._waiting) == frame_trace.CHARS_KEPT // len(large)
    taken(slow, len(slow._waiting) + 1)
    assert slow._size == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[2,"a","Reset",{"type":"Immediate"}]', ("call", "Reset", "a")),
        ('[3,"a",{}]', ("result", None, "a")),
        ('[4,"a","GenericError","4711 is unknown",{}]', ("error", None, "a")),
        ("{password", ("unreadable", None, None)),
        ('[2,"a","Reset",{"x":"' + "y" * 40_000 + '"}]', ("call", "Reset", "a")),
        ('[3,"b",{"x":"' + "y" * 40_000 + '"}]', ("result", None, "b")),
        ('[3,{"x":"' + "y" * 40_000 + '"}]', ("unreadable", None, None)),
    ],
)
def test_any_text_is_told_as_something(text: str, told: tuple[str, str | None, str | None]) -> None:
    one = listener(lambda text: text.replace("4711", "..."))
    put(one, FrameReceived(text))
    (row,) = taken(one, 1)
    assert (row["kind"], row["action"], row["message_id"]) == told
    assert len(json.dumps(row)) < 500
    assert "password" not in str(row)
    assert "4711" not in str(row)


def test_the_answer_to_a_long_call_has_its_action() -> None:
    one = listener()
    put(one, FrameReceived('[2,"a","Reset",{"x":"' + "y" * 40_000 + '"}]'))
    put(one, SendFrame('[3,"a",{"status":"Accepted"}]'))
    put(one, LinkClosed("gone"))
    told = taken(one, 3)
    assert "40024 characters" in told[0]["note"]
    assert (told[1]["action"], told[1]["payload"]) == ("Reset", {"status": "Accepted"})
    assert told[2]["text"] == "closed: gone"


def test_ids_of_both_sides_are_kept_apart() -> None:
    one = listener()
    put(one, SendFrame('[2,"1","Heartbeat",{}]'))
    put(one, FrameReceived('[2,"1","Reset",{"type":"OnIdle"}]'))
    put(one, FrameReceived('[3,"1",{"currentTime":"2026-01-01T00:00:00Z"}]'))
    put(one, SendFrame('[3,"1",{"status":"Scheduled"}]'))
    assert [row["action"] for row in taken(one, 4)] == ["Heartbeat", "Reset", "Heartbeat", "Reset"]


def test_calls_without_an_answer_fill_no_memory() -> None:
    one = listener()
    for number in range(200):
        put(one, FrameReceived(f'[2,"{number}","Reset",{{"type":"OnIdle"}}]'))
    taken(one, 200)
    assert len(one._actions) == frame_trace.CALLS_KEPT
