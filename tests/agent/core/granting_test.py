"""From a token to the EVSE it serves: cards, readers, remote starts."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from tests.agent.core.told import APP, GROUP, kinds, texts


def test_a_card_with_no_cable_lapses_after_ev_connection_timeout(play) -> None:
    p = play(ev_connection_timeout_s=20)
    p.swipe()
    assert "present the card again" in texts(p.wait(20))
    p.pilot("B")
    p.wait(5)
    assert p.told() == []
    assert p.ledger.allowed == {}


def test_a_floating_card_goes_to_the_evse_that_is_plugged_in_next(play) -> None:
    p = play([(1,), (1,)])
    assert "plug in" in texts(p.swipe())
    p.pilot("B", (2, 1))
    assert p.told()[0].evse_id == 2
    assert not p.station.granting.floating
    p.pilot("B", (1, 1))
    assert p.station.evses[1].grant is None


def test_a_floating_card_presented_again_is_cancelled_and_lapses_otherwise(play) -> None:
    p = play([(1,), (1,)], ev_connection_timeout_s=30)
    p.swipe()
    p.swipe()
    p.pilot("B", (2, 1))
    assert p.told() == []
    p.pilot("A", (2, 1))
    p.swipe()
    assert "present the card again" in texts(p.wait(31))
    p.pilot("B", (2, 1))
    assert p.told() == []


def test_of_two_waiting_evs_the_last_plugged_in_gets_the_card(play) -> None:
    p = play([(1,), (1,)])
    p.pilot("B", (1, 1))
    p.wait(10)
    p.pilot("B", (2, 1))
    p.swipe()
    assert p.told()[0].evse_id == 2


def test_a_reader_serves_only_its_evses(play) -> None:
    p = play([(1,), (1,)])
    p.pilot("B", (2, 1))
    p.swipe("CARD", (1,))
    assert p.told() == []
    assert p.station.evses[1].grant is not None


def test_the_evse_list_of_the_csms_limits_a_card(play) -> None:
    p = play([(1,), (1,)])
    p.csms["CARD"] = TokenInfo("Accepted", evse_ids=(1,))
    p.pilot("B", (2, 1))
    p.swipe()
    assert p.station.evses[2].grant is None
    assert p.station.evses[1].grant is not None


def test_a_second_card_never_takes_over_a_running_charge(play) -> None:
    p = play()
    transaction_id = p.charging("ONE")
    assert "No free connector" in texts(p.swipe("TWO"))
    p.wait(5)
    assert p.station.transaction_id(1) == transaction_id
    assert (1, 1) in p.ledger.allowed


def test_a_refused_card_tells_the_driver_and_records_nothing(play) -> None:
    p = play()
    p.csms["CARD"] = TokenInfo("Blocked")
    p.pilot("B")
    assert "Blocked" in texts(p.swipe())
    assert p.told() == []
    assert p.ledger.allowed == {}


def test_the_card_of_a_finished_charge_starts_it_again_but_not_a_strangers(play) -> None:
    p = play([(1,), (1,)])
    p.charging("OWNER")
    p.swipe("OWNER")
    p.pilot("B")
    p.wait(5)
    assert p.told()[-1].event_type == "Ended"
    p.swipe("STRANGER")
    assert p.station.evses[1].grant is None, "no stranger pays for the EV that is still plugged"
    p.swipe("STRANGER")
    p.swipe("OWNER")
    assert p.told()[-1].event_type == "Started"
    assert p.told()[-1].evse_id == 1


@pytest.mark.parametrize("start", ["EVConnected", "PowerPathClosed", "Authorized"])
def test_after_a_local_stop_the_next_card_starts_a_new_transaction(play, start: str) -> None:
    p = play(tx_start_point=frozenset({start}), tx_stop_point=frozenset({"Authorized"}))
    first = p.charging("ONE")
    p.swipe("ONE")
    p.pilot("B")
    p.wait(60)
    assert p.told(first)[-1].event_type == "Ended"
    assert len(p.ledger.told) == 1, "not by itself, while the same EV stays plugged in"
    p.swipe("TWO")
    assert len(p.ledger.told) == 2
    assert p.story() == [("Started", "Authorized", "EVConnected")]


# --- remote ---------------------------------------------------------------------------------------


def test_remote_start_before_the_cable(play) -> None:
    p = play()
    p.do(ev.StartRequested(1, APP, None, 7))
    p.wait(10)
    p.pilot("B")
    assert p.story() == [("Started", "RemoteStart", "EVConnected")]
    assert (p.told()[0].remote_start_id, p.told()[0].token) == (7, APP)


def test_remote_start_after_the_cable_tells_its_id_once(play) -> None:
    p = play()
    p.pilot("B")
    p.do(ev.StartRequested(1, APP, None, 7))
    p.pilot("C", closed=True)
    p.wait(130)
    assert [r.remote_start_id for r in p.told()] == [7] + [None] * (len(p.told()) - 1)
    assert len(p.told()) > 3


def test_remote_start_joins_the_transaction_that_ev_connected_began(play) -> None:
    p = play(tx_start_point=frozenset({"EVConnected"}))
    p.pilot("B")
    before = p.station.transaction_id(1)
    assert p.told()[0].token is None
    p.do(ev.StartRequested(1, APP, None, 7))
    assert p.station.transaction_id(1) == before
    assert p.story()[-1] == ("Updated", "RemoteStart", "EVConnected")
    assert (p.told()[-1].remote_start_id, p.told()[-1].token) == (7, APP)


@pytest.mark.parametrize(("token", "asked"), [(APP, False), (IdToken("X", "ISO14443"), True)])
def test_authorize_remote_start_asks_unless_the_token_is_central(play, token, asked) -> None:
    p = play(authorize_remote_start=True)
    p.pilot("B")
    assert bool(kinds(p.do(ev.StartRequested(1, token, None, 7)), ef.AskCsms)) is asked
    assert len(p.told()) == 1


def test_a_remote_start_of_a_group_never_stops_that_groups_charge(play) -> None:
    p = play(authorize_remote_start=True)
    p.csms["ONE"] = TokenInfo("Accepted", GROUP)
    p.charging("ONE")
    p.csms["TWO"] = TokenInfo("Accepted", GROUP)
    p.do(ev.StartRequested(1, IdToken("TWO", "ISO14443"), None, 7))
    assert p.evse.ending is None
    assert (1, 1) in p.ledger.allowed
