"""Frames of the station, told apart by message and field, and corrupted one field at a time.

A message is named as Part 6 names it (`TransactionEventRequest`); a field by its JSON path without
indices (`transactionInfo.chargingState`), and it stands for every place that has this path.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import ocpp.messages
from msgspec import Struct

Payload = dict[str, Any]

SCHEMAS = Path(ocpp.messages.__file__).parent / "v201" / "schemas"
FREE = frozenset({"customData"})
"""Where a schema takes anything."""
NOT_SENT: Any = object()


class Rule(Struct, frozen=True):
    """What the schema says of a field."""

    kind: str
    """string, dateTime, integer, number, boolean, object or any"""
    required: bool
    """Of each object that may hold it."""
    members: tuple[str, ...] = ()


@cache
def rules(message: str) -> Mapping[str, Rule]:
    """Path -> rule of each field of a message; raises FileNotFoundError for an unknown one."""
    schema = json.loads((SCHEMAS / f"{message}.json").read_text(encoding="utf-8-sig"))
    return dict(_rules(schema, schema.get("definitions", {}), ""))


def _rules(node: Payload, definitions: Payload, above: str) -> Iterator[tuple[str, Rule]]:
    needed = node.get("required", ())
    for name, found in node.get("properties", {}).items():
        part = found.get("items", found)
        part = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        kind = "dateTime" if part.get("format") == "date-time" else part.get("type", "any")
        path = f"{above}{name}"
        yield path, Rule(kind, name in needed, tuple(part.get("enum", ())))
        if name not in FREE:
            yield from _rules(part, definitions, f"{path}.")


def values(payload: Any, path: str) -> list[Any]:
    """All that stands at a path; a list counts by its elements."""
    nodes = [payload]
    for name in path.split("."):
        nodes = [_element(node[name]) for node in _objects(nodes) if name in node]
        nodes = [value for found in nodes for value in found]
    return nodes


def _objects(nodes: list[Any]) -> list[Payload]:
    return [node for node in nodes if isinstance(node, dict)]


def _element(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def changed(payload: Payload, path: str, change: Callable[[Any], Any]) -> Payload:
    """A copy in which each value at the path is another one; NOT_SENT takes the field away."""
    payload = deepcopy(payload)
    *above, name = path.split(".")
    holders: list[Any] = values(payload, ".".join(above)) if above else [payload]
    for holder in _objects(holders):
        if name not in holder:
            continue
        found = holder[name]
        new = [change(value) for value in found] if isinstance(found, list) else change(found)
        if new is NOT_SENT or (isinstance(new, list) and NOT_SENT in new):
            del holder[name]
        else:
            holder[name] = new
    return payload


def added(payload: Payload, path: str, value: Any) -> Payload:
    """A copy that has the field with this value, in each object that may hold it."""
    payload = deepcopy(payload)
    *above, name = path.split(".")
    for holder in _objects(values(payload, ".".join(above)) if above else [payload]):
        holder[name] = value
    return payload


def other_value(value: Any, rule: Rule, allowed: tuple[str, ...] = ()) -> Any:
    """Another value that the schema takes and that is not among the `allowed` ones."""
    if rule.members:
        start = rule.members.index(value) if value in rule.members else 0
        circle = (*rule.members[start + 1 :], *rule.members[:start])
        return next((member for member in circle if member not in allowed), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if rule.kind == "dateTime":
        return _an_hour_later(str(value))
    if isinstance(value, str):
        return _other_text(value, allowed)
    return value


def _an_hour_later(stamp: str) -> str:
    at = datetime.fromisoformat(stamp) + timedelta(hours=1)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _other_text(text: str, allowed: tuple[str, ...]) -> str:
    """As long, and of digits where it was."""
    last = text[-1:]
    circle = "0123456789" if last.isdigit() else "abcdefghijklmnopqrstuvwxyz"
    after = [*circle[circle.find(last) + 1 :], *circle]
    texts: list[str] = [text[:-1] + end for end in after]
    return next(new for new in texts if new not in (*allowed, text))


def as_text(value: Any) -> str:
    """As the file of validations writes a value."""
    return str(value).lower() if isinstance(value, bool) else str(value)
