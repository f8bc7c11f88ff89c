"""Inputs and lamps on the board's GPIO lines: emergency stop, RCD, mains, door, buttons, bays."""

import asyncio
from collections.abc import Mapping

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    DriverError,
    GpioBoardOptions,
    InputSeen,
    Report,
)
from drivers.gpio.lines import Bank, Input, Output, Pins
from drivers.gpio_options import GpioInput, GpioOutput

NAMED = ("emergency_stop", "rcd", "dc_fault", "mains", "door")
"""Inputs with a key of their own; they are reported under that name."""
LAMPS = ("available", "occupied", "charging", "reserved", "unavailable", "faulted")
POLL_S = 0.5
"""How often the lines are read though no edge came."""
REOPEN_S = 2.0


class GpioBoard:
    """Implements contract.Device and contract.Display; reports each input once it is open, then
    each change."""

    def __init__(self, name: str, options: GpioBoardOptions, pins: Pins) -> None:
        self.name = name
        self._pins = pins
        own = {key: getattr(options, key) for key in NAMED}
        self._wanted: dict[str, GpioInput] = {k: v for k, v in own.items() if v is not None}
        self._wanted |= options.inputs
        lamps = {key: getattr(options.lamps, key, None) for key in LAMPS}
        self._lamps: dict[str, GpioOutput] = {k: v for k, v in lamps.items() if v is not None}
        self._lit: frozenset[str] = frozenset()
        self._told: dict[str, bool] = {}
        self._inputs: dict[str, Input] = {}
        self._outputs: dict[str, Output] = {}
        self._report: Report = lambda observation: None

    def show(self, conditions: Mapping[int, str]) -> None:
        """See contract.Display."""
        self._lit = frozenset(conditions.values())
        self._step()

    async def run(self, report: Report) -> None:
        """See contract. Cancelling darkens the lamps and gives the lines back."""
        self._report = report
        is_lost = False
        while True:
            bank = Bank(self._pins, self._step)
            try:
                self._open(bank)
                self._read()
                if is_lost:
                    is_lost = False
                    report(DeviceFound(self.name))
                while True:
                    await asyncio.sleep(POLL_S)
                    self._read()
            except (DriverError, OSError) as error:
                if not is_lost:
                    is_lost = True
                    text = str(error) if isinstance(error, DriverError) else _gone(error)
                    report(DeviceLost(self.name, text))
            finally:
                self._inputs, self._outputs = {}, {}
                bank.close()
            await asyncio.sleep(REOPEN_S)

    def _open(self, bank: Bank) -> None:
        self._told = {}
        inputs = {name: bank.input(options) for name, options in self._wanted.items()}
        self._outputs = {name: bank.output(options) for name, options in self._lamps.items()}
        self._inputs = inputs

    def _step(self) -> None:
        """After an edge; a line that fails is found by the next regular read."""
        try:
            self._read()
        except OSError:
            return

    def _read(self) -> None:
        """Tells what changed, and sets the lamps. Raises OSError when the lines are gone."""
        now_s = asyncio.get_running_loop().time()
        for name, line in self._inputs.items():
            active = line.is_active
            if self._told.get(name) is not active:
                self._told[name] = active
                self._report(InputSeen(self.name, name, active, now_s))
        for name, lamp in self._outputs.items():
            lamp.set(name in self._lit)


def _gone(error: OSError) -> str:
    return f"GPIO lines lost ({error}); check the GPIO expander and its cable"
