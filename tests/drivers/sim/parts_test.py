"""What simulated devices report and obey."""

import asyncio

import pytest

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    InputSeen,
    MeterSeen,
    Observation,
    PilotSeen,
    PilotState,
    PowerPath,
)
from drivers.sim.board import BoardConnector, BoardEvse, BoardPlan, SimBoard
from drivers.sim.connector import Ev
from hil.virtual_time import run_virtual
from tests.drivers.sim.desk import PLAN, Desk, on_desk


def test_a_charge_from_plug_to_unplug_is_reported_change_by_change() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=2))
        await asyncio.sleep(10)
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(3)
        board.plug_out(1, 1)
        await asyncio.sleep(1)

    seen = on_desk(scene).of(PilotSeen)
    rows = [(r.at_s, r.state, r.power_path, r.offered_a) for r in (s.reading for s in seen)]
    assert rows == [
        (1000.0, "A", "open", 0),
        (1000.0, "B", "open", 0),
        (1010.0, "B", "open", 16),
        (1012.0, "C", "open", 16),
        (1012.05, "C", "closed", 16),
        (1013.0, "A", "closed", 16),
        (1013.03, "A", "open", 16),
    ]


def test_idle_devices_report_only_each_interval() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        await asyncio.sleep(600)

    desk = on_desk(scene, report_interval_s=60)
    assert len(desk.of(PilotSeen)) == len(desk.of(MeterSeen)) == 10


def test_a_ten_hour_charge_costs_one_report_a_minute_and_counts_every_watt_hour() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(current_a=16, ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(0.05 + 36000)
        board.pilots["pilot"].stop()
        await asyncio.sleep(2)

    desk = on_desk(scene)
    assert desk.of(MeterSeen)[-1].reading.energy_wh == 110_400
    assert len(desk.of(MeterSeen)) < 610


def test_the_meter_reports_when_power_changes_and_when_asked() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(current_a=16, ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(5)
        board.meters["meter"].read_soon()
        await asyncio.sleep(1)

    rows = [(s.reading.at_s, s.reading.power_w) for s in on_desk(scene).of(MeterSeen)]
    assert rows[:3] == [(1000.0, 0), (1000.05, 11040), (1005.0, 11040)]


def test_a_graceful_stop_opens_without_current_once_the_ev_let_go() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)
        board.pilots["pilot"].stop()
        assert board.meter(1).power_w == 0
        await asyncio.sleep(0.5)
        assert desk.pilot.power_path is PowerPath.CLOSED
        await asyncio.sleep(0.03)
        assert (desk.pilot.state, desk.pilot.power_path) == (PilotState.B, PowerPath.OPEN)
        await asyncio.sleep(600)
        assert desk.pilot.power_path is PowerPath.OPEN

    on_desk(scene)


def test_a_stubborn_ev_is_cut_off_within_the_promised_time() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.plug_in(1, 1, Ev(ready_after_s=0, ignores_pilot=True))
        pilot.allow_power(16)
        await asyncio.sleep(10)
        pilot.stop()
        await asyncio.sleep(5.9)
        assert pilot.power_path() is PowerPath.CLOSED
        pilot.stop()
        assert pilot.capabilities.opens_within_s == 6.5
        await asyncio.sleep(0.2)
        assert pilot.power_path() is PowerPath.OPEN

    on_desk(scene)


def test_an_emergency_stop_opens_at_once_and_lasts_until_the_next_order() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.plug_in(1, 1, Ev(ready_after_s=0, ignores_pilot=True))
        pilot.allow_power(16)
        await asyncio.sleep(10)
        pilot.emergency_stop()
        await asyncio.sleep(0.031)
        assert pilot.power_path() is PowerPath.OPEN
        await asyncio.sleep(3600)
        assert pilot.power_path() is PowerPath.OPEN
        pilot.allow_power(10)
        await asyncio.sleep(1)
        assert (pilot.power_path(), desk.pilot.offered_a) == (PowerPath.CLOSED, 10)

    on_desk(scene)


def test_an_emergency_stop_overtakes_a_graceful_one() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.plug_in(1, 1, Ev(ready_after_s=0, ignores_pilot=True))
        pilot.allow_power(16)
        await asyncio.sleep(10)
        pilot.stop()
        await asyncio.sleep(1)
        pilot.emergency_stop()
        await asyncio.sleep(0.031)
        assert pilot.power_path() is PowerPath.OPEN

    on_desk(scene)


def test_it_never_closes_in_state_b_d_or_below_six_ampere() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.plug_in(1, 1, Ev(ready_after_s=0, wants="B"))
        pilot.allow_power(16)
        await asyncio.sleep(60)
        board.ev_state(1, 1, "D")
        await asyncio.sleep(60)
        assert desk.pilot.state is PilotState.D
        board.ev_state(1, 1, "B")
        pilot.allow_power(5.9)
        board.ev_state(1, 1, "C")
        await asyncio.sleep(60)

    assert {s.reading.power_path for s in on_desk(scene).of(PilotSeen)} == {PowerPath.OPEN}


def test_it_never_offers_more_than_its_rating() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.pilots["pilot"].allow_power(63)
        await asyncio.sleep(1)

    assert on_desk(scene).pilot.offered_a == 32


@pytest.mark.parametrize(
    "fault",
    ["over_current", "under_voltage", "over_temperature", "rcd", "ground", "emergency_stop",
     "lock_failed", "something_new"],
)  # fmt: skip
def test_a_blocking_fault_is_reported_and_opens_the_path(fault: str) -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)
        board.raise_fault(1, 1, fault)
        await asyncio.sleep(0.031)
        assert desk.pilot.faults == {fault}
        assert (desk.pilot.power_path, desk.pilot.offered_a) == (PowerPath.OPEN, 0)
        board.pilots["pilot"].stop()
        board.clear_fault(1, 1, fault)
        await asyncio.sleep(60)
        assert desk.pilot.faults == frozenset()
        assert desk.pilot.power_path is PowerPath.OPEN

    on_desk(scene)


def test_a_welded_contactor_fault_leaves_the_path_closed_whatever_is_ordered() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)
        board.raise_fault(1, 1, "welded_contactor")
        board.pilots["pilot"].emergency_stop()
        board.plug_out(1, 1)
        await asyncio.sleep(60)
        assert desk.pilot.power_path is PowerPath.CLOSED
        board.clear_fault(1, 1, "welded_contactor")
        await asyncio.sleep(1)
        assert desk.pilot.power_path is PowerPath.OPEN

    on_desk(scene)


def test_a_silent_weld_is_found_a_second_after_the_coil_was_released() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)
        board.weld(1, 1)
        await asyncio.sleep(60)
        assert desk.pilot.faults == frozenset()
        board.pilots["pilot"].emergency_stop()
        await asyncio.sleep(0.9)
        assert desk.pilot.faults == frozenset()
        await asyncio.sleep(0.2)
        assert desk.pilot.faults == {"welded_contactor"}
        assert desk.pilot.power_path is PowerPath.CLOSED

    on_desk(scene)


def test_a_lost_pilot_is_declared_after_a_while_and_obeys_the_last_order_when_found() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.plug_in(1, 1, Ev(ready_after_s=0))
        pilot.allow_power(16)
        await asyncio.sleep(10)
        board.raise_fault(1, 1, "pilot_lost")
        pilot.stop()
        await asyncio.sleep(2.9)
        assert pilot.power_path() is PowerPath.CLOSED
        assert desk.of(DeviceLost) == []
        await asyncio.sleep(0.2)
        assert [lost.device for lost in desk.of(DeviceLost)] == ["pilot"]
        assert desk.pilot.state is PilotState.UNKNOWN
        assert pilot.power_path() is PowerPath.UNKNOWN
        await asyncio.sleep(600)
        assert board.connector(1, 1).closed, "a silent controller hears no order"
        board.clear_fault(1, 1, "pilot_lost")
        assert desk.of(DeviceFound) == [DeviceFound("pilot")]
        await asyncio.sleep(1)
        assert desk.pilot.power_path is PowerPath.OPEN

    on_desk(scene)


def test_orders_given_in_a_silence_too_short_to_notice_are_heard_after_it() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)
        board.raise_fault(1, 1, "pilot_lost")
        board.pilots["pilot"].emergency_stop()
        await asyncio.sleep(1)
        board.clear_fault(1, 1, "pilot_lost")
        await asyncio.sleep(0.1)
        assert desk.pilot.power_path is PowerPath.OPEN

    assert on_desk(scene).of(DeviceLost) == []


def test_a_lost_meter_says_nothing_until_it_is_found() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        await asyncio.sleep(10)
        board.raise_fault(1, 0, "meter_lost")
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(300)
        assert len(desk.of(MeterSeen)) == 1
        assert [lost.device for lost in desk.of(DeviceLost)] == ["meter"]
        board.clear_fault(1, 0, "meter_lost")
        await asyncio.sleep(0)
        assert desk.of(DeviceFound) == [DeviceFound("meter")]
        assert desk.of(MeterSeen)[-1].reading.power_w == 11040

    on_desk(scene)


def test_a_stop_given_inside_a_report_takes_effect_at_that_very_time() -> None:
    async def scene() -> float:
        board = SimBoard(PLAN, report_interval_s=60)
        pilot = board.pilots["pilot"]

        def guard(observation: Observation) -> None:
            if isinstance(observation, PilotSeen) and observation.reading.state is PilotState.C:
                pilot.emergency_stop()

        task = asyncio.create_task(pilot.run(guard))
        await asyncio.sleep(0)
        board.plug_in(1, 1, Ev(ready_after_s=0, ignores_pilot=True))
        pilot.allow_power(16)
        await asyncio.sleep(3600)
        task.cancel()
        return board.energy_wh(1)

    assert run_virtual(scene()) == 0


def test_cancelling_a_pilot_turns_the_power_off() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(10)

    board = on_desk(scene).board
    board.world.advance(board.world.now_s + 10)
    assert not board.world.connectors[1, 1].closed


def test_a_lock_that_moved_in_a_short_silence_is_told_after_it() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        board.raise_fault(1, 1, "pilot_lost")
        pilot.lock(True)
        await asyncio.sleep(1)
        board.clear_fault(1, 1, "pilot_lost")
        await asyncio.sleep(0.1)
        told = [seen.active for seen in desk.of(InputSeen) if seen.name == "plug_lock"]
        assert told == [False, True]

    socket = BoardConnector(id=1, pilot="pilot", cable="socket")
    on_desk(scene, plan=BoardPlan(evses=(BoardEvse(id=1, connectors=(socket,)),)))


@pytest.mark.parametrize(("jammed", "stands"), [(False, True), (True, False)])
def test_a_lock_tells_where_it_stands_after_every_order(jammed: bool, stands: bool) -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        pilot = board.pilots["pilot"]
        pilot.lock_jammed = jammed
        for _ in range(2):
            pilot.lock(True)
            await asyncio.sleep(1)
        told = [seen.active for seen in desk.of(InputSeen) if seen.name == "plug_lock"]
        assert told == [False, stands, stands]
        assert pilot.locked is stands

    socket = BoardConnector(id=1, pilot="pilot", cable="socket")
    on_desk(scene, plan=BoardPlan(evses=(BoardEvse(id=1, connectors=(socket,)),)))
