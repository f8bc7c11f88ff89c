"""Signed readings of one meter, beside its regular ones, which go on meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from drivers.bus.modbus_line import ModbusLine
from drivers.bus.modbus_request import READ_HOLDING, WRITE_REGISTER, WRITE_REGISTERS, Request
from drivers.contract import (
    DriverError,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    Payer,
    ProtocolError,
    Report,
    SignedData,
    Signing,
)
from drivers.meters.ocmf import Procedure
from drivers.meters.signing import signed_data

FETCHES = 3
TRIES = 5
"""So often the plain value is asked for; then the next question of the core counts."""

log = logging.getLogger(__name__)


class Signer:
    """Answers `ask` with one report each: signed, or plain where there is no signature."""

    def __init__(
        self,
        name: str,
        options: ModbusMeterOptions,
        line: ModbusLine,
        procedure: Procedure,
        longest: int,
    ) -> None:
        """`longest`: most registers of one request."""
        self._name = name
        self._options = options
        self._line = line
        self._procedure = procedure
        self._longest = longest
        self._asked: dict[Signing, Payer | None] = {}
        self._wake = asyncio.Event()

    def ask(self, signing: Signing, payer: Payer | None) -> None:
        """One answer for each kind that waits, with the latest payer."""
        self._asked[signing] = payer
        self._wake.set()

    async def run(self, read: Callable[[], Awaitable[MeterReading]], report: Report) -> None:
        """Answers for ever; `read` makes a plain reading and raises DriverError."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                signing = next(iter(self._asked))
                reading = await self._answered(signing, self._asked.pop(signing), read)
                if reading is not None:
                    report(MeterSeen(self._name, replace(reading, signing=signing)))

    async def _answered(
        self, signing: Signing, payer: Payer | None, read: Callable[[], Awaitable[MeterReading]]
    ) -> MeterReading | None:
        try:
            is_signed = await self._procedure.order(self, signing, payer)
        except DriverError as error:
            is_signed = False
            self._tell(error)
        reading = await self._plain(read)
        if reading is None or not is_signed:
            return reading
        try:
            return replace(reading, signature=await self._signature())
        except DriverError as error:
            self._tell(error)
            return reading

    async def _plain(self, read: Callable[[], Awaitable[MeterReading]]) -> MeterReading | None:
        for _ in range(TRIES):
            try:
                return await read()
            except DriverError:
                await asyncio.sleep(self._options.interval_s)
        return None

    async def _signature(self) -> SignedData:
        """They stand in the meter, so that a disturbed line only costs time."""
        for tries_left in reversed(range(FETCHES)):
            try:
                ocmf, key = await self._undisturbed()
            except DriverError:
                if not tries_left:
                    await self._procedure.settle(self)
                    raise
            else:
                break
        try:
            await self._procedure.settle(self)
        except DriverError as error:
            log.warning("meter %s: signed data not confirmed: %s", self._name, error)
        return signed_data(ocmf, key)

    async def _undisturbed(self) -> tuple[str, str]:
        """No answer among them may be one to another request."""
        doubts = self._line.doubts(self._options.unit)
        found = await self._procedure.fetch(self)
        if self._line.doubts(self._options.unit) != doubts:
            raise ProtocolError("the line was disturbed while its signed data were read")
        return found

    def _tell(self, error: DriverError) -> None:
        log.warning("meter %s: value without a signature: %s", self._name, error)

    # --- ocmf.Registers -------------------------------------------------------------------------

    async def read(self, address: int, count: int) -> list[int]:
        """Holding registers, in as many requests as it takes; raises DriverError."""
        words: list[int] = []
        while len(words) < count:
            part = min(self._longest, count - len(words))
            words += await self._ask(READ_HOLDING, address + len(words), part)
        return words

    async def write(self, address: int, *values: int) -> None:
        """Holding registers; raises DriverError."""
        if len(values) == 1:
            await self._ask(WRITE_REGISTER, address, 1, values)
            return
        for at in range(0, len(values), self._longest):
            part = values[at : at + self._longest]
            await self._ask(WRITE_REGISTERS, address + at, len(part), part)

    async def _ask(
        self, function: int, address: int, count: int, values: tuple[int, ...] = ()
    ) -> list[int]:
        options = self._options
        request = Request(options.unit, function, address, count, values)
        return await self._line.ask(request, options.timeout_s, options.delay_s)
