"""Tokens on the wire and back."""

from typing import Any

import pytest

from agent.core.events import IdToken, TokenInfo
from agent.ocpp.messages import validate_request
from agent.ocpp.tokens import from_wire, info_from_wire, to_wire

PLAIN = IdToken("04A1B2C3", "ISO14443")
RICH = IdToken("X", "eMAID", (("1", "a"), ("2", "b")))


@pytest.mark.parametrize("token", [PLAIN, RICH, IdToken("", "NoAuthorization")])
def test_a_token_crosses_the_wire_unchanged(token: IdToken) -> None:
    wire = to_wire(token)
    validate_request("Authorize", {"idToken": wire})
    assert from_wire(wire) == token


def test_no_empty_list_is_sent() -> None:
    assert to_wire(PLAIN) == {"idToken": "04A1B2C3", "type": "ISO14443"}


def test_tokens_are_equal_by_value_in_any_case_and_type() -> None:
    assert PLAIN.same_as(IdToken("04a1b2c3", "ISO14443", (("x", "y"),)))
    assert not PLAIN.same_as(IdToken("04A1B2C3", "ISO15693"))
    assert not PLAIN.same_as(None)


@pytest.mark.parametrize(
    ("wire", "info"),
    [
        ({"status": "Accepted"}, TokenInfo("Accepted")),
        ({"status": "Blocked"}, TokenInfo("Blocked")),
        (
            {"status": "Accepted", "groupIdToken": {"idToken": "G", "type": "Central"}},
            TokenInfo("Accepted", group=IdToken("G", "Central")),
        ),
        (
            {"status": "Accepted", "cacheExpiryDateTime": "2001-09-09T01:46:40"},
            TokenInfo("Accepted", cache_expiry_s=1e9),
        ),
        ({"status": "Accepted", "cacheExpiryDateTime": "soon"}, TokenInfo("Accepted")),
        (
            {"status": "Accepted", "evseId": [1, 2], "language1": "de"},
            TokenInfo("Accepted", evse_ids=(1, 2), language="de"),
        ),
    ],
)
def test_what_the_csms_says_of_a_token(wire: dict[str, Any], info: TokenInfo) -> None:
    assert info_from_wire(wire) == info
