"""What must hold of the devices and lines in charger.yaml: ports, units, options of drivers."""

import os
import re
from collections.abc import Iterator
from pathlib import Path as FilePath

from msgspec import UNSET, Struct

from agent.settings import Settings
from agent.settings_finding import Finding, known, named
from agent.settings_walk import PATTERN_WORDS, Path, advice, did_you_mean
from drivers.bus.place import host_of
from drivers.contract import (
    TOKEN_TYPES,
    EvseWbOptions,
    KeyboardReaderOptions,
    ModbusMeterOptions,
    PhoenixOptions,
    SerialReaderOptions,
)

NAME = re.compile("^[A-Za-z0-9_.-]{1,50}$")
WITHOUT_WATCHDOG = (EvseWbOptions, PhoenixOptions)
"""Pilot controllers that keep their last order when their host dies."""
ON_A_LINE = (ModbusMeterOptions, *WITHOUT_WATCHDOG)
NEIGHBOUR_S = 1.0
"""What controllers on a line reckon with for an answer that somebody else waits for."""
USUAL_BAUDS = frozenset(
    (300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200)
) | {230400, 250000, 460800, 500000, 921600, 1000000, 2000000, 3000000, 4000000}
BARE_HOST = re.compile(r"[0-9]+(\.[0-9]+){3}(:[0-9]+)?|[A-Za-z0-9.-]+:[0-9]+")
"""An address where a scheme was forgotten."""
NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
BARE_PORT = re.compile(r"/dev/tty(USB|ACM)[0-9]+|/dev/input/event[0-9]+")
WITH_PATTERN = (SerialReaderOptions, KeyboardReaderOptions)


def device_findings(settings: Settings) -> Iterator[Finding]:
    """All that is wrong with single devices, lines and the ports they share."""
    yield from _lines(settings)
    yield from _slow_neighbours(settings)
    yield from _ports(settings)
    yield from _devices(settings)


def _lines(settings: Settings) -> Iterator[Finding]:
    units: dict[tuple[str, int], str] = {}
    for name, device in named(settings.devices, ON_A_LINE):
        path = ("devices", name)
        if known(device.line) and known(settings.lines) and device.line not in settings.lines:
            yield Finding(
                (*path, "line"),
                f"there is no line {device.line!r}; {advice(device.line, settings.lines)}",
            )
        if not known(device.unit):
            continue
        entry = settings.lines.get(device.line) if known(settings.lines) else None
        highest = 255 if "tcp://" in str(getattr(entry, "port", "")) else 247
        if not 1 <= device.unit <= highest:
            yield Finding((*path, "unit"), f"is {device.unit}; a Modbus unit is 1 to {highest}")
        other = units.setdefault((device.line, device.unit), name)
        if other != name and known(device.line):
            yield Finding(
                (*path, "unit"),
                f"unit {device.unit} on line {device.line!r} is taken by {other!r}; set another "
                "unit at the device and here",
            )
    for name, line in named(settings.lines, Struct):
        if known(line.parity) and line.parity not in ("N", "E", "O"):
            yield Finding(("lines", name, "parity"), f"is {line.parity!r}; write N, E or O")
        if known(line.stop_bits) and line.stop_bits not in (1, 2):
            yield Finding(("lines", name, "stop_bits"), f"is {line.stop_bits}; write 1 or 2")


def _slow_neighbours(settings: Settings) -> Iterator[Finding]:
    """A stop waits for the answer under way on its line, whoever it was asked."""
    controllers = {
        it.line: name for name, it in named(settings.devices, WITHOUT_WATCHDOG) if known(it.line)
    }
    for name, device in named(settings.devices, ON_A_LINE):
        controller = controllers.get(device.line, name)
        if controller != name and known(device.timeout_s) and device.timeout_s > NEIGHBOUR_S:
            yield Finding(
                ("devices", name, "timeout_s"),
                f"is {device.timeout_s:g}: so long a stop of {controller!r} on the same line may "
                f"wait; write {NEIGHBOUR_S:g} or less, or give the controller a line of its own",
                fatal=False,
            )


def _ports(settings: Settings) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for block in ("lines", "devices"):
        for name, entry in named(getattr(settings, block), Struct):
            port = getattr(entry, "port", UNSET)
            if not isinstance(port, str):
                continue
            path = (block, name, "port")
            if "://" in port:
                yield from _host(path, port, is_line=block == "lines")
            owner = owners.setdefault(
                port if "://" in port else os.path.realpath(port), f"{block}.{name}"
            )
            if owner != f"{block}.{name}":
                yield Finding(path, f"{port} is used already by {owner}; name another port")
            if "://" not in port:
                yield from _device_path(path, port)


def _device_path(path: Path, port: str) -> Iterator[Finding]:
    if BARE_HOST.fullmatch(port):
        yield Finding(
            path,
            f"is {port!r}; write tcp://{port} for Modbus TCP, rtu-tcp://{port} for RTU frames in a "
            "socket",
        )
    elif not port.startswith("/"):
        yield Finding(
            path,
            f"is {port!r}; write the path of the device, like /dev/serial/by-id/usb-... "
            "(ls -l /dev/serial/by-id shows them)",
        )
    if BARE_PORT.fullmatch(port):
        folder = "/dev/input/by-id" if "input" in port else "/dev/serial/by-id"
        yield Finding(
            path,
            f"{port} may be another device after a reboot; use its name under {folder} "
            f"(ls -l {folder})",
            fatal=False,
        )


def _host(path: Path, port: str, *, is_line: bool) -> Iterator[Finding]:
    try:
        host = host_of(port)
    except ValueError as error:
        yield Finding(path, str(error))
        return
    name = host.name if host is not None else ""
    if NUMBERS.fullmatch(name) and any(int(part) > 255 for part in name.split(".")):
        yield Finding(path, f"{name} is no IP address; each of its numbers is 0 to 255")
    if not is_line:
        yield Finding(path, "only lines may be on the network; name a serial device")


def _devices(settings: Settings) -> Iterator[Finding]:
    """Bounds of single driver options that their types do not carry."""
    for name, options in named(settings.devices, Struct):
        path = ("devices", name)
        for key in ("interval_s", "timeout_s", "poll_s"):
            value = getattr(options, key, UNSET)
            if isinstance(value, float) and not 0.05 <= value <= 3600:
                yield Finding((*path, key), f"is {value:g}; write seconds from 0.05 to 3600")
        delay_s = getattr(options, "delay_s", UNSET)
        if isinstance(delay_s, float) and not 0 <= delay_s <= 5:
            yield Finding((*path, "delay_s"), f"is {delay_s:g}; write seconds from 0 to 5")
        if isinstance(options, ModbusMeterOptions):
            yield from _meter(path, options)
        if isinstance(options, WITHOUT_WATCHDOG):
            yield from _host_loss(path, options)
        fallback_a = getattr(options, "fallback_a", UNSET)
        if isinstance(fallback_a, float) and fallback_a < 6:
            yield Finding((*path, "fallback_a"), f"is {fallback_a:g} A; write 6 or more")
        if isinstance(options, WITH_PATTERN):
            yield from _reader(path, options)
        yield from _kind_of_port(path, options)
    for block in ("lines", "devices"):
        for name, entry in named(getattr(settings, block), object):
            if not NAME.search(name):
                yield Finding((block, name), f"the name {PATTERN_WORDS[NAME.pattern]}; rename it")
            baud = getattr(entry, "baud", UNSET)
            if isinstance(baud, int) and not 300 <= baud <= 4_000_000:
                yield Finding((block, name, "baud"), f"is {baud}; write 300 to 4000000, say 9600")
            elif isinstance(baud, int) and baud not in USUAL_BAUDS:
                yield Finding(
                    (block, name, "baud"),
                    f"is {baud}, which hardly any device has; compare it with the device, usual "
                    "are 9600, 19200 and 115200",
                    fatal=False,
                )


def _kind_of_port(path: Path, options: object) -> Iterator[Finding]:
    """A reader that types is an input device, all others are serial ports."""
    port = getattr(options, "port", UNSET)
    if not isinstance(port, str):
        return
    types = isinstance(options, KeyboardReaderOptions)
    if port.startswith("/dev/serial/" if types else "/dev/input/"):
        step = (
            "a reader that types is under /dev/input/by-id; for a serial one write driver: "
            "serial_reader or pn532"
            if types
            else "serial ports are under /dev/serial/by-id; for a reader that types write driver: "
            "keyboard_reader"
        )
        yield Finding((*path, "port"), f"is {port}; {step}")


def _meter(path: Path, options: ModbusMeterOptions) -> Iterator[Finding]:
    model = options.model
    if not known(model) or _has_map(model):
        return
    if model.startswith("/"):
        yield Finding((*path, "model"), f"there is no file {model}; correct the path, or copy it")
        return
    models = meter_models()
    within = [name for name in models if model.lower() in name]
    is_like = did_you_mean(model, models) or not within
    step = advice(model, models if is_like else within)
    template = next(iter(folder for folder in _folders() if folder.is_dir())) / "_template.yaml"
    yield Finding(
        (*path, "model"),
        f"there is no register map {model!r}; {step} (another meter: make a map of your own from "
        f"{template} and write its whole path here)",
    )


def _host_loss(path: Path, options: EvseWbOptions | PhoenixOptions) -> Iterator[Finding]:
    """It has to be said what opens the contactor when this board dies."""
    interlock = (
        "put a relay that this board must keep alive (a watchdog relay) into the contactor's coil "
        "circuit and write host_loss: interlock"
    )
    if options.host_loss == "undecided":
        yield Finding(
            (*path, "host_loss"),
            "is not decided: this controller has no watchdog and goes on charging when this board "
            f"dies; {interlock}, or accept it with host_loss: keeps_charging",
        )
    elif options.host_loss == "keeps_charging":
        yield Finding(
            (*path, "host_loss"),
            "is keeps_charging: when this board dies nothing ends a charge, and nobody counts it; "
            f"{interlock}",
            fatal=False,
        )


def _has_map(model: str) -> bool:
    """Without listing them all, as each start asks; a path is that of a map of one's own."""
    if model.startswith("/"):
        return FilePath(model).is_file()
    is_name = not model.startswith("_") and "/" not in model
    return is_name and any((folder / f"{model}.yaml").is_file() for folder in _folders())


def meter_models() -> list[str]:
    """Names of the register maps that are shipped."""
    names = {file.stem for folder in _folders() for file in folder.glob("*.yaml")}
    return sorted(name for name in names if not name.startswith("_"))


def _folders() -> tuple[FilePath, ...]:
    """Beside the package, or in the source tree."""
    here = FilePath(__file__).parent
    return here / "config" / "meters", here.parent / "config" / "meters"


def _reader(path: Path, options: SerialReaderOptions | KeyboardReaderOptions) -> Iterator[Finding]:
    profile = getattr(options, "profile", "line")
    if profile == "rdm6300" and options.token_type.startswith("ISO"):
        yield Finding(
            (*path, "token_type"),
            f"is {options.token_type}, but an RDM6300 reads 125 kHz cards, which are none; "
            "write token_type: Local",
        )
    if known(options.token_type) and options.token_type not in TOKEN_TYPES:
        yield Finding(
            (*path, "token_type"),
            f"there is no token type {options.token_type!r}; "
            f"{advice(options.token_type, TOKEN_TYPES)}",
        )
    if not known(options.pattern):
        return
    try:
        groups = re.compile(options.pattern).groups
    except re.error as error:
        yield Finding((*path, "pattern"), f"is no regular expression ({error}); correct it")
        return
    if groups < 1:
        yield Finding(
            (*path, "pattern"), "has no group; put ( ) around the part that is the card number"
        )
