"""What holds load back: a time by chance after the mains return, a silent CSMS, heat."""

import pytest

from agent.core import events as ev
from agent.core.caps import Caps
from agent.core.events import IdToken, StopCause
from agent.core.site import Safety

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
