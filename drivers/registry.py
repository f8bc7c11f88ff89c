"""Builds the configured devices; a family is imported only when one of its kind is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, cast

from drivers.contract import (
    Device,
    DeviceOptions,
    DriverError,
    Meter,
    ModbusMeterOptions,
    OpenEvseOptions,
    PilotController,
    SerialLine,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)

if TYPE_CHECKING:
    from drivers.bus.modbus_line import ModbusLine

Role = Literal["pilot", "meter", "reader"]

ROLES: dict[type, Role] = {
    OpenEvseOptions: "pilot",
    SimPilotOptions: "pilot",
    ModbusMeterOptions: "meter",
    SimMeterOptions: "meter",
    SerialReaderOptions: "reader",
    SimReaderOptions: "reader",
}


def role_of(options: DeviceOptions) -> Role:
    """What a device is to the agent; imports no driver."""
    return ROLES[type(options)]


class Registry:
    """Builds devices that share the given RS-485 lines."""

    def __init__(self, lines: Mapping[str, SerialLine]) -> None:
        self._lines = lines
        self._modbus_lines: dict[str, ModbusLine] = {}

    def build(self, name: str, options: DeviceOptions) -> PilotController | Meter | Device:
        """The device `name`, by its role of `role_of`; no I/O on ports. Raises DriverError."""
        match options:
            case ModbusMeterOptions():
                line = self._modbus_line(name, options.line)
                module = importlib.import_module("drivers.meters.modbus_meter")
                return cast(Meter, module.ModbusMeter(name, options, line))
            case OpenEvseOptions():
                module = importlib.import_module("drivers.pilots.openevse")
                return cast(PilotController, module.OpenEvse(name, options))
            case SerialReaderOptions():
                module = importlib.import_module("drivers.readers.serial_line")
                return cast(Device, module.SerialLineReader(name, options))
            case SimPilotOptions() | SimMeterOptions() | SimReaderOptions():
                raise DriverError(
                    f"device {name}: simulated devices are for benches only; "
                    "give it the driver of a real device"
                )

    def _modbus_line(self, device: str, line: str) -> ModbusLine:
        if line not in self._lines:
            known = ", ".join(sorted(self._lines)) or "none"
            raise DriverError(
                f"device {device}: there is no line {line!r} (known: {known}); "
                "add it under lines or correct the name"
            )
        if line not in self._modbus_lines:
            module = importlib.import_module("drivers.bus.modbus_line")
            self._modbus_lines[line] = module.ModbusLine(line, self._lines[line])
        return self._modbus_lines[line]
