"""What of a frame may be shown to people: no password, no code, no whole card number, no key."""

from collections.abc import Callable, Mapping
from typing import Any

from agent.ocpp import messages
from agent.ocpp.calls import CallError, Payload
from agent.ocpp.tokens import shown_as
from agent.ocpp.variable import is_secret

MASK = "***"
REQUEST, RESPONSE = "Request", "Response"
SECRET = frozenset(
    {"password", "key", "user", "apnPassword", "apnUserName", "simPin", "additionalIdToken"}
)
"""Logins of a network profile (B09), and what else a driver shows beside a token."""
PERSONAL = {"customerIdentifier": None, "data": "NotifyCustomerInformation"}
"""Fields that name a driver -> the only action where they do; None: wherever they stand."""
VALUES = frozenset({"attributeValue", "actualValue", "value"})
"""Fields that hold the value of a variable that is named beside them, or above."""
SIGNED = "signedMeterData"
"""May name who charged; unreadable and long anyway."""
PRIVATE = "PRIVATE KEY"

Hide = Callable[[str], str]
"""Text without the secrets and card numbers that are known."""


def shown_payload(action: str | None, kind: str, payload: Payload, hide: Hide) -> tuple[Any, str]:
    """(payload that may be shown, what breaks its schema). `kind`: REQUEST or RESPONSE.

    What does not follow its schema, or is an answer to nobody knows what, is shown without its
    values: no rule says which of them are secrets.
    """
    if action is None:
        return blank(payload), "an answer to a message that was not seen"
    try:
        if kind == REQUEST:
            messages.validate_request(action, payload)
            wrong = ""
        else:
            wrong = ", ".join(messages.validate_response(action, payload))
    except CallError as error:
        wrong = str(error)
    if wrong:
        return blank(payload), hide(wrong)
    return _shown(action, payload, hide), ""


def blank(node: Any) -> Any:
    """The same shape without a value; names that are no plain word are none of the standard's."""
    if isinstance(node, Mapping):
        return {_plain(name): blank(value) for name, value in node.items()}
    if isinstance(node, list):
        return [blank(value) for value in node]
    return node if node is None or isinstance(node, bool) else MASK


def _plain(name: str) -> str:
    return name if name.isascii() and name.isalpha() else MASK


def _shown(action: str, node: Any, hide: Hide, *, is_value_secret: bool = False) -> Any:
    if isinstance(node, Mapping):
        named = node.get("variable")
        if isinstance(named, Mapping):
            is_value_secret = is_secret(str(named.get("name", "")))
        return {
            name: _field(action, node, name, value, hide, is_value_secret)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_shown(action, one, hide, is_value_secret=is_value_secret) for one in node]
    if isinstance(node, str):
        return MASK if PRIVATE in node else hide(node)
    return node


def _field(
    action: str, parent: Mapping[str, Any], name: str, value: Any, hide: Hide, is_value_secret: bool
) -> Any:
    if name == "customData":
        return {"vendorId": value.get("vendorId", ""), "...": MASK}
    if name == "idToken" and isinstance(value, str):
        return shown_as(value, str(parent.get("type", "")))
    if name in SECRET or (is_value_secret and name in VALUES):
        return MASK
    if name in PERSONAL and PERSONAL[name] in (None, action):
        return MASK
    if name == "data" and action == "DataTransfer":
        return blank(value)
    if name == SIGNED:
        return f"({len(value)} characters)"
    return _shown(action, value, hide, is_value_secret=is_value_secret)
