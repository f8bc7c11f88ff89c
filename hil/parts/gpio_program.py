"""The agent's program on a board whose GPIO chips are files of a bench: `python -m
hil.parts.gpio_program DIRECTORY VERB ...`."""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from errno import EADDRINUSE, EBUSY, EINVAL, ENOENT
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import gpiod
from gpiod import EdgeEvent, line
from msgspec import Struct

from agent import cli
from hil.parts.gpio_files import edges_of


class ChipInfo(Struct, frozen=True):
    num_lines: int


class FileGpiod:
    """Stands for the module `gpiod`; lines have no names."""

    line = line
    LineSettings = gpiod.LineSettings

    def __init__(self, directory: Path) -> None:
        """`directory` holds the chips, whatever directory the path of a chip names."""
        self._directory = directory

    def Chip(self, path: str) -> "FileChip":
        return FileChip(self._file(path))

    def request_lines(
        self, path: str, config: Mapping[int, gpiod.LineSettings], consumer: str | None = None
    ) -> "FileRequest":
        """Of one line."""
        ((offset, settings),) = config.items()
        return FileRequest(self._file(path), offset, settings)

    def _file(self, path: str) -> Path:
        file = self._directory / Path(path).name
        if not file.exists():
            raise FileNotFoundError(ENOENT, "No such file or directory")
        return file


class FileChip:
    """What `gpiod.Chip` answers."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> "FileChip":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get_info(self) -> ChipInfo:
        return ChipInfo(self._file.stat().st_size)

    def line_offset_from_id(self, id: str | int) -> int:
        raise OSError(ENOENT, f"no line has the name {id}")


class FileRequest:
    """A line that is held, as `LineRequest` has it."""

    def __init__(self, file: Path, offset: int, settings: gpiod.LineSettings) -> None:
        if offset >= file.stat().st_size:
            raise OSError(EINVAL, "Invalid argument")
        self._offset = offset
        self._edges = edges_of(file, offset)
        self._socket = _bound(self._edges)
        self._file = os.open(file, os.O_RDWR)
        self._count = 0
        self.reconfigure_lines({offset: settings})

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def get_value(self, offset: int | str) -> Any:
        return _value(os.pread(self._file, 1, int(offset)) == b"1")

    def set_value(self, offset: int | str, value: Any) -> None:
        os.pwrite(self._file, b"1" if value else b"0", int(offset))

    def reconfigure_lines(self, config: Mapping[int, gpiod.LineSettings]) -> None:
        for offset, settings in config.items():
            if settings.direction is line.Direction.OUTPUT:
                self.set_value(offset, bool(settings.output_value))

    def read_edge_events(self, max_events: int | None = None) -> list[EdgeEvent]:
        events = []
        with contextlib.suppress(BlockingIOError):
            while True:
                is_rising = self._socket.recv(1) == b"1"
                self._count += 1
                kind = EdgeEvent.Type.RISING_EDGE if is_rising else EdgeEvent.Type.FALLING_EDGE
                at = (1_000_000 * self._count, self._offset, self._count, self._count)
                events.append(EdgeEvent(kind.value, *at))
        return events

    def release(self) -> None:
        self._socket.close()
        self._edges.unlink(missing_ok=True)
        os.close(self._file)


def _bound(path: Path) -> socket.socket:
    """A line belongs to one process; what a dead one left is removed. Raises OSError (EBUSY)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        nobody = contextlib.suppress(FileNotFoundError, ConnectionRefusedError)
        with nobody, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(str(path))
            raise OSError(EBUSY, "Device or resource busy")
        path.unlink(missing_ok=True)
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        if error.errno == EADDRINUSE:
            raise OSError(EBUSY, "Device or resource busy") from error
        raise
    return sock


def _value(high: bool) -> Any:
    return line.Value.ACTIVE if high else line.Value.INACTIVE


if __name__ == "__main__":
    directory, *words = sys.argv[1:]
    sys.modules["gpiod"] = cast(ModuleType, FileGpiod(Path(directory)))
    sys.exit(cli.main(words))
