"""Tokens between the core and the wire: IdTokenType and IdTokenInfoType."""

from agent.core.events import IdToken, TokenInfo
from agent.ocpp.calls import Payload
from agent.ocpp.messages import parse_time


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
