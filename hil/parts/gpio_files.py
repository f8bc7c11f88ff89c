"""GPIO chips that are files, so that a bench moves the lines of an agent in another process.

A chip is a file with one byte, 0 or 1, for each line; whoever holds a line hears of its edges on a
socket beside it. As on most chips a line stays as it is when its process dies.
"""

import contextlib
import socket
from pathlib import Path


class GpioFiles:
    """The bench's end of one chip."""

    def __init__(self, directory: Path, count: int, chip: str = "gpiochip0") -> None:
        """`count` lines, all low. A short directory: the paths of Unix sockets are."""
        self._file = directory / chip
        self._file.write_bytes(b"0" * count)

    def drive(self, offset: int, high: bool) -> None:
        """The circuit outside sets an input; who waits for edges gets one."""
        if self.level(offset) is high:
            return
        with self._file.open("r+b") as file:
            file.seek(offset)
            file.write(b"1" if high else b"0")
        nobody = contextlib.suppress(FileNotFoundError, ConnectionRefusedError)
        with nobody, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"1" if high else b"0", str(edges_of(self._file, offset)))

    def level(self, offset: int) -> bool:
        """What the line is at, whoever drives it."""
        return self._file.read_bytes()[offset : offset + 1] == b"1"


def edges_of(chip: Path, offset: int) -> Path:
    """Socket of whoever holds the line."""
    return chip.with_name(f"{chip.name}.{offset}")
