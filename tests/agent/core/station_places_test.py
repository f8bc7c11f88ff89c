"""Where a charge may begin: availability at each level, connectors of an EVSE, faults beside it."""

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from drivers.contract import PilotReading, PilotState, PowerPath
from tests.agent.core.told import texts

# --- availability, places -------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1)])
def test_nothing_starts_where_nothing_may(play, place: tuple[int, int]) -> None:
    p = play()
    p.do(ev.AvailabilityRequested(*place, False))
    assert p.statuses()[-1] == "Unavailable"
    p.pilot("B")
    p.swipe()
    assert p.told() == []
    p.pilot("A")
    p.do(ev.AvailabilityRequested(*place, True))
    assert p.statuses()[-1] == "Available"
    p.pilot("B")
    p.swipe()
    assert len(p.told()) == 1


def test_operative_again_restores_what_each_level_had(play) -> None:
    p = play([(1,), (1,)])
    p.do(ev.AvailabilityRequested(2, 0, False))
    p.do(ev.AvailabilityRequested(0, 0, False))
    p.do(ev.AvailabilityRequested(0, 0, True))
    assert p.station.status((1, 1)) == "Available"
    assert p.station.status((2, 1)) == "Unavailable"
    p.do(ev.AvailabilityRequested(0, 0, False))
    p.start()
    assert p.station.status((1, 1)) == "Unavailable"
    p.do(ev.AvailabilityRequested(0, 0, True))
    assert p.station.status((1, 1)) == "Available"
    assert p.station.status((2, 1)) == "Unavailable"


def test_a_running_charge_goes_on_and_the_connector_is_unavailable_after_it(play) -> None:
    p = play()
    p.charging()
    p.do(ev.AvailabilityRequested(1, 0, False))
    p.wait(60)
    assert (1, 1) in p.ledger.allowed
    p.swipe()
    p.pilot("B")
    p.wait(5)
    assert p.statuses()[-2:] == ["Occupied", "Unavailable"]


def test_a_card_accepted_before_it_became_unavailable_does_not_charge_later(play) -> None:
    p = play()
    p.swipe()
    p.do(ev.AvailabilityRequested(1, 0, False))
    assert "not possible" in texts(p.pilot("B"))
    p.do(ev.AvailabilityRequested(1, 0, True))
    p.wait(120)
    assert p.told() == []


def test_two_connectors_of_an_evse_serve_one_ev_at_a_time(play) -> None:
    p = play([(1, 2)])
    first = p.charging("ONE", (1, 2))
    p.pilot("B", (1, 1))
    assert p.story(first)[-1][1] != "CablePluggedIn", "the other cable is not this transaction's"
    p.swipe("TWO")
    assert list(p.ledger.allowed) == [(1, 2)]
    p.pilot("A", (1, 1))
    p.wait(5)
    assert p.told(first)[-1].event_type != "Ended"
    p.pilot("B", (1, 1))
    p.swipe("ONE")
    p.pilot("B", (1, 2))
    p.wait(5)
    p.swipe("TWO")
    p.wait(6)
    assert list(p.ledger.allowed) == [(1, 1)], "the EV that waits, not the one that is done"


def test_a_faulted_sibling_does_not_spoil_a_plugged_connector_nor_help_it(play) -> None:
    p = play([(1, 2)])
    p.raise_fault("lock", (1, 2))
    p.pilot("B", (1, 1))
    p.swipe()
    assert list(p.ledger.allowed) == [(1, 1)]
    q = play([(1, 2)])
    q.raise_fault("lock", (1, 1))
    q.pilot("B", (1, 1))
    assert "No free" in texts(q.swipe())


@pytest.mark.parametrize(
    "event",
    [
        ev.FaultRaised(9, 0, "x"),
        ev.GuardStopped(1, 9, "x"),
        ev.OrderRefused(9, 1, "x"),
        ev.AvailabilityRequested(9, 0, False),
    ],
)
def test_a_place_that_does_not_exist_is_logged_and_nothing_else(play, event) -> None:
    effects = play().do(event)
    assert [type(e) for e in effects] == [ef.Log]
    assert effects[0].level == 3


def test_a_status_is_told_with_the_time_the_plug_went_in(play) -> None:
    p = play()
    p.pilot("A")
    p.wait(100)
    plug = ev.PilotChanged(1, 1, PilotReading(p.now_s - 7.0, PilotState.B, PowerPath.OPEN))
    effects = p.station.handle(plug, replace(p.now(), happened_s=p.now_s - 7.0))
    (status,) = [e for e in effects if isinstance(e, ef.StatusChanged)]
    assert (status.status, status.at_s) == ("Occupied", p.now_s - 7.0)


def test_what_is_due_at_one_evse_is_not_forgotten_over_what_happens_at_another(play) -> None:
    """The disk was busy at that time, and the first that is heard after it is of the other EVSE."""
    p = play([(1,), (1,)])
    p.pilot("B")
    p.swipe(evse_ids=(1,))
    p.wait(10)
    p.now_s += 6.0
    p.meter(2)
    due_s = p.station.deadline(p.now())
    assert due_s is not None
    assert due_s <= p.now_s, "an EV that has not taken its offer for 15 s"
    p.wait(0)
    assert p.story()[-1] == ("Updated", "ChargingStateChanged", "SuspendedEV")
