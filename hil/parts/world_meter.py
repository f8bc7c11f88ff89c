"""Makes a Modbus unit of an EVSE of the simulated world, by the register map of a meter model."""

import math
import struct
from collections.abc import Mapping

from drivers.meters.coding import NUMBER_FORMATS, TEXTS, Field
from drivers.meters.register_map import RegisterMap
from drivers.sim.live import LiveWorld
from hil.parts.modbus_slave import Registers, Unit


def field_values(live: LiveWorld, evse_id: int, serial: int = 0) -> dict[str, float]:
    """What the EVSE's meter measures now, by field names of the register maps."""
    live.catch_up()
    view = live.world.meter(evse_id)
    values = {
        "energy_import": view.energy_wh,
        "energy_sum": view.energy_wh,
        "power_total": view.power_w,
        "frequency": view.frequency_hz,
        "serial": float(serial),
    }
    for index in range(3):
        phase = f"l{index + 1}"
        values[f"voltage_{phase}"] = view.voltage_v[index]
        values[f"current_{phase}"] = view.current_a[index]
        values[f"power_{phase}"] = view.power_phase_w[index]
    return values


def words_of(item: Field, value: float, word_order: str) -> list[int]:
    """The registers of one field; integers are rounded down as counters do."""
    if item.type in TEXTS:
        text = f"{value:.0f}".encode("ascii")
        if item.type == "ascii_low":
            text = b"".join(bytes([0, letter]) for letter in text)
        data = text.ljust(2 * item.count, b"\0")[: 2 * item.count]
    else:
        data = struct.pack(NUMBER_FORMATS[item.type], _raw(item, value))
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    return words[::-1] if word_order == "little" and item.type not in TEXTS else words


def _raw(item: Field, value: float) -> float | int:
    raw = value / item.scale
    if item.type == "float32":
        return raw
    if item.type in ("t5", "t6"):
        exponent = 0
        while abs(raw) >= 0x800000:
            raw, exponent = raw / 10, exponent + 1
        while exponent > -4 and abs(raw) * 10 < 0x800000:
            raw, exponent = raw * 10, exponent - 1
        return (exponent & 0xFF) << 24 | math.floor(raw + 1e-6) & 0xFFFFFF
    return math.floor(raw + 1e-6)


def encode(register_map: RegisterMap, values: Mapping[str, float]) -> Registers:
    """All registers of the map; a field without a value reads 0, and so does a power of ten."""
    return {
        (item.function, address): word
        for name, item in register_map.fields.items()
        for address, word in _addressed(item, values.get(name, 0.0), register_map.word_order)
    }


def _addressed(item: Field, value: float, word_order: str) -> list[tuple[int, int]]:
    words = enumerate(words_of(item, value, word_order), item.address)
    return list(words) if item.exponent is None else [*words, (item.exponent, 0)]


def meter_unit(
    live: LiveWorld,
    evse_id: int,
    register_map: RegisterMap,
    *,
    serial: int = 0,
    answer_after_s: float = 0.0,
) -> Unit:
    """A Modbus unit that measures the EVSE; the world is saved before it answers."""

    def read() -> Registers:
        registers = encode(register_map, field_values(live, evse_id, serial))
        live.save()
        return registers

    return Unit(read, register_map.max_registers, answer_after_s)
