"""What the core adds to safety beside the guard: races with the contactor, the cable, the pace."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import StopCause
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
