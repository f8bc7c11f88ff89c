"""Register maps: what a meter's Modbus registers mean, one YAML file per model in config/meters."""

import importlib.util
import math
import re
import struct
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct, field

from drivers.contract import DriverError

NUMBER_FORMATS = {
    "uint16": ">H",
    "int16": ">h",
    "uint32": ">I",
    "int32": ">i",
    "uint64": ">Q",
    "int64": ">q",
    "float32": ">f",
}
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
    "frequency",
    "serial",
]
Address = Annotated[int, Meta(ge=0, le=0xFFFF)]
Function = Literal[3, 4]


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """Where one quantity stands and how it is coded; times `scale` it is Wh, W, A, V or Hz."""

    address: Address
    type: Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "ascii"]
    function: Function = 4
    scale: Annotated[float, Meta(gt=0)] = 1.0
    length: Annotated[int, Meta(ge=1, le=32)] = 1
    """Number of registers; for ascii only."""
    absent: int | None = None
    """Raw value by which the meter says that it does not measure this."""

    @property
    def count(self) -> int:
        """Registers it takes."""
        if self.type == "ascii":
            return self.length
        return struct.calcsize(NUMBER_FORMATS[self.type]) // 2


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """Registers read with one request."""

    address: Address
    count: Annotated[int, Meta(ge=1, le=125)]
    function: Function = 4
    optional: bool = False
    """Versions of the model without these registers exist."""

    def holds(self, item: Field) -> bool:
        return (
            item.function == self.function
            and self.address <= item.address
            and item.address + item.count <= self.address + self.count
        )


class FactorySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the meter talks when it is new."""

    unit: Annotated[int, Meta(ge=1, le=247)] = 1
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class RegisterMap(Struct, frozen=True, forbid_unknown_fields=True):
    """One meter model."""

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    phases: Literal[1, 3]
    fields: dict[FieldName, Field]
    blocks: Annotated[tuple[Block, ...], Meta(min_length=1)]
    word_order: Literal["big", "little"] = "big"
    max_registers: Annotated[int, Meta(ge=1, le=125)] = 125
    max_power_w: Annotated[float, Meta(gt=0)] = 90_000.0
    """More than the meter can ever pass: 3 phases, 100 A, 300 V unless given."""
    refresh_s: Annotated[float, Meta(ge=0)] = 1.0
    """How often the meter renews its registers."""
    factory: FactorySettings = field(default_factory=FactorySettings)

    def __post_init__(self) -> None:
        if "energy_import" not in self.fields:
            raise ValueError("fields needs energy_import")
        energy = self.fields["energy_import"]
        if energy.type == "ascii":
            raise ValueError("energy_import cannot be ascii")
        if not any(block.holds(energy) and not block.optional for block in self.blocks):
            raise ValueError("a block that is not optional must hold all of energy_import")
        if any(block.count > self.max_registers for block in self.blocks):
            raise ValueError("a block is longer than max_registers")
        lengths = [block.count for block in self.blocks]
        if len({*lengths, energy.count}) != len(lengths) + 1:
            raise ValueError(
                f"blocks need lengths that differ from one another and from energy_import's "
                f"({energy.count}), or a late answer could be taken for another block; "
                "read one register more or less"
            )


def decode(item: Field, registers: list[int], word_order: str) -> float | str | None:
    """Value of a field in Wh, W, A, V, Hz or as text; None where the meter has none."""
    words = list(registers) if word_order == "big" or item.type == "ascii" else registers[::-1]
    data = b"".join(word.to_bytes(2, "big") for word in words)
    if item.type == "ascii":
        return data.split(b"\0")[0].decode("ascii", "replace").strip()
    (raw,) = struct.unpack(NUMBER_FORMATS[item.type], data)
    if raw == item.absent or not math.isfinite(raw):
        return None
    return float(round(raw * item.scale, 6))


def step_of(item: Field, value: float) -> float:
    """Resolution of a counter where it stands at `value` (both in its unit), never below 1."""
    if item.type != "float32":
        return max(1.0, item.scale)
    (bits,) = struct.unpack(">I", struct.pack(">f", value / item.scale))
    (above,) = struct.unpack(">f", struct.pack(">I", bits + 1))
    (here,) = struct.unpack(">f", struct.pack(">I", bits))
    return max(1.0, float(above - here) * item.scale)


def map_directories() -> list[Path]:
    """Where maps lie: beside the installed agent, and in the source tree."""
    found = []
    agent = importlib.util.find_spec("agent")
    for place in (agent.submodule_search_locations or []) if agent else []:
        found.append(Path(place) / "config" / "meters")
    found.append(Path(__file__).resolve().parents[2] / "config" / "meters")
    return [directory for directory in found if directory.is_dir()]


def models() -> list[str]:
    """Names of all models that have a map."""
    files = (file for directory in map_directories() for file in directory.glob("*.yaml"))
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def find(model: str) -> RegisterMap:
    """The map of a model by its file name without .yaml; raises DriverError."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", model):
        for directory in map_directories():
            file = directory / f"{model}.yaml"
            if file.is_file():
                return load(file)
    raise DriverError(
        f"no register map for meter model {model!r}; use one of {', '.join(models()) or 'none'}, "
        "or add a file made from config/meters/_template.yaml"
    )


def load(file: Path) -> RegisterMap:
    """Reads and checks a map; raises DriverError that names the file and the place in it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return msgspec.convert(content, RegisterMap)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise DriverError(
            f"register map {file}: {error}; mend it by config/meters/_template.yaml"
        ) from error
