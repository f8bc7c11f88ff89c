"""Register maps: what a meter's Modbus registers mean, one YAML file per model in config/meters."""

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr, replace

from drivers.contract import DriverError
from drivers.meters.coding import TEXTS, Address, Field, FieldName, Function, NumberType
from drivers.meters.packing import Block, pack
from drivers.meters.signing import SigningMap

READ: tuple[FieldName, ...] = (
    "energy_import",
    "power_total",
    "power_import",
    "power_export",
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
)
"""What is read in each cycle, where the meter has it; the others are for people with a manual."""
IMPORT: FieldName = "energy_import"
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C: each start pays for each meter's map."""


class MapError(DriverError):
    """A register map is not there or cannot be used."""

    exit_code = 78
    """Of the process: as for charger.yaml, which names the map."""


class FactorySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the meter talks when it is new, as far as it is known; for the person at the charger."""

    unit: Annotated[int, Meta(ge=1, le=247)] | None = None
    baud: int | None = None
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None

    def told(self) -> str:
        """As in `unit 1, 9600 baud, parity N`; empty where nothing is known."""
        known = (
            ("unit {}", self.unit),
            ("{} baud", self.baud),
            ("parity {}", self.parity),
            ("{} stop bits", self.stop_bits if self.stop_bits == 2 else None),
        )
        return ", ".join(words.format(value) for words, value in known if value is not None)


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """A register that tells the model: any of `values`."""

    address: Address
    values: Annotated[tuple[int, ...], Meta(min_length=1)]
    function: Function = 3


class RegisterMap(Struct, frozen=True, forbid_unknown_fields=True):
    """One meter model."""

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    phases: Literal[1, 3] = 3
    fields: dict[FieldName, Field] = {}
    blocks: tuple[Block, ...] = ()
    """Left out, they are packed from the fields."""
    sunspec: bool = False
    """The meter describes itself; fields and blocks are found in it."""
    word_order: Literal["big", "little"] = "big"
    max_registers: Annotated[int, Meta(ge=1, le=125)] = 125
    even: bool = False
    """It answers only requests of an even number of registers."""
    absent: dict[NumberType, int] = {}
    """By type: the raw value that means "not measured", where a field does not name its own."""
    max_power_w: Annotated[float, Meta(gt=0)] = 90_000.0
    """More than the meter can ever pass: 3 phases, 100 A, 300 V unless given."""
    refresh_s: Annotated[float, Meta(ge=0)] = 1.0
    """How often the meter renews its registers."""
    identity: Identity | None = None
    factory: FactorySettings = field(default_factory=FactorySettings)
    signing: SigningMap | None = None
    """How it signs, where it does."""
    doubts: tuple[str, ...] = ()
    """What sources of this map do not agree on; `chargepoint probe` shows it."""

    def __post_init__(self) -> None:
        if self.sunspec:
            if self.fields or self.blocks:
                raise ValueError(
                    "a sunspec meter names its own registers: leave out fields, blocks"
                )
            return
        if "energy_import" not in self.fields:
            raise ValueError("fields needs energy_import")
        energy = self.fields["energy_import"]
        if energy.type in TEXTS or energy.optional:
            raise ValueError("energy_import cannot be a text or optional")
        for name, item in self.fields.items():
            if item.absent is None and item.type in self.absent:
                self.fields[name] = replace(item, absent=self.absent[item.type])
        if not self.blocks:
            force_setattr(self, "blocks", self._packed(IMPORT))
        self._check_blocks(self.fields["energy_import"])

    def all_doubts(self) -> tuple[str, ...]:
        """Of the map, and of single fields by their names."""
        of_fields = (f"{name}: {item.doubt}" for name, item in self.fields.items() if item.doubt)
        return (*self.doubts, *of_fields)

    def blocks_with(self, energy: FieldName, also: FieldName | None = None) -> tuple[Block, ...]:
        """What is read in each cycle where `energy` is the counter, and `also` where the meter has
        it. Raises ValueError."""
        asked = [energy, *([also] if also in self.fields else [])]
        if all(self.reads(name, self.blocks) for name in asked):
            return self.blocks
        return self._packed(*asked)

    def reads(self, name: FieldName, blocks: tuple[Block, ...]) -> bool:
        """The blocks hold all of it."""
        return name in self.fields and any(block.holds(self.fields[name]) for block in blocks)

    def _packed(self, energy: FieldName, *also: FieldName) -> tuple[Block, ...]:
        must = {**self.fields, energy: replace(self.fields[energy], optional=False)}
        wanted: list[FieldName] = [energy, *also, *(name for name in READ if name != IMPORT)]
        return pack(must, wanted, self.max_registers, energy, even=self.even)

    def _check_blocks(self, energy: Field) -> None:
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


def template() -> Path:
    """What a map of one's own is made from, as it lies on this machine."""
    return map_directories()[0] / "_template.yaml"


def file_of(model: str) -> Path | None:
    """The file of a model: by its name without .yaml, or a path, of a map of one's own."""
    if model.startswith("/"):
        return Path(model)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", model):
        for directory in map_directories():
            file = directory / f"{model}.yaml"
            if file.is_file():
                return file
    return None


def find(model: str) -> RegisterMap:
    """The map of a model by its name or path, as `file_of` has it; raises MapError."""
    file = file_of(model)
    if file is not None:
        return load(file)
    raise MapError(
        f"no register map for meter model {model!r}; use one of {', '.join(models()) or 'none'}, "
        f"or the path of a map of your own, made from {template()}"
    )


def load(file: Path) -> RegisterMap:
    """Reads and checks a map; raises MapError that names the file and the place in it."""
    try:
        return msgspec.convert(_content(file.read_text(encoding="utf-8")), RegisterMap)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        said = " ".join(str(error).split())
        raise MapError(
            f"register map {file}: {said}; mend it by {template()}, `chargepoint check` names each "
            "mistake with its line"
        ) from error


def _content(text: str) -> object:
    try:
        return yaml.load(text, Loader=FAST)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # says the same and shows the line
