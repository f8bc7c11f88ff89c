"""Pins for gpiozero on any board: a pin factory over the kernel's GPIO lines (libgpiod 2).

gpiozero's own factories know the Raspberry Pi only. A pin is named by chip and line (gpiochip0:17,
gpiochip0:LED_R) or by the line's own name. Edges are heard on the running event loop.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from errno import ENOENT
from pathlib import Path
from typing import Any, NamedTuple

from gpiozero import Factory, Pin

from drivers.contract import DriverError, PortError

CONSUMER = "chargepoint"
CHIP_AND_LINE = re.compile(r"(?:/dev/)?(gpiochip\d+):(.+)")
DEVICES = Path("/dev")


class LineInfo(NamedTuple):
    """Where a pin is; gpiozero keeps track of pins in use by it."""

    name: str
    """gpiochip0:17, whatever the line was called in the file."""
    chip: str
    offset: int


class GpiodFactory(Factory):  # type: ignore[misc]
    """Opens a chip only while a line is looked for; `gpiod` stands in for the package in tests."""

    def __init__(self, gpiod: Any = None, devices: Path = DEVICES) -> None:
        """Raises DriverError when the package gpiod is missing."""
        super().__init__()
        self.gpiod = gpiod if gpiod is not None else _package()
        self._devices = devices
        self._pins: dict[LineInfo, GpiodPin] = {}
        self._found: dict[str, LineInfo] = {}

    def pin(self, name: str) -> "GpiodPin":
        info = self.find(name)
        if info not in self._pins:
            self._pins[info] = GpiodPin(self, info)
        return self._pins[info]

    def close(self) -> None:
        for pin in tuple(self._pins.values()):
            pin.close()

    def forget(self, pin: "GpiodPin") -> None:
        """A chip that was unplugged may come back under another number."""
        self._pins.pop(pin.info, None)
        self._found = {k: v for k, v in self._found.items() if v != pin.info}

    def find(self, name: str) -> LineInfo:
        """The one line that `name` means; raises PortError."""
        if name not in self._found:
            info = self._look_for(name)
            self._found[name] = self._found[info.name] = info
        return self._found[name]

    def _look_for(self, name: str) -> LineInfo:
        match = CHIP_AND_LINE.fullmatch(name)
        if match:
            chip, line = match.groups()
            offset = self._offset(chip, int(line) if line.isdigit() else line)
            if offset is None:
                raise PortError(f"{name}: {chip} has no such line; `gpioinfo {chip}` shows them")
            return LineInfo(f"{chip}:{offset}", chip, offset)
        paths = sorted(self._devices.glob("gpiochip*"))
        offsets = {path.name: self._offset(path.name, name) for path in paths}
        found = [(chip, offset) for chip, offset in offsets.items() if offset is not None]
        if not found:
            raise PortError(f"{name}: no GPIO chip has a line of this name; look at `gpioinfo`")
        if len(found) > 1:
            chips = " and ".join(chip for chip, _ in found)
            raise PortError(f"{name}: {chips} have it; write the chip, too: {found[0][0]}:{name}")
        chip, offset = found[0]
        return LineInfo(f"{chip}:{offset}", chip, offset)

    def _offset(self, chip: str, line: int | str) -> int | None:
        """Raises PortError when the chip cannot be opened."""
        path = self._devices / chip
        try:
            with self.gpiod.Chip(str(path)) as opened:
                if isinstance(line, int):
                    return line if line < opened.get_info().num_lines else None
                return int(opened.line_offset_from_id(line))
        except (OSError, ValueError) as error:
            if isinstance(line, str) and getattr(error, "errno", 0) == ENOENT and path.exists():
                return None
            raise PortError(_cannot(str(path), error)) from error

    def _get_board_info(self) -> "GpiodFactory":
        return self

    def find_pin(self, name: str) -> Iterator[tuple[None, LineInfo]]:
        """What gpiozero asks of a board."""
        yield None, self.find(name)

    def ticks(self) -> float:
        return time.monotonic()

    def ticks_diff(self, later: float, earlier: float) -> float:
        return later - earlier


class GpiodPin(Pin):  # type: ignore[misc]
    """One line; requested from the kernel when its direction is set, given back by `close`."""

    def __init__(self, factory: GpiodFactory, info: LineInfo) -> None:
        super().__init__()
        self._factory = factory
        self._line = factory.gpiod.line
        self._where = info
        self._request: Any = None
        self._function = "input"
        self._pull = "floating"
        self._bounce_s: float | None = None
        self._hears = False
        self._when_changed: Callable[[float, int], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def close(self) -> None:
        """Gives the line back; what it does then is up to the chip (docs/gpio.md)."""
        self._deafen()
        if self._request is not None:
            self._request.release()
            self._request = None
        self._when_changed = None
        self._factory.forget(self)

    def output_with_state(self, state: int) -> None:
        """One step from whatever it was to an output of this level: no blip."""
        self._function = "output"
        self._configure(state)

    def input_with_pull(self, pull: str) -> None:
        self._function, self._pull = "input", pull
        self._configure()

    def _configure(self, state: int = 0) -> None:
        line = self._line
        if self._function == "output":
            settings = self._factory.gpiod.LineSettings(
                direction=line.Direction.OUTPUT,
                output_value=line.Value.ACTIVE if state else line.Value.INACTIVE,
            )
        else:
            biases = {"up": line.Bias.PULL_UP, "down": line.Bias.PULL_DOWN}
            settings = self._factory.gpiod.LineSettings(
                direction=line.Direction.INPUT,
                bias=biases.get(self._pull, line.Bias.DISABLED),
                edge_detection=line.Edge.BOTH if self._hears else line.Edge.NONE,
                debounce_period=timedelta(seconds=self._bounce_s or 0.0),
            )
        try:
            self._apply(settings)
        except OSError as error:
            raise PortError(_cannot(self._where.name, error)) from error

    def _apply(self, settings: Any) -> None:
        if self._request is not None:
            self._request.reconfigure_lines({self._where.offset: settings})
            return
        self._request = self._factory.gpiod.request_lines(
            str(self._factory._devices / self._where.chip),
            consumer=CONSUMER,
            config={self._where.offset: settings},
        )

    # --- what gpiozero reads and sets ---------------------------------------------------------

    def _get_info(self) -> LineInfo:
        return self._where

    def _get_function(self) -> str:
        return self._function

    def _set_function(self, value: str) -> None:
        self._function = value
        self._configure()

    def _get_state(self) -> int:
        return 1 if self._request.get_value(self._where.offset) == self._line.Value.ACTIVE else 0

    def _set_state(self, value: int) -> None:
        self._request.set_value(
            self._where.offset, self._line.Value.ACTIVE if value else self._line.Value.INACTIVE
        )

    def _get_pull(self) -> str:
        return self._pull

    def _set_pull(self, value: str) -> None:
        self._pull = value
        self._configure()

    def _get_bounce(self) -> float | None:
        return self._bounce_s

    def _set_bounce(self, value: float | None) -> None:
        self._bounce_s = value
        self._configure()

    def _get_edges(self) -> str:
        return "both" if self._hears else "none"

    def _set_edges(self, value: str) -> None:
        self._hears = value != "none"
        self._configure()

    def _get_when_changed(self) -> Callable[[float, int], None] | None:
        return self._when_changed

    def _set_when_changed(self, value: Callable[[float, int], None] | None) -> None:
        self._deafen()
        self._when_changed = value
        if value is not None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._request.fd, self._edges_came)

    def _edges_came(self) -> None:
        """Each edge in turn: a pulse that is over already was one."""
        try:
            events = self._request.read_edge_events()
        except OSError:
            self._deafen()  # whoever polls the line finds it gone
            return
        for event in events:
            if self._when_changed is not None:
                rising = event.event_type == event.Type.RISING_EDGE
                self._when_changed(event.timestamp_ns / 1e9, int(rising))

    def _deafen(self) -> None:
        if self._loop is not None and self._request is not None:
            self._loop.remove_reader(self._request.fd)
        self._loop = None


def _package() -> Any:
    try:
        import gpiod
    except ImportError as error:
        raise DriverError(
            "GPIO lines need the Python package gpiod, version 2; install it: "
            "/opt/chargepoint/bin/pip install 'gpiod>=2.5,<3'"
        ) from error
    if not hasattr(gpiod, "request_lines"):
        raise DriverError(
            "the Python package gpiod is older than version 2; install a newer one: "
            "/opt/chargepoint/bin/pip install 'gpiod>=2.5,<3'"
        )
    return gpiod


def _cannot(name: str, error: Exception) -> str:
    return (
        f"{name}: cannot be used ({error}); check the name with `gpioinfo`, that nothing else uses "
        "the line, and that the service's user is in the group that owns the chip (gpio)"
    )
