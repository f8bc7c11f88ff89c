"""What the station keeps of a customer, told and forgotten on request (N09, N10).

Only tokens are kept: in the authorization cache and in a running transaction. The local list and
what still waits for the CSMS stay as they are: the list is the CSMS's, the rest is its bill.
"""

from msgspec import Struct

from agent.core.effects import ForgetToken, LookUp
from agent.core.events import IdToken, LookedUp, Now
from agent.core.evse import Evse
from agent.ocpp.calls import OutgoingCall, Payload
from agent.ocpp.messages import format_time

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


class Customers:
    """Requests that wait for the authorization cache."""

    def __init__(self) -> None:
        self._open: list[CustomerAsked] = []

    @property
    def is_full(self) -> bool:
        return len(self._open) >= MOST_OPEN

    def asked(self, event: CustomerAsked, now: Now) -> list[object]:
        """N09.FR.06: what is not kept is told as well."""
        if event.token is None:
            return notifications(event, [], now)
        self._open.append(event)
        return [LookUp(event.token)]

    def looked_up(self, event: LookedUp, evses: list[Evse], now: Now) -> list[object]:
        effects: list[object] = []
        for asked in [a for a in self._open if event.token.same_as(a.token)]:
            self._open.remove(asked)
            lines = _cached(event) + _charging(event.token, evses)
            effects += notifications(asked, lines, now)
            if asked.clears:
                effects.append(ForgetToken(event.token))
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


def _charging(token: IdToken, evses: list[Evse]) -> list[str]:
    return [
        f"transaction {evse.transaction.transaction_id} on EVSE {evse.evse_id}"
        for evse in evses
        if evse.transaction is not None and token.same_as(evse.transaction.token)
    ]


def notifications(asked: CustomerAsked, lines: list[str], now: Now) -> list[object]:
    """One NotifyCustomerInformation or several; N10.FR.06: that it was cleared, if no more."""
    text = "\n".join(lines) if asked.reports else "cleared"
    text = text or NO_DATA
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
