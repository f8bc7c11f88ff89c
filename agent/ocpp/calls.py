"""What crosses between blocks and connection: payloads, our own CALLs and how they ended, long
answers, refusals."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from agent.core.events import OutboxRow

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


class InFlight(Struct, frozen=True):
    """The one CALL that waits for its answer; `row` when it comes from the outbox."""

    message_id: str
    action: str
    payload: Payload
    sent_at_s: float
    deadline_s: float
    row: OutboxRow | None = None
    stream: Stream | None = None
    precedes_boot: bool = False

    @property
    def request(self) -> Payload:
        """What was asked, also by a row."""
        return self.payload if self.row is None else payload_of(self.row)


def payload_of(row: OutboxRow) -> Payload:
    """The body of a durable CALL."""
    payload: Payload = msgspec.json.decode(row.body)
    return payload


class Answered(Struct, frozen=True):
    """Our CALL ended: with a payload, or with none and the reason."""

    action: str
    payload: Payload
    response: Payload | None
    reason: str = ""
