"""charger.yaml as JSON Schema, for editors only: `python -m agent.settings_schema` prints it."""

import ast
import inspect
import json
from typing import Any

import msgspec

from agent import settings
from drivers import contract, gpio_options, pilot_options, reader_options

TITLE = "charger.yaml of chargepoint"


def schema() -> dict[str, Any]:
    """The schema of Settings, each key described by the docstring that stands under its field."""
    found = msgspec.json.schema(settings.Settings)
    described: dict[tuple[str, str], str] = {}
    for module in (contract, gpio_options, pilot_options, reader_options, settings):
        described |= descriptions(module)
    for name, body in found["$defs"].items():
        for key, node in body.get("properties", {}).items():
            text = described.get((name, key))
            if text:
                node["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        **found,
    }


def descriptions(module: Any) -> dict[tuple[str, str], str]:
    """(class, field) -> the text under the field, for every class of the module."""
    texts: dict[tuple[str, str], str] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for one, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                texts[node.name, one.target.id] = inspect.cleandoc(after.value.value)
    return texts


def text() -> str:
    """What config/charger.schema.json holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
