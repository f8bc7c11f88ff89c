"""How a charge pauses and ends: cards, unplugging, limits, the CSMS, and restarts."""

import json

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, StopCause, TokenInfo
from agent.core.policy import Policy

GROUP = IdToken("FAMILY", "Central")
CARD = IdToken("CARD", "ISO14443")


def kinds(effects: list[object], kind: type) -> list[object]:
    return [e for e in effects if isinstance(e, kind)]


def end_of(p, transaction_id: str | None = None) -> tuple[str, str, str | None, str | None]:
    last = p.told(transaction_id)[-1]
    return last.event_type, last.trigger_reason, last.stopped_reason, last.charging_state


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


# --- while it runs --------------------------------------------------------------------------------


def test_periodic_values_come_on_a_grid_that_does_not_drift(play) -> None:
    p = play(tx_updated_interval_s=60)
    p.charging()
    begin_s = p.told()[0].at_s
    p.wait(7)
    p.wait(600)
    values = [r for r in p.told() if r.trigger_reason == "MeterValuePeriodic"]
    assert [round(r.at_s - begin_s) for r in values] == [60 * n for n in range(1, len(values) + 1)]
    assert len(values) >= 10


def test_samples_missed_while_the_meter_was_silent_are_not_made_up(play) -> None:
    p = play(tx_updated_interval_s=60)
    p.charging()
    begin_s = p.told()[0].at_s
    p.meter_answers = False
    p.wait(200)
    p.meter_answers = True
    p.wait(130)
    values = [r for r in p.told() if r.trigger_reason == "MeterValuePeriodic"]
    late, *others = [r.at_s - begin_s for r in values]
    assert 200 < late < 240
    assert others == [240.0, 300.0, 360.0][: len(others)]
    assert others


def test_a_new_interval_counts_at_once_and_zero_means_none(play) -> None:
    p = play(tx_updated_interval_s=0)
    p.charging()
    p.wait(600)
    count = len(p.told())
    p.do(ev.PolicyChanged(Policy(tx_updated_interval_s=30)))
    p.wait(95)
    assert len(p.told()) == count + 3
    p.do(ev.PolicyChanged(Policy(tx_updated_interval_s=0)))
    p.wait(600)
    assert len(p.told()) == count + 3


def test_a_limit_below_six_amperes_suspends_and_the_next_one_resumes(play) -> None:
    p = play()
    p.charging()
    told = len(p.story())
    assert kinds(p.do(ev.CurrentLimited(1, 5.9)), ef.StopPower)
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}
    p.do(ev.CurrentLimited(1, 10.0))
    p.wait(4)
    p.meter()
    p.pilot("C", closed=True)
    assert p.ledger.allowed == {(1, 1): 10.0}
    assert p.story()[told:] == [
        ("Updated", "ChargingStateChanged", "SuspendedEVSE"),
        ("Updated", "ChargingStateChanged", "Charging"),
    ]


def test_an_ev_that_does_not_come_back_after_a_pause_is_suspending_after_its_time(play) -> None:
    p = play()
    p.charging()
    p.do(ev.CurrentLimited(1, 0.0))
    p.pilot("B")
    p.wait(60)
    p.do(ev.CurrentLimited(1, None))
    p.wait(14)
    assert p.story()[-1][2] == "SuspendedEVSE"
    p.wait(8)
    assert p.story()[-1][2] == "SuspendedEV"


def test_a_limit_that_lets_nothing_begin_is_told_as_the_evses_doing(play) -> None:
    p = play()
    p.do(ev.CurrentLimited(1, 0.0))
    p.pilot("B")
    p.swipe()
    p.wait(30)
    assert [state for _, _, state in p.story()] == ["EVConnected", "SuspendedEVSE"]
    assert p.ledger.allowed == {}


def test_lower_limits_are_withdrawn_at_once_and_raised_at_a_pace(play) -> None:
    p = play()
    p.charging()
    lowered = p.do(ev.CurrentLimited(1, 8.0))
    assert kinds(lowered, ef.WithdrawCurrent) == [ef.WithdrawCurrent(1, 1, 8.0)]
    assert not kinds(p.do(ev.CurrentLimited(1, None)), ef.AllowPower)
    assert [e.limit_a for e in kinds(p.wait(6), ef.AllowPower)] == [32.0]


def test_two_evs_share_the_supply_and_the_station_limit(play) -> None:
    p = play([(1,), (1,)], supply_a=40.0)
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    assert p.ledger.allowed == {(1, 1): 20.0, (2, 1): 20.0}
    p.do(ev.CurrentLimited(0, 10.0))
    p.wait(20)
    assert p.ledger.allowed == {(1, 1): 10.0}
    p.do(ev.CurrentLimited(0, None))
    p.wait(20)
    assert sum(p.ledger.allowed.values()) == 40.0


def test_raises_stay_within_a_station_limit_while_others_still_let_go(play) -> None:
    """The other EV has 5 s to follow; what it may still draw counts against the limit."""
    p = play([(1,), (1,)], supply_a=64.0)
    p.do(ev.CurrentLimited(0, 32.0))
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    p.do(ev.CurrentLimited(1, 6.0))
    assert p.ledger.allowed == {(1, 1): 6.0, (2, 1): 16.0}
    p.wait(1)
    assert p.ledger.allowed[2, 1] == 16.0
    p.wait(10)
    assert p.ledger.allowed[2, 1] == 26.0


def test_what_still_flows_through_a_stuck_path_is_taken_off_the_supply(play) -> None:
    p = play([(1,), (1,)], supply_a=40.0)
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    p.swipe("ONE")
    p.meter(1, current_a=(20.0, 20.0, 20.0))
    p.wait(60)
    assert p.ledger.allowed == {(2, 1): 20.0}
    p.pilot("B", (1, 1))
    p.wait(12)
    assert p.ledger.allowed == {(2, 1): 32.0}


def test_a_loose_cable_of_13_a_is_never_offered_more(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=13.0)
    p.swipe()
    assert p.ledger.allowed == {(1, 1): 13.0}


def test_the_plug_is_locked_for_the_session_and_released_only_with_an_open_path(play) -> None:
    p = play()
    p.pilot("A")
    assert not kinds(p.effects, ef.LockPlug), "what ran before may have allowed power just now"
    p.wait(2)
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, False)], "left locked by a crash"
    p.effects.clear()
    p.charging()
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, True)]
    p.effects.clear()
    p.swipe()
    p.wait(20)
    assert p.told()[-1].event_type == "Ended"
    assert not kinds(p.effects, ef.LockPlug)
    p.pilot("B")
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, False)]


def test_phases_are_told_from_when_energy_flows(play) -> None:
    p = play()
    p.charging()
    p.meter(current_a=(16.0, 0.2, 0.1))
    p.pilot("B")
    assert p.told()[-1].phases_used == 1


# --- restarts -------------------------------------------------------------------------------------


def back_to_life(p) -> None:
    p.pilot("B")
    p.wait(2)
    p.meter()


def test_after_a_power_cut_the_open_transaction_ends_with_a_fresh_value(play) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last_wh = p.energy_wh[1]
    p.reboot()
    assert p.told()[-1].event_type == "Updated"
    back_to_life(p)
    assert end_of(p) == ("Ended", "AbnormalCondition", "PowerLoss", "EVConnected")
    assert p.told()[-1].samples[0].reading.energy_wh == last_wh
    assert p.ledger.allowed == {}
    p.wait(120)
    assert len(p.ledger.told) == 1, "charging on needs a new authorisation"


def test_after_a_restart_in_the_same_boot_the_reason_is_reboot(play) -> None:
    p = play()
    p.charging()
    p.start(cause=StopCause.REBOOT)
    back_to_life(p)
    assert end_of(p)[:3] == ("Ended", "AbnormalCondition", "Reboot")


@pytest.mark.parametrize("change", ["serial", "register"])
def test_another_meter_or_a_lower_register_is_never_the_end_value(play, change: str) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    p.reboot()
    if change == "serial":
        p.meter_serial, p.energy_wh[1] = "M2", 999_999.0
    else:
        p.energy_wh[1] = 50.0
    back_to_life(p)
    assert p.told()[-1].samples[0].reading.energy_wh == last.energy_wh
    assert any("last stored reading" in e.text for e in kinds(p.effects, ef.Log))


def test_stored_times_are_moved_to_the_clock_of_the_new_boot(play) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    then_utc_s = last.at_s + p.utc_offset_s
    p.reboot(off_s=500.0)
    p.meter_answers = False
    p.wait(31)
    found = p.told()[-1].samples[0].reading
    assert found.at_s + p.utc_offset_s == pytest.approx(then_utc_s, abs=0.001)


@pytest.mark.parametrize("path_seen", [False, True])
def test_a_meter_that_never_answers_after_a_restart_ends_it_with_the_last_value(
    play, path_seen: bool
) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    p.reboot()
    p.meter_answers = False
    if path_seen:
        p.pilot("B")
    p.wait(31)
    assert end_of(p)[:3] == ("Ended", "AbnormalCondition", "PowerLoss")
    assert p.told()[-1].samples[0].reading.energy_wh == last.energy_wh
    assert p.statuses()[-1] == ("Occupied" if path_seen else "Faulted")


def test_a_session_that_was_only_saved_leaves_no_trace_after_a_restart(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    p.reboot()
    back_to_life(p)
    p.wait(40)
    assert p.told() == []
    assert "transaction/1" not in p.saved


@pytest.mark.parametrize("gone", ["evse", "connector"])
def test_a_transaction_of_a_place_that_was_taken_out_of_the_file_ends(play, gone: str) -> None:
    p = play([(1,), (1, 2)])
    transaction_id = p.charging("ONE", (2, 2))
    p.site = play([(1,)] if gone == "evse" else [(1,), (1,)]).site
    p.reboot()
    for evse_id in p.station.evse_ids:
        p.pilot("A", (evse_id, 1))
    p.wait(2)
    assert end_of(p, transaction_id)[:3] == ("Ended", "AbnormalCondition", "PowerLoss")
    assert "transaction/2" not in p.saved


def test_an_unreadable_row_is_kept_and_the_charger_goes_on(play) -> None:
    p = play(saved={"transaction/1": "{broken"})
    assert p.saved == {"lost/transaction/1": "{broken"}
    p.charging()


def test_the_saved_row_holds_what_the_next_process_needs(play) -> None:
    p = play()
    p.charging()
    p.wait(100)
    row = json.loads(p.saved["transaction/1"])
    assert row["next_seq_no"] == len(p.told())
    assert row["last"]["energy_wh"] == p.told()[-1].samples[0].reading.energy_wh
