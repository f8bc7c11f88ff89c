import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.core.effects import Dial
from agent.core.events import FrameReceived, LinkClosed, LinkHeard, LinkOpened
from agent.csms.link import Credentials
from agent.csms.session import QUEUE_LENGTH, Session
from agent.errors import LinkError
from hil.virtual_time import run_virtual

DIAL = Dial(3, "ws://csms/ocpp/CS001", "CS001", 1, 30.0, 0.0)


class FakeLink:
    trusted_by = ""

    def __init__(self, on_pong: Callable[[], None]) -> None:
        self.on_pong = on_pong
        self.sent: list[str] = []
        self.closed: list[str] = []
        self.frames: asyncio.Queue[str | LinkError] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()
        self.send_error: LinkError | None = None
        self.takes_at_once = False
        self.close_s = 0.5
        self.hear: Callable[[str], None] | None = None

    def send_at_once(self, text: str) -> bool:
        if not self.takes_at_once:
            return False
        self.sent.append(text)
        return True

    async def send(self, text: str) -> None:
        await self.takes.wait()
        if self.send_error:
            raise self.send_error
        self.sent.append(text)

    def listen(self, hear: Callable[[str], bool] | None) -> None:
        self.hear = hear

    async def receive(self) -> str:
        frame = await self.frames.get()
        if isinstance(frame, LinkError):
            raise frame
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await asyncio.sleep(self.close_s)
        self.closed.append(reason)


class Peer:
    """Stands in for the network: what `connect` gives, slowly or not at all."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.error: Exception | None = None
        self.wait_s = 1.0
        self.events: list[Any] = []
        self.session = Session(self.connect, lambda slot: Credentials(), self.events.append)

    async def connect(self, dial: Dial, credentials: Credentials, on_pong: Any) -> FakeLink:
        await asyncio.sleep(self.wait_s)
        if self.error:
            raise self.error
        self.links.append(FakeLink(on_pong))
        return self.links[-1]


def test_a_link_opens_carries_frames_and_ends_once() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        link = peer.links[0]
        peer.session.send("a")
        peer.session.send("b")
        link.frames.put_nowait("hello")
        link.on_pong()
        await asyncio.sleep(1)
        assert link.sent == ["a", "b"]
        link.frames.put_nowait("last words")
        link.frames.put_nowait(LinkError("gone"))
        await asyncio.sleep(10)
        assert peer.events == [
            LinkOpened(3),
            LinkHeard(),
            FrameReceived("hello"),
            FrameReceived("last words"),
            LinkClosed("gone"),
        ]
        link.on_pong()
        peer.session.hangup("again")
        peer.session.send("late")
        await peer.session.close()
        assert peer.events[-1] == LinkClosed("gone")
        assert link.sent == ["a", "b"]

    run_virtual(run())


def test_a_frame_may_be_heard_without_its_reader_while_the_link_is_open() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        link = peer.links[0]
        assert link.hear is not None
        link.hear("hello")
        assert peer.events == [LinkOpened(3), FrameReceived("hello")]
        peer.session.hangup("enough")
        await asyncio.sleep(0.1)
        assert link.hear is None, "what comes during the goodbye is nobody's"
        await peer.session.close()

    run_virtual(run())


def test_a_frame_leaves_at_once_unless_another_waits_before_it() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        link = peer.links[0]
        link.takes_at_once = True
        peer.session.send("a")
        assert link.sent == ["a"], "before anything else has had its turn"
        link.takes_at_once = False
        link.takes.clear()
        peer.session.send("b")
        link.takes_at_once = True
        peer.session.send("c")
        await asyncio.sleep(1)
        link.takes.set()
        link.takes_at_once = False
        await asyncio.sleep(1)
        assert link.sent == ["a", "b", "c"]
        link.takes.clear()
        peer.session.send("d")
        await asyncio.sleep(1)
        link.takes_at_once = True
        peer.session.send("e")
        assert link.sent == ["a", "b", "c"]
        link.takes.set()
        await asyncio.sleep(1)
        assert link.sent == ["a", "b", "c", "d", "e"]
        await peer.session.close()

    run_virtual(run())


def test_a_failed_attempt_is_one_link_closed() -> None:
    async def run() -> None:
        peer = Peer()
        peer.error = LinkError("nobody there")
        peer.session.dial(DIAL)
        await asyncio.sleep(5)
        assert peer.events == [LinkClosed("nobody there")]

    run_virtual(run())


@pytest.mark.parametrize("after_s", [0.0, 0.5, 3.0])
def test_a_hangup_ends_every_stage_with_its_reason(after_s: float) -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        if after_s:
            await asyncio.sleep(after_s)
        peer.session.hangup("the CSMS is silent")
        peer.session.hangup("once more")
        await asyncio.sleep(10)
        closed = [event for event in peer.events if isinstance(event, LinkClosed)]
        assert closed == [LinkClosed("the CSMS is silent")]
        assert all(link.closed == ["the CSMS is silent"] for link in peer.links)
        assert len(peer.links) == (1 if after_s > 1 else 0)

    run_virtual(run())


def test_frames_ordered_before_a_hangup_still_leave() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        peer.links[0].takes.clear()
        asyncio.get_running_loop().call_later(1, peer.links[0].takes.set)
        peer.session.send("the answer to Reset")
        peer.session.hangup("reset")
        peer.session.send("too late")
        await asyncio.sleep(10)
        assert peer.links[0].sent == ["the answer to Reset"]

    run_virtual(run())


def test_a_second_dial_waits_until_the_first_link_is_gone() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        peer.wait_s = 0.0
        peer.session.dial(Dial(4, "ws://b/ocpp/CS001", "CS001", 1, 30.0, 0.0))
        await asyncio.sleep(5)
        assert peer.events == [
            LinkOpened(3),
            LinkClosed("another address is dialled"),
            LinkOpened(4),
        ]
        await peer.session.close()
        assert peer.events[3:] == [LinkClosed("the agent stops")]

    run_virtual(run())


def test_a_socket_that_takes_nothing_is_given_up_when_the_queue_is_full() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        peer.links[0].takes.clear()
        for number in range(QUEUE_LENGTH + 2):
            peer.session.send(str(number))
            await asyncio.sleep(0)
        await asyncio.sleep(10)
        assert len(peer.events) == 2
        assert "does not take" in peer.events[1].reason

    run_virtual(run())


def test_answers_in_the_buffer_are_read_after_a_failed_send() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        peer.links[0].send_error = LinkError("broken pipe")
        peer.session.send("x")
        await asyncio.sleep(0.1)
        peer.links[0].frames.put_nowait("an answer")
        await asyncio.sleep(10)
        assert peer.events == [
            LinkOpened(3),
            FrameReceived("an answer"),
            LinkClosed("broken pipe"),
        ]

    run_virtual(run())


def test_a_peer_that_never_says_goodbye_does_not_hold_up_the_end() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.dial(DIAL)
        await asyncio.sleep(2)
        peer.links[0].close_s = 3600.0
        peer.session.hangup("bye")
        await asyncio.sleep(10)
        assert peer.events[-1] == LinkClosed("bye")

    run_virtual(run())


def test_a_bug_ends_the_link_and_is_not_swallowed() -> None:
    async def run() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context)
        )
        peer = Peer()
        peer.error = ZeroDivisionError()
        peer.session.dial(DIAL)
        await asyncio.sleep(5)
        assert [type(event) for event in peer.events] == [LinkClosed]
        assert isinstance(reported[0]["exception"], ZeroDivisionError)

    run_virtual(run())


def test_close_without_any_dial_is_nothing() -> None:
    async def run() -> None:
        peer = Peer()
        peer.session.send("x")
        peer.session.hangup("x")
        await peer.session.close()
        assert peer.events == []

    run_virtual(run())
