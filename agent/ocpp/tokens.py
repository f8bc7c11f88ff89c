"""Tokens between the core and the wire: IdTokenType and IdTokenInfoType."""

import re

from agent.core.events import IdToken, TokenInfo
from agent.ocpp.calls import Payload
from agent.ocpp.messages import parse_time

SHORTEST = 4
MOST = 64


def to_wire(token: IdToken) -> Payload:
    """IdTokenType."""
    payload: Payload = {"idToken": token.value, "type": token.type}
    if token.additional_info:
        payload["additionalInfo"] = [
            {"additionalIdToken": value, "type": kind} for value, kind in token.additional_info
        ]
    return payload


def from_wire(payload: Payload) -> IdToken:
    """IdToken of an IdTokenType that passed the schema."""
    additional = tuple(
        (entry["additionalIdToken"], entry["type"]) for entry in payload.get("additionalInfo", ())
    )
    return IdToken(payload["idToken"], payload["type"], additional)


def shown_as(value: str, token_type: str) -> str:
    """What may stand for a token where people read: its start, and of a code nothing."""
    if not value:
        return ""
    start = "" if token_type == "KeyCode" else value[:SHORTEST]
    return f"{start}..."


class KnownTokens:
    """Tokens seen lately, so that a CSMS that names one in its words puts none into the journal."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        """Value in small letters -> what may stand for it; the latest last."""

    def see(self, event: object) -> None:
        """Any fact about a token."""
        token = getattr(event, "token", None)
        if not isinstance(token, IdToken):
            return
        shown = shown_as(token.value, token.type)
        for value in (token.value, *(more for more, _ in token.additional_info)):
            if len(value) >= SHORTEST:
                self._shown.pop(value.lower(), None)
                self._shown[value.lower()] = shown
        while len(self._shown) > MOST:
            del self._shown[next(iter(self._shown))]

    def hide(self, text: str) -> str:
        """The text with the tokens shortened; what is too short to be told from a word stays."""
        lowered = text.lower()
        for value, shown in self._shown.items():
            if value in lowered:
                text = re.sub(re.escape(value), shown, text, flags=re.IGNORECASE)
        return text


def info_from_wire(payload: Payload) -> TokenInfo:
    """TokenInfo of an IdTokenInfoType; an unreadable expiry is no expiry."""
    group = payload.get("groupIdToken")
    try:
        expiry_s = parse_time(payload["cacheExpiryDateTime"])
    except (KeyError, ValueError):
        expiry_s = None
    return TokenInfo(
        status=payload["status"],
        group=from_wire(group) if group else None,
        cache_expiry_s=expiry_s,
        evse_ids=tuple(payload.get("evseId", ())),
        language=payload.get("language1", ""),
    )
