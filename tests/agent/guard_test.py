"""The guard: every rule by a table, permits, and that nothing but a stop happens by itself."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from agent.guard import (
    CUT_AGAIN_S,
    NEEDLESS_S,
    OVER_CURRENT_S,
    RELAX_S,
    TICK_S,
    UNKNOWN_PATH_S,
    Guard,
)
from drivers.contract import (
    MeterReading,
    Permit,
    PilotCapabilities,
    PilotReading,
    PilotState,
    PowerPath,
)

HERE, THERE = (1, 1), (2, 1)
OPENS_WITHIN_S = 3.0


class Pilot:
    """A controller that only notes its orders."""

    name = "pilot"

    def __init__(self, report_interval_s: float = 1.0) -> None:
        self.orders: list[str] = []
        self.capabilities = PilotCapabilities(
            True, True, OPENS_WITHIN_S, report_interval_s, has_lock=True
        )

    def allow_power(self, limit_a: float) -> None:
        self.orders.append(f"allow {limit_a:g}")

    def stop(self) -> None:
        self.orders.append("stop")

    def emergency_stop(self) -> None:
        self.orders.append("emergency")


class Scene:
    """A guard over two EVSEs; healthy reports unless told otherwise."""

    def __init__(self, *, report_interval_s: float = 1.0, meter_interval_s: float = 1.0) -> None:
        self.now_s = 500.0
        self.pilots = {p: Pilot(report_interval_s) for p in (HERE, THERE)}
        self.stops: list[tuple[tuple[int, int], str]] = []
        intervals = {1: meter_interval_s, 2: meter_interval_s}
        self.guard = Guard(
            self.pilots,
            intervals,
            lambda: self.now_s,
            lambda place, cause: self.stops.append((place, cause)),
        )

    @property
    def orders(self) -> list[str]:
        return self.pilots[HERE].orders

    @property
    def causes(self) -> list[str]:
        return [cause for place, cause in self.stops if place == HERE]

    def pilot(
        self,
        state: str = "C",
        path: str = "closed",
        *,
        faults: Iterable[str] = (),
        place: tuple[int, int] = HERE,
    ) -> None:
        reading = PilotReading(
            self.now_s, PilotState(state), PowerPath(path), faults=frozenset(faults)
        )
        self.guard.see_pilot(place, reading)

    def meter(self, current_a: float = 0.0, evse_id: int = 1) -> None:
        reading = MeterReading(self.now_s, 1000.0, current_a=(current_a, 0.0, 0.0))
        self.guard.see_meter(evse_id, reading)

    def lock(self, locked: bool) -> None:
        self.guard.see_lock(HERE, locked)

    def allowed(self, limit_a: float = 16.0) -> "Scene":
        """Power allowed and flowing."""
        self.pilot("B", "open")
        self.meter()
        assert self.guard.allow(HERE, limit_a, self.guard.permit) is None
        self.pilot("C", "closed")
        self.orders.clear()
        return self

    def wait(self, seconds: float, *, pilot: bool = True, meter: bool = True, **seen: str) -> None:
        """Seconds of healthy reports, as far as wanted, and the guard's ticks."""
        for _ in range(round(seconds)):
            self.now_s += 1.0
            if pilot:
                self.pilot(**seen)
            if meter:
                self.meter()
            self.guard.tick()


def test_a_healthy_charge_is_left_alone_for_hours() -> None:
    scene = Scene().allowed()
    scene.wait(3 * 3600)
    assert (scene.orders, scene.stops) == ([], [])


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


# --- over-current ---


@pytest.mark.parametrize(("current_a", "stops"), [(18.1, False), (18.2, True), (60.0, True)])
def test_over_current_counts_from_offer_plus_half_an_ampere_plus_a_tenth(current_a, stops) -> None:
    scene = Scene().allowed(16.0)
    for _ in range(int(OVER_CURRENT_S) + 3):
        scene.wait(1, meter=False)
        scene.meter(current_a)
    assert scene.causes == (["over_current: more flows than is offered"] if stops else [])


def test_a_short_excess_is_forgotten() -> None:
    scene = Scene().allowed(16.0)
    for _ in range(5):
        for current_a in (25.0,) * 8 + (16.0,):
            scene.wait(1, meter=False)
            scene.meter(current_a)
    assert scene.stops == []


def test_an_ev_has_time_to_follow_a_lower_limit() -> None:
    scene = Scene().allowed(32.0)
    scene.guard.withdraw(HERE, 6.0)
    for second in range(30):
        scene.wait(1, meter=False)
        scene.meter(32.0 if second < 6 else 6.0)
    assert scene.stops == []
    assert scene.orders == ["allow 6"]


def test_silence_of_a_slow_meter_is_not_an_over_current() -> None:
    """One reading just after the limit was lowered says nothing about 10 s later."""
    scene = Scene(meter_interval_s=10.0).allowed(32.0)
    scene.guard.withdraw(HERE, 6.0)
    scene.meter(32.0)
    scene.wait(12, meter=False)
    assert scene.stops == []
    scene.meter(32.0)
    assert scene.causes == ["over_current: more flows than is offered"]


def test_raises_forgive_no_over_current() -> None:
    """A limit that moves every few seconds would otherwise begin the count anew each time."""
    scene = Scene().allowed(6.0)
    for second in range(20):
        scene.wait(1, meter=False)
        scene.meter(32.0)
        if scene.stops:
            break
        if second % 5 == 4:
            assert scene.guard.allow(HERE, 6.0 + second / 10, scene.guard.permit) is None
    assert scene.causes == ["over_current: more flows than is offered"]
    assert second <= OVER_CURRENT_S + 1


def test_a_raise_that_explains_the_current_ends_the_count() -> None:
    scene = Scene().allowed(6.0)
    for second in range(30):
        if second == 8:
            assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.stops == []


def test_an_ev_that_follows_a_ramp_four_seconds_behind_is_left_alone() -> None:
    scene = Scene().allowed(32.0)
    offers = [32.0] * 4
    for _ in range(26):
        offers.append(offers[-1] - 1.0)
        scene.guard.withdraw(HERE, offers[-1])
        scene.wait(1, meter=False)
        scene.meter(offers[-4])
    assert scene.stops == []
    for _ in range(15):
        scene.guard.withdraw(HERE, offers[-1])
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.causes[0] == "over_current: more flows than is offered", "it stays behind"


def test_a_charge_after_a_stop_is_not_judged_by_the_one_before() -> None:
    scene = Scene().allowed(6.0)
    for _ in range(9):
        scene.wait(1, meter=False)
        scene.meter(16.0)
    scene.guard.stop(HERE, emergency=False)
    scene.pilot("B", "open")
    assert scene.guard.allow(HERE, 6.0, scene.guard.permit) is None
    for _ in range(9):
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.stops == []


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
