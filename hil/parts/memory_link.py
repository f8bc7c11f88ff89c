"""An in-memory network between a session and the bench CSMS: same frames, no socket, no real time.

All of it happens through the loop's own clock, so it is deterministic in virtual time.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from enum import Enum
from urllib.parse import urlsplit

from agent.core.effects import Dial
from agent.csms.link import Credentials, Link, basic_authorization
from agent.csms.words import PONG_TIMEOUT_S
from agent.errors import LinkError
from hil.parts.csms import BenchCsms


class Net(Enum):
    """What the network between station and CSMS does."""

    UP = "up"
    REFUSES = "refuses"
    SWALLOWS = "swallows"


class MemoryNetwork:
    """Its `connect` is an `agent.csms.link.Connect`."""

    def __init__(self, csms: BenchCsms, latency_s: float = 0.0) -> None:
        self.csms = csms
        self.latency_s = latency_s
        self.state = Net.UP
        self.dials: list[tuple[float, Dial, Credentials]] = []
        """(loop time, where, who) of every attempt."""
        self.authorizations: list[str | None] = []
        """The Authorization header of every attempt."""
        self.password: str | None = None
        """Who dials with another one is refused; None: everybody may come."""
        self.refusal = "FailedToAuthenticateAtCsms"
        """What a refused dial is in the list of security events; "": nothing, as after a 404."""
        self.opens_to_strangers = False
        """Who dials with another password gets a link that ends without a word."""
        self.closed_hosts: set[str] = set()
        """Host names where nobody listens, though the network is up."""
        self._link: MemoryLink | None = None

    async def connect(
        self, dial: Dial, credentials: Credentials, on_pong: Callable[[], None]
    ) -> Link:
        """Raises LinkError while the network refuses or swallows. Safe to cancel."""
        self.dials.append((asyncio.get_running_loop().time(), dial, credentials))
        self.authorizations.append(
            None
            if credentials.password is None
            else basic_authorization(dial.user, credentials.password)
        )
        host = urlsplit(dial.url).netloc
        await asyncio.sleep(self.latency_s)
        if self.state is Net.SWALLOWS:
            await asyncio.sleep(dial.open_timeout_s)
            raise LinkError(f"{host}: no answer within {dial.open_timeout_s:g} s; mend the bench")
        if self.state is Net.REFUSES or urlsplit(dial.url).hostname in self.closed_hosts:
            raise LinkError(f"{host}: nothing listens there; let the bench accept again")
        is_stranger = self.password is not None and credentials.password != self.password
        if is_stranger and not self.opens_to_strangers:
            words = f"{host}: HTTP 401, wrong password; give the bench the right one"
            raise LinkError(words, self.refusal)
        self._link = MemoryLink(self, dial, on_pong)
        if is_stranger:
            self._link.end("the CSMS closed the link by its policy (code 1008); dialling again")
        return self._link

    async def drop(self) -> None:
        """Cut the link, lose what is under way, refuse new ones."""
        self.state = Net.REFUSES
        self.cut()

    async def accept(self) -> None:
        """Carry frames and let the station dial in (again)."""
        self.state = Net.UP

    async def swallow(self) -> None:
        """A black hole: nothing closes, nothing arrives, not even pongs."""
        self.state = Net.SWALLOWS

    def cut(self) -> None:
        """Break the link that is up; a new one may be dialled at once."""
        if self._link is not None:
            self._link.end("the connection broke without a goodbye; the bench cut it")


class MemoryLink:
    """One open link; frames under way are lost when it breaks, and arrive when it is closed."""

    trusted_by = ""

    def __init__(self, network: MemoryNetwork, dial: Dial, on_pong: Callable[[], None]) -> None:
        self._network = network
        self._on_pong = on_pong
        self._ping_interval_s = dial.ping_interval_s
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[str] = deque()
        self._news = asyncio.Event()
        self._end: str | None = None
        self._up: deque[str] = deque()
        self._down: deque[str] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._number = network.csms.attach(self._from_csms, network.cut)
        self._plan_ping()

    def send_at_once(self, text: str) -> bool:
        """Never: the bench sees each frame leave on its own."""
        return False

    async def send(self, text: str) -> None:
        """Raises LinkError when the link has ended."""
        if self._end is not None:
            raise LinkError(self._end)
        if self._network.state is not Net.SWALLOWS:
            self._up.append(text)
            self._loop.call_later(self._network.latency_s, self._arrive_above)

    def answer_usually(self, text: str) -> None:
        """A CALL of the station gets the usual answer, and the CSMS never sees it."""
        _, message_id, action, payload = json.loads(text)
        answer = self._network.csms.usual_answer(action, payload)
        self._down.append(json.dumps([3, message_id, answer]))
        self._loop.call_later(self._network.latency_s, self._arrive_below)

    def listen(self, hear: Callable[[str], bool] | None) -> None:
        """Never: each frame waits for `receive`."""

    async def receive(self) -> str:
        """The next frame; raises LinkError when the link has ended. Safe to cancel."""
        while not self._inbox:
            if self._end is not None:
                raise LinkError(self._end)
            await self._news.wait()
            self._news.clear()
        return self._inbox.popleft()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Hang up; what was sent before arrives first, then the CSMS sees it at once."""
        while self._up and self._end is None and self._network.state is Net.UP:
            self._arrive_above()
        self.end(f"this side closed the link (code {code})")

    def end(self, reason: str) -> None:
        """The link is over for both sides."""
        if self._end is None:
            self._end = reason
            self._up.clear()
            self._down.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._news.set()
            self._network.csms.detach(self._number)

    async def _from_csms(self, text: str) -> None:
        if self._end is not None:
            raise ConnectionError(self._end)
        if self._network.state is not Net.SWALLOWS:
            self._down.append(text)
            self._loop.call_later(self._network.latency_s, self._arrive_below)

    # Timers of one instant may fire in any order: each takes the oldest frame, not its own.

    def _arrive_above(self) -> None:
        if self._up:
            self._network.csms.feed(self._up.popleft())

    def _arrive_below(self) -> None:
        if self._down:
            self._inbox.append(self._down.popleft())
            self._news.set()

    def _plan_ping(self) -> None:
        if self._ping_interval_s > 0:
            self._timer = self._loop.call_later(self._ping_interval_s, self._ping)

    def _ping(self) -> None:
        if self._network.state is Net.SWALLOWS:
            silence = f"no pong within {PONG_TIMEOUT_S:g} s: the network is gone; dialling again"
            self._timer = self._loop.call_later(PONG_TIMEOUT_S, self._miss_pong, silence)
        else:
            self._on_pong()
            self._plan_ping()

    def _miss_pong(self, reason: str) -> None:
        if self._network.state is Net.SWALLOWS:
            self.end(reason)
        else:
            self._plan_ping()
