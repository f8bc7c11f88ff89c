"""Meters on the network: Modbus TCP, and RTU frames through a converter."""

import asyncio
import struct
import threading
from collections.abc import Callable
from socketserver import ThreadingTCPServer

import pytest
from umodbus.client.serial.redundancy_check import get_crc
from umodbus.server.tcp import RequestHandler, get_server

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    MeterSeen,
    ModbusMeterOptions,
    PortError,
    SerialLine,
)
from drivers.meters import register_map
from drivers.meters.modbus_meter import ModbusMeter

ENERGY_WH, VOLTAGE_V = 1_234_500.0, 230.0


def words_of(value: float) -> list[int]:
    data = struct.pack(">f", value)
    return [int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")]


REGISTERS: dict[int, int] = {}
for at, value in ((0, VOLTAGE_V), (2, VOLTAGE_V), (4, VOLTAGE_V), (72, ENERGY_WH / 1000)):
    REGISTERS.update(enumerate(words_of(value), at))
SERIAL = 0x01234567
REGISTERS |= {0xFC00: SERIAL >> 16, 0xFC01: SERIAL & 0xFFFF}


class Server:
    """A Modbus host of our own that can be told to misbehave, frame by frame."""

    def __init__(self, is_rtu: bool) -> None:
        self.is_rtu = is_rtu
        self.asked = 0
        self.connections = 0
        self.behave: Callable[[bytes], list[tuple[float, bytes]]] = lambda frame: [(0.0, frame)]
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def one_behind(self, frame: bytes) -> list[tuple[float, bytes]]:
        """Each question brings the answer to the one before, until the connection ends."""
        due, self._held = self._held, frame
        return [(0.0, due)] if due else []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        self._held = b""
        try:
            while True:
                request = await reader.readexactly(8 if self.is_rtu else 12)
                self.asked += 1
                for delay_s, frame in self.behave(self.answer(request)):
                    asyncio.get_running_loop().call_later(delay_s, self._write, writer, frame)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, frame: bytes) -> None:
        if not writer.is_closing():
            writer.write(frame)

    def answer(self, request: bytes) -> bytes:
        head = b"" if self.is_rtu else request[:4]
        unit, function, address, count = struct.unpack(
            ">BBHH", request[0 if self.is_rtu else 6 :][:6]
        )
        data = b"".join(REGISTERS.get(address + i, 0).to_bytes(2, "big") for i in range(count))
        body = bytes([unit, function, len(data)]) + data
        return body + get_crc(body) if self.is_rtu else head + struct.pack(">H", len(body)) + body


@pytest.fixture(params=["tcp", "rtu-tcp"])
async def server(request):
    async with Server(is_rtu=request.param == "rtu-tcp") as server:
        yield server


class Bench:
    def __init__(self, port: str, timeout_s: float = 0.1) -> None:
        self.seen: list[object] = []
        self.line = ModbusLine("lan", SerialLine(port=port))
        options = ModbusMeterOptions(
            line="lan", model="eastron_sdm630_v2", interval_s=0.05, timeout_s=timeout_s
        )
        meter = ModbusMeter("m", options, self.line)
        self.task = asyncio.create_task(meter.run(self.seen.append))

    def count(self, kind: type) -> int:
        return sum(isinstance(report, kind) for report in self.seen)

    def energies(self) -> set[float]:
        return {r.reading.energy_wh for r in self.seen if isinstance(r, MeterSeen)}


@pytest.fixture
async def bench(server):
    scheme = "rtu-tcp" if server.is_rtu else "tcp"
    bench = Bench(f"{scheme}://127.0.0.1:{server.port}")
    yield bench
    assert not bench.task.done(), "the driver ended by itself"
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)


async def test_a_meter_on_the_network_is_read(bench, server, eventually) -> None:
    await eventually(lambda: bench.count(MeterSeen) >= 3)
    assert bench.energies() == {ENERGY_WH}
    assert bench.seen[-1].reading.voltage_v == (VOLTAGE_V,) * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: [(0.15, frame)],
        lambda frame: [(0.0, frame), (0.0, frame)],
        lambda frame: [(0.0, frame[:-4])],
        lambda frame: [(0.0, frame + frame[-6:])],
        lambda frame: [(0.0, bytes([frame[0] ^ 1]) + frame[1:])],
        lambda frame: [],
    ],
    ids=["late", "doubled", "short", "long", "of another", "none"],
)
async def test_a_value_is_right_or_there_is_none(spoil, server, eventually) -> None:
    asked, spoilt = 0, set[int]()

    def behave(frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        asked += 1
        return spoil(frame) if asked % 8 in spoilt else [(0.0, frame)]

    server.behave = behave
    scheme = "rtu-tcp" if server.is_rtu else "tcp"
    for pattern in ({1}, {2}, {3}, {4}, {1, 2}, {2, 5}):
        asked, spoilt = 0, pattern
        bench = Bench(f"{scheme}://127.0.0.1:{server.port}")
        await eventually(lambda bench=bench: bench.count(MeterSeen) > 3)
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        readings = [r.reading for r in bench.seen if isinstance(r, MeterSeen)]
        assert {reading.energy_wh for reading in readings} == {ENERGY_WH}
        assert {reading.serial for reading in readings} == {str(SERIAL)}


async def test_answers_that_lag_behind_are_never_taken_for_those_asked_for(
    server, eventually
) -> None:
    """One time-out and all later answers would fit the question before theirs."""
    scheme = "rtu-tcp" if server.is_rtu else "tcp"
    asked = 0
    for first in range(5):
        asked = 0

        def behave(frame: bytes, first: int = first) -> list[tuple[float, bytes]]:
            nonlocal asked
            asked += 1
            return server.one_behind(frame) if first < asked < 40 else [(0.0, frame)]

        server.behave = behave
        bench = Bench(f"{scheme}://127.0.0.1:{server.port}")
        await eventually(lambda first=first: asked >= first + 3)  # noqa: B023
        asked = 40
        await eventually(lambda bench=bench: bench.count(MeterSeen) > 1)
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        readings = [r.reading for r in bench.seen if isinstance(r, MeterSeen)]
        assert {reading.energy_wh for reading in readings} == {ENERGY_WH}
        assert {reading.serial for reading in readings} == {str(SERIAL)}


async def test_a_dropped_connection_is_made_again(bench, server, eventually) -> None:
    await eventually(lambda: bench.count(MeterSeen))
    server.behave = lambda frame: []
    server.drop()
    await eventually(lambda: bench.count(DeviceLost))
    server.behave = lambda frame: [(0.0, frame)]
    await eventually(lambda: bench.count(DeviceFound))
    assert bench.energies() == {ENERGY_WH}


async def test_a_host_that_is_not_there_is_told_with_what_to_check(eventually) -> None:
    bench = Bench("tcp://127.0.0.1:1")
    await eventually(lambda: bench.seen)
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    (lost,) = bench.seen
    assert "127.0.0.1:1" in lost.reason
    assert "check its address" in lost.reason


def test_a_line_with_an_impossible_address_is_refused() -> None:
    with pytest.raises(PortError, match="line lan: udp"):
        ModbusLine("lan", SerialLine(port="udp://127.0.0.1"))


async def test_the_server_of_another_library_is_read(eventually) -> None:
    server = get_server(ThreadingTCPServer, ("127.0.0.1", 0), RequestHandler)

    @server.route(slave_ids=[1], function_codes=[3, 4], addresses=list(range(0x10000)))
    def register(slave_id: int, function_code: int, address: int) -> int:
        return REGISTERS.get(address, 0)

    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bench = Bench(f"tcp://127.0.0.1:{server.server_address[1]}", timeout_s=5.0)
    try:
        await eventually(lambda: bench.seen)
        assert bench.energies() == {ENERGY_WH}
        assert register_map.find("eastron_sdm630_v2").phases == len(bench.seen[0].reading.voltage_v)
    finally:
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
