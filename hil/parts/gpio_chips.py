"""GPIO chips that live in memory, behind the calls of the package gpiod that the driver makes.

Settings, values and event types are the package's own; only what would reach the kernel is played.
"""

import os
from collections.abc import Mapping
from errno import EBUSY, ENODEV, ENOENT
from pathlib import Path
from types import TracebackType
from typing import Any

import gpiod
from gpiod import EdgeEvent, LineSettings, line
from msgspec import Struct


class ChipInfo(Struct, frozen=True):
    num_lines: int


class Line:
    """One line: its level outside, and who has requested it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.level = False
        self.settings: LineSettings | None = None
        """Of the request that holds it; None: nobody does."""
        self.history: list[bool] = []
        """Levels that were driven, in order."""
        self.request: Request | None = None

    def drive(self, high: bool) -> None:
        """The circuit outside sets an input; whoever waits for edges gets one."""
        changed, self.level = high is not self.level, high
        settings = self.settings
        hears = settings is not None and settings.edge_detection is line.Edge.BOTH
        if changed and hears and self.request is not None:
            self.request.edge(self, high)


class Request:
    """Lines that are held, as `LineRequest` does."""

    def __init__(self, gone: list[bool], lines: Mapping[int, Line]) -> None:
        self._gone = gone
        self._lines = dict(lines)
        self._events: list[EdgeEvent] = []
        self.fd, self._tell = os.pipe()
        os.set_blocking(self.fd, False)

    def get_value(self, line: int | str) -> Any:
        self._check()
        return _value(self._lines[int(line)].level)

    def set_value(self, line: int | str, value: Any) -> None:
        self._check()
        self._output(self._lines[int(line)], bool(value))

    def reconfigure_lines(self, config: dict[Any, Any]) -> None:
        self._check()
        for offset, settings in config.items():
            self.configure(self._lines[offset], settings)

    def read_edge_events(self, max_events: int | None = None) -> list[EdgeEvent]:
        self._check()
        os.read(self.fd, 4096)
        events, self._events = self._events, []
        return events

    def release(self) -> None:
        for held in self._lines.values():
            held.settings = held.request = None
        os.close(self.fd)
        os.close(self._tell)

    def configure(self, held: Line, settings: LineSettings) -> None:
        held.settings, held.request = settings, self
        if settings.direction is line.Direction.OUTPUT:
            self._output(held, bool(settings.output_value))
        elif settings.bias is line.Bias.PULL_UP and not held.history:
            held.level = True

    def edge(self, held: Line, high: bool) -> None:
        kind = EdgeEvent.Type.RISING_EDGE if high else EdgeEvent.Type.FALLING_EDGE
        offset = next(o for o, one in self._lines.items() if one is held)
        count = len(self._events) + 1
        self._events.append(EdgeEvent(kind.value, 1_000_000 * count, offset, count, count))
        os.write(self._tell, b"!")

    def _output(self, held: Line, high: bool) -> None:
        held.level = high
        held.history.append(high)

    def _check(self) -> None:
        if self._gone:
            raise OSError(ENODEV, "No such device")


class Chips:
    """The module `gpiod` of a board with the given chips: {"gpiochip0": ["NAME", "", ...]}."""

    line = line
    LineSettings = LineSettings

    def __init__(self, directory: Path, chips: Mapping[str, list[str]]) -> None:
        """`directory` stands for /dev; each chip gets a file there."""
        self._chips = {name: [Line(one) for one in lines] for name, lines in chips.items()}
        self.directory = directory
        self._gone: list[bool] = []
        for name in chips:
            (directory / name).touch()

    def __getitem__(self, name: str) -> Line:
        """gpiochip0:2 -> the line."""
        chip, _, offset = name.partition(":")
        return self._chips[chip][int(offset)]

    def unplug(self) -> None:
        """The expander with all chips is gone: what was opened fails."""
        self._gone.append(True)

    def replug(self) -> None:
        self._gone.clear()

    def renumber(self, before: str, after: str) -> None:
        """The kernel finds the chips in another order."""
        self._chips[after] = self._chips.pop(before)
        (self.directory / before).rename(self.directory / after)

    def Chip(self, path: str) -> "OpenChip":
        return OpenChip(self.lines_of(path))

    def request_lines(self, path: str, config: Any, consumer: str | None = None) -> Request:
        lines = self.lines_of(path)
        held = {offset: lines[offset] for offset in config}
        if any(one.request is not None for one in held.values()):
            raise OSError(EBUSY, "Device or resource busy")
        request = Request(self._gone, held)
        for offset, settings in config.items():
            request.configure(held[offset], settings)
        return request

    def lines_of(self, path: str) -> list[Line]:
        if self._gone or Path(path).name not in self._chips:
            raise FileNotFoundError(ENOENT, "No such file or directory")
        return self._chips[Path(path).name]


class OpenChip:
    """What `gpiod.Chip` answers."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines

    def __enter__(self) -> "OpenChip":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def get_info(self) -> ChipInfo:
        return ChipInfo(len(self._lines))

    def line_offset_from_id(self, id: str | int) -> int:
        for offset, one in enumerate(self._lines):
            if one.name and one.name == id:
                return offset
        raise OSError(ENOENT, "No such file or directory")


def _value(high: bool) -> Any:
    return gpiod.line.Value.ACTIVE if high else gpiod.line.Value.INACTIVE
