import asyncio
from collections.abc import AsyncIterator

import pytest
import serial
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from umodbus.client.serial.redundancy_check import add_crc

from drivers.meters.coding import decode, step_of
from drivers.meters.register_map import find, models
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.modbus_slave import Fault, ModbusSlave, Unit, answer, framed
from hil.parts.pty_port import PtyPort
from hil.parts.world_meter import encode, field_values, meter_unit

REGISTERS = {(4, 0): 0x1111, (4, 1): 0x2222, (4, 4): 0x5555, (3, 100): 0x0007}


@pytest.mark.parametrize(
    ("request_pdu", "answer_pdu"),
    [
        ("04 0000 0002", "04 04 1111 2222"),
        ("04 0000 0005", "04 0a 1111 2222 0000 0000 5555"),
        ("03 0064 0001", "03 02 0007"),
        ("03 0000 0001", "83 02"),
        ("04 0004 0002", "84 02"),
        ("04 0000 0000", "84 03"),
        ("04 0000 0006", "84 03"),
        ("06 0000 0001", "86 01"),
    ],
)
def test_requests_answer_as_the_protocol_says(request_pdu: str, answer_pdu: str) -> None:
    unit = Unit(lambda: REGISTERS, max_registers=5)
    assert answer(unit, bytes.fromhex(request_pdu)) == bytes.fromhex(answer_pdu)


def test_frames_carry_the_checksum_that_others_compute() -> None:
    for body in (b"\x01\x04\x00\x00\x00\x02", b"\xf7\x03", bytes(range(200))):
        assert framed(body[0], body[1:]) == add_crc(body)


class Line:
    """A slave line with two SDM630 over one world, and a foreign master."""

    def __init__(self) -> None:
        self.world = World({1: [1], 2: [1]}, meter_start_wh=1_234_567)
        self.live = LiveWorld(self.world)
        self.port = PtyPort()
        self.port.open()
        self.map = find("eastron_sdm630_v2")
        units = {
            5: meter_unit(self.live, 1, self.map, serial=18061234),
            6: meter_unit(self.live, 2, self.map, serial=2),
        }
        self.slave = ModbusSlave(self.port, units)
        self.master = AsyncModbusSerialClient(self.port.path, timeout=0.3, retries=0)

    async def floats(self, address: int, count: int, unit: int = 5) -> list[float]:
        """`count` float32 values, as the foreign master reads them."""
        answered = await self.master.read_input_registers(address, count=2 * count, device_id=unit)
        if answered.isError():
            raise ModbusException(str(answered))
        values = self.master.convert_from_registers(
            answered.registers, self.master.DATATYPE.FLOAT32
        )
        return values if isinstance(values, list) else [values]  # type: ignore[list-item]


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    await made.master.connect()
    yield made
    made.master.close()
    made.port.unplug()


async def test_a_foreign_master_reads_the_world(line: Line) -> None:
    line.live.catch_up()
    line.world.plug_in((1, 1), Ev(current_a=16, phases=1, ready_after_s=0))
    line.world.offer((1, 1), 10)
    line.world.connectors[1, 1].closed = True
    line.world.set_voltage(231, 229, 230)
    assert await line.floats(0, 9) == [231, 229, 230, 10, 0, 0, 2310, 0, 0]
    assert await line.floats(0x34, 1) == [2310]
    assert await line.floats(0x46, 1) == [50]
    assert (await line.floats(0x48, 1))[0] == pytest.approx(1234.567, abs=0.001)
    assert await line.floats(0x34, 1, unit=6) == [0]


async def test_the_serial_number_stands_in_its_holding_registers(line: Line) -> None:
    answered = await line.master.read_holding_registers(0xFC00, count=2, device_id=5)
    assert (
        line.master.convert_from_registers(answered.registers, line.master.DATATYPE.UINT32)
        == 18061234
    )


async def test_addresses_outside_of_the_map_are_an_exception(line: Line) -> None:
    with pytest.raises(ModbusException, match="exception_code=2"):
        await line.floats(0x2000, 1)


async def test_a_unit_that_is_not_there_stays_silent(line: Line) -> None:
    with pytest.raises(ModbusException, match="No response"):
        await line.floats(0, 1, unit=9)
    assert await line.floats(0x46, 1) == [50]


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.LATE, Fault.BAD_CRC, Fault.WRONG_UNIT])
async def test_an_answer_that_is_no_answer_fails_once_and_then_heals(
    line: Line, fault: Fault
) -> None:
    line.slave.inject(fault, unit=5, times=1, delay_s=0.4)
    with pytest.raises(ModbusException):
        await line.floats(0x46, 1)
    assert await line.floats(0x46, 1, unit=6) == [50]
    await asyncio.sleep(0.3)
    assert (await line.floats(0x46, 1, unit=6)) == [50]


async def raw(line: Line, request: str, wanted: int, quiet_s: float = 0.1) -> bytes:
    """What the line says to raw bytes: `wanted` bytes, and what follows until it is quiet."""
    line.master.close()
    got, enough = bytearray(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        got.extend(port.read(300))
        if len(got) >= wanted:
            enough.set()

    with serial.Serial(line.port.path, 9600, timeout=0) as port:
        loop.add_reader(port.fileno(), read)
        port.write(bytes.fromhex(request))
        if wanted:
            async with asyncio.timeout(20):
                await enough.wait()
        await asyncio.sleep(quiet_s)
        loop.remove_reader(port.fileno())
    return bytes(got)


REQUEST = framed(5, bytes.fromhex("0400460002")).hex()
GOOD = framed(5, bytes.fromhex("040442480000"))


@pytest.mark.parametrize(
    ("fault", "frame"),
    [
        (None, GOOD),
        (Fault.SHORT, framed(5, bytes.fromhex("0400"))),
        (Fault.DOUBLED, GOOD + GOOD),
        (Fault.WRONG_UNIT, framed(6, GOOD[1:-2])),
        (Fault.BAD_CRC, GOOD[:-1] + bytes([GOOD[-1] ^ 0x55])),
        (Fault.SILENT, b""),
    ],
)
async def test_each_fault_spoils_the_frame_as_named(
    line: Line, fault: Fault | None, frame: bytes
) -> None:
    if fault is not None:
        line.slave.inject(fault)
    assert await raw(line, REQUEST, len(frame)) == frame
    line.slave.heal()
    assert await raw(line, REQUEST, len(GOOD)) == GOOD


async def test_noise_is_forgotten_after_a_silence(line: Line) -> None:
    assert await raw(line, "00ff" + REQUEST, 0, quiet_s=0.2) == b""
    assert await raw(line, REQUEST, len(GOOD)) == GOOD


@pytest.mark.parametrize("model", [model for model in models() if not find(model).sunspec])
def test_every_value_of_a_shipped_map_comes_back_from_its_registers(model: str) -> None:
    register_map = find(model)
    world = World({1: [1]}, meter_start_wh=7_654_321)
    values = field_values(LiveWorld(world), 1, serial=42)
    registers = encode(register_map, values)
    for name, item in register_map.fields.items():
        words = [registers[item.function, item.address + at] for at in range(item.count)]
        got = decode(item, words, register_map.word_order)
        wanted = values.get(name, 0.0)
        if isinstance(got, str):
            assert got == f"{wanted:.0f}", name
        else:
            assert got == pytest.approx(wanted, rel=1e-7, abs=step_of(item, wanted)), name


@pytest.mark.parametrize(
    ("request_pdu", "answer_pdu", "stored"),
    [
        ("06 03e8 0010", "06 03e8 0010", {(3, 1000): 16}),
        ("10 03e8 0002 04 0010 0001", "10 03e8 0002", {(3, 1000): 16, (3, 1001): 1}),
        ("10 03e8 0002 02 0010", "90 03", {}),
        ("05 4e20 ff00", "05 4e20 ff00", {(1, 20000): 1}),
        ("05 4e20 0001", "85 03", {}),
        ("06 2000 0010", "86 02", {}),
    ],
)
def test_writes_are_stored_and_repeated(
    request_pdu: str, answer_pdu: str, stored: dict[tuple[int, int], int]
) -> None:
    written: dict[tuple[int, int], int] = {}

    def write(kind: int, address: int, value: int) -> bool:
        if address == 0x2000:
            return False
        written[kind, address] = value
        return True

    unit = Unit(lambda: REGISTERS, write=write)
    assert answer(unit, bytes.fromhex(request_pdu)) == bytes.fromhex(answer_pdu)
    assert written == stored


def test_coils_are_read_as_bits() -> None:
    coils = {(1, at): at % 2 for at in range(10)}
    assert answer(Unit(lambda: coils), bytes.fromhex("01 0000 000a")) == bytes.fromhex("01 02 aa02")
