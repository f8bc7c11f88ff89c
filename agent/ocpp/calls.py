"""What crosses between blocks and connection: payloads, our own CALLs, long answers, refusals."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

Payload = dict[str, Any]
"""A JSON object as it stands on the wire: camelCase keys, no key renamed."""


class CallError(Exception):
    """Raised by a handler to answer with a CALLERROR instead of a CALLRESULT (FR.02, FR.03)."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description[:255]


class Stream(Struct, frozen=True):
    """A long answer in parts: `next_part(cursor)` gives (action, payload, next cursor or None)."""

    cursor: int
    next_part: Callable[[int], tuple[str, Payload, int | None]]


class OutgoingCall(Struct, frozen=True):
    """A CALL that is sent once and forgotten (everything but the outbox)."""

    action: str
    payload: Payload
    priority: int = 5
    """0 leaves first; 1 = a driver is waiting, 5 = normal, 9 = reports."""
