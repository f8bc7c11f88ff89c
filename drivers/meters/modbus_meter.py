"""An energy meter on Modbus RTU: what it reports is the right value or an error."""

import asyncio
import math
from collections.abc import Mapping

from drivers.bus.modbus_line import ModbusLine, Refused
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    DriverError,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    ProtocolError,
    Report,
)
from drivers.meters import register_map
from drivers.meters.plausibility import doubt
from drivers.meters.register_map import Block, Field, RegisterMap

MISSES_UNTIL_LOST = 2
LONGEST_PERIOD_S = 30.0

Values = Mapping[str, float | str | None]


class ModbusMeter:
    """Implements contract.Meter for any model that has a register map.

    Out of step (at the start, after a failure, after bytes nobody asked for) it first reads the
    energy register alone until that is answered. No block has this length and a device answers in
    order, so no old answer to a block can be under way after that.
    """

    def __init__(
        self,
        name: str,
        options: ModbusMeterOptions,
        line: ModbusLine,
        model: RegisterMap | None = None,
    ) -> None:
        """Raises DriverError when the model has no usable register map; does no I/O on the line."""
        self.name = name
        self.interval_s = options.interval_s
        self.signs = False
        self._options = options
        self._line = line
        self._model = model or register_map.find(options.model)
        self._soon = asyncio.Event()
        self._doubts_settled = -1
        self._serial: str | None = None
        self._confirm_serial = True
        self._last: MeterReading | None = None
        self._refusals: dict[Block, int] = {}

    def read_soon(self) -> None:
        """Asks for a report as soon as the bus allows; a lost meter keeps to its own pace."""
        self._soon.set()

    async def run(self, report: Report) -> None:
        """Reports for ever, on a fixed grid of `interval_s`. Cancelling is safe."""
        time = asyncio.get_running_loop().time
        due_s = time()
        misses = 0
        with self._line.held():
            while True:
                self._soon.clear()
                try:
                    reading = await self._read()
                except DriverError as error:
                    misses += 1
                    if misses == MISSES_UNTIL_LOST:
                        self._confirm_serial = True
                        report(DeviceLost(self.name, str(error)))
                else:
                    if misses >= MISSES_UNTIL_LOST:
                        report(DeviceFound(self.name))
                    misses = 0
                    report(MeterSeen(self.name, reading))
                lost = misses >= MISSES_UNTIL_LOST
                due_s = self._next_due_s(due_s, time(), misses)
                await self._pause(due_s - time(), interruptible=not lost)

    def _next_due_s(self, due_s: float, now_s: float, misses: int) -> float:
        """The next point of the grid; a lost meter is asked more and more rarely."""
        if misses >= MISSES_UNTIL_LOST:
            longest_s = max(LONGEST_PERIOD_S, self.interval_s)
            return now_s + min(self.interval_s * 2.0 ** min(misses - 1, 16), longest_s)
        if now_s < due_s:
            return due_s
        return due_s + self.interval_s * (math.floor((now_s - due_s) / self.interval_s) + 1)

    async def _pause(self, seconds: float, interruptible: bool) -> None:
        if not interruptible:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        except TimeoutError:
            pass

    async def _read(self) -> MeterReading:
        """One believable reading; raises DriverError."""
        reading, reason = await self._attempt()
        if reason:
            self._doubts_settled = -1
            reading, reason = await self._attempt()
        if reason:
            self._confirm_serial = True
            self._doubts_settled = -1
            raise ProtocolError(
                f"meter {self.name}: {reason}; not believed. Check that the model fits and the "
                "meter works; if it was replaced by one without a serial number, restart the agent"
            )
        self._last = reading
        return reading

    async def _attempt(self) -> tuple[MeterReading, str]:
        probed: MeterReading | None = None
        if self._doubts_settled != self._line.doubts(self._options.unit):
            probed = await self._get_in_step()
        if self._confirm_serial:
            await self._identify()
        reading = await self._read_blocks()
        reason = doubt(self._last, reading, self._model) or doubt(probed, reading, self._model)
        return reading, reason

    async def _get_in_step(self) -> MeterReading:
        """Reads the energy alone; its value only serves to check the next one."""
        energy = self._model.fields["energy_import"]
        at_s = asyncio.get_running_loop().time()
        registers = await self._registers(energy.function, energy.address, energy.count)
        value = self._energy({"energy_import": self._decode(energy, registers)})
        self._doubts_settled = self._line.doubts(self._options.unit)
        return MeterReading(at_s, value, register_map.step_of(energy, value))

    async def _identify(self) -> None:
        """Reads the serial number where there is one; another meter starts with a clean slate."""
        item = self._model.fields.get("serial")
        serial = ""
        if item is not None:
            try:
                registers = await self._registers(item.function, item.address, item.count)
            except Refused:
                pass
            else:
                value = self._decode(item, registers)
                serial = value if isinstance(value, str) else f"{value or 0:.0f}"
        if self._serial and serial and serial != self._serial:
            self._last = None
        self._serial = serial
        self._confirm_serial = False

    async def _read_blocks(self) -> MeterReading:
        values: dict[str, float | str | None] = {}
        at_s = asyncio.get_running_loop().time()
        energy = self._model.fields["energy_import"]
        for block in self._model.blocks:
            if self._refusals.get(block, 0) >= 2:
                continue
            asked_s = asyncio.get_running_loop().time()
            try:
                registers = await self._registers(block.function, block.address, block.count)
            except Refused:
                if not block.optional:
                    raise
                self._refusals[block] = self._refusals.get(block, 0) + 1
                continue
            if block.holds(energy):
                at_s = asked_s
            for name, item in self._model.fields.items():
                if block.holds(item):
                    start = item.address - block.address
                    values[name] = self._decode(item, registers[start : start + item.count])
        return self._reading(at_s, values)

    def _reading(self, at_s: float, values: Values) -> MeterReading:
        energy_wh = self._energy(values)
        return MeterReading(
            at_s=at_s,
            energy_wh=energy_wh,
            step_wh=register_map.step_of(self._model.fields["energy_import"], energy_wh),
            serial=self._serial or "",
            power_w=_number(values.get("power_total")),
            power_phase_w=self._phases(values, "power"),
            current_a=self._phases(values, "current"),
            voltage_v=self._phases(values, "voltage"),
            frequency_hz=_frequency_hz(_number(values.get("frequency"))),
        )

    def _energy(self, values: Values) -> float:
        value = _number(values.get("energy_import"))
        if value is None or value < 0:
            raise ProtocolError(
                f"meter {self.name}: its energy register holds no energy; check that the model "
                f"{self._options.model} fits the device"
            )
        return value

    def _phases(self, values: Values, quantity: str) -> tuple[float, ...]:
        numbers = [
            _number(values.get(f"{quantity}_l{phase}"))
            for phase in range(1, self._model.phases + 1)
        ]
        known = tuple(number for number in numbers if number is not None)
        return known if len(known) == len(numbers) else ()

    def _decode(self, item: Field, registers: list[int]) -> float | str | None:
        return register_map.decode(item, registers, self._model.word_order)

    async def _registers(self, function: int, address: int, count: int) -> list[int]:
        options = self._options
        return await self._line.read(
            options.unit, function, address, count, options.timeout_s, options.delay_s
        )


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, float) else None


def _frequency_hz(value: float | None) -> float | None:
    """Some firmware counts tenths or hundredths of Hz: 500 is 50 Hz."""
    while value is not None and value > 100:
        value /= 10
    return value
