"""What must hold of GPIO lines in charger.yaml: names, one signal for each line, safe levels."""

import re
from collections.abc import Iterator

from msgspec import Struct

from agent.settings import Settings
from agent.settings_finding import Finding, known, named
from agent.settings_walk import Path, dotted
from drivers.contract import GpioBoardOptions, GpioContactorOptions
from drivers.gpio_options import GpioInput, GpioOutput, GpioSwitch

NUMBER = re.compile(r"[0-9]+")


def gpio_findings(settings: Settings) -> Iterator[Finding]:
    """All that is wrong with the lines of contactors, inputs and lamps."""
    owners: dict[str, str] = {}
    for name, options in named(settings.devices, (GpioContactorOptions, GpioBoardOptions)):
        for path, signal in signals(("devices", name), options):
            yield from _line(path, signal, owners)
        if isinstance(options, GpioContactorOptions):
            yield from _contactor(("devices", name), options)


def signals(path: Path, value: object) -> Iterator[tuple[Path, GpioInput | GpioOutput]]:
    """Every line within `value`, however deep."""
    if isinstance(value, GpioInput | GpioOutput):
        yield path, value
    elif isinstance(value, Struct):
        for field in value.__struct_fields__:
            yield from signals((*path, field), getattr(value, field))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from signals((*path, key), one)


def _line(path: Path, signal: GpioInput | GpioOutput, owners: dict[str, str]) -> Iterator[Finding]:
    line = signal.line
    if not known(line):
        return
    where = (*path, "line")
    if not line or NUMBER.fullmatch(line):
        yield Finding(
            where,
            f"is {line!r}; write chip and line, gpiochip0:{line or 17}, or the line's own name; "
            "`gpioinfo` shows both",
        )
        return
    name = line.removeprefix("/dev/")
    owner = owners.setdefault(name, dotted(path))
    if owner != dotted(path):
        yield Finding(where, f"{line} is used already by {owner}; give each signal its own line")


def _contactor(path: Path, options: GpioContactorOptions) -> Iterator[Finding]:
    if known(options.dc_fault_test) and options.dc_fault_test and options.dc_fault is None:
        yield Finding(
            (*path, "dc_fault_test"), "cannot be judged without dc_fault; add it or remove the test"
        )
    for key in ("contactor", "second"):
        switch = getattr(options, key)
        if not isinstance(switch, GpioSwitch) or not isinstance(switch.coil, GpioOutput):
            continue
        if switch.coil.active_low is True:
            yield Finding(
                (*path, key, "coil", "active_low"),
                "closes the contactor while the line is low, as it is on most boards while they "
                "boot; use a relay that is on when high, or hold the line up by a resistor "
                "(docs/gpio.md)",
                fatal=False,
            )
