"""What the station keeps of a customer, told and forgotten on request (N09, N10).

Only tokens are kept: in the authorization cache, in running transactions, in messages that wait for
the CSMS or were set aside. Cleared is the cache; the rest is told and stays until it is billed.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from agent.core.effects import FindMessages, ForgetToken, LookUp
from agent.core.events import IdToken, KeptMessage, LookedUp, MessagesFound, Now
from agent.core.transaction import Transaction
from agent.ocpp.calls import OutgoingCall, Payload
from agent.ocpp.messages import format_time
from agent.ocpp.tokens import from_wire

DATA_LENGTH = 512
"""Characters of one NotifyCustomerInformation."""
MOST_OPEN = 8
NO_DATA = "no data found"


class CustomerAsked(Struct, frozen=True):
    """CustomerInformation was accepted; no token: nothing is kept under such an identifier."""

    request_id: int
    token: IdToken | None
    reports: bool
    clears: bool


class _Open(Struct):
    """A request, and what is known so far of its answer."""

    asked: CustomerAsked
    token: IdToken
    question: str
    lines: list[str] = []


class Customers:
    """Requests that wait for the store: for the authorization cache, then for messages."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    @property
    def is_full(self) -> bool:
        return len(self._open) >= MOST_OPEN

    def asked(self, event: CustomerAsked, now: Now) -> list[object]:
        """N09.FR.06: what is not kept is told as well."""
        if event.token is None:
            return notifications(event, [], [], now)
        request = _Open(event, event.token, now.new_id())
        self._open.append(request)
        part = f'"idToken":{msgspec.json.encode(event.token.value).decode()}'
        return [LookUp(event.token), FindMessages(request.question, part)]

    def looked_up(self, event: LookedUp) -> None:
        for request in self._open:
            if event.token.same_as(request.token):
                request.lines = _cached(event)

    def found(self, event: MessagesFound, running: Iterable[Transaction], now: Now) -> list[object]:
        """The store has answered both questions: all that is known is told."""
        effects: list[object] = []
        for request in [r for r in self._open if r.question == event.question]:
            self._open.remove(request)
            token, asked = request.token, request.asked
            kept = _charging(token, running) + _messages(token, event)
            effects += notifications(asked, request.lines, kept, now)
            if asked.clears:
                effects.append(ForgetToken(token))
        return effects


def _cached(event: LookedUp) -> list[str]:
    info, token = event.info, event.token
    if info is None:
        return []
    words = [f"authorization cache: {token.type} {token.value}", f"status {info.status}"]
    if info.group is not None:
        words.append(f"group {info.group.type} {info.group.value}")
    if info.cache_expiry_s is not None:
        words.append(f"until {format_time(info.cache_expiry_s)}")
    if info.language:
        words.append(f"language {info.language}")
    return [", ".join([*words, f"updated {format_time(info.updated_s)}"])]


def _charging(token: IdToken, running: Iterable[Transaction]) -> list[str]:
    return [
        f"transaction {one.transaction_id} runs on EVSE {one.evse_id or '(not chosen yet)'}"
        for one in running
        if token.same_as(one.token)
    ]


def _messages(token: IdToken, event: MessagesFound) -> list[str]:
    """A line for each message that names the token."""
    if not event.is_readable:
        return ["messages for the CSMS: the store cannot be read, ask again later"]
    return [_message(m) for m in event.messages if _names(m.body, token)]


class _Body(Struct, rename="camel"):
    """What of a message tells whose it is."""

    id_token: dict[str, Any] = {}
    event_type: str = ""
    timestamp: str = ""
    transaction_info: dict[str, Any] = {}


def _read(body: str) -> _Body:
    """A body that is something else is empty."""
    try:
        return msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        return _Body()


def _names(body: str, token: IdToken) -> bool:
    named = _read(body).id_token
    if not ("idToken" in named and "type" in named):
        return False
    return token.same_as(from_wire(named))


def _message(message: KeptMessage) -> str:
    body = _read(message.body)
    where = f"set aside ({message.reason})" if message.is_set_aside else "waiting for the CSMS"
    words = [f"{where}: {message.action} {body.event_type}".strip()]
    if "transactionId" in body.transaction_info:
        words.append(f"transaction {body.transaction_info['transactionId']}")
    if body.timestamp:
        words.append(f"at {body.timestamp}")
    return ", ".join(words)


def notifications(
    asked: CustomerAsked, cached: list[str], kept: list[str], now: Now
) -> list[object]:
    """One NotifyCustomerInformation or several; N10.FR.06: that it was cleared, if no more. `kept`:
    what stays although it is cleared, because it is not billed yet."""
    lines = [*cached, *kept]
    if not asked.reports:
        lines = ["cleared"]
    if asked.clears and kept:
        lines.append(f"kept until it is billed: {len(kept)} transactions and messages")
    text = "\n".join(lines) or NO_DATA
    parts = [text[at : at + DATA_LENGTH] for at in range(0, len(text), DATA_LENGTH)]
    calls: list[object] = []
    for number, part in enumerate(parts):
        payload: Payload = {
            "data": part,
            "seqNo": number,
            "generatedAt": format_time(now.utc_s()),
            "tbc": number + 1 < len(parts),
            "requestId": asked.request_id,
        }
        calls.append(OutgoingCall("NotifyCustomerInformation", payload))
    return calls
