"""Block C: cards and the CSMS."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import AskCsms, ForgetTokens
from agent.core.events import IdToken, Now, TokenAnswered, TokenInfo, TokenUnanswered
from agent.core.policy import Policy
from agent.ocpp.blocks import c_authorization
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.messages import validate_request
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
TOKEN = IdToken("04A1B2C3", "ISO14443")
REQUEST = {"idToken": {"idToken": "04A1B2C3", "type": "ISO14443"}}
NO_VIEW: Any = None


def test_a_card_becomes_an_authorize_that_goes_before_all_others() -> None:
    call = c_authorization.OUTGOING[AskCsms](AskCsms(TOKEN), NO_VIEW, NOW)
    validate_request("Authorize", call.payload)
    assert (call.action, call.payload, call.priority) == ("Authorize", REQUEST, 1)


@pytest.mark.parametrize("status", ["Accepted", "Blocked", "Invalid", "ConcurrentTx"])
def test_the_answer_is_told_to_the_core_whatever_it_says(status: str) -> None:
    found = c_authorization.ON_RESPONSE["Authorize"](
        REQUEST, {"idTokenInfo": {"status": status}}, NO_VIEW, NOW
    )
    assert found.events == (TokenAnswered(TOKEN, TokenInfo(status)),)


def test_no_answer_is_told_too() -> None:
    found = c_authorization.ON_RESPONSE["Authorize"](REQUEST, None, NO_VIEW, NOW)
    assert found.events == (TokenUnanswered(TOKEN),)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cache_is_cleared_where_there_is_one(enabled: bool) -> None:
    station = SimpleNamespace(policy=Policy(auth_cache_enabled=enabled))
    view: Any = SimpleNamespace(station=station)
    answer = c_authorization.INCOMING["ClearCache"]({}, view, NOW)
    assert answer.payload["status"] == ("Accepted" if enabled else "Rejected")
    assert ("statusInfo" in answer.payload) != enabled
    assert answer.effects == ((ForgetTokens(),) if enabled else ())


def test_the_variables_say_what_the_policy_says_by_itself() -> None:
    assert DeviceModel(c_authorization.VARIABLES, (), {}).policy() == Policy()
