"""A SunSpec meter is found and read by what it tells of itself."""

import struct

import pytest

from drivers.contract import DeviceLost, MeterSeen, ModbusMeterOptions

SERIAL = "BSM-0042"


def options_for(model: str) -> ModbusMeterOptions:
    return ModbusMeterOptions(line="bus", model=model, timeout_s=0.2)


def put_text(slave, address: int, text: str, length: int) -> None:
    data = text.encode().ljust(2 * length, b"\0")
    slave.set_words(
        address, [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)], 3
    )


def put_chain(slave, base: int, models: list[tuple[int, dict[int, int], int]]) -> int:
    """Mark, then (number, registers by offset behind the length, length), then the end."""
    slave.set_words(base, [0x5375, 0x6E53], 3)
    at = base + 2
    for number, registers, length in models:
        slave.set_words(at, [number, length], 3)
        for offset, word in registers.items():
            slave.set_words(at + 2 + offset, [word & 0xFFFF], 3)
        if number == 1:
            put_text(slave, at + 2 + 48, SERIAL, 16)
        at += 2 + length
    slave.set_words(at, [0xFFFF, 0], 3)
    return at


INTEGERS = {
    1: 160,
    2: 150,
    3: 170,
    4: -1,  # currents in tenths of A
    6: 2300,
    7: 2290,
    8: 2310,
    13: -1,  # voltages in tenths of V
    14: 5000,
    15: -2,
    16: 1104,
    17: 368,
    18: 345,
    19: 391,
    20: 1,
    44: 0x0001,
    45: 0xE240,
    52: 1,  # 123456 tens of Wh
}
FLOATS = {2: 16.0, 4: 15.0, 6: 17.0, 10: 230.0, 12: 229.0, 14: 231.0, 24: 50.0, 26: 11040.0}
FLOATS |= {28: 3680.0, 30: 3450.0, 32: 3910.0, 66: 1_234_560.0}


def float_registers() -> dict[int, int]:
    found = {}
    for offset, value in FLOATS.items():
        data = struct.pack(">f", value)
        found[offset] = int.from_bytes(data[:2], "big")
        found[offset + 1] = int.from_bytes(data[2:], "big")
    return found


@pytest.mark.parametrize("base", [40000, 50000, 0])
@pytest.mark.parametrize(
    ("number", "registers", "length"), [(203, INTEGERS, 105), (213, float_registers(), 124)]
)
async def test_a_meter_is_found_wherever_its_chain_begins(
    base: int, number: int, registers: dict[int, int], length: int, slave, first_report
) -> None:
    chain = [(1, {}, 66), (64001, {}, 300), (number, registers, length)]
    put_chain(slave, base, chain)
    (report,) = await first_report(options_for("sunspec_meter"))
    assert isinstance(report, MeterSeen), report
    reading = report.reading
    assert reading.energy_wh == 1_234_560.0
    assert reading.step_wh == (10.0 if number == 203 else 1.0)
    assert (reading.power_w, reading.frequency_hz) == (11_040.0, 50.0)
    assert reading.power_phase_w == (3_680.0, 3_450.0, 3_910.0)
    assert reading.current_a == (16.0, 15.0, 17.0)
    assert reading.voltage_v == (230.0, 229.0, 231.0)
    assert reading.serial == SERIAL


async def test_points_the_meter_does_not_have_are_left_out(slave, first_report) -> None:
    put_chain(slave, 40000, [(203, {**INTEGERS, 8: 0x8000, 19: 0x8000}, 105)])
    (report,) = await first_report(options_for("bauer_bsm_ws36a"))
    assert isinstance(report, MeterSeen), report
    assert (report.reading.voltage_v, report.reading.power_phase_w) == ((), ())
    assert report.reading.serial == ""


async def test_an_inverter_is_no_meter(slave, first_report) -> None:
    put_chain(slave, 40000, [(1, {}, 66), (103, {}, 50)])
    (report,) = await first_report(options_for("sunspec_meter"))
    assert isinstance(report, DeviceLost)
    assert "no meter model" in report.reason


async def test_a_device_without_sunspec_is_told_so(slave, first_report) -> None:
    (report,) = await first_report(options_for("sunspec_meter"))
    assert isinstance(report, DeviceLost)
    assert "no SunSpec device answers" in report.reason
