"""What waits for service, and what a restart remembers of a residual current."""

import pytest

from agent.core import events as ev
from agent.core.events import TokenInfo
from agent.core.site import Safety
from tests.agent.core.conftest import card

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


def test_a_card_from_before_a_residual_current_does_not_start_the_charge_after_it(play) -> None:
    """Found by the safety machine: the CSMS answered a moment after the trip."""
    p = play()
    p.charging()
    p.csms_answers = False
    p.swipe("OTHER")
    p.wait(0.1)
    p.pilot("C", closed=True, faults=["rcd"])
    p.pilot("B")
    p.do(ev.TokenAnswered(card("OTHER"), TokenInfo("Accepted")))
    p.wait(60)
    assert p.ledger.allowed == {}
    p.csms_answers = True
    p.swipe("OTHER")
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}, "presented again"


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


@pytest.mark.parametrize("trouble", ["an ending", "an emergency stop"])
def test_a_residual_current_counts_though_something_else_ended_the_charge(play, trouble) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.wait(6)
    if trouble == "an ending":
        p.do(ev.StopRequested(p.station.transaction_id(1)))
    faults = ["rcd"] if trouble == "an ending" else ["rcd", "emergency_stop"]
    p.pilot("C", closed=True, faults=faults)
    p.pilot("B")
    p.wait(20)
    p.reboot()
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}
