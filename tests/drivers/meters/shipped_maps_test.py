"""Every map in config/meters: a device that codes its values as the map says is read right."""

import struct

import pytest

from drivers.bus.modbus_line import ModbusLine
from drivers.contract import (
    DeviceLost,
    DriverError,
    MeterSeen,
    ModbusMeterOptions,
    SerialLine,
)
from drivers.meters import register_map
from drivers.meters.modbus_meter import ModbusMeter

MEASURED = {
    "energy_import": 7_654_000.0,
    "energy_export": 12_300.0,
    "power_total": 11_040.0,
    "power_import": 11_040.0,
    "power_export": 0.0,
    "power_l1": 3_680.0,
    "power_l2": 3_450.0,
    "power_l3": 3_910.0,
    "current_l1": 16.0,
    "current_l2": 15.0,
    "current_l3": 17.0,
    "voltage_l1": 230.0,
    "voltage_l2": 229.0,
    "voltage_l3": 231.0,
    "frequency": 50.0,
}
SERIAL = 4_711


def words(kind: str, value: float, scale: float, length: int, order: str) -> list[int]:
    """By hand, not by the driver's own table."""
    if kind == "ascii":
        data = str(SERIAL).encode().ljust(2 * length, b"\0")
    elif kind == "ascii_low":
        data = b"".join(bytes([0, c]) for c in str(SERIAL).encode()).ljust(2 * length, b"\0")
    elif kind == "float32":
        data = struct.pack(">f", value / scale)
    elif kind in ("t5", "t6"):  # value = number x 10^-1
        data = struct.pack(">b", -1) + round(value * 10).to_bytes(3, "big")
    else:
        bits = 32 if kind == "acc32" else int(kind[-2:])
        data = round(value / scale).to_bytes(bits // 8, "big")
    split = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    return split[::-1] if order == "little" and not kind.startswith("ascii") else split


def put_values(slave, model: register_map.RegisterMap) -> None:
    for name, item in model.fields.items():
        if model.phases == 1 and name == "power_total":
            continue  # the same register as power_l1
        value = SERIAL if name == "serial" else MEASURED.get(name, 0.0)
        if item.exponent is not None:  # the device counts tens
            value /= 10
            slave.set_words(item.exponent, [1], item.function)
        slave.set_words(
            item.address,
            words(item.type, value, item.scale, item.length, model.word_order),
            item.function,
        )
    if model.identity is not None:
        slave.alone[model.identity.function, model.identity.address] = model.identity.values[0]


def options_for(model: str, **more: object) -> ModbusMeterOptions:
    return ModbusMeterOptions(line="bus", model=model, timeout_s=0.2, **more)


MODELS = [model for model in register_map.models() if not register_map.find(model).sunspec]


@pytest.mark.parametrize("model", MODELS)
async def test_a_meter_is_read_as_its_map_says(model: str, slave, first_report) -> None:
    shipped = register_map.find(model)
    put_values(slave, shipped)
    (report,) = await first_report(options_for(model))
    assert isinstance(report, MeterSeen), report
    reading, phases = report.reading, range(1, shipped.phases + 1)
    assert reading.energy_wh == pytest.approx(MEASURED["energy_import"], abs=reading.step_wh)
    for got, name in (
        (reading.power_phase_w, "power"),
        (reading.current_a, "current"),
        (reading.voltage_v, "voltage"),
    ):
        has_all = all(f"{name}_l{n}" in shipped.fields for n in phases)
        wanted = [MEASURED[f"{name}_l{n}"] for n in phases] if has_all else []
        assert got == pytest.approx(wanted, rel=1e-4), name
    if shipped.phases == 3:
        assert reading.power_w == pytest.approx(MEASURED["power_total"])
    assert reading.serial == (str(SERIAL) if "serial" in shipped.fields else "")
    assert all(request.count <= shipped.max_registers for request in slave.requests)
    if shipped.even:
        identity = shipped.identity.address if shipped.identity else None
        assert all(r.count % 2 == 0 or r.address == identity for r in slave.requests)


async def test_a_meter_that_tells_another_model_is_not_believed(slave, first_report) -> None:
    put_values(slave, register_map.find("eastron_sdm120"))
    slave.alone[3, 0xFC02] = 137
    (report,) = await first_report(options_for("eastron_sdm120"))
    assert isinstance(report, DeviceLost)
    assert "model number 137, eastron_sdm120 has 32" in report.reason


async def test_values_that_are_not_there_are_left_out(slave, first_report) -> None:
    abb = register_map.find("abb_b23")
    put_values(slave, abb)
    for name, item in abb.fields.items():
        if name in ("voltage_l2", "voltage_l3"):
            slave.set_words(item.address, [0xFFFF] * item.count, item.function)
        if name in ("power_l2", "power_l3"):
            slave.set_words(item.address, [0x7FFF, 0xFFFF], item.function)
    (report,) = await first_report(options_for("abb_b23"))
    assert isinstance(report, MeterSeen)
    assert (report.reading.voltage_v, report.reading.power_phase_w) == ((), ())
    assert report.reading.current_a == (16.0, 15.0, 17.0)


async def test_a_rotated_meter_reports_the_phases_of_the_supply(slave, first_report) -> None:
    put_values(slave, register_map.find("eastron_sdm630_v2"))
    options = options_for("eastron_sdm630_v2", phase_rotation="STR")
    (report,) = await first_report(options)
    # terminal 1 hangs on L2, terminal 2 on L3, terminal 3 on L1
    assert report.reading.current_a == (17.0, 16.0, 15.0)
    assert report.reading.voltage_v == (231.0, 230.0, 229.0)
    assert report.reading.power_phase_w == (3_910.0, 3_680.0, 3_450.0)


async def test_a_meter_wired_backwards_counts_export_as_what_the_ev_takes(
    slave, first_report
) -> None:
    put_values(slave, register_map.find("carlo_gavazzi_em340"))
    options = options_for("carlo_gavazzi_em340", reversed=True)
    (report,) = await first_report(options)
    assert report.reading.energy_wh == MEASURED["energy_export"]
    assert report.reading.power_w == -MEASURED["power_total"]
    assert report.reading.current_a == (16.0, 15.0, 17.0)


def test_a_model_without_the_direction_asked_for_is_refused() -> None:
    with pytest.raises(DriverError, match="the other way round"):
        ModbusMeter(
            "m",
            options_for("orno_we514_515", reversed=True),
            ModbusLine("bus", SerialLine(port="/dev/null")),
        )
