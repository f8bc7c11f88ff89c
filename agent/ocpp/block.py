"""The shape of a functional block: tables, and the types that stand in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from agent.core.events import Now

if TYPE_CHECKING:
    from agent.ocpp.device_model import Variable
    from agent.ocpp.view import View

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


class Answer(Struct, frozen=True):
    """Response to an incoming CALL, and what follows from it. The handler itself changes nothing.

    `events` go to the pure rooms and `effects` to the runtime; both are committed before the
    response leaves. An OutgoingCall in `effects` and the parts of `stream` follow it (FR.05).
    """

    payload: Payload
    events: tuple[object, ...] = ()
    effects: tuple[object, ...] = ()
    stream: Stream | None = None


class Later(Struct, frozen=True):
    """An answer that needs a result first (unlock feedback, a check): what is known now, and how
    the rest is found.

    `events` and `effects` happen at once. After each fact `decide(view, now)` is asked; the first
    Answer it gives is sent. At `deadline_s` (loop time) the answer is `otherwise`. A link that
    goes down takes the question with it.
    """

    deadline_s: float
    otherwise: Answer
    decide: Callable[[View, Now], Answer | None]
    events: tuple[object, ...] = ()
    effects: tuple[object, ...] = ()


class Consequences(Struct, frozen=True):
    """What a response to our own CALL, or a fact, leads to; an OutgoingCall in it is sent."""

    events: tuple[object, ...] = ()
    effects: tuple[object, ...] = ()


class OutgoingCall(Struct, frozen=True):
    """A CALL that is sent once and forgotten (everything but the outbox)."""

    action: str
    payload: Payload
    priority: int = 5
    """0 leaves first; 1 = a driver is waiting, 5 = normal, 9 = reports."""


Incoming = Mapping[str, Callable[[Payload, "View", Now], "Answer | Later"]]
"""Action -> handler. The payload has passed the schema."""

Outgoing = Mapping[type, Callable[[Any, "View", Now], OutgoingCall | None]]
"""Effect of the core -> the request it becomes; None: it is not to be told."""

OnResponse = Mapping[str, Callable[[Payload, Payload | None, "View", Now], Consequences]]
"""Action -> (request, response payload or None when there was no usable answer)."""


OnEvent = Mapping[type, Callable[[Any, "View", Now], Consequences]]
"""Fact -> what the block makes of it; only here a block changes its own state."""


class Block(Protocol):
    """What every module in `agent.ocpp.blocks` has; tables may be empty."""

    INCOMING: Incoming
    OUTGOING: Outgoing
    ON_RESPONSE: OnResponse
    ON_EVENT: OnEvent
    VARIABLES: tuple[Variable, ...]
