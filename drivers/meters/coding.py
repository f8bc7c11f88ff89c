"""How one quantity is coded in Modbus registers, and back to Wh, W, A, V, Hz or text."""

import math
import struct
from typing import Annotated, Literal

from msgspec import Meta, Struct

NUMBER_FORMATS = {
    "uint16": ">H",
    "int16": ">h",
    "uint32": ">I",
    "int32": ">i",
    "uint64": ">Q",
    "int64": ">q",
    "float32": ">f",
    "acc32": ">I",
    "t5": ">I",
    "t6": ">I",
}
TEXTS = ("ascii", "ascii_low")
FieldName = Literal[
    "energy_import",
    "energy_import_l1",
    "energy_import_l2",
    "energy_import_l3",
    "energy_export",
    "energy_export_l1",
    "energy_export_l2",
    "energy_export_l3",
    "energy_sum",
    "power_total",
    "power_l1",
    "power_l2",
    "power_l3",
    "current_l1",
    "current_l2",
    "current_l3",
    "voltage_l1",
    "voltage_l2",
    "voltage_l3",
    "power_import",
    "power_export",
    "frequency",
    "serial",
]
Address = Annotated[int, Meta(ge=0, le=0xFFFF)]
Function = Literal[3, 4]
NumberType = Literal[
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "acc32",
    "t5",
    "t6",
    "ascii",
    "ascii_low",
]


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """Where one quantity stands and how it is coded; times `scale` it is Wh, W, A, V or Hz."""

    address: Address
    type: NumberType
    function: Function = 4
    scale: Annotated[float, Meta(gt=0)] = 1.0
    length: Annotated[int, Meta(ge=1, le=32)] = 1
    """Number of registers; for texts only."""
    absent: int | None = None
    """Raw value by which the meter says that it does not measure this."""
    exponent: Address | None = None
    """Register that holds a power of ten (int16) for this value, as SunSpec has it."""
    optional: bool = False
    """Versions of the model without it exist: a refusal is remembered, the rest is still read."""
    doubt: str = ""
    """What should be checked on the meter before this is relied on."""

    @property
    def count(self) -> int:
        """Registers it takes."""
        if self.type in TEXTS:
            return self.length
        return struct.calcsize(NUMBER_FORMATS[self.type]) // 2


def decode(
    item: Field, registers: list[int], word_order: str, power: int = 0
) -> float | str | None:
    """Value of a field in Wh, W, A, V, Hz or as text; None where the meter has none.

    `power` is what stands in the field's exponent register, as a signed number.
    """
    words = list(registers)
    if item.type not in TEXTS and word_order == "little":
        words.reverse()
    data = b"".join(word.to_bytes(2, "big") for word in words)
    if item.type in TEXTS:
        text = data[1::2] if item.type == "ascii_low" else data
        return text.split(b"\0")[0].decode("ascii", "replace").strip()
    (raw,) = struct.unpack(NUMBER_FORMATS[item.type], data)
    if raw == item.absent or not math.isfinite(raw):
        return None
    if item.type in ("t5", "t6"):
        raw = _decade(raw, item.type)
    return float(round(raw * item.scale * 10.0**power, 6))


def _decade(raw: int, kind: str) -> float:
    """Eight bits of signed decimal exponent, then a 24-bit number: unsigned t5, signed t6."""
    exponent, number = raw >> 24, raw & 0xFFFFFF
    if exponent & 0x80:
        exponent -= 0x100
    if kind == "t6" and number & 0x800000:
        number -= 0x1000000
    return float(number * 10.0**exponent)


def step_of(item: Field, value: float, power: int = 0) -> float:
    """Resolution of a counter where it stands at `value` (both in its unit), never below 1."""
    scale = item.scale * 10.0**power
    if item.type != "float32":
        return max(1.0, scale)
    (bits,) = struct.unpack(">I", struct.pack(">f", value / scale))
    (above,) = struct.unpack(">f", struct.pack(">I", bits + 1))
    (here,) = struct.unpack(">f", struct.pack(">I", bits))
    return max(1.0, float(above - here) * scale)
