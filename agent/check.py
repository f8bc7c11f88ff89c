"""`chargepoint check`: every mistake in charger.yaml, and in the register maps that it names."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from msgspec import inspect

from agent.settings import Settings
from agent.settings_finding import Finding, entries, evses_of, known, named
from agent.settings_load import Loaded, load
from agent.settings_nodes import TOP, Node, Scalar, UnusableText, compose, decode
from agent.settings_rules import findings
from agent.settings_walk import Mistake, Path, Shape, Walk
from drivers.contract import (
    DriverError,
    ModbusMeterOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)
from drivers.meters import register_map

EX_CONFIG = 78
SIMULATED = (SimMeterOptions, SimPilotOptions, SimReaderOptions)
"""Benches build them themselves."""
OCTAL = re.compile("0[0-7]+")


def check(arguments: argparse.Namespace) -> int:
    """0: charger.yaml can be used, 78: it cannot. Prints all mistakes and warnings."""
    loaded, mistakes = checked(arguments.config)
    for mistake in mistakes:
        print(mistake)
    for warning in loaded.warnings:
        print(warning.told("warning"))
    if not mistakes and not loaded.warnings:
        print(f"{arguments.config}: ok")
    else:
        print(f"{counted(len(mistakes), 'mistake')}, {counted(len(loaded.warnings), 'warning')}")
    return EX_CONFIG if mistakes else 0


def checked(config: str) -> tuple[Loaded, list[Mistake]]:
    """The file as a start would read it, by all rules there are; all mistakes, those of its
    register maps as well."""
    of_maps: list[Mistake] = []

    def rule(settings: Settings) -> Iterator[Finding]:
        found = [*findings(settings), *meter_findings(settings)]
        yield from found
        of_maps.extend(one for model in models_of(settings) for one in map_mistakes(model))
        is_bench = any(True for _ in named(settings.devices, SIMULATED))
        if not of_maps and not is_bench and not any(finding.fatal for finding in found):
            from agent.check_built import built_findings  # a second's worth of a slow board

            yield from built_findings(settings)

    loaded = load(config, rule)
    return loaded, [*loaded.mistakes, *of_maps]


def counted(number: int, word: str) -> str:
    """1 mistake, 2 mistakes."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def models_of(settings: Settings) -> list[str]:
    """Meter models that have a map, each once."""
    models = (it.model for _, it in named(settings.devices, ModbusMeterOptions) if known(it.model))
    return [model for model in dict.fromkeys(models) if _has_file(model)]


def _has_file(model: str) -> bool:
    file = register_map.file_of(model)
    return file is not None and file.is_file()


def meter_findings(settings: Settings) -> Iterator[Finding]:
    """A meter of one phase cannot count what three carry."""
    meters = dict(named(settings.devices, ModbusMeterOptions))
    for path, evse in evses_of(settings):
        options = meters.get(evse.meter) if known(evse.meter) else None
        if options is None or not known(options.model) or _phases(options.model) != 1:
            continue
        if any(known(c.phases) and c.phases > 1 for _, c in entries(evse.connectors)):
            yield Finding(
                (*path, "meter"),
                f"{evse.meter!r} ({options.model}) measures one phase, a connector here has three: "
                "what the others carry is not counted; name another meter, or write phases: 1",
                fatal=False,
            )


def _phases(model: str) -> int | None:
    try:
        return register_map.find(model).phases
    except DriverError:
        return None


def map_mistakes(model: str) -> list[Mistake]:
    """All that is wrong in a register map, each with its line; then what no single key shows."""
    file = register_map.file_of(model)
    if file is None:
        return []
    try:
        root = compose(decode(file.read_bytes()))
    except UnusableText as error:
        return [Mistake(str(file), error.mark, "", str(error))]
    except OSError as error:
        said = f"cannot be read ({error.strerror}); check its owner and mode (ls -l)"
        return [Mistake(str(file), TOP, "", said)]
    if root is None:
        said = f"the file is empty; start from {register_map.template()}"
        return [Mistake(str(file), TOP, "", said)]
    walk = MapWalk(str(file))
    walk.value(root, inspect.type_info(register_map.RegisterMap), ())
    return sorted(walk.mistakes, key=_place) or _as_a_whole(file)


def _place(mistake: Mistake) -> tuple[int, int]:
    return mistake.mark.line, mistake.mark.column


def _as_a_whole(file: FilePath) -> list[Mistake]:
    """By the loader that the driver uses."""
    try:
        register_map.load(file)
    except DriverError as error:
        what = str(error).removeprefix(f"register map {file}: ").partition("; mend it by")[0]
        said = f"{what}; compare it with {register_map.template()}"
        return [Mistake(str(file), TOP, "", said)]
    return []


class MapWalk(Walk):
    """Through a register map for its mistakes alone: nothing is built."""

    def built(self, shape: inspect.StructType, values: dict[str, Any]) -> Any:
        return values

    def value(self, node: Node, shape: Shape, path: Path) -> Any:
        """Says what YAML makes of a number that begins with 0, which manuals like."""
        is_number = isinstance(shape, inspect.IntType | inspect.FloatType)
        if is_number and isinstance(node, Scalar) and OCTAL.fullmatch(node.text):
            digits = node.text.lstrip("0")
            return self.wrong(
                path,
                f"is {node.text}, which YAML takes for {int(node.text, 8)} (octal); write "
                f"{digits or '0'}, or 0x{digits or '0'} where the manual counts in hex",
                node.mark,
            )
        return super().value(node, shape, path)
