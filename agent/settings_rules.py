"""What must hold between the keys of charger.yaml; works on settings with holes (UNSET) too."""

import os
import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from msgspec import UNSET, Struct

from agent.settings import Connector, CsmsEndpoint, Evse, Settings
from agent.settings_walk import PATTERN_WORDS, Path, advice
from drivers.contract import (
    ModbusMeterOptions,
    OpenEvseOptions,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)

PILOTS = (OpenEvseOptions, SimPilotOptions)
METERS = (ModbusMeterOptions, SimMeterOptions)
WITH_INPUTS = (SimPilotOptions,)
"""Devices that report inputs."""
READERS = (SerialReaderOptions, SimReaderOptions)

CONNECTOR_TYPES = (
    "cCCS1",
    "cCCS2",
    "cG105",
    "cTesla",
    "cType1",
    "cType2",
    "s309-1P-16A",
    "s309-1P-32A",
    "s309-3P-16A",
    "s309-3P-32A",
    "sBS1361",
    "sCEE-7-7",
    "sType2",
    "sType3",
    "Other1PhMax16A",
    "Other1PhOver16A",
    "Other3Ph",
    "Pan",
    "wInductive",
    "wResonant",
    "Undetermined",
    "Unknown",
)
"""ConnectorEnumType of OCPP 2.0.1."""

NAME = re.compile("^[A-Za-z0-9_.-]{1,50}$")
BARE_PORT = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
SOCKET_PATH_BYTES = 107


class Finding(Struct, frozen=True):
    """One rule broken; `fatal` is False for what is allowed but unwise."""

    path: Path
    text: str
    fatal: bool = True


def findings(settings: Settings) -> Iterator[Finding]:
    """All broken rules, in no particular order."""
    yield from _station(settings)
    yield from _csms(settings)
    yield from _numbers(settings)
    yield from _roles(settings)
    yield from _inputs(settings)
    yield from _supply(settings)
    yield from _lines(settings)
    yield from _ports(settings)
    yield from _devices(settings)
    yield from _unused(settings)


def known(value: object) -> bool:
    """False for the hole that a mistake left."""
    return value is not UNSET


def _entries(values: Any, *path: str | int) -> Iterator[tuple[Path, Any]]:
    """The readable entries of a list, each with its path."""
    if known(values):
        for index, value in enumerate(values):
            if known(value):
                yield (*path, index), value


def _named(values: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """The readable entries of a block of names that are of `kind`."""
    if known(values):
        for name, value in values.items():
            if isinstance(value, kind):
                yield name, value


def _evses(settings: Settings) -> Iterator[tuple[Path, Evse]]:
    yield from _entries(settings.evses, "evses")


def _connectors(settings: Settings) -> Iterator[tuple[Path, Connector]]:
    for path, evse in _evses(settings):
        yield from _entries(evse.connectors, *path, "connectors")


def _station(settings: Settings) -> Iterator[Finding]:
    for key in ("data_directory", "console_socket"):
        value = getattr(settings, key)
        if isinstance(value, str) and not value.startswith("/"):
            yield Finding((key,), f"is {value!r}; write the whole path, beginning with /")
    if isinstance(settings.console_socket, str):
        length = len(os.fsencode(settings.console_socket))
        if length > SOCKET_PATH_BYTES:
            yield Finding(
                ("console_socket",),
                f"has {length} bytes, a socket path may have {SOCKET_PATH_BYTES}; shorten it",
            )


def _csms(settings: Settings) -> Iterator[Finding]:
    identity = getattr(settings.station, "identity", UNSET)
    for path, endpoint in _entries(settings.csms, "csms"):
        yield from _password(path, endpoint)
        if known(endpoint.url):
            yield from _url(path, endpoint, identity)


def _password(path: Path, endpoint: CsmsEndpoint) -> Iterator[Finding]:
    if endpoint.password is not None and endpoint.password_file is not None:
        yield Finding(
            (*path, "password"), "password and password_file are both given; keep password_file"
        )
    elif isinstance(endpoint.password, str):
        yield Finding(
            (*path, "password"),
            "the password stands readable in this file; move it into a file that only the "
            "service can read and name that with password_file",
            fatal=False,
        )
    file = endpoint.password_file
    if (
        isinstance(file, str)
        and file.startswith("/")
        and not file.startswith("/run/credentials/")
        and not os.path.exists(file)
    ):
        yield Finding(
            (*path, "password_file"),
            f"{file} does not exist on this machine; create it (one line, mode 0600)",
            fatal=False,
        )


def _url(path: Path, endpoint: CsmsEndpoint, identity: object) -> Iterator[Finding]:
    here = (*path, "url")
    try:
        parts = urlsplit(endpoint.url)
        port_is_good = parts.port != 0
    except ValueError:
        yield Finding(here, "is not a usable URL; check brackets and port (1 to 65535)")
        return
    if not port_is_good:
        yield Finding(here, "names port 0; write a port from 1 to 65535 or leave it out")
    if "@" in parts.netloc:
        yield Finding(here, "holds a user or password; remove it, use password_file instead")
    if parts.path.rstrip("/").rpartition("/")[2] == identity:
        yield Finding(
            here,
            f"ends with the identity {identity!r}, which is added by itself; remove it here "
            "unless the CSMS really wants it twice",
            fatal=False,
        )
    secret = endpoint.password is not None or endpoint.password_file is not None
    if parts.scheme == "ws" and not secret:
        if endpoint.lab_unsecured is False:
            yield Finding(
                here,
                "ws:// without a password lets anybody pose as this station; use wss://, add "
                "password_file, or on a desk set lab_unsecured: true",
            )
        else:
            yield Finding(
                (*path, "lab_unsecured"),
                "this link is open to anybody on the network; for a desk only, "
                "use wss:// and password_file before it leaves the desk",
                fatal=False,
            )


def _numbers(settings: Settings) -> Iterator[Finding]:
    """Ids that must be unique, and readers' EVSE numbers that must exist."""
    evse_ids: set[int] = set()
    if not known(settings.evses):
        return
    for path, evse in _evses(settings):
        if known(evse.id) and evse.id in evse_ids:
            yield Finding((*path, "id"), f"EVSE {evse.id} exists already; give it a free number")
        evse_ids.add(evse.id)
        connector_ids: set[int] = set()
        for where, connector in _entries(evse.connectors, *path, "connectors"):
            if known(connector.id) and connector.id in connector_ids:
                yield Finding(
                    (*where, "id"),
                    f"connector {connector.id} exists already on this EVSE; number from 1",
                )
            connector_ids.add(connector.id)
    if not all(map(known, evse_ids)) or not all(map(known, settings.evses)):
        return
    for name, reader in _named(settings.devices, READERS):
        for where, evse_id in _entries(reader.evses, "devices", name, "evses"):
            if evse_id not in evse_ids:
                there = ", ".join(str(one) for one in sorted(evse_ids))
                yield Finding(where, f"there is no EVSE {evse_id}; write one of: {there}")


def _roles(settings: Settings) -> Iterator[Finding]:
    """Every pilot and meter name leads to one device of the right kind, used once."""
    used: dict[str, str] = {}
    for path, connector in _connectors(settings):
        yield from _role(settings, (*path, "pilot"), connector.pilot, "pilot", PILOTS, used)
    for path, evse in _evses(settings):
        yield from _role(settings, (*path, "meter"), evse.meter, "meter", METERS, used)


def _inputs(settings: Settings) -> Iterator[Finding]:
    """A bay sensor or a start button hangs on a device that has inputs."""
    if not known(settings.devices):
        return
    fitting = [name for name, it in settings.devices.items() if isinstance(it, WITH_INPUTS)]
    for path, evse in _evses(settings):
        for key in ("bay_sensor", "start_button"):
            name = getattr(getattr(evse, key), "device", None)
            if isinstance(name, str) and known(name) and name not in fitting:
                text = f"no device {name!r} with inputs is under devices; "
                yield Finding((*path, key, "device"), text + advice(name, fitting))


def _role(
    settings: Settings, path: Path, name: str, role: str, kinds: Any, used: dict[str, str]
) -> Iterator[Finding]:
    if not known(name) or not known(settings.devices):
        return
    fitting = [
        one for one, it in settings.devices.items() if isinstance(it, kinds) or not known(it)
    ]
    if name not in settings.devices:
        yield Finding(path, f"there is no device {name!r} under devices; {advice(name, fitting)}")
        return
    device = settings.devices[name]
    if known(device) and not isinstance(device, kinds):
        driver = device.__struct_config__.tag
        yield Finding(path, f"device {name!r} ({driver}) is not a {role}; {advice(name, fitting)}")
    elif name in used:
        yield Finding(path, f"device {name!r} is used already by {used[name]}; name another one")
    used.setdefault(name, "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)[1:])


def _supply(settings: Settings) -> Iterator[Finding]:
    supply = settings.supply
    if not known(supply):
        return
    for path, connector in _connectors(settings):
        if known(supply.current_a) and known(connector.current_a):
            yield from _ampere(path, connector.current_a, supply.current_a)
        if known(supply.phases) and known(connector.phases) and connector.phases > supply.phases:
            yield Finding(
                (*path, "phases"),
                f"is {connector.phases}, but the supply has {supply.phases}; correct one of them",
                fatal=False,
            )
        if known(connector.type) and connector.type not in CONNECTOR_TYPES:
            yield Finding(
                (*path, "type"),
                f"there is no connector type {connector.type!r}; "
                f"{advice(connector.type, CONNECTOR_TYPES)}",
            )


def _ampere(path: Path, rated_a: float, supply_a: float) -> Iterator[Finding]:
    if rated_a > supply_a:
        yield Finding(
            (*path, "current_a"),
            f"is {rated_a:g} A, more than the supply's {supply_a:g} A; the supply wins, "
            "check which number is right",
            fatal=False,
        )


def _lines(settings: Settings) -> Iterator[Finding]:
    units: dict[tuple[str, int], str] = {}
    for name, meter in _named(settings.devices, ModbusMeterOptions):
        path = ("devices", name)
        if known(meter.line) and known(settings.lines) and meter.line not in settings.lines:
            yield Finding(
                (*path, "line"),
                f"there is no line {meter.line!r}; {advice(meter.line, settings.lines)}",
            )
        if not known(meter.unit):
            continue
        if not 1 <= meter.unit <= 247:
            yield Finding((*path, "unit"), f"is {meter.unit}; a Modbus unit is 1 to 247")
        other = units.setdefault((meter.line, meter.unit), name)
        if other != name and known(meter.line):
            yield Finding(
                (*path, "unit"),
                f"unit {meter.unit} on line {meter.line!r} is taken by {other!r}; set another "
                "unit at the meter and here",
            )
    for name, line in _named(settings.lines, Struct):
        if known(line.parity) and line.parity not in ("N", "E", "O"):
            yield Finding(("lines", name, "parity"), f"is {line.parity!r}; write N, E or O")
        if known(line.stop_bits) and line.stop_bits not in (1, 2):
            yield Finding(("lines", name, "stop_bits"), f"is {line.stop_bits}; write 1 or 2")


def _ports(settings: Settings) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for block in ("lines", "devices"):
        for name, entry in _named(getattr(settings, block), Struct):
            port = getattr(entry, "port", UNSET)
            if not isinstance(port, str):
                continue
            path = (block, name, "port")
            owner = owners.setdefault(os.path.realpath(port), f"{block}.{name}")
            if owner != f"{block}.{name}":
                yield Finding(path, f"{port} is used already by {owner}; name another port")
            if BARE_PORT.fullmatch(port):
                yield Finding(
                    path,
                    f"{port} may be another device after a reboot; use its name under "
                    "/dev/serial/by-id (ls -l /dev/serial/by-id)",
                    fatal=False,
                )


def _devices(settings: Settings) -> Iterator[Finding]:
    """Bounds of single driver options that their types do not carry."""
    for name, options in _named(settings.devices, Struct):
        path = ("devices", name)
        for key in ("interval_s", "timeout_s", "poll_s"):
            value = getattr(options, key, UNSET)
            if isinstance(value, float) and not 0.05 <= value <= 3600:
                yield Finding((*path, key), f"is {value:g}; write seconds from 0.05 to 3600")
        if isinstance(options, ModbusMeterOptions):
            yield from _meter(path, options)
        fallback_a = getattr(options, "fallback_a", UNSET)
        if isinstance(fallback_a, float) and fallback_a < 6:
            yield Finding((*path, "fallback_a"), f"is {fallback_a:g} A; write 6 or more")
        if isinstance(options, SerialReaderOptions):
            yield from _reader(path, options)
    for block in ("lines", "devices"):
        for name, entry in _named(getattr(settings, block), object):
            if not NAME.search(name):
                yield Finding((block, name), f"the name {PATTERN_WORDS[NAME.pattern]}; rename it")
            baud = getattr(entry, "baud", UNSET)
            if isinstance(baud, int) and not 300 <= baud <= 4_000_000:
                yield Finding((block, name, "baud"), f"is {baud}; write 300 to 4000000, say 9600")


def _meter(path: Path, options: ModbusMeterOptions) -> Iterator[Finding]:
    if known(options.delay_s) and not 0 <= options.delay_s <= 5:
        yield Finding((*path, "delay_s"), f"is {options.delay_s:g}; write seconds from 0 to 5")
    models = meter_models()
    if known(options.model) and options.model not in models:
        yield Finding(
            (*path, "model"),
            f"there is no register map {options.model!r} in config/meters; "
            f"{advice(options.model, models)}",
        )


def meter_models() -> list[str]:
    """Names of the register maps that are shipped: beside the package, or in the source tree."""
    here = FilePath(__file__).parent
    folders = (here / "config" / "meters", here.parent / "config" / "meters")
    names = {file.stem for folder in folders for file in folder.glob("*.yaml")}
    return sorted(name for name in names if not name.startswith("_"))


def _reader(path: Path, options: SerialReaderOptions) -> Iterator[Finding]:
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


def _unused(settings: Settings) -> Iterator[Finding]:
    """Devices and lines that nothing refers to; a reader serves by itself."""
    names = {connector.pilot for _, connector in _connectors(settings)}
    names |= {evse.meter for _, evse in _evses(settings)}
    for name, _ in _named(settings.devices, PILOTS + METERS):
        if name not in names:
            yield Finding(
                ("devices", name), "no EVSE uses this device; remove it or use it", fatal=False
            )
    lines = {meter.line for _, meter in _named(settings.devices, ModbusMeterOptions)}
    for name, _ in _named(settings.lines, Struct):
        if name not in lines:
            yield Finding(("lines", name), "no device is on this line; remove it", fatal=False)
