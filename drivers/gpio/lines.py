"""Lines as the drivers use them: outputs that end off, inputs that say active or not."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from gpiozero import DigitalInputDevice, DigitalOutputDevice, Factory, GPIOPinInUse, GPIOZeroError

from drivers.contract import DriverError, PortError
from drivers.gpio_options import GpioInput, GpioOutput

RASPBERRY_PI = "pi:"
"""Prefix of lines that go through gpiozero's own factory."""


class Pins:
    """Which factory serves a line; each is made when the first line needs it."""

    def __init__(self, board: Factory | None = None, pi: Factory | None = None) -> None:
        self._board = board
        self._pi = pi

    def find(self, line: str) -> tuple[Factory, str]:
        """The factory and the name of the line in its words; raises DriverError."""
        if not line.startswith(RASPBERRY_PI):
            if self._board is None:
                from drivers.gpio.gpiod_pins import GpiodFactory

                self._board = GpiodFactory()
            return self._board, line
        if self._pi is None:
            self._pi = _raspberry_pi()
        return self._pi, line.removeprefix(RASPBERRY_PI)


def _raspberry_pi() -> Factory:
    from gpiozero import Device

    # lgpio puts a pipe into the working directory, which is read-only in a service
    os.environ.setdefault("LG_WD", os.environ.get("RUNTIME_DIRECTORY") or tempfile.gettempdir())
    try:
        Device.ensure_pin_factory()
    except (GPIOZeroError, ImportError, OSError) as error:
        raise DriverError(
            f"lines that begin with {RASPBERRY_PI} need a Raspberry Pi and the package lgpio "
            f"({error}); install chargepoint[pi], or write the line as gpiochip0:17"
        ) from error
    return Device.pin_factory


class Output:
    """A line that is off from the first moment, and when it is closed."""

    def __init__(self, options: GpioOutput, pins: Pins) -> None:
        """Raises DriverError."""
        factory, name = pins.find(options.line)
        self._device = _opened(
            options.line,
            lambda: DigitalOutputDevice(
                name, active_high=not options.active_low, initial_value=False, pin_factory=factory
            ),
        )
        self.is_on = False

    def set(self, on: bool) -> None:
        """Raises OSError when the line is gone."""
        if on != self.is_on:
            self.is_on = on
            self._device.pin.state = int(on == self._device.active_high)

    def close(self) -> None:
        """Off, then given back. May be called twice."""
        if self._device.closed:
            return
        try:
            self.set(False)
        except OSError:
            pass  # the chip is gone, and its lines with it
        self._device.close()


class Input:
    """A line that is read; `heard` is called on the loop's thread after each change."""

    def __init__(self, options: GpioInput, pins: Pins, heard: Callable[[], None]) -> None:
        """Raises DriverError."""
        factory, name = pins.find(options.line)
        pull_up = {"up": True, "down": False, "none": None}[options.pull]
        floating = pull_up is None
        self._active_level = not options.active_low
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._device = _opened(
            options.line,
            lambda: DigitalInputDevice(
                name,
                pull_up=pull_up,
                active_state=True if floating else None,
                bounce_time=options.debounce_s or None,
                pin_factory=factory,
            ),
        )
        self._device.when_activated = self._device.when_deactivated = self._changed

    @property
    def is_active(self) -> bool:
        """The level now; raises OSError when the line is gone."""
        return bool(self._device.pin.state) == self._active_level

    def close(self) -> None:
        """May be called twice."""
        self._device.close()

    def _changed(self) -> None:
        """The factories of a Raspberry Pi call from threads of their own."""
        if threading.get_ident() == self._thread:
            self._heard()
        else:
            self._loop.call_soon_threadsafe(self._heard)


class Bank:
    """The open lines of one device; `heard` is called after a change of any input."""

    def __init__(self, pins: Pins, heard: Callable[[], None]) -> None:
        self._pins = pins
        self._heard = heard
        self._lines: list[Output | Input] = []

    def output(self, options: GpioOutput) -> Output:
        """Raises DriverError."""
        line = Output(options, self._pins)
        self._lines.append(line)
        return line

    def input(self, options: GpioInput) -> Input:
        """Raises DriverError."""
        line = Input(options, self._pins, self._heard)
        self._lines.append(line)
        return line

    def close(self) -> None:
        """Everything off and given back, in the order in which it was opened; a line that fails
        keeps none of the others on."""
        lines, self._lines = self._lines, []
        with ExitStack() as all_of_them:
            for line in reversed(lines):
                all_of_them.callback(line.close)


def _opened(line: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except GPIOPinInUse as error:
        raise PortError(f"{line}: in use already; give each signal a line of its own") from error
    except GPIOZeroError as error:
        raise PortError(f"{line}: {error}; correct the line's name") from error
    except OSError as error:
        raise PortError(f"{line}: lost while it was opened ({error}); check the chip") from error
