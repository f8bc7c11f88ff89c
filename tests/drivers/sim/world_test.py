import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import PilotState
from drivers.sim.connector import Ev
from drivers.sim.world import World

HERE = (1, 1)


def charging(ev: Ev, offered_a: float, **world: float) -> World:
    """A world at 10 s in which the EV is in C and the contactor closed."""
    made = World({1: [1]}, **world)
    made.plug_in(HERE, ev)
    made.offer(HERE, offered_a)
    made.advance(5)
    made.order_contactor(HERE, True)
    made.advance(10)
    return made


@pytest.mark.parametrize(
    ("ev", "offered_a", "power_w", "current_a"),
    [
        (Ev(current_a=16, phases=3), 32, 11040, (16, 16, 16)),
        (Ev(current_a=32, phases=3), 10, 6900, (10, 10, 10)),
        (Ev(current_a=32, phases=1), 32, 7360, (32, 0, 0)),
        (Ev(current_a=16, phases=3), 6, 4140, (6, 6, 6)),
        (Ev(current_a=16, phases=3), 5.9, 0, (0, 0, 0)),
        (Ev(current_a=0, phases=3), 16, 0, (0, 0, 0)),
        (Ev(current_a=20, phases=3, ignores_pilot=True), 6, 13800, (20, 20, 20)),
    ],
)
def test_an_ev_in_c_draws_the_smaller_of_wish_and_offer(
    ev: Ev, offered_a: float, power_w: float, current_a: tuple[float, ...]
) -> None:
    view = charging(ev, offered_a).meter(1)
    assert view.power_w == power_w
    assert view.current_a == current_a
    assert sum(view.power_phase_w) == view.power_w


def test_energy_is_the_integral_of_power_to_the_watt_second() -> None:
    world = World({1: [1]}, meter_start_wh=12_345_678)
    world.plug_in(HERE, Ev(current_a=16, phases=3, ready_after_s=2))
    world.offer(HERE, 16)
    world.order_contactor(HERE, True)
    world.advance(2 + 3600)
    assert world.energy_wh(1) == 12_345_678 + 11040
    world.offer(HERE, 10)
    world.advance(2 + 2 * 3600)
    assert world.energy_wh(1) == 12_345_678 + 11040 + 6900
    world.set_voltage(200, 100, 0)
    world.advance(2 + 3 * 3600)
    assert world.energy_wh(1) == 12_345_678 + 11040 + 6900 + 3000


def test_the_register_shows_whole_watt_hours_rounded_down() -> None:
    world = charging(Ev(current_a=10, phases=1, ready_after_s=1), 10, meter_start_wh=7.0)
    # 2300 W from 5.05 s on
    world.advance(5.05 + 3600 * 9.9 / 2300)
    assert world.meter(1).energy_wh == 16
    world.advance(5.05 + 3600 * 10 / 2300)
    assert world.meter(1).energy_wh == 17


@given(st.lists(st.floats(min_value=0, max_value=3000), max_size=30))
def test_how_often_one_looks_changes_no_energy(steps_s: list[float]) -> None:
    looked, slept = charging(Ev(), 13), charging(Ev(), 13)
    for step_s in steps_s:
        before_wh = looked.meter(1).energy_wh
        looked.advance(looked.now_s + step_s)
        assert looked.meter(1).energy_wh >= before_wh
    slept.advance(looked.now_s)
    assert slept.energy_wh(1) == looked.energy_wh(1)


def test_the_ev_goes_to_c_its_own_time_after_it_is_offered_power() -> None:
    world = World({1: [1]})
    world.plug_in(HERE, Ev(ready_after_s=7))
    world.advance(100)
    assert world.pilot_state(HERE) is PilotState.B
    assert world.next_change_s() is None
    world.offer(HERE, 16)
    assert world.next_change_s() == 107
    world.advance(106.999)
    assert world.pilot_state(HERE) is PilotState.B
    world.advance(107)
    assert world.pilot_state(HERE) is PilotState.C


def test_withdrawing_the_offer_calls_off_the_way_to_c() -> None:
    world = World({1: [1]})
    world.plug_in(HERE, Ev(ready_after_s=7))
    world.offer(HERE, 16)
    world.advance(6)
    world.offer(HERE, 0)
    assert world.next_change_s() is None
    world.offer(HERE, 16)
    assert world.next_change_s() == 13


def test_current_is_zero_before_the_ev_lets_go_of_state_c() -> None:
    world = charging(Ev(), 16)
    world.offer(HERE, 0)
    assert world.meter(1).power_w == 0
    assert world.pilot_state(HERE) is PilotState.C
    assert world.next_change_s() == 10.5
    world.advance(10.5)
    assert world.pilot_state(HERE) is PilotState.B


def test_an_ev_that_ignores_the_pilot_goes_on_drawing() -> None:
    world = charging(Ev(current_a=16, ignores_pilot=True), 16)
    world.offer(HERE, 0)
    world.advance(60)
    assert world.pilot_state(HERE) is PilotState.C
    assert world.meter(1).power_w == 11040


def test_unplugging_is_state_a_and_no_current_at_once() -> None:
    world = charging(Ev(), 16)
    world.plug_out(HERE)
    assert world.pilot_state(HERE) is PilotState.A
    assert world.meter(1).power_w == 0
    assert world.connectors[HERE].closed, "nobody ordered it open"


def test_a_loose_cable_counts_only_with_both_ends_plugged() -> None:
    world = World({1: [1]})
    world.connectors[HERE].tethered = False
    world.plug_in(HERE, Ev(), cable_a=20)
    world.set_cable(HERE, at_ev=False)
    assert world.pilot_state(HERE) is PilotState.A
    assert world.connectors[HERE].cable_a == 20
    world.set_cable(HERE, at_ev=True)
    assert world.pilot_state(HERE) is PilotState.B
    world.plug_out(HERE)
    assert world.connectors[HERE].cable_a is None


def test_the_contactor_moves_after_its_delay() -> None:
    world = World({1: [1]})
    contactor = world.connectors[HERE]
    world.order_contactor(HERE, True)
    world.advance(0.049)
    assert not contactor.closed
    world.advance(0.05)
    assert contactor.closed
    world.order_contactor(HERE, False)
    world.advance(0.05 + 0.03)
    assert not contactor.closed


def test_a_welded_contactor_never_opens_until_it_is_replaced() -> None:
    world = charging(Ev(), 16)
    world.weld(HERE)
    world.order_contactor(HERE, False)
    world.advance(100)
    assert world.connectors[HERE].closed
    world.clear_fault(HERE, "welded_contactor")
    world.advance(101)
    assert not world.connectors[HERE].closed


def test_no_grid_no_power() -> None:
    world = charging(Ev(), 16)
    world.set_voltage(0)
    view = world.meter(1)
    assert (view.power_w, view.current_a, view.voltage_v) == (0, (0, 0, 0), (0, 0, 0))


def test_two_connectors_share_the_meter_of_their_evse_only() -> None:
    world = World({1: [1, 2], 2: [1]})
    for place, current_a in (((1, 1), 10.0), ((1, 2), 6.0), ((2, 1), 16.0)):
        world.plug_in(place, Ev(current_a=current_a, ready_after_s=0))
        world.offer(place, 32)
        world.order_contactor(place, True)
    world.advance(1)
    assert world.meter(1).current_a == (16, 16, 16)
    assert world.meter(2).current_a == (16, 16, 16)


def test_listeners_see_each_change_at_its_own_time_within_one_long_advance() -> None:
    world = World({1: [1]})
    seen: list[tuple[float, PilotState, bool]] = []

    def controller() -> None:
        world.order_contactor(HERE, world.pilot_state(HERE) is PilotState.C)
        seen.append((world.now_s, world.pilot_state(HERE), world.connectors[HERE].closed))

    world.plug_in(HERE, Ev(current_a=16, ready_after_s=10))
    world.listeners.append(controller)
    world.offer(HERE, 16)
    world.advance(10.05 + 3600)
    assert (10.0, PilotState.C, False) in seen
    assert (10.05, PilotState.C, True) in seen
    assert world.energy_wh(1) == pytest.approx(11040, abs=1e-6)


def test_listeners_that_undo_each_other_are_an_error_not_a_hang() -> None:
    world = World({1: [1]})
    world.listeners.append(lambda: world.offer(HERE, 6))
    world.listeners.append(lambda: world.offer(HERE, 16))
    with pytest.raises(RuntimeError, match="settle"):
        world.plug_in(HERE)


def test_alarms_wake_the_listeners_once() -> None:
    world = World({1: [1]})
    seen: list[float] = []
    world.listeners.append(lambda: seen.append(world.now_s))
    world.set_alarm("mine", 5.0)
    assert world.next_change_s() == 5.0
    world.advance(50)
    assert seen == [5.0]
    assert world.next_change_s() is None


def test_time_does_not_run_backwards() -> None:
    world = World({1: [1]})
    world.advance(5)
    with pytest.raises(ValueError, match="cannot go back"):
        world.advance(4)


def test_a_snapshot_survives_json_and_comes_back_as_after_a_power_cut() -> None:
    world = charging(Ev(current_a=13, phases=1), 16, meter_start_wh=500)
    world.advance(3610)
    world.raise_fault(HERE, "rcd")
    energy_wh = world.energy_wh(1)
    saved = json.loads(json.dumps(world.snapshot()))
    again = World({1: [1]}, now_s=77)
    again.restore(saved)
    assert again.energy_wh(1) == energy_wh
    assert again.pilot_state(HERE) is PilotState.B
    assert again.connectors[HERE].ev == Ev(current_a=13, phases=1)
    assert not again.connectors[HERE].closed
    assert again.connectors[HERE].offered_a == 0
    assert again.connectors[HERE].faults == {"rcd"}
    again.advance(10_000)
    assert again.energy_wh(1) == energy_wh


def test_a_contactor_welded_shut_is_still_closed_after_a_power_cut() -> None:
    world = charging(Ev(), 16)
    world.weld(HERE)
    again = World({1: [1]})
    again.restore(world.snapshot())
    assert again.connectors[HERE].closed


def test_rebasing_moves_no_energy_and_keeps_intervals() -> None:
    world = charging(Ev(), 16)
    world.order_contactor(HERE, False)
    energy_wh = world.energy_wh(1)
    world.rebase(1_000_000)
    assert world.energy_wh(1) == energy_wh
    assert world.next_change_s() == pytest.approx(1_000_000.03)


def test_an_unknown_place_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="this station has 1/1"):
        World({1: [1]}).plug_in((2, 1))
