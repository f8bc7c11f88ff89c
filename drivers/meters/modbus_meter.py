"""An energy meter on Modbus: what it reports is the right value or an error."""

import asyncio
import logging
import math

from drivers.bus.modbus_line import ModbusLine, Refused
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    DriverError,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    Payer,
    ProtocolError,
    Report,
    Signing,
)
from drivers.meters import register_map, sunspec
from drivers.meters.coding import Field, decode, step_of
from drivers.meters.ocmf import procedure_of
from drivers.meters.packing import Block
from drivers.meters.plausibility import doubt
from drivers.meters.register_map import RegisterMap
from drivers.meters.signer import Signer
from drivers.meters.wiring import (
    Values,
    energy_field,
    export_field,
    number,
    phases,
    power_w,
)

MISSES_UNTIL_LOST = 2
REFUSALS_UNTIL_LEFT_OUT = 2
ODD_READINGS_UNTIL_BELIEVED = 3
LONGEST_PERIOD_S = 30.0

log = logging.getLogger(__name__)


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
        self.may_wait = True
        self.interval_s = options.interval_s
        self.counters = line.counters(options.unit)
        self._options = options
        self._line = line
        self._model = model or register_map.find(options.model)
        self.shipped = self._model
        """As in config/meters; what a SunSpec meter tells of itself replaces it in `_model`."""
        self._import = energy_field(options)
        self._export = export_field(options)
        self._blocks = () if self._model.sunspec else self._usable_blocks()
        self.has_export = self._model.sunspec or self._model.reads(self._export, self._blocks)
        signing = self._model.signing
        self.signs = signing is not None
        self.signs_begin = signing is not None and signing.signs_begin
        self._signer = (
            Signer(name, options, line, procedure_of(signing), self._model.max_registers)
            if signing is not None
            else None
        )
        self._one_at_a_time = asyncio.Lock()
        self._soon = asyncio.Event()
        self._doubts_settled = -1
        self._serial: str | None = None
        self._confirm_serial = True
        self._last: MeterReading | None = None
        self._odd: list[MeterReading] = []
        """Read in a row, and not what can follow `_last`."""
        self._refusals: dict[Block, int] = {}

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the register map is not sure of, for `chargepoint probe`."""
        return self._model.all_doubts()

    @property
    def factory(self) -> str:
        """How the model talks when it is new, for `chargepoint probe`."""
        return self.shipped.factory.told()

    def _usable_blocks(self) -> tuple[Block, ...]:
        try:
            return self._blocks_of(self._model)
        except (KeyError, ValueError):
            raise DriverError(
                f"meter {self.name}: the model {self._options.model} does not count the direction "
                "that `reversed` asks for; wire supply and load the other way round"
            ) from None

    def _blocks_of(self, model: RegisterMap) -> tuple[Block, ...]:
        return model.blocks_with(self._import, self._export if self._options.with_export else None)

    def read_soon(self, signing: Signing = Signing.NONE, payer: Payer | None = None) -> None:
        """Asks for a report as soon as the bus allows; a lost meter keeps to its own pace."""
        if signing is Signing.NONE or self._signer is None:
            self._soon.set()
        else:
            self._signer.ask(signing, payer)

    async def run(self, report: Report) -> None:
        """Reports for ever, on a fixed grid of `interval_s`. Cancelling is safe."""
        signer = self._signer
        if signer is None:
            await self._report_regularly(report)
            return
        regular = asyncio.create_task(self._report_regularly(report))
        signing = asyncio.create_task(signer.run(self._read, report))
        try:
            done, _ = await asyncio.wait((regular, signing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            regular.cancel()
            signing.cancel()
            await asyncio.gather(regular, signing, return_exceptions=True)

    async def _report_regularly(self, report: Report) -> None:
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
        async with self._one_at_a_time:
            return await self._believable()

    async def _believable(self) -> MeterReading:
        reading, reason = await self._attempt()
        if reason:
            self._doubts_settled = -1
            reading, reason = await self._attempt()
        if reason:
            self._confirm_serial = True
            self._doubts_settled = -1
            if not self._is_confirmed(reading):
                raise ProtocolError(
                    f"meter {self.name}: {reason}; not believed yet. If the meter was replaced or "
                    "its counter began anew, wait for the third such reading in a row; otherwise "
                    "check that the model fits and the meter works"
                )
            log.warning(
                "meter %s: %s, %d times in a row: taken for another meter, or a counter that began "
                "anew; compare it with the display",
                self.name,
                reason,
                ODD_READINGS_UNTIL_BELIEVED,
            )
        self._odd.clear()
        self._last = reading
        return reading

    def _is_confirmed(self, reading: MeterReading) -> bool:
        """An odd reading counts when enough in a row go on from one another, each got in step."""
        if self._odd and doubt(self._odd[-1], reading, self._model):
            self._odd.clear()
        self._odd.append(reading)
        return math.isfinite(reading.energy_wh) and len(self._odd) >= ODD_READINGS_UNTIL_BELIEVED

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
        if self._model.sunspec:
            self._model = await sunspec.discover(self._model, self._registers)
            self._blocks = self._blocks_of(self._model)
        energy = self._model.fields[self._import]
        at_s = asyncio.get_running_loop().time()
        registers = await self._registers(energy.function, energy.address, energy.count)
        power = 0
        if energy.exponent is not None:
            (raw,) = await self._registers(energy.function, energy.exponent, 1)
            power = sunspec.power_of_ten(raw)
        value = self._energy({self._import: decode(energy, registers, self._order, power)})
        self._doubts_settled = self._line.doubts(self._options.unit)
        return MeterReading(at_s, value, step_of(energy, value, power))

    async def _identify(self) -> None:
        """Checks the model and reads the serial number, where the meter tells them.

        Another meter starts with a clean slate. Raises ProtocolError where the model is another.
        """
        await self._check_model()
        item = self._model.fields.get("serial")
        serial = ""
        if item is not None:
            try:
                registers = await self._registers(item.function, item.address, item.count)
            except Refused:
                log.info("meter %s: tells no serial number; a swap is not noticed", self.name)
            else:
                value = decode(item, registers, self._order)
                serial = value if isinstance(value, str) else f"{value or 0:.0f}"
        if self._serial and serial and serial != self._serial:
            self._last = None
        self._serial = serial
        self._confirm_serial = False

    async def _check_model(self) -> None:
        identity = self._model.identity
        if identity is None:
            return
        try:
            (told,) = await self._registers(identity.function, identity.address, 1)
        except Refused:
            log.info("meter %s: does not tell its model; check it on the label", self.name)
            return
        if told not in identity.values:
            self._model = self.shipped
            expected = " or ".join(map(str, identity.values))
            raise ProtocolError(
                f"meter {self.name}: tells model number {told}, {self._options.model} has "
                f"{expected}; correct `model` or `unit` in charger.yaml"
            )

    async def _read_blocks(self) -> MeterReading:
        values: dict[str, float | str | None] = {}
        at_s = asyncio.get_running_loop().time()
        energy = self._model.fields[self._import]
        power = 0
        for block in self._blocks:
            if self._refusals.get(block, 0) >= REFUSALS_UNTIL_LEFT_OUT:
                continue
            asked_s = asyncio.get_running_loop().time()
            try:
                registers = await self._registers(block.function, block.address, block.count)
            except Refused:
                if not block.optional:
                    raise
                self._left_out(block)
                continue
            values |= self._decoded(block, registers)
            if block.holds(energy):
                at_s = asked_s
                power = _power(energy, block, registers)
        return self._reading(at_s, values, power)

    def _left_out(self, block: Block) -> None:
        self._refusals[block] = self._refusals.get(block, 0) + 1
        if self._refusals[block] == REFUSALS_UNTIL_LEFT_OUT:
            log.info(
                "meter %s: has no registers at %d; they are not asked for again",
                self.name,
                block.address,
            )

    def _decoded(self, block: Block, registers: list[int]) -> dict[str, float | str | None]:
        values: dict[str, float | str | None] = {}
        for name, item in self._model.fields.items():
            if block.holds(item):
                start = item.address - block.address
                ours = registers[start : start + item.count]
                values[name] = decode(item, ours, self._order, _power(item, block, registers))
        return values

    def _reading(self, at_s: float, values: Values, power: int) -> MeterReading:
        energy_wh = self._energy(values)
        count = self._model.phases
        return MeterReading(
            at_s=at_s,
            energy_wh=energy_wh,
            step_wh=step_of(self._model.fields[self._import], energy_wh, power),
            serial=self._serial or "",
            power_w=power_w(values, self._options),
            power_phase_w=phases(values, "power", count, self._options),
            current_a=phases(values, "current", count, self._options),
            voltage_v=phases(values, "voltage", count, self._options),
            frequency_hz=_frequency_hz(number(values.get("frequency"))),
            signing=Signing.NONE if self._signer is None else Signing.LATER,
            export_wh=number(values.get(self._export)),
        )

    def _energy(self, values: Values) -> float:
        value = number(values.get(self._import))
        if value is None or value < 0:
            raise ProtocolError(
                f"meter {self.name}: its energy register holds no energy; check that the model "
                f"{self._options.model} fits the device"
            )
        return value

    @property
    def _order(self) -> str:
        return self._model.word_order

    async def _registers(self, function: int, address: int, count: int) -> list[int]:
        options = self._options
        return await self._line.read(
            options.unit, function, address, count, options.timeout_s, options.delay_s
        )


def _power(item: Field, block: Block, registers: list[int]) -> int:
    if item.exponent is None:
        return 0
    return sunspec.power_of_ten(registers[item.exponent - block.address])


def _frequency_hz(value: float | None) -> float | None:
    """Some firmware counts tenths or hundredths of Hz: 500 is 50 Hz."""
    while value is not None and value > 100:
        value /= 10
    return value
