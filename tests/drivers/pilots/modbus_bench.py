"""A Modbus controller of the bench and its driver on one pty, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from drivers.contract import (
    EvseWbOptions,
    Observation,
    PhoenixOptions,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
    SerialLine,
)
from drivers.registry import Registry
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.evse_wb import EvseWb
from hil.parts.modbus_slave import ModbusSlave
from hil.parts.phoenix import Phoenix
from hil.parts.pty_port import PtyPort
from hil.virtual_time import run_virtual
from tests.contract.rigs import BytesUnderWay

HERE = (1, 1)
OPTIONS: dict[str, Any] = {
    "evse_wb": EvseWbOptions("bus", host_loss="interlock"),
    "phoenix": PhoenixOptions("bus", host_loss="interlock", contactor_feedback=True, lock=True),
}
CONTROLLERS: dict[str, Any] = {"evse_wb": EvseWb, "phoenix": Phoenix}


class Bench:
    """`prepare` changes the controller before it starts; `start` begins the driver."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.port = PtyPort()
        self.port.open()
        self.controller: Any = CONTROLLERS[kind](self.live, HERE)
        self.slave = ModbusSlave(self.port, {1: self.controller.unit})
        self.registry = Registry({"bus": SerialLine(self.port.path)})
        self.driver: Any = self.registry.build("pilot", replace(OPTIONS[kind], **options))
        self.seen: list[Observation] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self.controller.booted:
            self.controller.start()
        self._task = asyncio.create_task(self.driver.run(self.seen.append))

    async def end_driver(self) -> None:
        if self._task is not None:
            assert not self._task.done(), "the driver ended by itself"
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def end(self) -> None:
        await self.end_driver()
        self.controller.stop()
        self.port.unplug()

    @property
    def reading(self) -> PilotReading:
        return [seen.reading for seen in self.seen if isinstance(seen, PilotSeen)][-1]

    @property
    def closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    def plug_in(self, **ev: Any) -> None:
        self.live.catch_up()
        self.world.plug_in(HERE, Ev(ready_after_s=0.2, **ev), cable_a=20)

    def fault(self, name: str, stands: bool = True) -> None:
        self.live.catch_up()
        (self.world.raise_fault if stands else self.world.clear_fault)(HERE, name)

    async def until(self, condition: Callable[[], object], within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s):
            while not (self.seen and condition()):  # noqa: ASYNC110 - the world tells nobody
                await asyncio.sleep(0.05)

    async def idle(self) -> None:
        self.start()
        await self.until(lambda: self.shows(PilotState.A, PowerPath.OPEN))

    def shows(self, state: PilotState, path: PowerPath) -> bool:
        return (self.reading.state, self.reading.power_path) == (state, path)

    async def charging(self, limit_a: float = 13.0, **ev: Any) -> None:
        await self.idle()
        self.plug_in(**ev)
        self.driver.allow_power(limit_a)
        await self.until(lambda: self.shows(PilotState.C, PowerPath.CLOSED))


def play(kind: str, scene: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    """Runs a scene on a fresh bench."""

    async def whole() -> None:
        bench = Bench(kind, **options)
        try:
            await scene(bench)
        finally:
            await bench.end()

    with BytesUnderWay() as under_way:
        run_virtual(whole(), fd_grace_s=under_way.grace_s)
