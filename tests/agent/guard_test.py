"""The guard: every rule by a table, permits, and that nothing but a stop happens by itself."""

import pytest
from msgspec.structs import replace

from agent.guard import NEEDLESS_S, UNKNOWN_PATH_S
from drivers.contract import Permit, PilotReading, PilotState, PowerPath
from tests.agent.guard_scene import HERE, THERE, Scene


def test_a_healthy_charge_is_left_alone_for_hours() -> None:
    scene = Scene().allowed()
    scene.wait(3 * 3600)
    assert (scene.orders, scene.stops) == ([], [])


def test_each_tick_shows_that_the_guard_moves() -> None:
    scene = Scene()
    scene.guard.tick()
    scene.guard.tick()
    assert scene.guard.moves == 2
    assert scene.guard.permit == Permit(0)


def test_a_reading_is_judged_by_its_own_time_not_by_its_arrival() -> None:
    scene = Scene()
    scene.meter()
    old = PilotReading(scene.now_s - 30.0, PilotState.B, PowerPath.OPEN)
    scene.guard.see_pilot(HERE, old)
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is not None
    scene.guard.see_pilot(HERE, replace(old, at_s=scene.now_s))
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None


# --- every rule: (what goes wrong, order it leads to, cause) ---

TROUBLE = [
    (lambda s: s.pilot("A", "open"), "stop", "pilot state A"),
    (lambda s: s.pilot("D"), "emergency", "pilot state D"),
    (lambda s: s.pilot("E"), "emergency", "pilot state E"),
    (lambda s: s.pilot("F"), "emergency", "pilot state F"),
    (lambda s: s.pilot("unknown"), "stop", "pilot state unknown"),
    (lambda s: s.pilot(faults=["rcd", "ground"]), "emergency", "fault: ground, rcd"),
    (lambda s: s.guard.lost(HERE, "pilot1 lost"), "stop", "pilot1 lost"),
    (lambda s: s.guard.lost_meter(1, "meter1 lost"), "stop", "meter1 lost"),
    (lambda s: s.wait(4, pilot=False), "stop", "no fresh view of the pilot controller"),
    (lambda s: s.wait(11, meter=False), "stop", "no fresh meter reading"),
    (lambda s: s.wait(UNKNOWN_PATH_S + 2, path="unknown"), "stop", "power path unknown"),
    (lambda s: s.guard.stop_all("events cannot be stored"), "stop", "events cannot be stored"),
    (
        lambda s: s.wait(NEEDLESS_S + 2, state="B"),
        "stop",
        "power path stays closed although the EV asks for no power",
    ),
    (lambda s: s.lock(False), "stop", "the plug lock is open"),
]


@pytest.mark.parametrize(("trouble", "order", "cause"), TROUBLE, ids=[t[2] for t in TROUBLE])
def test_trouble_stops_power_once_and_voids_permits(trouble, order: str, cause: str) -> None:
    scene = Scene().allowed()
    permit = scene.guard.permit
    trouble(scene)
    assert scene.orders[0] == order
    assert set(scene.orders) == {order}
    assert scene.causes == [cause]
    assert scene.guard.permit > permit
    assert scene.pilots[THERE].orders == [], "the other connector is left alone"
    assert scene.guard.allow(HERE, 16.0, permit) is not None


BEFORE_TROUBLE = [
    lambda s: s.wait(3, pilot=False),
    lambda s: s.wait(9, meter=False),
    lambda s: s.wait(UNKNOWN_PATH_S - 1, path="unknown"),
    lambda s: s.wait(NEEDLESS_S, state="B"),
    lambda s: s.lock(True),
]


@pytest.mark.parametrize("nearly", BEFORE_TROUBLE)
def test_what_is_not_trouble_yet_stops_nothing(nearly) -> None:
    scene = Scene().allowed()
    nearly(scene)
    scene.wait(2)
    assert (scene.orders, scene.stops) == ([], [])


def test_slow_devices_have_longer_ages() -> None:
    scene = Scene(report_interval_s=5.0, meter_interval_s=20.0).allowed()
    scene.wait(14, pilot=False, meter=False)
    assert scene.stops == []
    scene.wait(2, pilot=False, meter=False)
    assert scene.causes == ["no fresh view of the pilot controller"]
    other = Scene(meter_interval_s=20.0).allowed()
    other.wait(59, meter=False)
    assert other.stops == []
    other.wait(2, meter=False)
    assert other.causes == ["no fresh meter reading"]


# --- permits ---


def test_an_order_decided_before_a_guard_stop_is_refused_one_after_it_is_accepted() -> None:
    scene = Scene().allowed()
    before = scene.guard.permit
    scene.wait(11, meter=False)
    assert scene.causes == ["no fresh meter reading"]
    scene.pilot("B", "open")
    scene.meter()
    refusal = scene.guard.allow(HERE, 16.0, before)
    assert refusal == "the guard stopped power after this was decided"
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None
    assert scene.orders == ["stop", "allow 16"]


def test_what_a_device_says_while_it_is_stopped_gives_no_permit() -> None:
    """The core hears that report before it hears of the stop."""
    scene = Scene().allowed()
    heard_with: list[Permit] = []
    scene.pilots[HERE].stop = lambda: heard_with.append(scene.guard.permit)  # type: ignore[method-assign]
    scene.guard.stop_all("events cannot be stored")
    (permit,) = heard_with
    refusal = scene.guard.allow(HERE, 16.0, permit)
    assert refusal == "the guard stopped power after this was decided"


def test_a_raise_that_makes_the_guard_stop_is_refused_though_the_stop_mends_what_was_wrong() -> (
    None
):
    """The device is silent for too long, and speaks when it is told to stop."""
    scene = Scene().allowed(10.0)
    permit = scene.guard.permit
    scene.now_s += 5.0
    scene.pilots[HERE].stop = lambda: scene.pilot("C", "open")  # type: ignore[method-assign]
    refusal = scene.guard.allow(HERE, 16.0, permit)
    assert refusal == "the guard stopped power after this was decided"
    assert scene.causes == ["no fresh view of the pilot controller"]
    assert scene.orders == []


def test_a_stop_at_one_connector_leaves_the_permits_of_the_other() -> None:
    scene = Scene().allowed()
    scene.pilot("B", "open", place=THERE)
    scene.meter(evse_id=2)
    permit = scene.guard.permit
    scene.pilot(faults=["rcd"])
    assert scene.guard.allow(THERE, 16.0, permit) is None


@pytest.mark.parametrize("gone", ["A", "unknown", "E"])
def test_an_order_for_an_ev_that_left_does_not_reach_the_next_one(gone: str) -> None:
    """The order waited for the disk while one EV left and another came."""
    scene = Scene()
    scene.pilot("B", "open")
    scene.meter()
    permit = scene.guard.permit
    scene.pilot(gone, "open")
    scene.pilot("B", "open")
    assert scene.guard.allow(HERE, 16.0, permit) is not None
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None
    assert scene.stops == [], "nothing was allowed, so nothing was stopped"


def test_a_stop_by_the_core_voids_no_permit() -> None:
    scene = Scene().allowed()
    permit = scene.guard.permit
    scene.guard.stop(HERE, emergency=False)
    scene.pilot("B", "open")
    assert scene.guard.allow(HERE, 16.0, permit) is None
    assert scene.orders == ["stop", "allow 16"]
    assert scene.stops == []


# --- orders against what is seen ---

REFUSED = [
    (lambda s: s.meter(), "no fresh view of the pilot controller"),
    (lambda s: s.pilot("B", "open"), "no fresh meter reading"),
    (lambda s: (s.meter(), s.pilot("A", "open")), "pilot state A"),
    (lambda s: (s.meter(), s.pilot("B", "unknown")), "power path unknown"),
    (lambda s: (s.meter(), s.pilot("B", "open", faults=["rcd"])), "fault: rcd"),
    (
        lambda s: (s.meter(), s.pilot("B", "open"), s.guard.lost(HERE, "lost")),
        "no fresh view of the pilot controller",
    ),
    (
        lambda s: (s.pilot("B", "open"), s.meter(), s.guard.lost_meter(1, "lost")),
        "no fresh meter reading",
    ),
]


@pytest.mark.parametrize(("seen", "why"), REFUSED)
def test_an_order_against_what_the_guard_sees_is_refused(seen, why: str) -> None:
    scene = Scene()
    seen(scene)
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) == why
    assert scene.orders == []


def test_a_raise_while_the_view_is_old_stops_power_instead() -> None:
    """Refusing the raise alone would leave the lower limit allowed on a stale view."""
    scene = Scene().allowed(10.0)
    scene.now_s += 20.0
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is not None
    assert scene.orders == ["stop"]


def test_a_path_unknown_for_a_moment_does_not_refuse_a_raise() -> None:
    scene = Scene().allowed(10.0)
    scene.pilot("C", "unknown")
    assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None


def test_a_withdrawal_only_lowers_and_never_energises() -> None:
    scene = Scene()
    scene.guard.withdraw(HERE, 6.0)
    scene.allowed(16.0)
    scene.guard.withdraw(HERE, 20.0)
    scene.guard.withdraw(HERE, 10.0)
    assert scene.orders == ["allow 10"]


@pytest.mark.parametrize("state", ["A", "B", "C", "D", "E", "F", "unknown"])
@pytest.mark.parametrize("path", ["open", "closed", "unknown"])
def test_nothing_is_ever_allowed_by_itself(state: str, path: str) -> None:
    scene = Scene().allowed()
    scene.guard.stop(HERE, emergency=False)
    scene.wait(60, state=state, path=path)
    scene.wait(60, state="C", path="open")
    assert not any(order.startswith("allow") for order in scene.orders)
