"""A simulated board with all its devices running, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from drivers.contract import Observation, PilotReading, PilotSeen
from drivers.sim.board import BoardConnector, BoardEvse, BoardMeter, BoardPlan, SimBoard
from hil.virtual_time import run_virtual

PLAN = BoardPlan(
    evses=(
        BoardEvse(
            id=1, connectors=(BoardConnector(id=1, pilot="pilot"),), meter=BoardMeter("meter")
        ),
    ),
    readers=("reader",),
)
Value = TypeVar("Value")


class Desk:
    """Runs a board's devices and keeps what they report."""

    def __init__(self, board: SimBoard) -> None:
        self.board = board
        self.seen: list[tuple[float, Observation]] = []

    def report(self, observation: Observation) -> None:
        self.seen.append((asyncio.get_running_loop().time(), observation))

    def of(self, kind: type[Value]) -> list[Value]:
        return [seen for _, seen in self.seen if isinstance(seen, kind)]

    @property
    def pilot(self) -> PilotReading:
        return self.of(PilotSeen)[-1].reading


def on_desk(
    scene: Callable[[SimBoard, Desk], Awaitable[None]],
    *,
    report_interval_s: float = 60.0,
    save_path: str | None = None,
    start_s: float = 1000.0,
    plan: BoardPlan = PLAN,
) -> Desk:
    """Plays a scene in virtual time with all devices of the plan running."""

    async def play() -> Desk:
        board = SimBoard(plan, report_interval_s=report_interval_s, save_path=save_path)
        desk = Desk(board)
        devices = [*board.pilots.values(), *board.meters.values(), *board.readers.values()]
        tasks = [asyncio.create_task(device.run(desk.report)) for device in devices]
        await asyncio.sleep(0)
        await scene(board, desk)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return desk

    return run_virtual(play(), start_s=start_s)
