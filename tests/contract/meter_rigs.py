"""What a meter's driver is tested on: simulated meters, slaves of our own on a line and in a
network, servers of another library, and a real meter by a rig file."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from socketserver import ThreadingTCPServer
from typing import Any
from unittest.mock import patch

from umodbus.client.serial.redundancy_check import CRCError
from umodbus.server.serial import get_server as get_serial_server
from umodbus.server.serial.rtu import RTUServer
from umodbus.server.tcp import RequestHandler, get_server

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
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
from drivers.registry import Registry
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.parts import METER_LOST, SimMeter
from drivers.sim.world import World
from hil.parts.modbus_slave import ModbusSlave, Registers, Unit
from hil.parts.openevse import OpenEvse as Controller
from hil.parts.pty_port import PtyPort
from hil.parts.tcp_port import MbapPort, TcpPort
from hil.parts.world_meter import encode
from tests.contract.real_rig import RigFile, command, rig_file

SILENCE, SWAP = "silence", "swap"
"""What can be done to a meter."""
INTERVAL_S = 0.05


class Device:
    """A meter of registers that counts 0.1 Wh with every request; silent or another on demand."""

    def __init__(self, model: str) -> None:
        self.map = register_map.find(model)
        self.values = {"energy_import": 1_000_000.0, "serial": 4711.0, "voltage_l1": 230.0}
        self.is_silent = False

    def counted(self) -> Registers:
        self.values["energy_import"] += 0.1
        return encode(self.map, self.values)

    def registers(self) -> Registers:
        return encode(self.map, self.values)


class Rig:
    """A driver that runs, what it reported, and what can be done to its meter."""

    def __init__(self, meter: Meter, does: dict[str, Callable[[], Any]]) -> None:
        self.meter = meter
        self.does = does
        self.features = frozenset(does)
        self.seen: list[object] = []

    async def do(self, what: str) -> None:
        done = self.does[what]()
        if done is not None:
            await done

    def readings(self) -> list[MeterReading]:
        return [one.reading for one in self.seen if isinstance(one, MeterSeen)]

    def count(self, kind: type) -> int:
        return sum(isinstance(one, kind) for one in self.seen)

    async def until(self, more: int, kind: type = MeterSeen, after: int | None = None) -> None:
        """So many more, or more than `after`; the clock is real, a busy machine is no failure."""
        before = self.count(kind) if after is None else after
        for _ in range(4000):
            if self.count(kind) >= before + more:
                return
            await asyncio.sleep(0.005 if self.meter.interval_s < 1 else 0.05)
        raise AssertionError(f"never reported: {kind.__name__}; seen {self.seen[-3:]}")


def of_device(meter: Meter, device: Device) -> Rig:
    """The rig of a device of registers."""

    def silence() -> None:
        device.is_silent = True

    def speak() -> None:
        device.is_silent = False

    def swap() -> None:
        device.values |= {"serial": 4712.0, "energy_import": 5_000.0}

    does = {SILENCE: silence, "speak": speak}
    return Rig(meter, does | ({SWAP: swap} if "serial" in device.map.fields else {}))


def driver(port: str, model: str) -> ModbusMeter:
    line = ModbusLine("bus", SerialLine(port=port, baud=115200))
    options = ModbusMeterOptions(line="bus", model=model, interval_s=INTERVAL_S, timeout_s=0.3)
    return ModbusMeter("m", options, line)


@asynccontextmanager
async def simulated(model: str) -> AsyncIterator[Rig]:
    """drivers.sim, as the benches use it; its counter stands still."""
    live = LiveWorld(World({1: [1]}, meter_start_wh=1_000_000))
    live.catch_up()
    meter = SimMeter("m", live, 1, interval_s=INTERVAL_S, lost_after_s=0.1)
    does = {
        SILENCE: lambda: live.world.raise_evse_fault(1, METER_LOST),
        "speak": lambda: live.world.clear_evse_fault(1, METER_LOST),
    }
    yield Rig(meter, does)


def _served(port_type: type[PtyPort] | type[TcpPort]) -> "Place":
    @asynccontextmanager
    async def served(model: str) -> AsyncIterator[Rig]:
        device, port = Device(model), port_type()
        opening = port.open()
        if opening is not None:
            await opening
        slave = ModbusSlave(port, {})
        unit = Unit(device.counted, device.map.max_registers)
        answer = port.on_bytes

        def heard(data: bytes) -> None:
            slave.units = {} if device.is_silent else {1: unit}
            answer(data)

        port.on_bytes = heard
        try:
            yield of_device(driver(port.path, model), device)
        finally:
            port.unplug()

    return served


def registers_of(server: Any, read: Callable[[int, int], int]) -> None:
    """All registers of unit 1 are what `read(function, address)` says."""

    @server.route(slave_ids=[1], function_codes=[3, 4], addresses=list(range(0x10000)))  # type: ignore[untyped-decorator]
    def register(slave_id: int, function_code: int, address: int) -> int:
        return read(function_code, address)


@asynccontextmanager
async def foreign_tcp(read: Callable[[int, int], int]) -> AsyncIterator[str]:
    """umodbus serves Modbus TCP; yields the port."""
    server = get_server(ThreadingTCPServer, ("127.0.0.1", 0), RequestHandler)
    server.daemon_threads = True
    registers_of(server, read)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class SerialShim:
    """What the server of umodbus wants to know of a serial port that it does not read itself."""

    baudrate = 115200


@asynccontextmanager
async def foreign_rtu(
    read: Callable[[int, int], int], port: PtyPort | TcpPort
) -> AsyncIterator[str]:
    """umodbus answers the frames on a line; yields the port."""
    opening = port.open()
    if opening is not None:
        await opening
    server = get_serial_server(RTUServer, SerialShim())
    registers_of(server, read)
    buffer = bytearray()

    def heard(data: bytes) -> None:
        buffer.extend(data)
        try:
            reply = server.process(bytes(buffer))
        except CRCError:
            return  # the rest is still to come
        buffer.clear()
        port.write(reply)

    port.on_bytes = heard
    try:
        yield port.path
    finally:
        port.unplug()


def _foreign(serve: Callable[[Callable[[int, int], int]], Any]) -> "Place":
    @asynccontextmanager
    async def served(model: str) -> AsyncIterator[Rig]:
        device = Device(model)

        def read(function: int, address: int) -> int:
            if device.is_silent:
                raise RuntimeError("the rig is silent now")
            return device.registers().get((function, address), 0)

        async with serve(read) as port:
            yield of_device(driver(port, model), device)

    return served


@asynccontextmanager
async def inside_a_controller(model: str) -> AsyncIterator[Rig]:
    """An OpenEVSE that charges an EV: it tells no serial number."""
    world = World({1: [1]})
    live = LiveWorld(world)
    live.catch_up()
    world.plug_in((1, 1), Ev(32.0, phases=1, ready_after_s=0.0))
    port = PtyPort()
    port.open()
    controller = Controller(port, live, (1, 1), time_scale=0.02)
    controller.start()
    asks, is_silent = port.on_bytes, [False]
    port.on_bytes = lambda data: None if is_silent[0] else asks(data)
    does = {
        SILENCE: lambda: is_silent.__setitem__(0, True),
        "speak": lambda: is_silent.__setitem__(0, False),
    }
    with (
        patch("drivers.pilots.openevse_meter.INTERVAL_S", INTERVAL_S),
        patch("drivers.pilots.rapi_link.REPLY_TIMEOUT_S", 0.2),
    ):
        options = OpenEvseOptions(port=port.path, poll_s=0.05)
        pilot = OpenEvse("m", options, meters_at_v=230.0)
        pilot.allow_power(32)
        try:
            yield Rig(pilot, does)
        finally:
            controller.stop()
            port.unplug()


@asynccontextmanager
async def real(model: str) -> AsyncIterator[Rig]:
    """The meter of the rig file; `do` may have commands for silence, speak and swap."""
    file: RigFile = rig_file(os.environ["CHARGEPOINT_RIG"])
    meter: Any = Registry(file.lines).build("m", file.device)
    known = {what: file.do[what] for what in (SILENCE, "speak", SWAP) if what in file.do}
    yield Rig(meter, {what: lambda text=text: command(text) for what, text in known.items()})


Place = Callable[[str], AbstractAsyncContextManager[Rig]]
BOTH = ("eastron_sdm630_v2", "abb_b23", "carlo_gavazzi_em340")
PLACES: dict[str, tuple[Place, tuple[str, ...]]] = {
    "sim": (simulated, ("simulated",)),
    "inside a controller": (inside_a_controller, ("openevse",)),
    "on a line": (_served(PtyPort), BOTH),
    "by rtu-tcp": (_served(TcpPort), ("carlo_gavazzi_em340",)),
    "by tcp": (_served(MbapPort), ("phoenix_eem_ma370", "abb_b23")),
    "another library's, by tcp": (_foreign(foreign_tcp), ("eastron_sdm630_v2",)),
    "another library's, on a line": (
        _foreign(lambda read: foreign_rtu(read, PtyPort())),
        ("eastron_sdm630_v2", "abb_b23"),
    ),
    "another library's, by rtu-tcp": (
        _foreign(lambda read: foreign_rtu(read, TcpPort())),
        ("carlo_gavazzi_em340",),
    ),
}
"""Where a meter is, and the models that are tried there."""
