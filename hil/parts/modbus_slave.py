"""A Modbus RTU slave line for benches, with its own codec and faults that can be switched on."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

Registers = Mapping[tuple[int, int], int]
"""(function code 1, 3 or 4, 0-based address) -> 16-bit value, or a coil's 0 or 1."""
READ_FUNCTIONS = (3, 4)
READ_COILS, WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 1, 5, 6, 16
SHORTEST_REQUEST = 8
SILENCE_S = 0.05
"""A frame that makes no sense is forgotten after this much silence on the line."""
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class Fault(StrEnum):
    """What a slave can do wrong with an answer."""

    SILENT = "silent"
    LATE = "late"
    SHORT = "short"
    """Two registers, or two bytes, are missing; byte count and checksum fit."""
    DOUBLED = "doubled"
    AGAIN = "again"
    """The right answer, and once more after `delay_s`."""
    WRONG_UNIT = "wrong unit"
    BAD_CRC = "bad crc"


class Unit(Struct, frozen=True):
    """One device on the line: its registers at the moment of asking, and its largest block.

    `write(function, address, value)` is called for each register (3) or coil (1) that is written;
    False refuses the address. Without it nothing can be written.
    """

    read: Callable[[], Registers]
    max_registers: int = 125
    answer_after_s: float = 0.0
    write: Callable[[int, int, int], bool] | None = None
    has_holes: bool = False
    """Gaps between registers are refused as well, not read as 0."""
    writes_by: tuple[int, ...] = (WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS)
    """Functions that it takes writes by."""


class Port(Protocol):
    """What a line is reached by: a pty, or TCP."""

    on_bytes: Callable[[bytes], None]

    def write(self, data: bytes) -> None:
        """Sends a frame, to whoever hears it."""


class _Injected(Struct):
    fault: Fault
    unit: int | None
    times: int | None
    delay_s: float


def crc16(data: bytes) -> bytes:
    """Modbus CRC (polynomial 0xA001, start 0xFFFF), low byte first as on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


def framed(unit: int, pdu: bytes) -> bytes:
    """Address, PDU and checksum."""
    body = bytes([unit]) + pdu
    return body + crc16(body)


def answer(unit: Unit, pdu: bytes) -> bytes:
    """The answer PDU to a request PDU: values, what was written, or a Modbus exception.

    Gaps between registers of the same function read as 0, unless the unit has holes; outside of
    the map is exception 2.
    """
    function = pdu[0]
    if function in unit.writes_by and unit.write is not None:
        return _written(unit.write, pdu)
    if function not in (*READ_FUNCTIONS, READ_COILS):
        return _exception(function, ILLEGAL_FUNCTION)
    address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    if not 1 <= count <= unit.max_registers:
        return _exception(function, ILLEGAL_VALUE)
    registers = unit.read()
    known = [at for kind, at in registers if kind == function]
    if not known or address < min(known) or address + count - 1 > max(known):
        return _exception(function, ILLEGAL_ADDRESS)
    asked = range(address, address + count)
    if unit.has_holes and any((function, at) not in registers for at in asked):
        return _exception(function, ILLEGAL_ADDRESS)
    words = [registers.get((function, at), 0) for at in asked]
    if function == READ_COILS:
        bits = sum(bool(word) << n for n, word in enumerate(words))
        data = bits.to_bytes(-(-count // 8), "little")
    else:
        data = b"".join(word.to_bytes(2, "big") for word in words)
    return bytes([function, len(data)]) + data


def _written(write: Callable[[int, int, int], bool], pdu: bytes) -> bytes:
    function, address, word = pdu[0], *(int.from_bytes(pdu[i : i + 2], "big") for i in (1, 3))
    if function == WRITE_REGISTERS:
        words = [int.from_bytes(pdu[i : i + 2], "big") for i in range(6, len(pdu), 2)]
        if word != len(words) or pdu[5] != 2 * word:
            return _exception(function, ILLEGAL_VALUE)
    elif function == WRITE_COIL:
        if word not in (0x0000, 0xFF00):
            return _exception(function, ILLEGAL_VALUE)
        words = [int(word == 0xFF00)]
    else:
        words = [word]
    kind = READ_COILS if function == WRITE_COIL else 3
    if not all(write(kind, address + n, one) for n, one in enumerate(words)):
        return _exception(function, ILLEGAL_ADDRESS)
    return pdu[:5]


def _exception(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])


def _frame_length(start: bytes | bytearray) -> int:
    """Of the request that begins so; only writing several registers is longer than the rest."""
    return 9 + start[6] if start[1] == WRITE_REGISTERS else SHORTEST_REQUEST


class ModbusSlave:
    """Several units on one RS-485 line; a request to any other unit gets no answer."""

    def __init__(self, port: Port, units: Mapping[int, Unit]) -> None:
        self.units = dict(units)
        self.requests: list[tuple[int, bytes]] = []
        """(unit, request PDU) of everything with a good checksum."""
        self.in_order = False
        """An answer waits for a late one before it, as in one device; otherwise it overtakes it."""
        self._last_s = 0.0
        self._port = port
        self._buffer = bytearray()
        self._faults: list[_Injected] = []
        self._forget: asyncio.TimerHandle | None = None
        port.on_bytes = self._on_bytes

    def inject(
        self,
        fault: Fault,
        *,
        unit: int | None = None,
        times: int | None = None,
        delay_s: float = 0.5,
    ) -> None:
        """Spoils the next `times` answers (None: all until `heal`) of a unit (None: of all).

        `delay_s` is for Fault.LATE and AGAIN; the request that is answered late does not hold up
        the next, unless `in_order`.
        """
        self._faults.append(_Injected(fault, unit, times, delay_s))

    def heal(self) -> None:
        """Ends all faults; what is late still comes."""
        self._faults.clear()

    def _on_bytes(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= SHORTEST_REQUEST:
            frame = bytes(self._buffer[: _frame_length(self._buffer)])
            if crc16(frame[:-2]) != frame[-2:]:
                break
            del self._buffer[: len(frame)]
            self._handle(frame[0], frame[1:-2])
        if self._forget is not None:
            self._forget.cancel()
        if self._buffer:
            self._forget = asyncio.get_running_loop().call_later(SILENCE_S, self._buffer.clear)

    def _handle(self, unit_id: int, pdu: bytes) -> None:
        self.requests.append((unit_id, pdu))
        unit = self.units.get(unit_id)
        if unit is None:
            return
        fault = self._take_fault(unit_id)
        reply = answer(unit, pdu)
        frame, delay_s = _spoil(unit_id, reply, fault)
        delay_s = self._waits_s(delay_s + unit.answer_after_s)
        if frame and delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s, self._port.write, frame)
        elif frame:
            self._port.write(frame)
        if fault is not None and fault.fault is Fault.AGAIN:
            loop = asyncio.get_running_loop()
            loop.call_later(delay_s + fault.delay_s, self._port.write, frame)

    def _waits_s(self, delay_s: float) -> float:
        if self.in_order:
            now_s = asyncio.get_running_loop().time()
            self._last_s = max(self._last_s, now_s + delay_s)
            delay_s = self._last_s - now_s
        return delay_s

    def _take_fault(self, unit_id: int) -> _Injected | None:
        for injected in self._faults:
            if injected.unit in (None, unit_id):
                if injected.times is not None:
                    injected.times -= 1
                    if injected.times <= 0:
                        self._faults.remove(injected)
                return injected
        return None


def _spoil(unit_id: int, reply: bytes, injected: _Injected | None) -> tuple[bytes, float]:
    """What goes onto the line, and how late."""
    frame = framed(unit_id, reply)
    match injected.fault if injected else None:
        case Fault.SILENT:
            return b"", 0.0
        case Fault.LATE:
            return frame, injected.delay_s if injected else 0.0
        case Fault.SHORT:
            if reply[0] not in READ_FUNCTIONS:
                return framed(unit_id, reply[:-2]), 0.0
            data = reply[2:-4]
            return framed(unit_id, bytes([reply[0], len(data)]) + data), 0.0
        case Fault.DOUBLED:
            return frame + frame, 0.0
        case Fault.WRONG_UNIT:
            return framed(unit_id % 247 + 1, reply), 0.0
        case Fault.BAD_CRC:
            return frame[:-1] + bytes([frame[-1] ^ 0x55]), 0.0
        case _:
            return frame, 0.0
