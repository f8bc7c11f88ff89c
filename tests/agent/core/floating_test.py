"""Drivers who were accepted before anybody knew where they would plug in (E01.FR.03, E03, F02)."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo

TWO = [(1,), (1,)]
EARLY = {"tx_start_point": frozenset({"Authorized"})}
APP = IdToken("APP", "Central")


def of(play, value: str) -> list[ef.Record]:
    """The events of the transaction that this card began."""
    books = play.ledger.told.values()
    return next(told for told in books if told[0].token.value == value)


def test_the_transaction_begins_with_the_card_and_without_an_evse(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    (started,) = p.told()
    assert (started.event_type, started.trigger_reason, started.seq_no) == (
        "Started", "Authorized", 0
    )  # fmt: skip
    assert (started.evse_id, started.connector_id, started.samples) == (0, None, ())
    assert started.charging_state == "Idle"
    assert started.token.value == "CARD"
    assert [key for key in p.saved if key.startswith("transaction/")] == [
        f"transaction/{started.transaction_id}"
    ]


def test_the_cable_says_where_and_the_begin_value_comes_with_it(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.wait(20)
    p.pilot("B", (2, 1))
    _, arrived = p.told()
    assert (arrived.event_type, arrived.trigger_reason) == ("Updated", "CablePluggedIn")
    assert (arrived.evse_id, arrived.connector_id, arrived.token) == (2, 1, None)
    assert [s.context for s in arrived.samples] == ["Transaction.Begin"]
    assert list(p.saved) == ["transaction/2"]
    assert list(p.ledger.allowed) == [(2, 1)]
    p.pilot("C", (2, 1), closed=True)
    p.wait(60)
    p.pilot("A", (2, 1))
    p.wait(5)
    assert [r.seq_no for r in p.told()] == list(range(len(p.told())))
    assert p.told()[-1].event_type == "Ended"
    assert len(p.ledger.told) == 1


def test_no_power_and_no_event_before_the_begin_value_is_read(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.meter_answers = False
    p.pilot("B", (1, 1))
    p.wait(20)
    assert len(p.told()) == 1
    assert p.ledger.allowed == {}
    p.meter(1)
    assert p.told()[1].samples[0].context == "Transaction.Begin"
    assert list(p.ledger.allowed) == [(1, 1)]


def test_a_meter_that_never_answers_ends_it(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.meter_answers = False
    p.pilot("B", (1, 1))
    p.wait(90)
    ended = p.told()[-1]
    assert (ended.event_type, ended.trigger_reason) == ("Ended", "AbnormalCondition")
    assert p.ledger.allowed == {}


@pytest.mark.parametrize("stop", ["Authorized", "EVConnected", "ParkingBayOccupancy"])
def test_nobody_plugs_in(play, stop: str) -> None:
    p = play(TWO, **EARLY, tx_stop_point=frozenset({stop}), ev_connection_timeout_s=30)
    p.swipe()
    p.wait(29)
    assert len(p.told()) == 1
    p.wait(2)
    ended = p.told()[-1]
    assert (ended.event_type, ended.trigger_reason, ended.stopped_reason) == (
        "Ended", "EVConnectTimeout", "Timeout"
    )  # fmt: skip
    assert p.saved == {}
    p.pilot("B", (1, 1))
    p.wait(5)
    assert len(p.ledger.told) == 1
    assert p.ledger.allowed == {}


def test_the_same_card_again_ends_it(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.swipe()
    ended = p.told()[-1]
    assert (ended.event_type, ended.trigger_reason, ended.stopped_reason) == (
        "Ended", "StopAuthorized", "Local"
    )  # fmt: skip
    assert ended.token.value == "CARD"


def test_a_card_of_its_group_ends_it(play) -> None:
    p = play(TWO, **EARLY)
    p.csms = {"A": TokenInfo("Accepted", APP), "B": TokenInfo("Accepted", APP)}
    p.swipe("A")
    p.swipe("B")
    assert of(p, "A")[-1].trigger_reason == "StopAuthorized"
    assert len(p.ledger.told) == 1


def test_the_csms_stops_it(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    transaction_id = p.told()[0].transaction_id
    assert p.station.running(transaction_id) is not None
    p.do(ev.StopRequested(transaction_id))
    ended = p.told()[-1]
    assert (ended.event_type, ended.trigger_reason, ended.stopped_reason) == (
        "Ended", "RemoteStop", "Remote"
    )  # fmt: skip
    assert p.station.running(transaction_id) is None


def test_a_master_pass_stops_it(play) -> None:
    p = play(TWO, **EARLY, master_pass_group_id="MASTER")
    p.csms = {"POLICE": TokenInfo("Accepted", IdToken("MASTER", "Central"))}
    p.swipe()
    p.swipe("POLICE")
    assert p.told()[-1].stopped_reason == "MasterPass"


@pytest.mark.parametrize("stops", [True, False])
def test_a_token_that_the_csms_refuses_afterwards(play, stops: bool) -> None:
    p = play(TWO, **EARLY, stop_tx_on_invalid_id=stops)
    p.swipe()
    started = p.told()[0]
    p.do(ev.TransactionAnswered(started.transaction_id, started.token, TokenInfo("Blocked")))
    p.pilot("B", (1, 1))
    p.wait(5)
    assert p.ledger.allowed == {}
    last = p.told(started.transaction_id)[-1]
    if stops:
        assert (last.event_type, last.stopped_reason) == ("Ended", "DeAuthorized")
    else:
        assert (last.event_type, last.charging_state) == ("Updated", "SuspendedEVSE")


def test_two_drivers_plug_in_in_the_order_of_their_cards(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe("A")
    p.swipe("B")
    p.pilot("B", (2, 1))
    p.pilot("B", (1, 1))
    assert of(p, "A")[1].evse_id == 2
    assert of(p, "B")[1].evse_id == 1
    assert set(p.ledger.allowed) == {(1, 1), (2, 1)}


def test_no_more_drivers_wait_than_there_are_places(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe("A")
    p.swipe("B")
    shown = [e.text for e in p.swipe("C") if isinstance(e, ef.Show)]
    assert shown == ["No free connector; wait until one is free"]
    assert len(p.ledger.told) == 2


def test_where_the_plug_alone_begins_one_too_there_is_still_one(play) -> None:
    p = play(TWO, tx_start_point=frozenset({"Authorized", "EVConnected"}))
    p.swipe()
    p.meter(1)
    p.pilot("B", (1, 1))
    assert len(p.ledger.told) == 1
    p.pilot("B", (2, 1))
    assert [told[0].trigger_reason for told in p.ledger.told.values()] == [
        "Authorized", "CablePluggedIn"
    ]  # fmt: skip


def test_when_nobody_came_the_next_plug_begins_its_own(play) -> None:
    p = play(TWO, tx_start_point=frozenset({"Authorized", "EVConnected"}))
    p.swipe()
    p.swipe()
    p.pilot("B", (1, 1))
    assert p.told()[0].trigger_reason == "CablePluggedIn"
    assert p.told()[0].token is None


def test_an_ev_that_drives_into_a_bay_takes_it_where_that_begins_one(play) -> None:
    p = play(TWO, tx_start_point=frozenset({"Authorized", "ParkingBayOccupancy"}))
    p.swipe()
    p.do(ev.BayChanged(2, True))
    assert [(r.trigger_reason, r.evse_id) for r in p.told()] == [
        ("Authorized", 0), ("EVDetected", 2)
    ]  # fmt: skip
    p.pilot("B", (2, 1))
    assert p.told()[2].trigger_reason == "CablePluggedIn"
    assert p.told()[2].connector_id == 1
    assert len(p.ledger.told) == 1


def test_where_all_bays_have_one_the_card_begins_none(play) -> None:
    p = play(TWO, tx_start_point=frozenset({"Authorized", "ParkingBayOccupancy"}))
    p.do(ev.BayChanged(1, True))
    p.do(ev.BayChanged(2, True))
    p.swipe()
    assert [told[0].trigger_reason for told in p.ledger.told.values()] == ["EVDetected"] * 2
    p.pilot("B", (2, 1))
    assert len(p.ledger.told) == 2
    assert p.told()[-1].token.value == "CARD"


def test_a_remote_start_anywhere(play) -> None:
    p = play(TWO, **EARLY)
    p.do(ev.StartRequested(0, APP, None, 17))
    assert (p.told()[0].trigger_reason, p.told()[0].remote_start_id) == ("RemoteStart", 17)
    p.pilot("B", (2, 1))
    assert (p.told()[1].evse_id, p.told()[1].remote_start_id) == (2, None)
    assert list(p.ledger.allowed) == [(2, 1)]


def test_the_blocks_hear_of_it_when_it_has_an_evse(play) -> None:
    p = play(TWO, **EARLY)
    p.do(ev.StartRequested(0, APP, None, 17))
    announced = [e.event for e in p.effects if isinstance(e, ef.Announce)]
    assert announced == []
    p.pilot("B", (2, 1))
    (event,) = [e.event for e in p.effects if isinstance(e, ef.Announce)]
    assert (event.evse_id, event.remote_start_id) == (2, 17)


def test_after_a_power_cut_it_ends(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe("A")
    p.swipe("B")
    p.reboot()
    for value in ("A", "B"):
        ended = of(p, value)[-1]
        assert (ended.event_type, ended.stopped_reason) == ("Ended", "PowerLoss")
        assert (ended.evse_id, ended.seq_no) == (0, 1)
    assert p.saved == {}


def test_a_cut_between_the_plug_and_the_begin_value(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.meter_answers = False
    p.pilot("B", (2, 1))
    p.meter_answers = True
    p.reboot()
    p.pilot("B", (2, 1))
    p.wait(5)
    assert [(r.event_type, r.evse_id, r.seq_no) for r in p.told()] == [
        ("Started", 0, 0), ("Ended", 2, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("on_idle", [True, False])
def test_a_reset_of_the_station_counts_it(play, on_idle: bool) -> None:
    p = play(TWO, **EARLY)
    p.pilot("A", (1, 1))
    p.pilot("A", (2, 1))
    p.swipe()
    p.do(ev.ResetRequested(on_idle))
    restarts = [e.reason for e in p.effects if isinstance(e, ef.Restart)]
    if on_idle:
        assert restarts == []
        p.wait(61)
        assert p.told()[-1].stopped_reason == "Timeout"
        assert [e.reason for e in p.effects if isinstance(e, ef.Restart)] == ["ScheduledReset"]
    else:
        assert (p.told()[-1].event_type, p.told()[-1].stopped_reason) == ("Ended", "ImmediateReset")
        assert restarts == ["RemoteReset"]


def test_it_is_told_when_the_csms_asks(play) -> None:
    p = play(TWO, **EARLY)
    p.swipe()
    p.do(ev.MessageTriggered("TransactionEvent"))
    assert (p.told()[-1].event_type, p.told()[-1].trigger_reason) == ("Updated", "Trigger")


def test_who_only_has_a_card_is_sent_away_by_a_scheduled_restart(play) -> None:
    p = play([(1,), (1,), (1,)])
    p.charging(place=(1, 1))
    p.swipe("B")
    told = p.do(ev.ResetRequested(on_idle=True))
    assert [e.text for e in told if isinstance(e, ef.Show)] == [
        "The charger restarts soon; present the card again afterwards"
    ]
    p.pilot("B", (2, 1))
    assert len(p.ledger.told) == 1
