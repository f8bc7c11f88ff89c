"""The bench's Modbus slave and the real meter driver meet on the wire, over one register map."""

import asyncio
from collections.abc import Callable

import pytest

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    Observation,
    SerialLine,
)
from drivers.meters.register_map import find
from drivers.registry import Registry
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.modbus_slave import Fault, ModbusSlave
from hil.parts.pty_port import PtyPort
from hil.parts.world_meter import meter_unit

MODEL = "eastron_sdm630_v2"


class Meeting:
    """A charging world, a slave and the driver that reads it."""

    def __init__(self) -> None:
        self.world = World({1: [1]}, meter_start_wh=500_000)
        self.world.connectors[1, 1].closed = self.world.connectors[1, 1].ordered_closed = True
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.world.plug_in((1, 1), Ev(current_a=10, ready_after_s=0))
        self.world.offer((1, 1), 16)
        self.port = PtyPort()
        self.port.open()
        self.slave = ModbusSlave(self.port, {1: meter_unit(self.live, 1, find(MODEL), serial=77)})
        options = ModbusMeterOptions(line="bus", model=MODEL, interval_s=0.1, timeout_s=0.1)
        registry = Registry({"bus": SerialLine(self.port.path)})
        self.meter = registry.build("meter", options)
        self.seen: list[Observation] = []

    @property
    def readings(self) -> list[MeterReading]:
        return [seen.reading for seen in self.seen if isinstance(seen, MeterSeen)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(40):
            while not condition():  # noqa: ASYNC110 - reports come by a plain callback
                await asyncio.sleep(0.01)

    def all_true(self) -> bool:
        return all(
            reading.voltage_v == (230, 230, 230)
            and reading.current_a == (10, 10, 10)
            and reading.power_w == 6900
            and 500_000 <= reading.energy_wh <= self.world.energy_wh(1) + 1
            for reading in self.readings
        )


async def played(scene: Callable[[Meeting], object]) -> Meeting:
    meeting = Meeting()
    task = asyncio.create_task(meeting.meter.run(meeting.seen.append))
    try:
        await scene(meeting)  # type: ignore[misc]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        meeting.port.unplug()
    return meeting


async def test_the_driver_reads_what_the_world_measures() -> None:
    async def scene(meeting: Meeting) -> None:
        await meeting.until(lambda: len(meeting.readings) >= 3)

    meeting = await played(scene)
    assert meeting.all_true()
    assert meeting.readings[-1].serial == "77"


@pytest.mark.parametrize("fault", list(Fault))
async def test_what_the_driver_reports_under_a_fault_is_true_or_nothing(fault: Fault) -> None:
    async def scene(meeting: Meeting) -> None:
        await meeting.until(lambda: len(meeting.readings) >= 2)
        meeting.slave.inject(fault, times=3, delay_s=0.13)
        asked = len(meeting.slave.requests)
        await meeting.until(lambda: len(meeting.slave.requests) > asked + 3)
        before = len(meeting.readings)
        await meeting.until(lambda: len(meeting.readings) > before + 2)

    assert (await played(scene)).all_true()


async def test_a_silent_meter_is_lost_and_found_again() -> None:
    async def scene(meeting: Meeting) -> None:
        await meeting.until(lambda: bool(meeting.readings))
        meeting.slave.inject(Fault.SILENT)
        await meeting.until(lambda: any(isinstance(seen, DeviceLost) for seen in meeting.seen))
        meeting.slave.heal()
        await meeting.until(lambda: any(isinstance(seen, DeviceFound) for seen in meeting.seen))

    assert (await played(scene)).all_true()
