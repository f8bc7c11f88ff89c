"""`{"cmd": "trace"}` of the console: what crosses the link to the CSMS while somebody looks, masked
as the journal is. Loaded by the first who asks; nobody asks, nothing is done."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

from agent import log as journal
from agent.console import ConsoleError
from agent.core import effects as ef
from agent.core import events as ev
from agent.csms.session import Session
from agent.ocpp import rpc
from agent.ocpp.masking import MASK, REQUEST, RESPONSE, blank, shown_payload
from agent.ocpp.view import View

LISTENERS = 4
FRAMES_KEPT = 256
CHARS_KEPT = 1_000_000
"""Of frames that a listener has not taken yet; what finds no room is counted."""
LONGEST_CHARS = 8_192
"""A longer frame is told without its payload: to look through it would hold up the loop."""
CALLS_KEPT = 64
"""CALLs whose answer may come."""
START = re.compile(
    r'\s*\[\s*([234])\s*,\s*"([^"\\]{1,36})"\s*(?:,\s*"([A-Za-z0-9]{1,50})"\s*[,\]])?'
)
"""Of a frame that is not parsed: type, id, action."""
SENT, HEARD, LINK = "sent", "heard", "link"
KINDS = {"2": "call", "3": "result", "4": "error"}

Told = dict[str, Any]
Key = tuple[bool, str | None]
"""Whether the CALL is ours, and its message id."""


class FrameTrace:
    """Hands what the session sees to those who listen."""

    def __init__(
        self, session: Session, view: View, hide: Callable[[str], str], utc_s: Callable[[], float]
    ) -> None:
        """`hide`: text without the card numbers that are known."""
        self._session = session
        self._view = view
        self._hide = hide
        self._utc_s = utc_s
        self._listeners: list[Listener] = []

    def follow(self) -> AsyncGenerator[Told, None]:
        """One dict for each frame, from now on. Raises ConsoleError where too many listen."""
        if len(self._listeners) >= LISTENERS:
            raise ConsoleError(f"{LISTENERS} others trace; end one of them and try again")
        return self._followed()

    async def _followed(self) -> AsyncGenerator[Told, None]:
        flight = self._view.connection.in_flight
        known: dict[Key, str] = {}
        if flight is not None:
            known[True, flight.message_id] = flight.action
        listener = Listener(lambda text: journal.masked(self._hide(text)), known)
        self._listeners.append(listener)
        self._session.tap = self._see
        try:
            text = f"{self._view.connection.link} when this trace began"
            yield {"time": stamp(self._utc_s()), "direction": LINK, "text": text}
            while True:
                yield await listener.next()
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                self._session.tap = None

    def _see(self, happened: object) -> None:
        if isinstance(happened, ev.LinkHeard):
            return
        at_s = self._utc_s()
        for listener in self._listeners:
            listener.put(at_s, happened, len(getattr(happened, "text", "")))


class Backlog:
    """What one who listens has not taken yet, raw and bounded; `told` when it is taken."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, object, int]] = deque()
        self._size = 0
        self._left_out = 0
        self._came = asyncio.Event()

    def put(self, at_s: float, happened: object, size: int) -> None:
        """`size`: characters or bytes."""
        if len(self._waiting) >= FRAMES_KEPT or self._size + size > CHARS_KEPT:
            self._left_out += 1
        else:
            self._waiting.append((at_s, happened, size))
            self._size += size
        self._came.set()

    async def next(self) -> Told:
        """The oldest. Safe to cancel; others have a turn of the loop before each."""
        await asyncio.sleep(0)
        while not self._waiting and not self._left_out:
            self._came.clear()
            await self._came.wait()
        if not self._waiting:
            left_out, self._left_out = self._left_out, 0
            text = f"{left_out} came faster than they were taken and are left out"
            return {"time": "", "direction": LINK, "text": text}
        at_s, happened, size = self._waiting.popleft()
        self._size -= size
        return {"time": stamp(at_s), **self.told(happened)}

    def told(self, happened: Any) -> Told:
        """As it may be shown."""
        raise NotImplementedError


class Listener(Backlog):
    """Frames, masked when they are taken."""

    def __init__(self, hide: Callable[[str], str], known: dict[Key, str]) -> None:
        """`known`: actions of CALLs under way."""
        super().__init__()
        self._hide = hide
        self._actions = known

    def told(self, happened: object) -> Told:
        match happened:
            case ef.SendFrame(text):
                return {"direction": SENT, **self._frame(text, is_ours=True)}
            case ev.FrameReceived(text):
                return {"direction": HEARD, **self._frame(text, is_ours=False)}
            case ev.LinkOpened():
                return {"direction": LINK, "text": "open"}
            case ev.LinkClosed(reason):
                return {"direction": LINK, "text": f"closed: {self._hide(reason)}"}
        raise TypeError(f"a link knows no {type(happened).__name__}")

    def _frame(self, text: str, *, is_ours: bool) -> Told:
        if len(text) > LONGEST_CHARS:
            return self._start(text, is_ours=is_ours)
        action: str | None
        match rpc.parse(text):
            case rpc.Call(message_id, action, payload):
                self._note((is_ours, message_id), action)
                told, wrong = shown_payload(action, REQUEST, payload, self._hide)
                return self._told_as("call", message_id, action, told, wrong)
            case rpc.CallResult(message_id, payload):
                action = self._actions.pop((not is_ours, message_id), None)
                told, wrong = shown_payload(action, RESPONSE, payload, self._hide)
                return self._told_as("result", message_id, action, told, wrong)
            case rpc.CallErrorFrame(message_id, code, description, details):
                action = self._actions.pop((not is_ours, message_id), None)
                told = [self._hide(code), self._hide(description), blank(details)]
                return self._told_as("error", message_id, action, told, "")
            case rpc.Malformed(_, reason):
                return self._told_as("unreadable", None, None, MASK, reason)

    def _start(self, text: str, *, is_ours: bool) -> Told:
        """Of a frame that is too long."""
        found = START.match(text[: rpc.LONGEST_START])
        kind, message_id, action = found.groups() if found else (None, None, None)
        if kind == "2" and action:
            self._note((is_ours, message_id), action)
        else:
            action = self._actions.pop((not is_ours, message_id), None)
        note = f"{len(text)} characters, not shown"
        return self._told_as(KINDS.get(kind or "", "unreadable"), message_id, action, MASK, note)

    def _told_as(
        self, kind: str, message_id: str | None, action: str | None, payload: Any, note: str
    ) -> Told:
        told: Told = {
            "kind": kind,
            "action": None if action is None else self._hide(action),
            "message_id": None if message_id is None else self._hide(message_id),
            "payload": payload,
        }
        return told | ({"note": note} if note else {})

    def _note(self, key: Key, action: str) -> None:
        self._actions[key] = action
        while len(self._actions) > CALLS_KEPT:
            del self._actions[next(iter(self._actions))]


def stamp(utc_s: float) -> str:
    """UTC with milliseconds, as it stands in the messages themselves."""
    at = datetime.fromtimestamp(utc_s, UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds") + "Z"
