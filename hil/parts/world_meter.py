"""Makes a Modbus unit of an EVSE of the simulated world, by the register map of a meter model."""

import math
import struct
from collections.abc import Mapping

from drivers.meters.register_map import NUMBER_FORMATS, Field, RegisterMap
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
    if item.type == "ascii":
        data = f"{value:.0f}".encode("ascii").ljust(2 * item.count, b"\0")[: 2 * item.count]
    else:
        raw = value / item.scale
        number = raw if item.type == "float32" else math.floor(raw + 1e-6)
        data = struct.pack(NUMBER_FORMATS[item.type], number)
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    return words[::-1] if word_order == "little" and item.type != "ascii" else words


def encode(register_map: RegisterMap, values: Mapping[str, float]) -> Registers:
    """All registers of the map; a field without a value reads 0."""
    return {
        (item.function, item.address + offset): word
        for name, item in register_map.fields.items()
        for offset, word in enumerate(
            words_of(item, values.get(name, 0.0), register_map.word_order)
        )
    }


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
