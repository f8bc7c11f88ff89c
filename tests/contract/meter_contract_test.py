"""What every meter driver promises (contract.Meter), over simulated and served devices."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socketserver import ThreadingTCPServer
from unittest.mock import patch

import pytest
from umodbus.server.tcp import RequestHandler, get_server

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    Meter,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    OpenEvseOptions,
    SerialLine,
)
from drivers.meters import register_map
from drivers.meters.modbus_meter import ModbusMeter
from drivers.pilots.openevse import OpenEvse
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.modbus_slave import ModbusSlave, Registers, Unit
from hil.parts.openevse import OpenEvse as Controller
from hil.parts.pty_port import PtyPort
from hil.parts.world_meter import encode

MODELS = ("eastron_sdm630_v2", "abb_b23", "carlo_gavazzi_em340")


class Device:
    """A meter that counts 0.1 Wh with every request, until it is told to be another or silent."""

    def __init__(self, model: str) -> None:
        self.map = register_map.find(model)
        self.values = {"energy_import": 1_000_000.0, "serial": 4711.0, "voltage_l1": 230.0}
        self.is_silent = False

    def counted(self) -> Registers:
        self.values["energy_import"] += 0.1
        return self.registers()

    def registers(self) -> Registers:
        return encode(self.map, self.values)


class Rig:
    """A driver that runs, and what it reported."""

    def __init__(self, meter: Meter, device: Device) -> None:
        self.meter, self.device = meter, device
        self.seen: list[object] = []

    def readings(self) -> list[MeterReading]:
        return [one.reading for one in self.seen if isinstance(one, MeterSeen)]

    def count(self, kind: type) -> int:
        return sum(isinstance(one, kind) for one in self.seen)

    async def until(self, more: int, kind: type = MeterSeen) -> None:
        before = self.count(kind)
        for _ in range(4000):
            if self.count(kind) >= before + more:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never reported: {kind.__name__}; seen {self.seen[-3:]}")


def driver(port: str, model: str) -> ModbusMeter:
    line = ModbusLine("bus", SerialLine(port=port, baud=115200))
    options = ModbusMeterOptions(line="bus", model=model, interval_s=0.05, timeout_s=0.3)
    return ModbusMeter("m", options, line)


@asynccontextmanager
async def on_pty(device: Device, model: str) -> AsyncIterator[Meter]:
    port = PtyPort()
    port.open()
    slave = ModbusSlave(port, {})
    unit = Unit(device.counted, device.map.max_registers)

    def heard(data: bytes, answer=port.on_bytes) -> None:
        slave.units = {} if device.is_silent else {1: unit}
        answer(data)

    port.on_bytes = heard
    try:
        yield driver(port.path, model)
    finally:
        port.unplug()


@asynccontextmanager
async def on_the_server_of_another_library(device: Device, model: str) -> AsyncIterator[Meter]:
    server = get_server(ThreadingTCPServer, ("127.0.0.1", 0), RequestHandler)
    server.daemon_threads = True

    @server.route(slave_ids=[1], function_codes=[3, 4], addresses=list(range(0x10000)))
    def register(slave_id: int, function_code: int, address: int) -> int:
        if device.is_silent:
            raise RuntimeError("the rig is silent now")
        return device.registers().get((function_code, address), 0)

    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield driver(f"tcp://127.0.0.1:{server.server_address[1]}", model)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


@asynccontextmanager
async def inside_a_controller(device: Device, model: str) -> AsyncIterator[Meter]:
    """An OpenEVSE that charges an EV: it tells no serial number."""
    world = World({1: [1]})
    live = LiveWorld(world)
    live.catch_up()
    world.plug_in((1, 1), Ev(32.0, phases=1, ready_after_s=0.0))
    port = PtyPort()
    port.open()
    controller = Controller(port, live, (1, 1), time_scale=0.02)
    controller.start()
    asks = port.on_bytes
    port.on_bytes = lambda data: None if device.is_silent else asks(data)
    with (
        patch("drivers.pilots.openevse_meter.INTERVAL_S", 0.05),
        patch("drivers.pilots.rapi_link.REPLY_TIMEOUT_S", 0.2),
    ):
        options = OpenEvseOptions(port=port.path, poll_s=0.05)
        pilot = OpenEvse("m", options, meters_at_v=230.0)
        pilot.allow_power(32)
        try:
            yield pilot
        finally:
            controller.stop()
            port.unplug()


RIGS = [
    *((on_pty, model) for model in MODELS),
    (on_the_server_of_another_library, "eastron_sdm630_v2"),
    (inside_a_controller, "eastron_sdm72d_m"),
]


@pytest.fixture(params=RIGS, ids=lambda rig: f"{rig[0].__name__}-{rig[1]}")
async def meter_rig(request):
    place, model = request.param
    device = Device(model)
    async with place(device, model) as meter:
        rig = Rig(meter, device)
        task = asyncio.create_task(meter.run(rig.seen.append))
        await rig.until(1)
        yield rig
        assert not task.done(), "the driver ended by itself"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_energy_rises_and_each_reading_is_of_its_own_moment(meter_rig) -> None:
    await meter_rig.until(5)
    readings = meter_rig.readings()
    energies = [reading.energy_wh for reading in readings]
    assert energies == sorted(energies)
    times = [reading.at_s for reading in readings]
    assert times == sorted(set(times)), "no reading is published twice"
    assert all(reading.at_s <= asyncio.get_running_loop().time() for reading in readings)


async def test_a_reading_that_is_asked_for_is_made_after_the_question(meter_rig) -> None:
    asked_s = asyncio.get_running_loop().time()
    meter_rig.meter.read_soon()
    await meter_rig.until(2)
    assert meter_rig.readings()[-1].at_s >= asked_s


async def test_a_lost_meter_publishes_nothing_until_it_is_found(meter_rig) -> None:
    meter_rig.device.is_silent = True
    await meter_rig.until(1, DeviceLost)
    lost_at = len(meter_rig.seen)
    lost_s = asyncio.get_running_loop().time()
    meter_rig.device.is_silent = False
    await meter_rig.until(1, DeviceFound)
    await meter_rig.until(1)
    assert isinstance(meter_rig.seen[lost_at], DeviceFound), "found is told before any value"
    assert all(
        one.reading.at_s >= lost_s for one in meter_rig.seen[lost_at:] if isinstance(one, MeterSeen)
    )
    assert meter_rig.count(DeviceLost) == meter_rig.count(DeviceFound) == 1


async def test_a_swapped_meter_is_told_by_its_serial_number(meter_rig) -> None:
    if not meter_rig.readings()[-1].serial:
        return
    assert meter_rig.readings()[-1].serial == "4711"
    meter_rig.device.is_silent = True
    await meter_rig.until(1, DeviceLost)
    meter_rig.device.values |= {"serial": 4712.0, "energy_import": 5_000.0}
    meter_rig.device.is_silent = False
    await meter_rig.until(1, DeviceFound)
    await meter_rig.until(1)
    last = meter_rig.readings()[-1]
    assert (last.serial, last.energy_wh < 10_000) == ("4712", True)
