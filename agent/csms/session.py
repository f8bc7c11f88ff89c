"""One link to the CSMS at a time: obeys Dial, Hangup, SendFrame; posts facts, decides nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from agent.core.effects import Dial, SendFrame
from agent.core.events import FrameReceived, LinkClosed, LinkHeard, LinkOpened
from agent.csms.link import CLOSE_TIMEOUT_S, Connect, Credentials, Link, hang_up
from agent.errors import LinkError

Event = LinkOpened | LinkClosed | LinkHeard | FrameReceived
Wait = Callable[[], Awaitable[None] | None]

QUEUE_LENGTH = 64
"""Frames that may wait for a slow socket; one CALL and the answers to a burst need far fewer."""

BUG = "an error in the agent ended the link; send the journal to the maker"


class Session:
    """Every dial ends with exactly one LinkClosed, and nothing of it is posted after that."""

    def __init__(
        self,
        connect: Connect,
        credentials: Callable[[int], Credentials],
        post: Callable[[Event], None],
        wait: Wait = lambda: None,
    ) -> None:
        """`wait` is asked at each frame: None, or what to wait for before more are read."""
        self.tap: Callable[[object], None] | None = None
        """Called, while somebody traces, with each Event and each SendFrame that the link takes."""
        self._connect = connect
        self._credentials = credentials
        self._post_to_agent = post
        self._wait = wait
        self._dialogue: _Dialogue | None = None
        self._task: asyncio.Task[None] | None = None

    def dial(self, effect: Dial) -> None:
        """Open a link; one that is open or being opened is hung up first."""
        self.hangup("another address is dialled")
        self._dialogue = _Dialogue(self._connect, self._credentials, self._post, self._wait, effect)
        self._task = asyncio.create_task(self._dialogue.run(self._task))
        self._task.add_done_callback(_report_bug)

    def hangup(self, reason: str) -> None:
        """End the link or the attempt; frames ordered before still get a moment to leave."""
        if self._dialogue is not None:
            self._dialogue.hangup(reason)

    def send(self, text: str) -> None:
        """Send after all frames ordered before; dropped without an open link."""
        is_taken = self._dialogue is not None and self._dialogue.send(text)
        if is_taken and self.tap is not None:
            self.tap(SendFrame(text))

    def _post(self, event: Event) -> None:
        if self.tap is not None:
            self.tap(event)
        self._post_to_agent(event)

    async def close(self) -> None:
        """Hang up and wait until the link is gone."""
        self.hangup("the agent stops")
        if self._task is not None:
            await asyncio.wait([self._task])


class _Dialogue:
    """The life of one dial."""

    def __init__(
        self,
        connect: Connect,
        credentials: Callable[[int], Credentials],
        post: Callable[[Event], None],
        wait: Wait,
        dial: Dial,
    ) -> None:
        self._connect = connect
        self._credentials = credentials
        self._post = post
        self._wait = wait
        self._dial = dial
        self._queue = asyncio.Queue[str](QUEUE_LENGTH)
        self._goodbye: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._link: Link | None = None
        """Where it is open."""
        self._is_writing = False
        self._is_over = False

    def hangup(self, reason: str) -> None:
        if not self._goodbye.done():
            self._goodbye.set_result(reason)

    def send(self, text: str) -> bool:
        """Whether the text was sent, or is to be."""
        if self._link is None or self._goodbye.done():
            return False
        is_first = self._queue.empty() and not self._is_writing
        if is_first and self._link.send_at_once(text):
            return True
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.hangup("the CSMS does not take our frames; dialling again")
            return False
        return True

    async def run(self, previous: "asyncio.Task[None] | None") -> None:
        """Talk until the link ends or a hangup is ordered; what is no LinkError is a bug."""
        closed = LinkClosed(BUG)
        try:
            if previous is not None:
                await asyncio.wait([previous])
            closed = await self._talk_until_goodbye()
        finally:
            self._is_over = True
            self._post(closed)

    async def _talk_until_goodbye(self) -> LinkClosed:
        talk = asyncio.create_task(self._talk())
        try:
            ends: list[asyncio.Future[Any]] = [talk, self._goodbye]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._goodbye.done() and not talk.done():
                await self._flush(talk)
        finally:
            talk.cancel()
            await asyncio.wait([talk])
        try:
            talk.result()
        except LinkError as error:
            return LinkClosed(str(error), error.security_event)
        except asyncio.CancelledError:
            return LinkClosed(self._goodbye.result())
        return LinkClosed(BUG)

    async def _flush(self, talk: "asyncio.Task[None]") -> None:
        sent = asyncio.create_task(self._queue.join())
        ends: list[asyncio.Future[Any]] = [sent, talk]
        await asyncio.wait(ends, timeout=CLOSE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        sent.cancel()

    async def _talk(self) -> None:
        link = await self._connect(self._dial, self._credentials(self._dial.slot), self._heard)
        try:
            self._link = link
            self._post(LinkOpened(self._dial.slot, link.trusted_by))
            await self._carry(link)
        finally:
            self._link = None
            said = self._goodbye.result() if self._goodbye.done() else ""
            await hang_up(link, said)

    async def _carry(self, link: Link) -> None:
        link.listen(self._hear)
        reader = asyncio.create_task(self._read(link))
        writer = asyncio.create_task(self._write(link))
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
            # answers that came before the link broke are still in its buffer
            await asyncio.wait([reader], timeout=CLOSE_TIMEOUT_S)
            for task in (reader, writer):
                if task.done():
                    task.result()
        finally:
            link.listen(None)
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def _hear(self, text: str) -> bool:
        if self._wait() is not None:
            return False
        self._post(FrameReceived(text))
        return True

    async def _read(self, link: Link) -> None:
        while True:
            self._post(FrameReceived(await link.receive()))
            # only now: what was received first is posted first
            if (turn := self._wait()) is not None:
                await turn

    async def _write(self, link: Link) -> None:
        while True:
            text = await self._queue.get()
            self._is_writing = True
            await link.send(text)
            self._is_writing = False
            self._queue.task_done()

    def _heard(self) -> None:
        if not self._is_over:
            self._post(LinkHeard())


def _report_bug(task: "asyncio.Task[None]") -> None:
    """No owner awaits the task: its error goes where the loop's errors go."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": BUG, "exception": error, "task": task})
