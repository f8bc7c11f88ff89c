"""A Modbus RTU slave on a pty that can be told to misbehave; frames are made without pymodbus."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from umodbus.client.serial.redundancy_check import get_crc

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import ModbusMeterOptions, Observation, SerialLine
from drivers.meters.modbus_meter import ModbusMeter


def frame(body: bytes) -> bytes:
    return body + get_crc(body)


class Request:
    def __init__(self, data: bytes) -> None:
        self.unit, self.function, self.address, self.count = struct.unpack(">BBHH", data[:6])
        self.good = data[6:8] == get_crc(data[:6])


class Slave:
    """Answers for `units`; registers not set read as zero. `behave` may replace the answer."""

    def __init__(self, far_end) -> None:
        self._far_end = far_end
        self.units = {1}
        self.registers: dict[tuple[int, int], int] = {}
        self.alone: dict[tuple[int, int], int] = {}
        """What some registers hold only when they are asked for alone."""
        self.requests: list[Request] = []
        self.behave: Callable[[Request, bytes], list[tuple[float, bytes]]] = self.obey
        self._buffer = b""
        far_end.on_bytes = self._heard

    def set_float(self, address: int, value: float, function: int = 4) -> None:
        data = struct.pack(">f", value)
        self.set_words(address, [int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")])

    def set_words(self, address: int, words: list[int], function: int = 4) -> None:
        for offset, word in enumerate(words):
            self.registers[function, address + offset] = word

    @staticmethod
    def obey(request: Request, answer: bytes) -> list[tuple[float, bytes]]:
        return [(0.0, answer)]

    def answer(self, request: Request, unit: int | None = None) -> bytes:
        words = [
            self.registers.get((request.function, request.address + i), 0)
            for i in range(request.count)
        ]
        if request.count == 1:
            words = [self.alone.get((request.function, request.address), words[0])]
        head = bytes([unit or request.unit, request.function, 2 * request.count])
        return frame(head + b"".join(word.to_bytes(2, "big") for word in words))

    def _heard(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 8:
            request, self._buffer = Request(self._buffer[:8]), self._buffer[8:]
            assert request.good, "the driver sent a damaged request"
            self.requests.append(request)
            if request.unit not in self.units:
                continue
            for delay_s, answer in self.behave(request, self.answer(request)):
                if delay_s:
                    asyncio.get_running_loop().call_later(delay_s, self._far_end.send, answer)
                else:
                    self._far_end.send(answer)


@pytest.fixture
async def slave(far_end) -> Slave:
    return Slave(far_end)


@pytest.fixture
def first_report(far_end, eventually) -> Callable[..., Awaitable[list[Observation]]]:
    """What a meter with these options reports first, as the only one on the line."""

    async def report(options: ModbusMeterOptions) -> list[Observation]:
        line = ModbusLine("bus", SerialLine(port=far_end.path, baud=115200))
        seen: list[Observation] = []
        task = asyncio.create_task(ModbusMeter("m", options, line).run(seen.append))
        await eventually(lambda: seen)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seen

    return report
