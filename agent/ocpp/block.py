"""The shape of a functional block: tables, and the types that stand in them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from agent.core.events import Now
from agent.ocpp.calls import CallError, OutgoingCall, Payload, Stream
from agent.ocpp.variable import Variable
from agent.ocpp.view import View

__all__ = [
    "NOTHING",
    "Answer",
    "Block",
    "CallError",
    "Consequences",
    "Incoming",
    "Later",
    "OnEvent",
    "OnResponse",
    "Outgoing",
    "OutgoingCall",
    "Payload",
    "Stream",
    "refused",
]


class Answer(Struct, frozen=True):
    """Response to an incoming CALL, and what follows from it. The handler itself changes nothing.

    `events` go to the pure rooms and `effects` to the runtime; both are committed before the
    response leaves. An OutgoingCall in `effects` and the parts of `stream` follow it (FR.05).
    """

    payload: Payload
    events: tuple[object, ...] = ()
    effects: tuple[object, ...] = ()
    stream: Stream | None = None


def refused(reason: str, words: str = "", status: str = "Rejected") -> Answer:
    """A negative answer with its reason code (appendix 5), and more in words where they help."""
    info = {"reasonCode": reason} | ({"additionalInfo": words[:512]} if words else {})
    return Answer({"status": status, "statusInfo": info})


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


NOTHING = Consequences()
"""Nothing follows, as from most facts."""

Incoming = Mapping[str, Callable[[Payload, View, Now], Answer | Later]]
"""Action -> handler. The payload has passed the schema."""

Outgoing = Mapping[type, Callable[[Any, View, Now], OutgoingCall | None]]
"""Effect of the core -> the request it becomes; None: it is not to be told."""

OnResponse = Mapping[str, Callable[[Payload, Payload | None, View, Now], Consequences]]
"""Action -> (request, response payload or None when there was no usable answer)."""


OnEvent = Mapping[type, Callable[[Any, View, Now], Consequences]]
"""Fact -> what the block makes of it; only here a block changes its own state."""


class Block(Protocol):
    """What every module in `agent.ocpp.blocks` has; tables may be empty."""

    INCOMING: Incoming
    OUTGOING: Outgoing
    ON_RESPONSE: OnResponse
    ON_EVENT: OnEvent
    VARIABLES: tuple[Variable, ...]
