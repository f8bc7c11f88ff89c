"""A card reader that writes one line per card; a regular expression finds the number in it."""

import asyncio
import re
from functools import partial

from drivers.bus.line_splitter import LineSplitter
from drivers.bus.serial_port import FIRST_PAUSE_S, SerialPort, next_pause_s
from drivers.contract import (
    CardSeen,
    Counters,
    DeviceFound,
    DeviceLost,
    DriverError,
    PortError,
    Report,
    SerialLine,
    SerialReaderOptions,
)

REPEAT_S = 1.5
"""A card that stays at the reader is read again and again: one presentation."""
LINE_ENDS = b"\r\n\x02\x03\x00"
"""Besides line ends, STX and ETX of readers that frame their numbers, and idle zeros."""
APART = re.compile(r"[0-9A-F]{2}([ :.-][0-9A-F]{2})+")
"""Bytes written apart, as some readers do; a CSMS knows the card without what stands between."""


def card_number(line: bytes, pattern: re.Pattern[str], reverse_bytes: bool) -> str:
    """Upper-case number within a line, its bytes together; empty when the line holds none."""
    match = pattern.search(line.decode("latin-1").strip())
    number = (match.group(1) or "").upper() if match else ""
    if APART.fullmatch(number):
        number = re.sub("[^0-9A-F]", "", number)
    if not reverse_bytes:
        return number
    try:
        return bytes.fromhex(number)[::-1].hex().upper()
    except ValueError:
        return ""


class SerialLineReader:
    """Implements contract.Device; reports CardSeen."""

    def __init__(self, name: str, options: SerialReaderOptions) -> None:
        """Raises DriverError when the pattern cannot be used."""
        self.name = name
        self.counters = Counters()
        self._options = options
        self._line = SerialLine(port=options.port, baud=options.baud)
        try:
            self._pattern = re.compile(options.pattern)
        except re.error as error:
            raise DriverError(
                f"reader {name}: pattern {options.pattern!r} is no regular expression ({error}); "
                "correct it"
            ) from error
        if self._pattern.groups < 1:
            raise DriverError(
                f"reader {name}: pattern {options.pattern!r} has no group; "
                "put brackets around the part that is the card number"
            )
        self._last_number = ""
        self._last_at_s = 0.0

    async def run(self, report: Report) -> None:
        """See contract. Cancelling closes the port."""
        pause_s = FIRST_PAUSE_S
        lost = False
        while True:
            try:
                splitter = LineSplitter(LINE_ENDS)
                port = SerialPort(self._line, partial(self._heard, splitter, report), self.counters)
                try:
                    if lost:
                        report(DeviceFound(self.name))
                    lost, pause_s = False, FIRST_PAUSE_S
                    raise await port.lost
                finally:
                    port.close()
            except PortError as error:
                if not lost:
                    report(DeviceLost(self.name, str(error)))
                lost = True
            await asyncio.sleep(pause_s)
            pause_s = next_pause_s(pause_s)

    def _heard(self, splitter: LineSplitter, report: Report, data: bytes) -> None:
        for line in splitter.feed(data):
            number = card_number(line, self._pattern, self._options.reverse_bytes)
            if number and self._is_new(number):
                report(CardSeen(self.name, number, self._options.token_type))

    def _is_new(self, number: str) -> bool:
        now_s = asyncio.get_running_loop().time()
        repeated = number == self._last_number and now_s - self._last_at_s < REPEAT_S
        self._last_number, self._last_at_s = number, now_s
        return not repeated
