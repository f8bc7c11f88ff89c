"""Who is asked about a token, start buttons, and the master pass."""

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from agent.core.granting import NO_TOKEN
from agent.core.master_pass import CHOICE_S, chosen
from agent.core.station import Station
from tests.agent.core.told import kinds

POLICE = IdToken("POLICE", "Central")
MASTER = TokenInfo("Accepted", group=POLICE)
ACCEPTED, BLOCKED = TokenInfo("Accepted"), TokenInfo("Blocked")
TWO = ((1,), (1,))


def typed(p, number: str) -> list[object]:
    return p.do(ev.TokenPresented(IdToken(number, "KeyCode")))


def with_keypad(p):
    p.site = replace(p.site, has_keypad=True)
    p.station = Station(p.site, p.policy, {})
    p.do(ev.CsmsReached())
    return p


# --- who is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cached", "policy", "asks", "starts"),
    [
        (None, {}, True, True),
        (ACCEPTED, {}, True, True),
        (ACCEPTED, {"local_pre_authorize": True}, False, True),
        (BLOCKED, {"local_pre_authorize": True}, True, True),
        (BLOCKED, {"local_pre_authorize": True, "disable_post_authorize": True}, False, False),
        (BLOCKED, {"disable_post_authorize": True}, True, True),
        (None, {"local_pre_authorize": True, "disable_post_authorize": True}, True, True),
        (None, {"disable_remote_authorization": True}, False, False),
        (ACCEPTED, {"disable_remote_authorization": True}, False, True),
        (BLOCKED, {"disable_remote_authorization": True}, False, False),
        (None, {"disable_remote_authorization": True, "offline_unknown_id": True}, False, False),
    ],
)
def test_online(play, cached: TokenInfo | None, policy: dict, asks: bool, starts: bool) -> None:
    p = play(**policy)
    if cached is not None:
        p.cache["CARD"] = cached
    p.pilot("B")
    effects = p.swipe()
    assert bool(kinds(effects, ef.AskCsms)) == asks
    assert bool(p.told()) == starts


def test_a_button_starts_and_ends_without_any_question(play) -> None:
    p = play()
    p.pilot("B")
    effects = p.do(ev.TokenPresented(NO_TOKEN, (1,)))
    assert not kinds(effects, ef.AskCsms | ef.LookUp | ef.SaveToken)
    assert p.told()[0].token == NO_TOKEN
    p.wait(10)
    p.do(ev.TokenPresented(NO_TOKEN, (1,)))
    p.wait(10)
    assert p.told()[-1].stopped_reason == "Local"


def test_where_nobody_is_authorised_a_card_asks_nobody(play) -> None:
    p = play(auth_enabled=False)
    effects = p.swipe()
    assert not kinds(effects, ef.AskCsms | ef.LookUp)
    assert kinds(effects, ef.Show)


@pytest.mark.parametrize("token_type", ["ISO14443", "NoAuthorization"])
def test_a_remote_start_asks_nobody_where_there_is_nothing_to_judge(play, token_type: str) -> None:
    p = play(authorize_remote_start=True, auth_enabled=token_type == "NoAuthorization")
    effects = p.do(ev.StartRequested(1, IdToken("", token_type), None, 7))
    assert not kinds(effects, ef.AskCsms | ef.LookUp)
    p.pilot("B")
    assert p.told()[0].remote_start_id == 7


# --- master pass ----------------------------------------------------------------------------------


def test_a_master_pass_ends_all_transactions_and_starts_none(play) -> None:
    p = play(TWO, master_pass_group_id="police")
    p.csms["POLICE-CARD"] = MASTER
    ids = [p.charging("ONE", (1, 1)), p.charging("TWO", (2, 1))]
    p.swipe("POLICE-CARD")
    for place in ((1, 1), (2, 1)):
        p.pilot("B", place)
    p.wait(20)
    for transaction_id in ids:
        last = p.told(transaction_id)[-1]
        assert (last.event_type, last.stopped_reason) == ("Ended", "MasterPass")
        assert last.token.value == "POLICE-CARD"
    assert all(evse.grant is None for evse in p.station.evses.values())


def test_without_a_master_group_such_a_card_is_a_card(play) -> None:
    p = play()
    p.csms["POLICE-CARD"] = MASTER
    p.pilot("B")
    p.swipe("POLICE-CARD")
    assert p.told()[0].token.value == "POLICE-CARD"


def test_a_remote_start_with_a_master_pass_starts_and_ends_nothing(play) -> None:
    p = play(TWO, master_pass_group_id="POLICE")
    transaction_id = p.charging("ONE", (1, 1))
    p.pilot("B", (2, 1))
    p.do(ev.StartRequested(2, IdToken("POLICE-CARD", "ISO14443"), POLICE, 7))
    p.wait(20)
    assert p.told(transaction_id)[-1].event_type != "Ended"
    assert p.station.evses[2].transaction is None


def test_with_a_keypad_the_pass_waits_for_a_number_and_forgets_after_a_while(play) -> None:
    p = with_keypad(play(TWO, master_pass_group_id="POLICE"))
    p.csms["POLICE-CARD"] = MASTER
    transaction_id = p.charging("ONE", (1, 1))
    p.swipe("POLICE-CARD")
    typed(p, "7")
    p.wait(CHOICE_S - 20)
    assert p.told(transaction_id)[-1].event_type != "Ended"
    typed(p, "1")
    p.pilot("B")
    p.wait(20)
    assert p.told(transaction_id)[-1].stopped_reason == "MasterPass"
    p.swipe("POLICE-CARD")
    p.wait(CHOICE_S + 1)
    assert kinds(typed(p, "1"), ef.LookUp), "a code like any other"


@pytest.mark.parametrize(
    ("number", "found"),
    [("0", (1, 2)), ("00", (1, 2)), ("2", (2,)), ("3", None), ("", None), ("A", None), ("²", None)],
)
def test_numbers(number: str, found: tuple[int, ...] | None) -> None:
    assert chosen(number, (1, 2)) == found


def test_a_known_card_of_the_group_ends_the_charge_and_nobody_is_asked(play) -> None:
    """C01.FR.03, C09.FR.07: whatever LocalPreAuthorize says."""
    group = IdToken("FAMILY", "Central")
    p = play()
    p.csms = {"A": TokenInfo("Accepted", group), "B": TokenInfo("Accepted", group)}
    p.cache["B"] = TokenInfo("Accepted", group)
    p.charging("A")
    effects = p.swipe("B")
    assert not [e for e in effects if isinstance(e, ef.AskCsms)]
    p.pilot("C")
    p.wait(5)
    assert p.told()[-1].trigger_reason == "StopAuthorized"
    assert p.told()[-1].token.value == "B"


@pytest.mark.parametrize("case", ["refused", "expired", "another group"])
def test_only_a_card_known_to_be_good_does(play, case: str) -> None:
    group = IdToken("FAMILY", "Central")
    p = play()
    p.csms = {"A": TokenInfo("Accepted", group), "B": TokenInfo("Blocked")}
    p.cache["B"] = {
        "refused": TokenInfo("Blocked", group),
        "expired": TokenInfo("Accepted", group, cache_expiry_s=1.0),
        "another group": TokenInfo("Accepted", IdToken("OTHERS", "Central")),
    }[case]
    p.charging("A")
    assert [e for e in p.swipe("B") if isinstance(e, ef.AskCsms)]
    p.wait(5)
    assert p.told()[-1].trigger_reason != "StopAuthorized"
