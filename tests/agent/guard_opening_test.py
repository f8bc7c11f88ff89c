"""What follows a stop: a path that does not open, the plug lock, how long a pilot is held."""

import pytest
from msgspec.structs import replace

from agent.guard import CUT_AGAIN_S, NEEDLESS_S, RELAX_S, TICK_S
from tests.agent.guard_scene import HERE, OPENS_WITHIN_S, Scene

# --- a path that does not open ---


def test_a_path_that_stays_closed_is_cut_again_and_again_but_told_once() -> None:
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    scene.wait(OPENS_WITHIN_S + TICK_S)
    assert scene.orders == ["stop"], "a graceful stop has its time"
    scene.wait(20)
    assert scene.orders.count("emergency") >= 20 / (CUT_AGAIN_S + 2)
    assert scene.causes == ["welded_contactor: power path closed although it must be open"]
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit).startswith("welded_contactor")
    scene.wait(5, state="B", path="open")
    count = scene.orders.count("emergency")
    scene.wait(20, state="B", path="open")
    assert scene.orders.count("emergency") == count
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None


def test_a_controller_that_fell_silent_is_cut_but_not_called_welded() -> None:
    """What was seen before the path had to be open proves nothing about the contacts."""
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    for _ in range(20):
        scene.now_s += 1.0
        scene.guard.tick()
    assert "emergency" in scene.orders
    assert scene.causes == []
    scene.wait(1, state="C", path="closed")
    assert scene.causes == ["welded_contactor: power path closed although it must be open"]


def test_it_is_told_again_when_it_happens_again() -> None:
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    scene.wait(10)
    scene.wait(5, state="B", path="open")
    scene.wait(3, state="B", path="closed")
    assert len(scene.causes) == 2


def test_repeated_stops_of_the_core_do_not_put_the_cut_off() -> None:
    scene = Scene().allowed()
    for _ in range(20):
        scene.guard.stop(HERE, emergency=False)
        scene.wait(1)
    assert "emergency" in scene.orders
    assert len(scene.causes) == 1


def test_a_path_found_closed_at_the_start_is_opened_gracefully_first() -> None:
    scene = Scene()
    scene.guard.stop(HERE, emergency=False)
    scene.wait(OPENS_WITHIN_S, state="C", path="closed")
    assert scene.orders == ["stop"]
    scene.wait(4, state="C", path="closed")
    assert scene.orders[-1] == "emergency"


def test_a_controller_found_again_gets_its_time_to_obey() -> None:
    """It did not hear the stop while it was lost."""
    scene = Scene().allowed()
    scene.guard.lost(HERE, "lost")
    scene.pilot("unknown", "unknown")
    scene.now_s += 60.0
    scene.wait(OPENS_WITHIN_S, state="C", path="closed")
    assert scene.causes == ["lost"]
    scene.wait(5, state="C", path="closed")
    assert scene.causes[1:] == ["welded_contactor: power path closed although it must be open"]


def test_a_path_that_closes_without_permission_is_cut_at_once() -> None:
    scene = Scene()
    scene.wait(60, state="B", path="open")
    scene.wait(1, state="C", path="closed")
    assert scene.orders == ["emergency"]
    assert scene.causes == ["welded_contactor: power path closed although it must be open"]


def test_a_path_that_does_not_open_when_the_ev_lets_go_is_stopped_then_cut() -> None:
    scene = Scene().allowed()
    scene.wait(NEEDLESS_S + 2, state="B")
    assert scene.orders == ["stop"]
    scene.wait(OPENS_WITHIN_S + TICK_S + 1, state="B")
    assert scene.orders == ["stop", "emergency"]
    assert scene.causes[1:] == ["welded_contactor: power path closed although it must be open"]


# --- the plug lock ---


def test_no_order_passes_while_the_plug_lock_is_open() -> None:
    scene = Scene()
    scene.pilot("B", "open")
    scene.meter()
    permit = scene.guard.permit
    scene.lock(False)
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) == "the plug lock is open"
    scene.lock(True)
    assert scene.guard.allow(HERE, 16.0, permit) is not None, "decided before it was seen open"
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None


def test_the_lock_of_a_connector_that_needs_none_stops_nothing() -> None:
    scene = Scene().allowed()
    pilot = scene.pilots[HERE]
    pilot.capabilities = replace(pilot.capabilities, has_lock=False)
    scene.lock(False)
    assert (scene.orders, scene.stops) == ([], [])


# --- emergency stops ---


def test_an_emergency_stop_is_not_softened_by_a_later_graceful_one() -> None:
    scene = Scene().allowed()
    scene.pilot(faults=["rcd"])
    scene.guard.stop(HERE, emergency=False)
    assert scene.orders == ["emergency", "emergency"]


@pytest.mark.parametrize("seen", [{"faults": ["rcd"]}, {"state": "E"}, {"state": "D"}])
def test_a_fault_during_a_graceful_stop_cuts_at_once(seen: dict[str, object]) -> None:
    """The stop before may still wait for the EV to let go."""
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    scene.pilot(**seen)  # type: ignore[arg-type]
    scene.pilot(**seen)  # type: ignore[arg-type]
    assert scene.orders == ["stop", "emergency"]


def test_a_fault_with_the_path_open_needs_no_cut() -> None:
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    scene.pilot("B", "open", faults=["rcd"])
    assert scene.orders == ["stop"]


def test_after_an_emergency_stop_the_pilot_is_released_once_open_and_without_fault() -> None:
    """With -12 V on the pilot nobody can see the EV leave, and no order would ever pass."""
    scene = Scene().allowed()
    scene.pilot("C", faults=["rcd"])
    for _ in range(10):
        scene.now_s += 1.0
        scene.pilot("F", "open", faults=["rcd"])
    assert scene.orders == ["emergency"], "not while the fault stands"
    scene.pilot("F", "open")
    assert scene.orders == ["emergency", "stop"]
    scene.wait(20, state="B", path="open")
    assert scene.orders == ["emergency", "stop"]
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None


def test_the_pilot_is_held_for_a_moment_before_it_is_released() -> None:
    scene = Scene().allowed()
    scene.pilot("E")
    scene.pilot("F", "open")
    assert scene.orders == ["emergency"]
    scene.now_s += RELAX_S
    scene.guard.tick()
    assert scene.orders == ["emergency", "stop"]
