"""How a charge ends: cards, the CSMS, unplugging, and every stop point."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from tests.agent.core.told import CARD, GROUP, end_of, kinds

# --- cards and the CSMS ---------------------------------------------------------------------------


def test_the_same_card_ends_the_charge_with_the_value_read_after_the_path_opened(play) -> None:
    p = play()
    p.charging()
    p.wait(3600)
    effects = p.swipe()
    assert kinds(effects, ef.StopPower) == [ef.StopPower(1, 1)]
    assert not kinds(effects, ef.Record)
    p.wait(2)
    p.pilot("B")
    assert end_of(p) == ("Ended", "StopAuthorized", "Local", "EVConnected")
    end = p.told()[-1]
    assert end.token == CARD
    assert [s.context for s in end.samples] == ["Transaction.End"]
    assert end.samples[0].reading.energy_wh == p.energy_wh[1]
    assert "transaction/1" not in p.saved
    assert p.ledger.allowed == {}


def test_upper_and_lower_case_are_the_same_card(play) -> None:
    p = play()
    p.charging("04aabb")
    p.swipe("04AABB")
    p.pilot("B")
    assert end_of(p)[:3] == ("Ended", "StopAuthorized", "Local")


def test_a_card_of_the_group_ends_the_charge_and_is_told(play) -> None:
    p = play(tx_stop_point=frozenset({"EVConnected"}))
    p.csms = {"ONE": TokenInfo("Accepted", GROUP), "TWO": TokenInfo("Accepted", GROUP)}
    p.charging("ONE")
    p.swipe("TWO")
    assert p.told()[-1].token.value == "TWO"
    assert p.ledger.allowed == {}
    p.pilot("B")
    p.pilot("A")
    p.wait(2)
    assert [r.token.value for r in p.told() if r.token] == ["ONE", "TWO"]
    assert end_of(p) == ("Ended", "EVCommunicationLost", "Local", "Idle")


def test_a_card_of_the_group_starts_at_an_ev_that_waits_instead_of_ending_the_other(play) -> None:
    p = play([(1,), (1,)])
    p.csms = {"ONE": TokenInfo("Accepted", GROUP), "TWO": TokenInfo("Accepted", GROUP)}
    p.charging("ONE", (1, 1))
    p.pilot("B", (2, 1))
    p.swipe("TWO")
    p.wait(6)
    assert set(p.ledger.allowed) == {(1, 1), (2, 1)}


def test_a_refused_card_of_the_group_ends_nothing(play) -> None:
    p = play()
    p.csms = {"ONE": TokenInfo("Accepted", GROUP), "TWO": TokenInfo("Blocked", GROUP)}
    p.charging("ONE")
    p.swipe("TWO")
    assert (1, 1) in p.ledger.allowed


def test_remote_stop(play) -> None:
    p = play()
    transaction_id = p.charging()
    effects = p.do(ev.StopRequested(transaction_id))
    assert kinds(effects, ef.StopPower)
    p.pilot("B")
    assert end_of(p) == ("Ended", "RemoteStop", "Remote", "EVConnected")
    assert p.do(ev.StopRequested(transaction_id)) == []


@pytest.mark.parametrize(
    ("stops", "stop_point", "story"),
    [
        (True, "PowerPathClosed", [("Ended", "Deauthorized", "EVConnected")]),
        (True, "Authorized", [("Ended", "Deauthorized", "EVConnected")]),
        (
            True,
            "EVConnected",
            [
                ("Updated", "Deauthorized", "Charging"),
                ("Updated", "ChargingStateChanged", "EVConnected"),
            ],
        ),
        (False, "PowerPathClosed", [("Updated", "ChargingStateChanged", "SuspendedEVSE")]),
        (False, "EnergyTransfer", [("Ended", "Deauthorized", "EVConnected")]),
    ],
)
def test_a_token_started_offline_that_the_csms_refuses(play, stops, stop_point, story) -> None:
    p = play(
        online=False,
        offline_unknown_id=True,
        stop_tx_on_invalid_id=stops,
        tx_stop_point=frozenset({stop_point}),
    )
    transaction_id = p.charging()
    told = len(p.story())
    p.do(ev.CsmsReached())
    refused = ev.TransactionAnswered(transaction_id, CARD, TokenInfo("Invalid"))
    assert kinds(p.do(refused), ef.StopPower)
    p.pilot("B")
    p.do(refused)
    p.wait(30)
    assert p.story()[told:] == story
    if story[-1][0] == "Ended":
        assert p.told()[-1].stopped_reason == "DeAuthorized"
    assert p.ledger.allowed == {}


def test_an_answer_about_another_token_or_an_accepted_one_changes_nothing(play) -> None:
    p = play()
    transaction_id = p.charging()
    p.do(ev.TransactionAnswered(transaction_id, CARD, TokenInfo("Accepted")))
    p.do(ev.TransactionAnswered(transaction_id, IdToken("X", "ISO14443"), TokenInfo("Invalid")))
    p.do(ev.TransactionAnswered("another", CARD, TokenInfo("Invalid")))
    assert (1, 1) in p.ledger.allowed


def test_the_token_that_was_refused_once_ends_the_charge_on_presenting_it(play) -> None:
    p = play(stop_tx_on_invalid_id=False)
    transaction_id = p.charging()
    p.do(ev.TransactionAnswered(transaction_id, CARD, TokenInfo("Invalid")))
    p.pilot("B")
    p.swipe()
    p.wait(2)
    assert end_of(p)[:3] == ("Ended", "StopAuthorized", "Local")


# --- unplugging and stop points -------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"])
def test_unplugging_at_the_ev_ends_the_charge(play, stop: str) -> None:
    p = play(tx_stop_point=frozenset({stop}))
    p.charging()
    assert kinds(p.pilot("A"), ef.StopPower)
    p.wait(2)
    assert end_of(p) == ("Ended", "EVCommunicationLost", "EVDisconnected", "Idle")
    assert p.statuses()[-1] == "Available"


LOCAL_STOPS = {
    "Authorized": [("Ended", "StopAuthorized", "EVConnected")],
    "PowerPathClosed": [("Ended", "StopAuthorized", "EVConnected")],
    "EnergyTransfer": [("Ended", "StopAuthorized", "EVConnected")],
    "EVConnected": [
        ("Updated", "StopAuthorized", "Charging"),
        ("Updated", "ChargingStateChanged", "EVConnected"),
        ("Ended", "EVCommunicationLost", "Idle"),
    ],
}


@pytest.mark.parametrize("stop", LOCAL_STOPS)
def test_a_local_stop_by_stop_point(play, stop: str) -> None:
    p = play(tx_stop_point=frozenset({stop}))
    p.charging()
    told = len(p.story())
    p.swipe()
    p.wait(1)
    p.pilot("B")
    p.wait(30)
    p.pilot("A")
    p.wait(2)
    assert p.story()[told:] == LOCAL_STOPS[stop]
    assert p.told()[-1].stopped_reason == "Local"


def test_nobody_takes_over_a_transaction_that_lost_its_authorisation(play) -> None:
    p = play(tx_stop_point=frozenset({"EVConnected"}))
    p.charging("ONE")
    p.swipe("ONE")
    p.pilot("B")
    for value in ("TWO", "ONE"):
        p.swipe(value)
        p.wait(10)
        assert p.ledger.allowed == {}
    assert [r.token.value for r in p.told() if r.token] == ["ONE", "ONE"]


def test_an_ev_that_stops_by_itself_ends_it_at_energy_transfer_else_pauses_it(play) -> None:
    p = play(tx_stop_point=frozenset({"EnergyTransfer"}))
    p.charging()
    p.pilot("B")
    p.wait(2)
    assert end_of(p) == ("Ended", "ChargingStateChanged", "StoppedByEV", "EVConnected")
    q = play()
    q.charging()
    q.pilot("B")
    q.wait(1800)
    q.pilot("C", closed=True)
    assert q.story()[-2:] == [
        ("Updated", "ChargingStateChanged", "SuspendedEV"),
        ("Updated", "ChargingStateChanged", "Charging"),
    ]


@pytest.mark.parametrize("fault", ["meter_lost", "limit"])
def test_energy_transfer_does_not_end_by_a_pause_of_our_own(play, fault: str) -> None:
    p = play(tx_stop_point=frozenset({"EnergyTransfer"}))
    p.charging()
    if fault == "limit":
        p.do(ev.CurrentLimited(1, 0.0))
    else:
        p.raise_fault(fault)
    p.pilot("B")
    p.wait(5)
    assert end_of(p)[1::2] == ("ChargingStateChanged", "SuspendedEVSE")


def test_without_stop_on_ev_side_disconnect_the_same_ev_may_come_back(play) -> None:
    p = play(
        stop_tx_on_ev_side_disconnect=False,
        tx_stop_point=frozenset({"Authorized"}),
        ev_connection_timeout_s=60,
    )
    first = p.charging()
    p.wait(600)
    told = len(p.story())
    p.pilot("A")
    assert p.ledger.allowed == {}
    p.wait(59)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    assert p.story(first)[told:] == [
        ("Updated", "EVCommunicationLost", "Idle"),
        ("Updated", "CablePluggedIn", "EVConnected"),
        ("Updated", "ChargingStateChanged", "Charging"),
    ]


def test_a_fixed_cable_that_stays_unplugged_ends_by_timeout(play) -> None:
    p = play(stop_tx_on_ev_side_disconnect=False, tx_stop_point=frozenset({"Authorized"}))
    p.charging()
    p.pilot("A")
    p.wait(62)
    assert end_of(p) == ("Ended", "EVConnectTimeout", "Timeout", "Idle")


def test_a_loose_cable_stays_locked_until_its_driver_comes_back(play) -> None:
    p = play(
        fixed_cable=False,
        stop_tx_on_ev_side_disconnect=False,
        tx_stop_point=frozenset({"Authorized"}),
    )
    p.charging()
    p.effects.clear()
    p.pilot("A", cable_a=20.0)
    p.wait(3600)
    assert p.told()[-1].event_type != "Ended"
    assert not kinds(p.effects, ef.LockPlug)
    p.swipe()
    p.wait(2)
    assert end_of(p)[:3] == ("Ended", "StopAuthorized", "Local")
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, False)]


@pytest.mark.parametrize("stop", ["EVConnected", "PowerPathClosed", "Authorized"])
def test_nothing_stays_open_when_no_ev_ever_comes(play, stop: str) -> None:
    p = play(tx_start_point=frozenset({"Authorized"}), tx_stop_point=frozenset({stop}))
    p.swipe()
    assert p.story() == [("Started", "Authorized", "Idle")]
    p.wait(75)
    assert end_of(p)[:3] == ("Ended", "EVConnectTimeout", "Timeout")
    p.pilot("B")
    p.swipe()
    assert len(p.ledger.told) == 2


@pytest.mark.parametrize("stop", ["Authorized", "EnergyTransfer"])
def test_an_ev_connected_transaction_nobody_authorised_ends_at_unplugging(play, stop: str) -> None:
    p = play(tx_start_point=frozenset({"EVConnected"}), tx_stop_point=frozenset({stop}))
    p.pilot("B")
    p.wait(60)
    p.pilot("A")
    p.wait(11)
    assert end_of(p) == ("Ended", "EVCommunicationLost", "EVDisconnected", "Idle")


def test_after_unplugging_the_next_ev_begins_a_transaction_of_its_own(play) -> None:
    p = play(tx_start_point=frozenset({"EVConnected"}))
    p.charging()
    p.swipe()
    p.pilot("B")
    p.wait(10)
    assert len(p.ledger.told) == 1
    p.pilot("A")
    p.pilot("B")
    assert len(p.ledger.told) == 2


def test_at_energy_transfer_unplugging_ends_even_where_the_ev_could_come_back(play) -> None:
    p = play(
        stop_tx_on_ev_side_disconnect=False,
        tx_stop_point=frozenset({"Authorized", "EnergyTransfer"}),
    )
    p.charging()
    p.pilot("A")
    p.wait(2)
    assert end_of(p) == ("Ended", "EVCommunicationLost", "EVDisconnected", "Idle")


def test_a_new_ev_during_the_ending_begins_its_own_transaction(play) -> None:
    p = play(tx_start_point=frozenset({"EVConnected"}))
    first = p.charging()
    p.wait(6)
    p.meter_answers = False
    p.pilot("A")
    p.wait(1)
    p.pilot("B")
    p.meter_answers = True
    p.wait(5)
    assert end_of(p, first)[:3] == ("Ended", "EVCommunicationLost", "EVDisconnected")
    assert len(p.ledger.told) == 2
    assert p.story() == [("Started", "CablePluggedIn", "EVConnected")]
