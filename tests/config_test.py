"""Every shipped configuration file loads, says what it should, and fits the schema."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from agent import settings_schema
from agent.settings_load import load
from drivers import contract

CONFIG = Path(__file__).parent.parent / "config"
FILES = [CONFIG / "charger.yaml", *sorted((CONFIG / "examples").glob("*.yaml"))]


def name(file: Path) -> str:
    return file.stem


def test_the_examples_are_there() -> None:
    assert {file.stem for file in FILES} >= {
        "charger",
        "single_socket",
        "dual_one_line",
        "lab",
        "evse_wb",
        "phoenix",
    }


@pytest.mark.parametrize("file", FILES, ids=name)
def test_it_loads_without_a_mistake(file: Path) -> None:
    loaded = load(str(file))
    assert [str(mistake) for mistake in loaded.mistakes] == []
    assert loaded.settings is not None


@pytest.mark.parametrize("file", FILES, ids=name)
def test_only_the_lab_is_warned(file: Path) -> None:
    warnings = [str(warning) for warning in load(str(file)).warnings]
    assert len(warnings) == (1 if file.stem == "lab" else 0), warnings


@pytest.mark.parametrize("file", FILES, ids=name)
def test_it_fits_the_schema_that_editors_use(file: Path) -> None:
    schema = json.loads((CONFIG / "charger.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    content = yaml.safe_load(file.read_text())
    assert [error.message for error in validator.iter_errors(content)] == []
    content["station"]["colour"] = "red"
    assert not validator.is_valid(content)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_it_names_the_schema_for_the_editor(file: Path) -> None:
    prefix = "# yaml-language-server: $schema="
    first = file.read_text().splitlines()[0]
    assert first.startswith(prefix)
    assert (file.parent / first.removeprefix(prefix)).resolve() == CONFIG / "charger.schema.json"


def test_the_schema_is_in_step_with_the_settings() -> None:
    stored = (CONFIG / "charger.schema.json").read_text()
    assert stored == settings_schema.text(), "run `make schema`"


def test_fields_are_described() -> None:
    defs = settings_schema.schema()["$defs"]
    assert "no colon" in defs["Station"]["properties"]["identity"]["description"]
    assert "Modbus unit" in defs["ModbusMeterOptions"]["properties"]["unit"]["description"]
    assert settings_schema.descriptions(contract)["OpenEvseOptions", "fallback_a"]


def test_the_supply_of_the_dual_example_is_less_than_both_ratings() -> None:
    settings = load(str(CONFIG / "examples" / "dual_one_line.yaml")).settings
    assert settings is not None
    rated_a = sum(evse.connectors[0].current_a for evse in settings.evses)
    assert max(32.0, settings.supply.current_a) < rated_a
