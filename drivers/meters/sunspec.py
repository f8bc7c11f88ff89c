"""SunSpec meters describe themselves: finds the meter model in a device and makes its register map.

The chain begins with "SunS" at one of three places; each model has its number, its length and then
its points (SunSpec Device Information Model, models 1, 201 to 204 and 211 to 214).
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec.structs import replace

from drivers.bus.modbus_line import Refused
from drivers.contract import ProtocolError
from drivers.meters.coding import Field, FieldName, Function, NumberType
from drivers.meters.register_map import Identity, RegisterMap

Read = Callable[[int, int, int], Awaitable[list[int]]]
"""(function, address, count) -> registers."""

HOLDING: Function = 3
BASES = (40000, 50000, 0)
MARK = [0x5375, 0x6E53]
END = 0xFFFF
LONGEST_CHAIN = 32
COMMON = 1
SERIAL_OFFSET, SERIAL_LENGTH = 48, 16
"""In the common model, behind maker, model, options and version."""
SINGLE_PHASE = (201, 211)
INTEGER_MODELS = (201, 202, 203, 204)
FLOAT_MODELS = (211, 212, 213, 214)
NOT_THERE = -0x8000
"""An int16 point, or a power of ten, that the device does not have."""

_INTEGER_POINTS: dict[FieldName, tuple[int, int]] = {
    "current_l1": (1, 4),
    "current_l2": (2, 4),
    "current_l3": (3, 4),
    "voltage_l1": (6, 13),
    "voltage_l2": (7, 13),
    "voltage_l3": (8, 13),
    "frequency": (14, 15),
    "power_total": (16, 20),
    "power_l1": (17, 20),
    "power_l2": (18, 20),
    "power_l3": (19, 20),
    "energy_export": (36, 52),
    "energy_import": (44, 52),
}
"""Field -> (offset behind the length, offset of its power of ten)."""
_FLOAT_POINTS: dict[FieldName, int] = {
    "current_l1": 2,
    "current_l2": 4,
    "current_l3": 6,
    "voltage_l1": 10,
    "voltage_l2": 12,
    "voltage_l3": 14,
    "frequency": 24,
    "power_total": 26,
    "power_l1": 28,
    "power_l2": 30,
    "power_l3": 32,
    "energy_export": 58,
    "energy_import": 66,
}


def power_of_ten(register: int) -> int:
    """A scale factor as a signed number; 0 where it is not there."""
    value = register - 0x10000 if register & 0x8000 else register
    return 0 if value == NOT_THERE else value


async def discover(asked: RegisterMap, read: Read) -> RegisterMap:
    """The map of the device's meter model. Raises ProtocolError and what `read` raises."""
    serial: Field | None = None
    async for model, address, _ in models(read):
        if model == COMMON:
            serial = Field(address + 2 + SERIAL_OFFSET, "ascii", HOLDING, length=SERIAL_LENGTH)
        elif model in INTEGER_MODELS or model in FLOAT_MODELS:
            return _map(asked, model, address, serial)
    raise ProtocolError(
        "the SunSpec device has no meter model (201 to 204, 211 to 214); it may be an inverter: "
        "check the unit id, or choose another model in charger.yaml"
    )


async def models(read: Read) -> AsyncIterator[tuple[int, int, int]]:
    """The chain: model, the register of its number, its length behind number and length."""
    address = await _begin(read)
    for _ in range(LONGEST_CHAIN):
        model, length = await read(HOLDING, address, 2)
        if model == END:
            return
        yield model, address, length
        address += 2 + length


async def _begin(read: Read) -> int:
    """First register behind the mark."""
    for base in BASES:
        try:
            if await read(HOLDING, base, len(MARK)) == MARK:
                return base + len(MARK)
        except Refused:
            continue
    raise ProtocolError(
        "no SunSpec device answers at 40000, 50000 or 0; switch SunSpec on in the meter, or choose "
        "the model's own register map in charger.yaml"
    )


def _map(asked: RegisterMap, model: int, address: int, serial: Field | None) -> RegisterMap:
    points = address + 2
    fields: dict[FieldName, Field] = {}
    if model in FLOAT_MODELS:
        for name, at in _FLOAT_POINTS.items():
            fields[name] = Field(points + at, "float32", HOLDING)
    else:
        for name, (at, exponent) in _INTEGER_POINTS.items():
            kind: NumberType = "acc32" if name.startswith("energy") else "int16"
            absent = NOT_THERE if kind == "int16" else None
            fields[name] = Field(
                points + at, kind, HOLDING, absent=absent, exponent=points + exponent
            )
    if serial is not None:
        fields["serial"] = serial
    return replace(
        asked,
        sunspec=False,
        fields=fields,
        phases=1 if model in SINGLE_PHASE else 3,
        identity=Identity(address, (model,)),
    )
