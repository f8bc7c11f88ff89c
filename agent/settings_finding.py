"""What a broken rule of charger.yaml is, and how rules walk settings that have holes (UNSET)."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, Struct

from agent.settings import Connector, Evse, Settings
from agent.settings_walk import Path


class Finding(Struct, frozen=True):
    """One rule broken; `fatal` is False for what is allowed but unwise."""

    path: Path
    text: str
    fatal: bool = True


def known(value: object) -> bool:
    """False for the hole that a mistake left."""
    return value is not UNSET


def entries(values: Any, *path: str | int) -> Iterator[tuple[Path, Any]]:
    """The readable entries of a list, each with its path."""
    if known(values):
        for index, value in enumerate(values):
            if known(value):
                yield (*path, index), value


def named(values: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """The readable entries of a block of names that are of `kind`."""
    if known(values):
        for name, value in values.items():
            if isinstance(value, kind):
                yield name, value


def evses_of(settings: Settings) -> Iterator[tuple[Path, Evse]]:
    yield from entries(settings.evses, "evses")


def connectors_of(settings: Settings) -> Iterator[tuple[Path, Connector]]:
    for path, evse in evses_of(settings):
        yield from entries(evse.connectors, *path, "connectors")
