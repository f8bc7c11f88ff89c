"""Builds the configured devices; a family is imported only when one of its kind is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, cast

from drivers.contract import (
    Device,
    DeviceOptions,
    DriverError,
    EvseWbOptions,
    GpioBoardOptions,
    GpioContactorOptions,
    KeyboardReaderOptions,
    Meter,
    ModbusMeterOptions,
    OpenEvseOptions,
    PhoenixOptions,
    PilotController,
    Pn532Options,
    SerialLine,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)

if TYPE_CHECKING:
    from drivers.bus.modbus_line import ModbusLine
    from drivers.gpio.lines import Pins
    from drivers.meters.register_map import RegisterMap

Role = Literal["pilot", "meter", "reader", "board"]

ROLES: dict[type, tuple[Role, ...]] = {
    OpenEvseOptions: ("pilot", "meter"),
    GpioContactorOptions: ("pilot",),
    EvseWbOptions: ("pilot",),
    PhoenixOptions: ("pilot",),
    SimPilotOptions: ("pilot",),
    ModbusMeterOptions: ("meter",),
    SimMeterOptions: ("meter",),
    SerialReaderOptions: ("reader",),
    KeyboardReaderOptions: ("reader",),
    Pn532Options: ("reader",),
    GpioBoardOptions: ("board",),
    SimReaderOptions: ("reader",),
}
"""What each kind can be; the first is what it is always, the others where charger.yaml says so."""
MEASURING_PILOTS = tuple(kind for kind, roles in ROLES.items() if roles == ("pilot", "meter"))


def roles_of(options: DeviceOptions) -> tuple[Role, ...]:
    """What a device can be to the agent; imports no driver."""
    return ROLES[type(options)]


class Registry:
    """Builds devices that share the given RS-485 lines, and the board's GPIO lines."""

    def __init__(
        self,
        lines: Mapping[str, SerialLine],
        devices: Mapping[str, DeviceOptions] | None = None,
        meters_at_v: Mapping[str, float] | None = None,
    ) -> None:
        """`devices`: by name, for those that are built upon another one; `meters_at_v`: names of
        the pilot controllers that are to measure as well, with the voltage of the mains there."""
        self._lines = lines
        self._devices = devices or {}
        self._meters_at_v = meters_at_v or {}
        self._pins: Pins | None = None
        self._modbus_lines: dict[str, ModbusLine] = {}
        self._maps: dict[str, RegisterMap] = {}
        """Register maps by model: each is read once."""

    def build(self, name: str, options: DeviceOptions) -> PilotController | Meter | Device:
        """The device `name`, by its roles of `roles_of`; no I/O on ports. Raises DriverError."""
        match options:
            case ModbusMeterOptions():
                line = self._modbus_line(name, options.line)
                module = importlib.import_module("drivers.meters.modbus_meter")
                found = self._maps.get(options.model)
                meter = module.ModbusMeter(name, options, line, found)
                self._maps[options.model] = meter.shipped
                return cast(Meter, meter)
            case OpenEvseOptions():
                module = importlib.import_module("drivers.pilots.openevse")
                meters_at_v = self._meters_at_v.get(name)
                return cast(PilotController, module.OpenEvse(name, options, meters_at_v))
            case GpioContactorOptions() | GpioBoardOptions():
                return self._gpio(name, options)
            case EvseWbOptions():
                line = self._modbus_line(name, options.line)
                module = importlib.import_module("drivers.pilots.evse_wb")
                return cast(PilotController, module.EvseWb(name, options, line))
            case PhoenixOptions():
                line = self._modbus_line(name, options.line)
                module = importlib.import_module("drivers.pilots.phoenix")
                return cast(PilotController, module.Phoenix(name, options, line))
            case SerialReaderOptions():
                module = importlib.import_module("drivers.readers.serial_line")
                return cast(Device, module.SerialLineReader(name, options))
            case KeyboardReaderOptions():
                module = importlib.import_module("drivers.readers.keyboard")
                return cast(Device, module.KeyboardReader(name, options))
            case Pn532Options():
                module = importlib.import_module("drivers.readers.pn532")
                return cast(Device, module.Pn532Reader(name, options))
            case SimPilotOptions() | SimMeterOptions() | SimReaderOptions():
                raise DriverError(
                    f"device {name}: simulated devices are for benches only; "
                    "give it the driver of a real device"
                )

    def _gpio(self, name: str, options: GpioContactorOptions | GpioBoardOptions) -> Device:
        if self._pins is None:
            self._pins = importlib.import_module("drivers.gpio.lines").Pins()
        if isinstance(options, GpioBoardOptions):
            module = importlib.import_module("drivers.gpio.board")
            return cast(Device, module.GpioBoard(name, options, self._pins))
        below = self._devices.get(options.controller)
        if (
            below is None
            or "pilot" not in roles_of(below)
            or isinstance(below, GpioContactorOptions)
        ):
            raise DriverError(
                f"device {name}: no pilot controller {options.controller!r} is under devices; "
                "add it or correct `controller`"
            )
        module = importlib.import_module("drivers.gpio.contactor")
        controller = self.build(options.controller, below)
        return cast(PilotController, module.GpioContactor(name, options, controller, self._pins))

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
