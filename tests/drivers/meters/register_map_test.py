import struct
from pathlib import Path

import pytest

from drivers.contract import DriverError
from drivers.meters import register_map
from drivers.meters.coding import Field, decode, step_of

MAPS = Path(register_map.__file__).parents[2] / "config" / "meters"
BLOCKS = "blocks:\n  - {address: 0x0000, count: 76}\n"
"""By hand, as the template shows it in a comment."""
GOOD = (MAPS / "_template.yaml").read_text() + BLOCKS


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


@pytest.mark.parametrize("model", [*register_map.models(), "_template"])
def test_every_shipped_map_and_the_template_can_be_used(model: str) -> None:
    shipped = register_map.load(MAPS / f"{model}.yaml")
    assert shipped.sunspec or shipped.fields["energy_import"].type != "ascii"


def test_the_template_reads_all_that_it_names_without_blocks_by_hand() -> None:
    packed = register_map.load(MAPS / "_template.yaml")
    assert "\nblocks:" not in (MAPS / "_template.yaml").read_text()
    read = [name for name in packed.fields if packed.reads(name, packed.blocks)]
    assert set(packed.fields) - set(read) == {"serial"}


def test_the_sdm630_map_reads_all_the_driver_reports_in_one_request() -> None:
    sdm630 = register_map.find("eastron_sdm630_v2")
    (block,) = sdm630.blocks
    assert (block.address, block.count, block.function) == (0, 76, 4)
    assert sdm630.fields["energy_import"].address == 72
    assert sdm630.fields["energy_import"].scale == 1000
    assert sdm630.fields["serial"].function == 3
    reported = {"power_total", "frequency", "energy_import"} | {
        f"{quantity}_l{n}" for quantity in ("voltage", "current", "power") for n in (1, 2, 3)
    }
    assert all(block.holds(sdm630.fields[name]) for name in reported)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("energy_import: {address: 0x0048", "energie: {address: 0x0048", "energie"),
        ("type: float32, scale", "type: double, scale", "double"),
        ("phases: 3", "phases: 2", "phases"),
        (BLOCKS, BLOCKS.replace("76", "81"), "max_registers"),
        (BLOCKS, BLOCKS.replace("76", "73"), "must hold all of energy_import"),
        (BLOCKS, BLOCKS.replace("0000, count: 76", "0048, count: 2"), "late answer"),
        ("phases: 3", "phases: [", "phases"),
        ("word_order:", "wordorder:", "wordorder"),
    ],
)
def test_a_mistake_in_a_map_is_named_with_the_file(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    assert before in GOOD
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(DriverError) as caught:
        register_map.load(file)
    assert complaint in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_map_of_ones_own_is_found_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert register_map.find(str(file)).names == ("Example meter",)
    with pytest.raises(register_map.MapError, match="No such file") as caught:
        register_map.find(f"{tmp_path}/other.yaml")
    assert caught.value.exit_code == 78  # as for charger.yaml: the service is not started again


@pytest.mark.parametrize("model", ["nothing", "../../etc/passwd", "_template", ""])
def test_an_unknown_model_is_refused_with_the_known_ones(model: str) -> None:
    with pytest.raises(DriverError, match="eastron_sdm630_v2"):
        register_map.find(model)


@pytest.mark.parametrize(
    ("kind", "code", "raw", "scale", "value"),
    [
        ("float32", ">f", 230.5, 1.0, 230.5),
        ("int32", ">i", -1234, 0.1, -123.4),
        ("uint16", ">H", 0xFFFF, 0.01, 655.35),
        ("int64", ">q", 123456789012, 1.0, 123456789012.0),
    ],
)
@pytest.mark.parametrize("order", ["big", "little"])
def test_numbers_are_decoded_in_both_word_orders(
    kind: str, code: str, raw: float, scale: float, value: float, order: str
) -> None:
    registers = words(struct.pack(code, raw))
    if order == "little":
        registers.reverse()
    item = Field(address=0, type=kind, scale=scale)  # type: ignore[arg-type]
    assert decode(item, registers, order) == value


def test_not_a_number_and_the_absent_mark_are_no_value() -> None:
    assert decode(Field(0, "float32"), words(struct.pack(">f", float("nan"))), "big") is None
    assert decode(Field(0, "int32", absent=0x7FFFFFFF), [0x7FFF, 0xFFFF], "big") is None


def test_text_ends_at_the_first_zero_in_any_word_order() -> None:
    item = Field(0, "ascii", length=3)
    assert decode(item, words(b"AB12\0\xff"), "little") == "AB12"


@pytest.mark.parametrize(
    ("item", "value_wh", "step_wh"),
    [
        (Field(0, "float32", scale=1000), 5_000_000.0, 1.0),
        (Field(0, "float32", scale=1000), 17_000_000.0, 1.953125),
        (Field(0, "float32", scale=1000), 140_000_000.0, 15.625),
        (Field(0, "int32", scale=100), 5_000_000.0, 100.0),
        (Field(0, "int64"), 5.0, 1.0),
    ],
)
def test_the_step_of_a_counter_follows_its_coding(
    item: Field, value_wh: float, step_wh: float
) -> None:
    assert step_of(item, value_wh) == step_wh
