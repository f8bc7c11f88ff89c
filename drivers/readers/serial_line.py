"""A card reader that writes one line per card; a regular expression finds the number in it."""

import re
from functools import partial, reduce
from operator import xor

from drivers.bus.line_splitter import LineSplitter, garbled
from drivers.bus.serial_port import SerialPort
from drivers.contract import (
    Counters,
    Report,
    SerialLine,
    SerialReaderOptions,
)
from drivers.readers.listening import card_pattern, first_group, listen
from drivers.readers.presenting import Presenting
from drivers.readers.uid import converted

LINE_ENDS = b"\r\n\x02\x03\x00"
"""Besides line ends, STX and ETX of readers that frame their numbers, and idle zeros."""
PATTERNS = {
    "rdm6300": "^([0-9A-F]{12})$",
    "twn4": "^([0-9A-Fa-f]{8,20})$",
}
"""What the profiles write: an RDM6300 ten digits and two of check; a TWN4 the bare number."""


def found(line: bytes, pattern: re.Pattern[str]) -> str:
    """What the pattern's first group holds; empty when the line is no card."""
    return first_group(line.decode("latin-1").strip(), pattern)


def rdm6300(number: str) -> str:
    """The ten digits without the check, which is the XOR of their bytes; empty when it is wrong."""
    return number[:10] if reduce(xor, bytes.fromhex(number)) == 0 else ""


class SerialLineReader:
    """Implements contract.Device; reports CardSeen."""

    def __init__(self, name: str, options: SerialReaderOptions) -> None:
        """Raises DriverError when the pattern cannot be used."""
        self.name = name
        self.counters = Counters()
        self._options = options
        self._line = SerialLine(port=options.port, baud=options.baud)
        written = PATTERNS.get(options.profile, options.pattern)
        self._pattern = card_pattern(name, written, options.pattern)
        self._presenting = Presenting(name, options.token_type)

    async def run(self, report: Report) -> None:
        """See contract. Cancelling closes the port."""

        def open_port() -> SerialPort:
            heard = partial(self._heard, LineSplitter(LINE_ENDS), report)
            return SerialPort(self._line, heard, self.counters)

        await listen(self.name, open_port, report)

    def _heard(self, splitter: LineSplitter, report: Report, data: bytes) -> None:
        for line in splitter.feed(data):
            number = found(line, self._pattern)
            if not number:
                noise = garbled(line)
                self.counters.garbled += noise
                self.counters.unusable += not noise
            if self._options.profile == "rdm6300" and number:
                number = rdm6300(number)
                self.counters.unusable += not number
            if number:
                convert = partial(converted, number, self._options)
                self._presenting.present(number, convert, report)
