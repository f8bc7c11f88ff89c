"""What must hold between the keys of charger.yaml; works on settings with holes (UNSET) too."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from msgspec import Struct

from agent.settings import Connector, Evse, Settings
from agent.settings_csms import csms_findings
from agent.settings_devices import device_findings
from agent.settings_finding import Finding, connectors_of, entries, evses_of, known, named
from agent.settings_gpio import gpio_findings
from agent.settings_walk import Path, advice
from drivers.contract import (
    EvseWbOptions,
    GpioBoardOptions,
    GpioContactorOptions,
    KeyboardReaderOptions,
    ModbusMeterOptions,
    OpenEvseOptions,
    PhoenixOptions,
    Pn532Options,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)
from drivers.registry import MEASURING_PILOTS

CONTROLLERS = (OpenEvseOptions, EvseWbOptions, PhoenixOptions, SimPilotOptions)
"""Pilot controllers proper, which a contactor on GPIO lines can be built upon."""
PILOTS = (*CONTROLLERS, GpioContactorOptions)
ON_A_LINE = (ModbusMeterOptions, EvseWbOptions, PhoenixOptions)
METERS = (ModbusMeterOptions, SimMeterOptions)
WITH_INPUTS = (SimPilotOptions, GpioBoardOptions)
"""Devices that report inputs."""
READERS = (SerialReaderOptions, KeyboardReaderOptions, Pn532Options, SimReaderOptions)
WITH_EVSES = (*READERS, GpioBoardOptions)

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

SOCKETS = ("sType2", "sType3")
"""Take cables that tell by PP what they carry (IEC 61851-1 table B.2)."""
SOCKET_PATH_BYTES = 107


def findings(settings: Settings) -> Iterator[Finding]:
    """All broken rules, in no particular order."""
    yield from _station(settings)
    yield from _sftp(settings)
    yield from csms_findings(settings)
    yield from _numbers(settings)
    yield from _roles(settings)
    yield from _inputs(settings)
    yield from _supply(settings)
    yield from _safety(settings)
    yield from _energy_manager(settings)
    yield from device_findings(settings)
    yield from gpio_findings(settings)
    yield from _unused(settings)


def _station(settings: Settings) -> Iterator[Finding]:
    version_file = getattr(settings.station, "firmware_version_file", None)
    if isinstance(version_file, str) and not os.path.exists(version_file):
        yield Finding(
            ("station", "firmware_version_file"),
            f"{version_file} does not exist here; have the image write its version there",
            fatal=False,
        )
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


def _sftp(settings: Settings) -> Iterator[Finding]:
    security = settings.security
    name = security.known_hosts_file if known(security) else None
    if not isinstance(name, str):
        return
    key = ("security", "known_hosts_file")
    if not os.path.exists(name):
        text = f"{name} does not exist here; write the line of `ssh-keyscan HOST` for each server"
        yield Finding(key, f"{text} there", fatal=False)
    if find_spec("paramiko") is None:
        text = "the package for SFTP is missing, so there is none; install chargepoint[sftp]"
        yield Finding(key, text, fatal=False)


def _numbers(settings: Settings) -> Iterator[Finding]:
    """Ids that must be unique, and readers' EVSE numbers that must exist."""
    evse_ids: set[int] = set()
    if not known(settings.evses):
        return
    for path, evse in evses_of(settings):
        if known(evse.id) and evse.id in evse_ids:
            yield Finding((*path, "id"), f"EVSE {evse.id} exists already; give it a free number")
        evse_ids.add(evse.id)
        connector_ids: set[int] = set()
        for where, connector in entries(evse.connectors, *path, "connectors"):
            if known(connector.id) and connector.id in connector_ids:
                yield Finding(
                    (*where, "id"),
                    f"connector {connector.id} exists already on this EVSE; number from 1",
                )
            connector_ids.add(connector.id)
    if not all(map(known, evse_ids)) or not all(map(known, settings.evses)):
        return
    for name, device in named(settings.devices, WITH_EVSES):
        for where, evse_id in entries(device.evses, "devices", name, "evses"):
            if evse_id not in evse_ids:
                there = ", ".join(str(one) for one in sorted(evse_ids))
                yield Finding(where, f"there is no EVSE {evse_id}; write one of: {there}")


def _roles(settings: Settings) -> Iterator[Finding]:
    """Every pilot and meter name leads to one device of the right kind, used once."""
    used: dict[str, str] = {}
    for name, options in named(settings.devices, GpioContactorOptions):
        key: Path = ("devices", name, "controller")
        yield from _role(settings, key, options.controller, "pilot controller", CONTROLLERS, used)
    for path, connector in connectors_of(settings):
        yield from _role(settings, (*path, "pilot"), connector.pilot, "pilot", PILOTS, used)
    for path, evse in evses_of(settings):
        if known(settings.devices) and isinstance(
            settings.devices.get(evse.meter), MEASURING_PILOTS
        ):
            yield from _inside((*path, "meter"), evse)
        else:
            yield from _role(settings, (*path, "meter"), evse.meter, "meter", METERS, used)
    if isinstance(settings.main_meter, str):
        yield from _role(settings, ("main_meter",), settings.main_meter, "meter", METERS, used)


def _inside(path: Path, evse: Evse) -> Iterator[Finding]:
    """A controller that is the meter as well: of its own connector, on one phase, for no bill."""
    connectors = evse.connectors if known(evse.connectors) else ()
    pilots = [connector.pilot for connector in connectors if known(connector)]
    if all(map(known, pilots)) and pilots and pilots != [evse.meter]:
        yield Finding(
            path,
            f"{evse.meter!r} is a controller, which measures its own connector alone; make it the "
            "`pilot` of the only connector of this EVSE, or name a meter",
        )
    elif any(known(c) and known(c.phases) and c.phases > 1 for c in connectors):
        yield Finding(
            path,
            f"{evse.meter!r} is a controller, which measures one phase; write phases: 1 for the "
            "connector, or name a meter",
        )
    else:
        yield Finding(
            path,
            f"{evse.meter!r} counts energy by itself, without an accuracy class: not for billing; "
            "name a meter where energy is sold",
            fatal=False,
        )


def _inputs(settings: Settings) -> Iterator[Finding]:
    """A bay sensor or a start button hangs on a device that has inputs."""
    if not known(settings.devices):
        return
    fitting = [name for name, it in settings.devices.items() if isinstance(it, WITH_INPUTS)]
    for path, evse in evses_of(settings):
        for key in ("bay_sensor", "start_button"):
            wired = getattr(evse, key)
            name = getattr(wired, "device", None)
            if not isinstance(name, str) or not known(name):
                continue
            if name not in fitting:
                text = f"no device {name!r} with inputs is under devices; "
                yield Finding((*path, key, "device"), text + advice(name, fitting))
                continue
            board = settings.devices[name]
            if not isinstance(board, GpioBoardOptions) or not known(board.inputs):
                continue
            if known(wired.input) and wired.input not in board.inputs:
                text = f"device {name!r} has no input {wired.input!r} under its key inputs; "
                yield Finding((*path, key, "input"), text + advice(wired.input, board.inputs))


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
    for path, connector in connectors_of(settings):
        if known(supply.current_a) and known(connector.current_a):
            yield from _ampere(path, connector.current_a, supply.current_a)
        if known(supply.phases) and known(connector.phases) and connector.phases > supply.phases:
            yield Finding(
                (*path, "phases"),
                f"is {connector.phases}, but the supply has {supply.phases}; correct one of them",
                fatal=False,
            )
        yield from _cable(settings, path, connector)
        if known(connector.type) and connector.type not in CONNECTOR_TYPES:
            yield Finding(
                (*path, "type"),
                f"there is no connector type {connector.type!r}; "
                f"{advice(connector.type, CONNECTOR_TYPES)}",
            )


def _cable(settings: Settings, path: Path, connector: Connector) -> Iterator[Finding]:
    """What carries the current: the charger's own cable, or one that the driver brings."""
    if not known(connector.type) or not known(connector.cable):
        return
    if connector.cable == "fixed" and connector.type in SOCKETS:
        yield Finding(
            (*path, "cable"),
            f"is fixed, but {connector.type} is a socket: what a loose cable may carry would not "
            "be obeyed; write cable: socket, or type: cType2 where the cable is the charger's own",
        )
    elif connector.cable == "socket" and connector.type.startswith("c"):
        yield Finding(
            (*path, "type"),
            f"is {connector.type}, the plug of a fixed cable, but cable is socket; write type: "
            "sType2, or cable: fixed",
            fatal=False,
        )
    options = settings.devices.get(connector.pilot) if known(settings.devices) else None
    if connector.cable == "fixed" and getattr(options, "lock", False) is True:
        yield Finding(
            (*path, "cable"),
            f"is fixed, but {connector.pilot!r} has lock: true, and a fixed cable has no plug to "
            "lock here; write cable: socket, or lock: false",
            fatal=False,
        )


def _ampere(path: Path, rated_a: float, supply_a: float) -> Iterator[Finding]:
    if rated_a > supply_a:
        yield Finding(
            (*path, "current_a"),
            f"is {rated_a:g} A, more than the supply's {supply_a:g} A; the supply wins, "
            "check which number is right",
            fatal=False,
        )


def _safety(settings: Settings) -> Iterator[Finding]:
    safety = settings.safety
    if not known(safety) or not known(safety.derate_from_c) or not known(safety.stop_at_c):
        return
    if safety.derate_from_c is not None and safety.derate_from_c >= safety.stop_at_c:
        yield Finding(
            ("safety", "stop_at_c"),
            f"is {safety.stop_at_c}, not above derate_from_c ({safety.derate_from_c}); write more",
        )


def _energy_manager(settings: Settings) -> Iterator[Finding]:
    manager, supply = settings.energy_manager, settings.supply
    if not known(manager) or manager is None or not known(supply):
        return
    if not known(manager.failsafe_a) or not known(supply.current_a):
        return
    if manager.failsafe_a >= supply.current_a:
        yield Finding(
            ("energy_manager", "failsafe_a"),
            f"is {manager.failsafe_a:g} A, the supply's {supply.current_a:g} A is no more: a silent"
            " energy manager would lower nothing; write less",
            fatal=False,
        )


def _unused(settings: Settings) -> Iterator[Finding]:
    """Devices and lines that nothing refers to; a reader serves by itself."""
    names: set[str | None] = {connector.pilot for _, connector in connectors_of(settings)}
    names |= {it.controller for _, it in named(settings.devices, GpioContactorOptions)}
    names |= {evse.meter for _, evse in evses_of(settings)} | {settings.main_meter}
    for name, _ in named(settings.devices, PILOTS + METERS):
        if name not in names:
            yield Finding(
                ("devices", name), "nothing uses this device; remove it or use it", fatal=False
            )
    lines = {device.line for _, device in named(settings.devices, ON_A_LINE)}
    for name, _ in named(settings.lines, Struct):
        if name not in lines:
            yield Finding(("lines", name), "no device is on this line; remove it", fatal=False)
