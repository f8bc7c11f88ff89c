"""All that a station's pure rooms hold in memory, as text by its path: whether a frame changed
anything is then a comparison.
"""

from collections import deque
from enum import Enum
from typing import Any

PURE = ("agent.core", "agent.ocpp", "drivers.contract")
"""Rooms whose objects are looked into."""
PLAIN = (str, int, float, bytes, frozenset, Enum, type(None))
MANY = (list, tuple, set, deque)

_names: dict[type, tuple[str, ...]] = {}


def leaves(node: Any, path: str, left_out: frozenset[str] = frozenset()) -> dict[str, str]:
    """Path -> value of all below `node`; `left_out`: paths that are not followed."""
    found: dict[str, str] = {}
    _walk(node, path, left_out, set(), found)
    return found


def _walk(
    node: Any, path: str, left_out: frozenset[str], seen: set[int], found: dict[str, str]
) -> None:
    if path in left_out:
        return
    if isinstance(node, PLAIN):
        found[path] = repr(node)
        return
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, dict):
        found[path] = repr(list(node))
        for key, value in node.items():
            _walk(value, f"{path}[{key!r}]", left_out, seen, found)
    elif isinstance(node, MANY):
        found[path] = str(len(node))
        for index, value in enumerate(node):
            _walk(value, f"{path}[{index}]", left_out, seen, found)
    elif type(node).__module__.startswith(PURE):
        for name in _fields(node):
            _walk(getattr(node, name), f"{path}.{name}", left_out, seen, found)


def _fields(node: Any) -> tuple[str, ...]:
    """What it holds: of a Struct its fields, else what stands in it now."""
    kind = type(node)
    if kind not in _names:
        _names[kind] = tuple(getattr(node, "__struct_fields__", ()))
    return _names[kind] or tuple(getattr(node, "__dict__", ()))


def changed(before: dict[str, str], after: dict[str, str]) -> str:
    """The first path that differs, with both values; empty when none does."""
    if before == after:
        return ""
    for path in (*before, *after):
        was, became = before.get(path, "(not there)"), after.get(path, "(not there)")
        if was != became:
            return f"{path} changed from {was[:500]} to {became[:500]}"
    return ""
