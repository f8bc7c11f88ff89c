"""A reader that types: the events a USB keyboard makes, written into a pipe in the file system."""

import os
import struct

EVENT = struct.Struct("llHHi")
CODES = dict(zip("1234567890QWERTYUIOPASDFGHJKLZXCVBNM;", [*range(2, 12), *range(16, 26),
             *range(30, 39), *range(44, 51), 39], strict=True))  # fmt: skip
ENTER, SHIFT = 28, 42
DOWN, UP, REPEAT = 1, 0, 2


class TypingReader:
    """Types into the named pipe `path`; the agent opens it as its input device."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def plug(self) -> None:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def unplug(self) -> None:
        """The reader's end is gone: the agent's reads end."""
        os.unlink(self.path)
        os.close(self._fd)

    def swipe(self, number: str) -> None:
        self.write(b"".join(stroke(CODES[letter]) for letter in number) + stroke(ENTER))

    def write(self, events: bytes) -> None:
        os.write(self._fd, events)


def event(kind: int, code: int, value: int) -> bytes:
    return EVENT.pack(1, 2, kind, code, value)


def stroke(code: int) -> bytes:
    """A key pressed and released, with the scan codes and marks that the kernel adds."""
    scan, mark = event(4, 4, 0x70000 + code), event(0, 0, 0)
    return scan + event(1, code, DOWN) + mark + scan + event(1, code, UP) + mark
