"""RAPI frames as the controller reads and writes them."""

from collections.abc import Iterable

from msgspec import Struct

END = b"\r"
LONGEST_COMMAND = 31
LINE_BUFFER = 64
MOST_ARGUMENTS = 10


class Command(Struct, frozen=True):
    """A command with a good checksum, or none at all; `sequence` is empty or hex as it came."""

    name: str
    arguments: tuple[str, ...]
    sequence: str = ""


class LineBuffer:
    """Collects bytes into command lines; longer ones than the firmware holds vanish."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._overflown = False

    def feed(self, byte: int) -> bytes | None:
        """The line that this byte completes, without its end."""
        if byte == END[0]:
            line, overflown = bytes(self._line), self._overflown
            self._line.clear()
            self._overflown = False
            return line if line and not overflown else None
        if not self._line and byte != ord("$"):
            return None
        if len(self._line) >= LONGEST_COMMAND:
            self._overflown = True
        else:
            self._line.append(byte)
        return None


def xor_sum(text: str) -> int:
    """RAPI checksum after ^: all characters before it."""
    total = 0
    for byte in text.encode("latin-1"):
        total ^= byte
    return total


def add_sum(text: str) -> int:
    """RAPI checksum after *."""
    return sum(text.encode("latin-1")) & 0xFF


def parse(line: bytes) -> Command | None:
    """The command of a line; None when the checksum is wrong or it makes no sense."""
    text = line.decode("latin-1")
    for mark, checksum in (("^", xor_sum), ("*", add_sum)):
        if mark in text:
            text, _, given = text.rpartition(mark)
            if given.upper() != f"{checksum(text):02X}":
                return None
            break
    body, _, sequence = text[1:].partition(":")
    words = body.split()
    if not words or len(words) > MOST_ARGUMENTS + 1:
        return None
    return Command(words[0], tuple(words[1:]), sequence.strip())


def frame(words: Iterable[str], sequence: str = "") -> bytes:
    """A line from the controller: $WORD ... [:SS]^XX and its end."""
    text = "$" + " ".join(words) + (f" :{sequence}" if sequence else "")
    return f"{text}^{xor_sum(text):02X}".encode("latin-1") + END
