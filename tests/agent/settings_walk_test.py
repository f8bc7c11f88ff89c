"""How the text of each key is read, by its type."""

import msgspec
import pytest

from agent.settings import Settings
from agent.settings_nodes import Mark, Scalar
from agent.settings_walk import PATTERN_WORDS, Walk
from drivers.contract import SerialReaderOptions
from tests.agent.settings_bench import URL, good, the_mistake


@pytest.mark.parametrize(
    "text", ["010", "04123456", "22:15", "12:30:45", "on", "no", "1e3", "2026-11-22", "0x1F", "1.0"]
)
def test_text_keeps_its_spelling(text: str) -> None:
    assert good(("vendor: Acme", f"vendor: {text}")).station.vendor == text


@pytest.mark.parametrize(
    ("text", "number"), [("010", 10.0), ("16", 16.0), ("16.50", 16.5), ("'32'", 32.0)]
)
def test_numbers_are_decimal(text: str, number: float) -> None:
    loaded = good(("        pilot: pilot", f"        pilot: pilot\n        current_a: {text}"))
    assert loaded.evses[0].connectors[0].current_a == number


def test_an_octal_looking_id_is_decimal() -> None:
    assert good(("  - id: 1\n    meter", "  - id: 010\n    meter")).evses[0].id == 10


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1_000", "without _"),
        ("16,5", "a point"),
        ("16A", "the unit is part of the key's name"),
        ("many", "write digits"),
        ("0x20", "write digits"),
        ("1e3", "write digits"),
        ("inf", "write digits"),
        ("nan", "write digits"),
    ],
)
def test_what_is_no_number_is_named_with_its_fix(text: str, advice: str) -> None:
    found = the_mistake(("  current_a: 32", f"  current_a: {text}"))
    assert found.startswith("c.yaml:8:14: supply.current_a: ")
    assert repr(text) in found
    assert advice in found


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("No", False), ("TRUE", True), ("off", False), ("yes", True)]
)
def test_yes_and_no_come_in_all_spellings(text: str, value: bool) -> None:
    card = f"  card: {{driver: serial_reader, port: /r, reverse_bytes: {text}}}\nlines:"
    loaded = good(("lines:", card))
    reader = loaded.devices["card"]
    assert isinstance(reader, SerialReaderOptions)
    assert reader.reverse_bytes is value


def test_whatever_is_wrong_with_a_password_it_is_not_shown() -> None:
    walk = Walk("c.yaml")
    node = Scalar(Mark(1, 1), "hunter2", True)
    assert walk.value(node, msgspec.inspect.IntType(), ("csms", 0, "password")) is msgspec.UNSET
    assert len(walk.mistakes) == 1
    assert "hunter2" not in str(walk.mistakes[0])


def test_an_optional_key_may_be_null() -> None:
    assert good((URL, f"{URL}\n    password: null")).csms[0].password is None


def test_empty_optional_blocks_are_fine() -> None:
    assert good(("lines:", "ocpp:\nlines:")).ocpp.variables == ()


def test_every_pattern_of_the_settings_has_words() -> None:
    found = [node.get("pattern") for node in _nodes(msgspec.json.schema(Settings))]
    patterns = {pattern for pattern in found if isinstance(pattern, str)}
    assert patterns
    assert patterns <= set(PATTERN_WORDS)


def _nodes(value: object) -> list[dict[str, object]]:
    if isinstance(value, list):
        return [node for one in value for node in _nodes(one)]
    if isinstance(value, dict):
        return [value, *(node for one in value.values() for node in _nodes(one))]
    return []
