"""Tokens on the wire and back."""

from typing import Any

import pytest

from agent.core.events import IdToken, TokenInfo, TokenPresented
from agent.ocpp import tokens
from agent.ocpp.messages import validate_request
from agent.ocpp.tokens import KnownTokens, from_wire, info_from_wire, to_wire

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


@pytest.mark.parametrize(
    ("kind", "said", "shown"),
    [
        ("ISO14443", "no 04a1b2c3 here, 04A1B2C3!", "no 04A1... here, 04A1...!"),
        ("KeyCode", "wrong code 04A1B2C3", "wrong code ..."),
        ("ISO14443", "visitor 7711 unknown", "visitor 04A1... unknown"),
        ("ISO14443", "fine", "fine"),
    ],
)
def test_what_a_csms_says_of_a_token_is_shown_without_it(kind: str, said: str, shown: str) -> None:
    known = KnownTokens()
    assert known.hide(said) == said
    known.see(TokenPresented(IdToken("04A1B2C3", kind, (("7711", "visitor"),)), (1,)))
    known.see(TokenPresented(IdToken("", "NoAuthorization"), (1,)))
    assert known.hide(said) == shown


def test_the_tokens_that_are_known_are_bounded() -> None:
    known = KnownTokens()
    for number in range(tokens.MOST + 1):
        known.see(TokenPresented(IdToken(f"card-{number:04}", "Central"), (1,)))
    assert known.hide("card-0000") == "card-0000"
    assert known.hide(f"card-{tokens.MOST:04}") == "card..."
