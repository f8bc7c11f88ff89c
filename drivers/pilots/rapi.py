"""The RAPI wire format of OpenEVSE: frames to bytes and bytes to frames, no I/O.

Command: `$` words ` :SS^XX` CR, at most 31 bytes. SS is a sequence id in hex that the answer
repeats (never 00), XX the XOR of all bytes before `^`. Messages without a leading OK or NK come
unasked; whatever does not start with `$` is the firmware talking to itself.
"""

from functools import reduce
from operator import xor

from msgspec import Struct

from drivers.bus.line_splitter import LineSplitter, garbled

MAX_COMMAND_BYTES = 31
MAX_LINE_BYTES = 120


class Frame(Struct, frozen=True):
    """A good frame from the controller."""

    word: str
    """OK, NK, AT, AB, ..."""
    arguments: tuple[str, ...] = ()
    sequence: int | None = None

    @property
    def is_reply(self) -> bool:
        return self.word in ("OK", "NK")

    def number(self, index: int, base: int = 16) -> int:
        """An argument as a number; raises ValueError when it is missing or none."""
        if index >= len(self.arguments):
            raise ValueError(f"${self.word} has no argument {index + 1}")
        return int(self.arguments[index], base)


def checksum(body: bytes) -> int:
    """XOR of all bytes."""
    return reduce(xor, body, 0)


def encode(command: str, sequence: int) -> bytes:
    """Bytes of a command such as "SC 16 V"; `sequence` is 1 to 255."""
    if not 1 <= sequence <= 255:
        raise ValueError(f"sequence id {sequence} is not within 1 to 255")
    body = f"${command} :{sequence:02X}".encode("ascii")
    frame = body + f"^{checksum(body):02X}\r".encode("ascii")
    if len(frame) > MAX_COMMAND_BYTES:
        raise ValueError(f"RAPI command {command!r} is too long: the controller would drop it")
    return frame


def decode(line: bytes) -> Frame | None:
    """The frame that ends this line; None for anything damaged, unchecked or foreign."""
    start = line.rfind(b"$")
    body, mark, given = line[max(start, 0) :].rpartition(b"^")
    if start < 0 or not mark or len(given) != 2:
        return None
    try:
        if int(given, 16) != checksum(body):
            return None
        words = body[1:].decode("ascii").split(" ")
        sequence = int(words.pop()[1:], 16) if words[-1].startswith(":") else None
    except ValueError:
        return None
    if not words or not words[0]:
        return None
    return Frame(words[0], tuple(word for word in words[1:] if word), sequence)


class FrameSplitter:
    """Collects bytes from the port and hands out good frames."""

    def __init__(self) -> None:
        self._lines = LineSplitter(max_bytes=MAX_LINE_BYTES)
        self.damaged = 0
        """Lines that were to be frames (they hold a `$`) and are none."""
        self.garbled = 0
        """Bytes that neither frames nor the firmware's talk to itself are made of."""

    def feed(self, data: bytes) -> list[Frame]:
        """Good frames that `data` finishes, in order. Never raises."""
        good = []
        self.garbled += garbled(data)
        for line in self._lines.feed(data):
            frame = decode(line)
            if frame is not None:
                good.append(frame)
            elif b"$" in line:
                self.damaged += 1
        return good
