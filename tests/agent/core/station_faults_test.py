"""Faults, lost views and guard stops: power goes at once, and comes back only for a reason."""

import itertools

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from tests.agent.core.told import kinds


def end_of(p) -> tuple[str, str, str | None]:
    last = p.told()[-1]
    return last.event_type, last.trigger_reason, last.stopped_reason


REASONS = {
    "emergency_stop": "EmergencyStop",
    "ground": "GroundFault",
    "rcd": "GroundFault",
    "over_current": "OvercurrentFault",
    "under_voltage": "PowerQuality",
    "over_temperature": "Other",
    "welded_contactor": "Other",
    "something_new": "Other",
}


@pytest.mark.parametrize("way", ["pilot", "raised"])
@pytest.mark.parametrize(("fault", "reason"), REASONS.items())
def test_a_fault_ends_the_charge_with_its_reason(play, way: str, fault: str, reason: str) -> None:
    p = play()
    p.charging()
    effects = p.pilot("C", closed=True, faults=[fault]) if way == "pilot" else p.raise_fault(fault)
    assert kinds(effects, ef.StopPower) == [ef.StopPower(1, 1, emergency=True)]
    assert p.statuses()[-1] == "Faulted"
    p.pilot("B", faults=[fault] if way == "pilot" else [])
    p.wait(2)
    assert end_of(p) == ("Ended", "AbnormalCondition", reason)
    p.wait(120)
    p.swipe()
    assert len(p.ledger.told) == 1, "nothing new while the fault stands"
    p.pilot("B") if way == "pilot" else p.clear_fault(fault)
    if fault == "welded_contactor":
        p.do(ev.Serviced(1, 1))
    p.wait(120)
    assert len(p.ledger.told) == 1, "nor by itself when it is gone"
    assert p.ledger.allowed == {}
    p.swipe()
    assert len(p.ledger.told) == 2


def test_a_fault_before_plugging_in_lets_nothing_begin(play) -> None:
    p = play()
    p.pilot("A", faults=["rcd"])
    assert p.statuses() == ["Available", "Faulted"]
    p.swipe()
    p.pilot("B", faults=["rcd"])
    p.wait(30)
    p.pilot("B")
    p.wait(120)
    assert p.told() == []
    assert p.ledger.allowed == {}


def test_a_fault_between_card_and_begin_reading_takes_the_card_back(play) -> None:
    p = play()
    p.meter_answers = False
    p.pilot("B")
    p.swipe()
    p.pilot("B", faults=["rcd"])
    p.meter_answers = True
    p.pilot("B")
    p.meter()
    p.wait(60)
    assert p.told() == []


def test_a_fault_of_the_sibling_leaves_the_charge_alone(play) -> None:
    p = play([(1, 2)])
    p.charging()
    p.pilot("A", (1, 2), faults=["lock"])
    p.wait(10)
    assert list(p.ledger.allowed) == [(1, 1)]
    assert p.statuses((1, 2))[-1] == "Faulted"


def test_an_ev_that_needs_ventilation_gets_no_power(play) -> None:
    p = play()
    p.charging()
    assert kinds(p.pilot("D"), ef.StopPower)
    p.wait(300)
    assert p.ledger.allowed == {}
    assert p.told()[-1].charging_state == "SuspendedEVSE"


# --- lost views -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["meter_lost", "pilot_lost"])
def test_a_view_lost_for_a_short_time_suspends(play, fault: str) -> None:
    p = play()
    p.charging()
    told = len(p.story())
    assert kinds(p.raise_fault(fault), ef.StopPower)
    if fault == "meter_lost":
        p.pilot("B")
    p.wait(40)
    assert p.story()[told:] == [("Updated", "ChargingStateChanged", "SuspendedEVSE")]
    p.clear_fault(fault)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    assert p.story()[told + 1 :] == [("Updated", "ChargingStateChanged", "Charging")]


@pytest.mark.parametrize("fault", ["meter_lost", "pilot_lost"])
def test_a_view_lost_for_a_minute_ends(play, fault: str) -> None:
    p = play()
    p.charging()
    p.wait(100)
    p.meter_answers = False
    stored = [r for r in p.told() if r.samples][-1].samples[0].reading
    p.raise_fault(fault)
    if fault == "meter_lost":
        p.pilot("B")
    p.wait(59)
    assert p.told()[-1].event_type == "Updated"
    p.wait(12)
    assert end_of(p) == ("Ended", "AbnormalCondition", "Other")
    assert p.told()[-1].samples[0].reading == stored


def test_both_views_lost_one_after_the_other_count_as_one_loss(play) -> None:
    p = play()
    p.charging()
    p.raise_fault("meter_lost")
    p.pilot("B")
    p.wait(40)
    p.raise_fault("pilot_lost")
    p.clear_fault("meter_lost")
    p.wait(31)
    assert end_of(p) == ("Ended", "AbnormalCondition", "Other")


@pytest.mark.parametrize("state", ["E", "F", "unknown"])
def test_a_pilot_that_tells_nothing_for_a_minute_ends_the_charge(play, state: str) -> None:
    p = play()
    p.charging()
    assert kinds(p.pilot(state), ef.StopPower)
    p.wait(50)
    assert p.told()[-1].event_type == "Updated"
    p.wait(15)
    assert end_of(p) == ("Ended", "AbnormalCondition", "Other")


def test_a_found_controller_sells_nothing_before_it_was_seen(play) -> None:
    p = play()
    p.charging()
    p.raise_fault("pilot_lost")
    p.clear_fault("pilot_lost")
    p.wait(30)
    assert p.ledger.allowed == {}
    p.pilot("B")
    p.wait(6)
    assert list(p.ledger.allowed) == [(1, 1)]


def test_a_meter_that_was_silent_for_one_sample_is_asked_until_it_answers(play) -> None:
    p = play()
    p.charging()
    p.meter_answers = False
    p.wait(30)
    p.wait(45)
    p.meter_answers = True
    before = len(p.told())
    p.wait(3)
    assert p.told()[before].trigger_reason == "MeterValuePeriodic"


@pytest.mark.parametrize("situation", ["opening", "sample", "ending", "unplugged"])
def test_a_silent_meter_never_makes_the_loop_spin(play, situation: str) -> None:
    """`wait` fails when a deadline stands still."""
    p = play(tx_start_point=frozenset({"EVConnected"}))
    if situation in ("opening", "unplugged"):
        p.meter_answers = False
        p.pilot("B")
        if situation == "unplugged":
            p.pilot("A")
    else:
        p.charging()
        p.meter_answers = False
        p.wait(61)
        p.wait(1)
        if situation == "ending":
            p.swipe()
    p.wait(40)
    p.raise_fault("emergency_stop")
    p.wait(300, ticks_at_most=30)


# --- the power path -------------------------------------------------------------------------------


def test_a_path_not_seen_open_is_told_after_10_s_and_faults_until_it_is(play) -> None:
    p = play()
    p.charging()
    p.swipe()
    p.wait(9)
    assert p.told()[-1].event_type == "Updated"
    p.wait(2)
    assert end_of(p) == ("Ended", "StopAuthorized", "Local")
    assert p.statuses()[-1] == "Faulted"
    assert any("inspect it" in e.text for e in kinds(p.effects, ef.Log))
    p.swipe()
    assert len(p.ledger.told) == 1
    p.pilot("B")
    assert p.statuses()[-1] == "Occupied"
    p.swipe()
    assert len(p.ledger.told) == 2


def test_without_an_open_path_the_meter_as_it_stands_at_last_is_the_end_value(play) -> None:
    p = play()
    p.charging()
    p.swipe()
    p.wait(8)
    p.meter()
    at_8_s_wh = p.energy_wh[1]
    p.wait(3)
    assert p.told()[-1].samples[0].reading.energy_wh == at_8_s_wh


def test_without_an_open_path_the_meter_is_asked_once_for_the_end(play) -> None:
    p = play()
    p.charging()
    stopped_at_s = p.now_s
    assert len(kinds(p.swipe(), ef.ReadMeter)) == 1
    assert not kinds(p.wait(11), ef.ReadMeter)
    assert p.told()[-1].samples[0].reading.at_s == stopped_at_s


def test_a_welded_contactor_of_the_guard_is_a_fault_until_seen_open_and_serviced(play) -> None:
    p = play()
    p.pilot("A", closed=True)
    p.guard_stops("welded_contactor: power path closed although it must be open")
    assert p.statuses()[-1] == "Faulted"
    assert p.evse.connectors[1].faults == {"welded_contactor"}
    p.pilot("B", closed=True)
    p.swipe()
    p.wait(60)
    assert p.told() == []
    p.pilot("B")
    assert p.statuses()[-1] == "Faulted"
    p.do(ev.Serviced(1, 1))
    assert p.statuses()[-1] == "Occupied"


# --- the guard ------------------------------------------------------------------------------------


def test_after_a_guard_stop_power_comes_back_after_a_pause(play) -> None:
    p = play()
    p.charging()
    assert not kinds(p.guard_stops("no fresh meter reading"), ef.AllowPower)
    assert not kinds(p.wait(1.9), ef.AllowPower)
    assert kinds(p.wait(0.2), ef.AllowPower) == [ef.AllowPower(1, 1, 32.0, p.permit)]


def test_over_current_ends_the_charge_and_faults_until_the_ev_leaves(play) -> None:
    p = play()
    p.charging()
    p.guard_stops("over_current: more flows than is offered")
    p.pilot("B")
    p.wait(2)
    assert end_of(p) == ("Ended", "AbnormalCondition", "OvercurrentFault")
    assert p.statuses()[-1] == "Faulted"
    p.pilot("A")
    assert p.statuses()[-1] == "Available"


def test_power_that_the_guard_stops_again_and_again_is_not_allowed_for_ever(play) -> None:
    p = play()
    p.charging()
    allowed_at_s = []
    for _ in range(4):
        p.guard_stops("power path unknown")
        for _ in range(60):
            p.wait(1)
            if p.ledger.allowed:
                break
        assert p.ledger.allowed, "still given another chance"
        allowed_at_s.append(p.now_s)
    pauses = [b - a for a, b in itertools.pairwise(allowed_at_s)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 3 * pauses[0]
    p.guard_stops("power path unknown")
    p.pilot("B")
    p.wait(2)
    assert end_of(p) == ("Ended", "AbnormalCondition", "Other")
    assert p.statuses()[-1] == "Faulted"
    p.pilot("A")
    p.charging()


def test_guard_stops_far_apart_are_forgotten(play) -> None:
    p = play()
    p.charging()
    for _ in range(8):
        p.guard_stops("no fresh meter reading")
        p.wait(200)
        p.pilot("C", closed=True)
    assert list(p.ledger.allowed) == [(1, 1)]


def test_a_refused_order_takes_back_what_was_allowed_and_pauses_longer_each_time(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    effects = p.do(ev.OrderRefused(1, 1, "no fresh view"))
    assert kinds(effects, ef.StopPower) == [ef.StopPower(1, 1)]
    orders = 0
    for _ in range(300):
        p.wait(1)
        if p.ledger.allowed:
            orders += 1
            p.do(ev.OrderRefused(1, 1, "no fresh view"))
    assert 5 <= orders <= 12


def test_a_raise_that_is_refused_leaves_no_power_behind(play) -> None:
    """The lower limit is still allowed at the guard when the raise is refused."""
    p = play()
    p.do(ev.CurrentLimited(1, 10.0))
    p.charging()
    p.do(ev.CurrentLimited(1, None))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}
    effects = p.do(ev.OrderRefused(1, 1, "no fresh meter reading"))
    assert kinds(effects, ef.StopPower) == [ef.StopPower(1, 1)]
    p.swipe()
    assert p.ledger.allowed == {}


def test_unplugging_ends_all_pauses(play) -> None:
    p = play()
    p.charging()
    for _ in range(3):
        p.guard_stops("power path unknown")
    p.pilot("A")
    p.wait(3)
    p.pilot("B")
    p.swipe()
    p.wait(6)
    assert list(p.ledger.allowed) == [(1, 1)]
