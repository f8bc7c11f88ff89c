"""The board as a whole: what it keeps over a power cut, its cards, its plan."""

import asyncio
import json
from pathlib import Path

import pytest
from msgspec import Struct

from drivers.contract import (
    CardSeen,
    DriverError,
    InputSeen,
    MeterSeen,
    Observation,
    PilotState,
    PowerPath,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)
from drivers.sim.board import BoardConnector, SimBoard, plan_of
from drivers.sim.connector import Ev
from hil.virtual_time import run_virtual
from tests.drivers.sim.desk import PLAN, Desk, on_desk


def test_a_power_cut_opens_the_path_and_forgets_orders_but_not_the_ev() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(3600)
        before_wh = board.energy_wh(1)
        board.power_cut()
        await asyncio.sleep(60)
        assert (desk.pilot.state, desk.pilot.power_path) == (PilotState.B, PowerPath.OPEN)
        assert board.energy_wh(1) == before_wh

    on_desk(scene)


def test_cards_and_buttons_reach_the_agent() -> None:
    async def scene(board: SimBoard, desk: Desk) -> None:
        board.swipe("reader", "04AABBCCDD")
        board.press("stop", evse_id=1)

    desk = on_desk(scene)
    assert desk.of(CardSeen) == [CardSeen("reader", "04AABBCCDD", "ISO14443")]
    assert [(seen.name, seen.active) for seen in desk.of(InputSeen)] == [
        ("stop", True),
        ("stop", False),
    ]


def test_the_file_never_shows_less_than_a_reading_that_was_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "world.json"

    async def scene(board: SimBoard, desk: Desk) -> None:
        def check(observation: Observation) -> None:
            if isinstance(observation, MeterSeen):
                saved = json.loads(path.read_text())
                assert saved["meters"]["1"] >= observation.reading.energy_wh
                checked.append(observation.reading.energy_wh)

        checked: list[float] = []
        task = asyncio.create_task(board.meters["meter"].run(check))
        board.plug_in(1, 1, Ev(ready_after_s=0))
        board.pilots["pilot"].allow_power(16)
        await asyncio.sleep(600)
        task.cancel()
        assert checked[-1] > 1500

    on_desk(scene, save_path=str(path))
    again = SimBoard(PLAN, save_path=str(path))
    assert again.world.meter(1).energy_wh > 1500
    assert again.world.pilot_state((1, 1)) is PilotState.B
    assert [file.name for file in tmp_path.iterdir()] == ["world.json"]


def test_every_change_is_saved_also_while_no_meter_runs(tmp_path: Path) -> None:
    path = str(tmp_path / "world.json")
    SimBoard(PLAN, save_path=path).plug_in(1, 1, Ev(current_a=7))
    assert SimBoard(PLAN, save_path=path).world.connectors[1, 1].ev == Ev(current_a=7)


def test_a_world_made_before_its_loop_starts_to_age_inside_it() -> None:
    board = SimBoard(PLAN)
    board.plug_in(1, 1, Ev(ready_after_s=5))
    board.pilots["pilot"].allow_power(16)

    async def scene() -> list[str]:
        states = []
        for _ in range(2):
            board.live.catch_up()
            states.append(board.world.connectors[1, 1].ev_state)
            await asyncio.sleep(5)
        return [*states, board.connector(1, 1).ev_state]

    assert run_virtual(scene(), start_s=1_000_000.0) == ["B", "C", "C"]


def test_a_board_is_planned_from_the_settings_and_leaves_other_drivers_out() -> None:
    class BenchEvse(Struct):
        id: int
        connectors: tuple[BoardConnector, ...]
        meter: str

    class Settings:
        evses = (BenchEvse(1, PLAN.evses[0].connectors, "meter"),)
        main_meter = None
        devices = {  # noqa: RUF012
            "pilot": SimPilotOptions(),
            "meter": SimMeterOptions(interval_s=5.0),
            "reader": SimReaderOptions(),
            "other": SerialReaderOptions(port="/dev/null"),
        }

    board = SimBoard(plan_of(Settings()))
    assert board.build("pilot", SimPilotOptions()) is board.pilots["pilot"]
    assert board.meters["meter"].interval_s == 5.0
    with pytest.raises(DriverError, match="name one of: pilot, meter, reader"):
        board.build("other")
