"""What the core adds to safety beside the guard: races with the contactor, latches, pauses."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.caps import Caps
from agent.core.events import IdToken, StopCause
from agent.core.site import Safety
from tests.agent.core.told import kinds

# --- a contactor that is on its way ---------------------------------------------------------------


def test_a_path_that_was_open_at_the_stop_may_still_close_so_the_session_row_stays(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(6)
    p.pilot("C")  # the EV asks, the contacts move at this moment
    ended = p.swipe()
    assert kinds(ended, ef.StopPower)
    assert "transaction/1" in p.saved
    p.pilot("C", closed=True)
    p.wait(1)
    assert "transaction/1" in p.saved
    p.pilot("B", closed=False)
    p.wait(1)
    assert "transaction/1" not in p.saved


def test_one_view_that_nobody_asks_does_not_let_go_while_contacts_are_on_their_way(play) -> None:
    """Found by the safety machine: a letter that was wrong for a moment."""
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(6)
    p.pilot("C")
    p.swipe()
    p.wait(0.1)
    p.pilot("B", offered_a=0.0)
    assert "transaction/1" in p.saved
    p.pilot("C", closed=True, offered_a=0.0)
    p.wait(1)
    assert "transaction/1" in p.saved


def test_two_seconds_after_the_stop_an_open_path_is_believed(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(6)
    p.pilot("C")
    p.swipe()
    p.wait(1.9)
    assert "transaction/1" in p.saved
    p.wait(0.2)
    assert "transaction/1" not in p.saved


def test_the_plug_stays_locked_while_the_path_may_still_close(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=32.0)
    p.swipe()
    p.wait(6)
    p.pilot("C", cable_a=32.0)
    stopped = p.swipe()
    assert not kinds(stopped, ef.LockPlug)
    assert ef.LockPlug(1, 1, False) in p.wait(3)


def test_a_controller_that_is_found_lost_later_keeps_the_plug_longer(play) -> None:
    """It may not have heard the stop, and nobody knows yet."""
    p = play(fixed_cable=False, still_closes_s=16.0)
    p.pilot("B", cable_a=32.0)
    p.swipe()
    p.wait(6)
    p.pilot("C", cable_a=32.0)
    p.swipe()
    assert not kinds(p.wait(15.9), ef.LockPlug)
    assert ef.LockPlug(1, 1, False) in p.wait(0.2)


@pytest.mark.parametrize("cause", [StopCause.REBOOT, StopCause.POWER_LOSS])
def test_what_the_process_before_allowed_may_still_close_after_a_restart(play, cause) -> None:
    """Found by the safety machine: it ended a moment after its order had left."""
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=32.0)
    p.swipe()
    p.wait(6)
    p.pilot("C", cable_a=32.0)
    p.start(cause=cause)
    effects = p.pilot("C", cable_a=32.0)  # as it stood when the process ended
    assert not kinds(effects, ef.LockPlug)
    assert "transaction/1" in p.saved
    p.pilot("C", closed=True, cable_a=32.0)
    assert not kinds(p.wait(6), ef.LockPlug)
    assert "transaction/1" in p.saved
    p.pilot("C", cable_a=32.0)
    p.wait(1)
    assert "transaction/1" not in p.saved
    assert p.told()[-1].event_type == "Ended"


# --- the cable ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cable_a", "offer_a"), [(None, 13.0), (20.0, 20.0), (63.0, 32.0)])
def test_a_loose_cable_whose_coding_nobody_tells_is_taken_for_the_thinnest(
    play, cable_a: float | None, offer_a: float
) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=cable_a)
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): offer_a}


def test_a_coding_that_gets_lost_during_the_charge_lowers_at_once(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=20.0)
    p.swipe()
    p.wait(6)
    p.pilot("C", cable_a=20.0, closed=True)
    p.pilot("C", cable_a=None, closed=True)
    assert p.ledger.allowed == {(1, 1): 13.0}
    p.pilot("C", cable_a=20.0, closed=True)
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 20.0}


def test_an_empty_socket_has_no_cable(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("A")
    assert p.station.hardware_limit_a(1) == 32.0


# --- the pace of the offers -----------------------------------------------------------------------


def offers(effects: list[object]) -> list[float]:
    return [e.limit_a for e in effects if isinstance(e, ef.AllowPower | ef.WithdrawCurrent)]


def test_an_order_that_was_held_up_is_not_followed_by_another_within_five_seconds(play) -> None:
    """The share was there before; the controller and the EV hear of it only now."""
    p = play()
    p.do(ev.CurrentLimited(1, 10.0))
    p.charging()
    p.guard_stops("no fresh meter reading")
    p.wait(1.5)
    p.do(ev.CurrentLimited(1, 16.0))
    assert offers(p.wait(1.0)) == [16.0], "2 s after the stop"
    p.do(ev.CurrentLimited(1, 20.0))
    assert not offers(p.wait(4.4))
    assert offers(p.wait(0.2)) == [20.0]


def test_a_fairer_share_waits_for_the_ev_to_follow_a_lower_ceiling_does_not(play) -> None:
    p = play(((1,), (2,)), supply_a=32.0)
    p.charging("ONE", (1, 1))
    p.do(ev.CurrentLimited(1, 20.0))
    p.do(ev.CurrentLimited(1, None))
    p.wait(5.1)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.pilot("B", (2, 2))
    p.swipe("TWO", (2,))
    assert p.ledger.allowed == {(1, 1): 32.0}, "raised a moment ago: the second EV waits"
    p.wait(5)
    assert p.ledger.allowed == {(1, 1): 16.0}
    p.do(ev.CurrentLimited(1, 12.0))
    assert p.ledger.allowed == {(1, 1): 12.0}
    p.do(ev.CurrentLimited(0, 11.0))
    assert p.ledger.allowed == {(1, 1): 11.0}
    p.do(ev.CurrentLimited(0, None))
    p.wait(11)
    assert p.ledger.allowed == {(1, 1): 12.0, (2, 2): 20.0}


# --- an EV that gets nothing but goes on ----------------------------------------------------------


@pytest.mark.parametrize("is_measured", [True, False])
def test_what_a_starved_ev_still_draws_is_given_to_nobody_else(play, is_measured: bool) -> None:
    """It was told to stop and has not; its controller opens under load after 6 s, or never."""
    p = play(((1,), (2,)), supply_a=20.0)
    p.charging("ONE", (1, 1))
    p.do(ev.CurrentLimited(1, 0.0))
    assert p.ledger.allowed == {}
    p.pilot("B", (2, 2))
    p.swipe("TWO", (2,))
    p.wait(6)
    if is_measured:
        p.meter(1, current_a=(16.0, 16.0, 16.0))
    p.wait(1)
    assert p.ledger.allowed == {}
    p.pilot("C", (1, 1), closed=False)
    p.wait(6)
    assert p.ledger.allowed == {(2, 2): 20.0}


# --- what waits for service -----------------------------------------------------------------------

SERVICE = ev.Serviced(1, 1)


def latched(p) -> set[str]:
    return set(p.evse.connectors[1].latched_faults)


@pytest.mark.parametrize("fault", ["welded_contactor", "rcd", "dc_fault"])
def test_a_fault_that_waits_for_service_outlives_its_end_and_a_restart(play, fault: str) -> None:
    p = play(safety=Safety(rcd_needs_service=True))
    p.charging()
    p.pilot("C", closed=True, faults=[fault])
    p.pilot("A")
    p.wait(60)
    p.reboot()
    p.pilot("B")
    p.swipe()
    p.wait(60)
    assert p.ledger.allowed == {}
    assert p.statuses()[-1] == "Faulted"
    p.do(SERVICE)
    assert p.saved.keys() == set()
    assert p.statuses()[-1] == "Occupied"
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_service_before_the_repair_clears_nothing(play) -> None:
    p = play()
    p.pilot("A", closed=True, faults=["welded_contactor"])
    p.do(SERVICE)
    assert latched(p) == {"welded_contactor"}
    p.pilot("A", closed=True)
    p.do(SERVICE)
    assert latched(p) == {"welded_contactor"}, "the path is not seen open"
    p.pilot("A")
    p.do(SERVICE)
    assert latched(p) == set()


def test_without_that_setting_the_next_driver_charges_after_a_residual_current(
    play,
) -> None:
    p = play()
    p.charging()
    p.pilot("C", closed=True, faults=["rcd"])
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}, "never by itself"
    p.pilot("A")
    p.pilot("B")
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_free_power_does_not_come_back_by_a_restart_after_a_residual_current(play) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.pilot("C", closed=True)
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.pilot("C", closed=True, faults=["rcd"])
    p.reboot()
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}, "the same EV is plugged in"
    p.reboot()
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}
    p.pilot("A")
    p.pilot("B")
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}, "the next one"
    assert "tripped" not in p.saved


def test_a_card_is_enough_after_a_residual_current_and_a_restart(play) -> None:
    p = play()
    p.charging()
    p.pilot("C", closed=True, faults=["rcd"])
    p.reboot()
    p.pilot("B")
    p.wait(60)
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}
    assert "tripped" not in p.saved


def test_an_ev_that_left_while_the_station_was_off_takes_its_trip_along(play) -> None:
    p = play(auth_enabled=False, saved={"tripped": '["1/1"]'})
    p.pilot("A")
    p.pilot("B")
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_a_record_of_trips_that_cannot_be_read_counts_for_every_plugged_ev(play) -> None:
    p = play(auth_enabled=False, saved={"tripped": "{"})
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}


def test_a_record_of_latched_faults_that_cannot_be_read_counts_as_welded(play) -> None:
    p = play(saved={"latched": "{"})
    assert latched(p) == {"welded_contactor"}


# --- load comes back by and by --------------------------------------------------------------------


FOR_ALL = {"auth_enabled": False}
BUTTON = ev.TokenPresented(IdToken("", "NoAuthorization"), (1,))


def test_after_the_mains_returned_nothing_is_offered_for_a_time_by_chance(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0), **FOR_ALL)  # the bench's chance is a half
    p.pilot("B")
    p.wait(298)
    assert p.ledger.allowed == {}
    p.wait(4)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_a_remote_start_waits_for_the_time_by_chance_too(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0))
    p.pilot("B")
    p.do(ev.StartRequested(1, IdToken("APP", "Central"), None, 7))
    p.wait(298)
    assert p.ledger.allowed == {}
    p.wait(4)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_who_comes_in_person_does_not_wait_for_the_time_by_chance(play) -> None:
    """He comes at a time of his own; nobody else comes with him."""
    p = play(((1,), (2,)), safety=Safety(random_delay_s=600.0))
    p.pilot("B", (1, 1))
    p.swipe("CARD", (1,))
    p.pilot("B", (2, 2))
    p.do(ev.StartRequested(2, IdToken("APP", "Central"), None, 7))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}, "the other one waits on"


def test_the_start_button_begins_a_charge_that_waits_and_then_ends_it(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0), **FOR_ALL)
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}
    p.do(BUTTON)
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.do(BUTTON)
    p.wait(6)
    assert p.ledger.allowed == {}


def test_mains_that_return_while_the_board_runs_on_bring_load_back_by_and_by(play) -> None:
    p = play(((1,), (2,)), safety=Safety(random_delay_s=600.0), **FOR_ALL)
    p.start(cause=StopCause.REBOOT)
    p.raise_fault("no_mains", (1, 0))
    p.pilot("B", (2, 2))
    p.wait(10)
    p.clear_fault("no_mains", (1, 0))
    p.pilot("B", (1, 1))
    p.wait(298)
    assert p.ledger.allowed == {(2, 2): 32.0}, "the other one has never been without"
    p.wait(4)
    assert p.ledger.allowed.keys() == {(1, 1), (2, 2)}


def test_a_restart_of_the_process_alone_delays_nothing(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0))
    p.start(cause=StopCause.REBOOT)
    p.pilot("B")
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_more_current_for_a_running_charge_waits_by_chance_less_does_not(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0))
    p.start(cause=StopCause.REBOOT)
    p.do(ev.CurrentLimited(1, 10.0))
    p.charging()
    p.do(ev.CurrentLimited(1, 20.0))
    p.wait(298)
    assert p.ledger.allowed == {(1, 1): 10.0}
    p.do(ev.CurrentLimited(1, 8.0))
    assert p.ledger.allowed == {(1, 1): 8.0}
    p.do(ev.CurrentLimited(1, None))
    p.wait(299)
    assert p.ledger.allowed == {(1, 1): 8.0}
    p.wait(2)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.do(ev.CurrentLimited(1, 9.0))
    p.do(ev.CurrentLimited(1, 20.0))
    p.wait(290)
    assert p.ledger.allowed == {(1, 1): 9.0}, "each edge anew"


def test_a_new_charge_does_not_wait_for_the_edge_of_the_last(play) -> None:
    p = play(safety=Safety(random_delay_s=600.0))
    p.start(cause=StopCause.REBOOT)
    p.do(ev.CurrentLimited(1, 10.0))
    p.charging()
    p.do(ev.CurrentLimited(1, None))
    p.pilot("A")
    p.wait(20)
    p.pilot("B")
    p.swipe()
    p.wait(10)
    assert p.ledger.allowed == {(1, 1): 32.0}


# --- nobody steers --------------------------------------------------------------------------------

SILENT = Safety(csms_silent_s=120.0, failsafe_a=8.0)


def test_a_silent_csms_leaves_the_failsafe_current_until_it_is_back(play) -> None:
    p = play(safety=SILENT)
    p.charging()
    p.do(ev.CsmsLost())
    p.wait(119)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.wait(2)
    assert p.ledger.allowed == {(1, 1): 8.0}
    p.do(ev.CsmsReached())
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_a_csms_that_was_never_reached_is_silent_since_the_start(play) -> None:
    p = play(safety=SILENT, online=False, offline_unknown_id=True)
    p.wait(121)
    p.pilot("B")
    p.swipe()
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 8.0}


def test_a_failsafe_current_of_nothing_suspends(play) -> None:
    p = play(safety=Safety(csms_silent_s=60.0, failsafe_a=0.0))
    p.charging()
    p.do(ev.CsmsLost())
    p.wait(61)
    assert p.ledger.allowed == {}


# --- heat -----------------------------------------------------------------------------------------

HOT = Safety(derate_from_c=60.0, stop_at_c=80.0)


@pytest.mark.parametrize(
    ("temperature_c", "is_hot", "left_a"),
    [
        (None, False, 32.0),
        (60.0, False, 32.0),
        (60.0, True, 32.0),
        (70.0, False, 19.0),
        (79.0, False, 7.3),
        (80.0, False, 0.0),
        (61.0, True, 0.0),
    ],
)
def test_the_hotter_the_less(temperature_c, is_hot: bool, left_a: float) -> None:
    assert Caps(HOT).derated_a(32.0, temperature_c, is_hot) == pytest.approx(left_a)


def test_without_a_bound_in_the_file_heat_changes_nothing() -> None:
    assert Caps(Safety()).derated_a(32.0, 99.0, False) == 32.0


def test_a_hot_charge_is_lowered_stopped_and_taken_up_when_it_has_cooled_down(play) -> None:
    p = play(safety=HOT)
    p.charging()
    for temperature_c, offer_a in ((70.0, 19.0), (80.0, None), (62.0, None), (60.0, 32.0)):
        p.pilot("C", closed=offer_a is not None, temperature_c=temperature_c)
        p.wait(10)
        assert p.ledger.allowed.get((1, 1)) == offer_a, temperature_c


def test_a_sensor_that_falls_silent_has_not_cooled_down(play) -> None:
    p = play(safety=HOT)
    p.charging()
    p.pilot("C", closed=True, temperature_c=81.0)
    p.pilot("B", temperature_c=None)
    p.wait(60)
    assert p.ledger.allowed == {}
    p.pilot("B", temperature_c=70.0)
    p.pilot("B", temperature_c=59.0)
    p.wait(10)
    assert p.ledger.allowed == {(1, 1): 32.0}


# --- an EV that sleeps ----------------------------------------------------------------------------


def test_an_ev_that_does_not_take_its_offer_is_woken_once_by_a_pause(play) -> None:
    p = play(safety=Safety(wake_up_s=30.0))
    p.pilot("B")
    p.swipe()
    p.wait(29)
    assert p.ledger.allowed == {(1, 1): 32.0}
    states = len(p.told())
    found = p.wait(2)
    assert kinds(found, ef.StopPower) == [ef.StopPower(1, 1)]
    assert not kinds(found, ef.AllowPower)
    again = p.wait(4.1)
    assert [order.limit_a for order in kinds(again, ef.AllowPower)] == [32.0]
    assert not kinds(p.wait(300), ef.StopPower), "once"
    told = [r for r in p.told()[states:] if r.trigger_reason != "MeterValuePeriodic"]
    assert not told, "for the driver nothing changes"


def test_an_ev_that_has_charged_is_left_asleep(play) -> None:
    p = play(safety=Safety(wake_up_s=30.0))
    p.charging()
    p.pilot("B")
    assert not kinds(p.wait(300), ef.StopPower)
