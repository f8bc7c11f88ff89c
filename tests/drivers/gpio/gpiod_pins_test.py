"""The pin factory over libgpiod: chips in memory, and simulated ones where the kernel has them."""

import asyncio
import inspect
from datetime import timedelta
from pathlib import Path

import gpiod
import pytest

from drivers.contract import DriverError, PortError
from drivers.gpio.gpiod_pins import GpiodFactory
from drivers.gpio.lines import Input, Output, Pins
from drivers.gpio_options import GpioInput, GpioOutput
from hil.parts.gpio_chips import Chips, OpenChip, Request

BOARD = {"gpiochip0": ["", "LED", "K1", ""], "gpiochip1": ["K2", "LED"]}


@pytest.fixture
def chips(tmp_path: Path) -> Chips:
    return Chips(tmp_path, BOARD)


@pytest.fixture
def pins(chips: Chips) -> Pins:
    return Pins(board=GpiodFactory(chips, chips.directory))


@pytest.mark.parametrize(
    ("played", "real"),
    [
        (OpenChip.line_offset_from_id, gpiod.Chip.line_offset_from_id),
        (OpenChip.get_info, gpiod.Chip.get_info),
        (OpenChip.__exit__, gpiod.Chip.__exit__),
        (Request.get_value, gpiod.LineRequest.get_value),
        (Request.set_value, gpiod.LineRequest.set_value),
        (Request.reconfigure_lines, gpiod.LineRequest.reconfigure_lines),
        (Request.read_edge_events, gpiod.LineRequest.read_edge_events),
        (Request.release, gpiod.LineRequest.release),
    ],
)
def test_what_is_played_takes_what_the_package_takes(played: object, real: object) -> None:
    assert list(inspect.signature(played).parameters) == list(inspect.signature(real).parameters)  # type: ignore[arg-type]


def test_the_request_of_the_package_takes_our_arguments() -> None:
    """Chip.request_lines takes what the module's function passes on."""
    given = {"path", "consumer", "config"}
    assert given - {"path"} <= set(inspect.signature(gpiod.Chip.request_lines).parameters)
    assert given - {"consumer"} <= set(inspect.signature(gpiod.request_lines).parameters)
    assert isinstance(gpiod.LineRequest.fd, property)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("gpiochip0:2", "gpiochip0:2"),
        ("/dev/gpiochip0:2", "gpiochip0:2"),
        ("K1", "gpiochip0:2"),
        ("K2", "gpiochip1:0"),
        ("gpiochip1:LED", "gpiochip1:1"),
    ],
)
async def test_a_line_is_found_by_chip_and_number_or_by_name(
    pins: Pins, chips: Chips, name: str, where: str
) -> None:
    output = Output(GpioOutput(name), pins)
    output.set(True)
    assert chips[where].history == [False, True]
    output.close()
    assert chips[where].history == [False, True, False]
    assert chips[where].request is None


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("LED", "gpiochip0 and gpiochip1 have it.*gpiochip0:LED"),
        ("K9", "no GPIO chip has a line of this name.*gpioinfo"),
        ("gpiochip0:4", "gpiochip0 has no such line"),
        ("gpiochip0:K2", "gpiochip0 has no such line"),
        ("gpiochip7:0", "cannot be used.*group"),
    ],
)
async def test_a_line_that_is_not_found_is_named_with_the_next_step(
    pins: Pins, name: str, complaint: str
) -> None:
    with pytest.raises(PortError, match=complaint):
        Output(GpioOutput(name), pins)


async def test_one_line_is_not_given_to_two_signals_by_two_names(pins: Pins) -> None:
    first = Output(GpioOutput("K1"), pins)
    with pytest.raises(PortError, match="in use already"):
        Output(GpioOutput("gpiochip0:2"), pins)
    first.close()
    Output(GpioOutput("gpiochip0:2"), pins).close()


async def test_a_line_that_another_program_holds_is_told(pins: Pins, chips: Chips) -> None:
    config = {2: gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT)}
    chips.request_lines(str(chips.directory / "gpiochip0"), config)
    with pytest.raises(PortError, match="nothing else uses"):
        Output(GpioOutput("K1"), pins)


async def test_an_active_low_output_is_high_from_its_first_moment(pins: Pins, chips: Chips) -> None:
    output = Output(GpioOutput("K1", active_low=True), pins)
    output.set(True)
    output.close()
    assert chips["gpiochip0:2"].history == [True, False, True]


@pytest.mark.parametrize("active_low", [False, True])
@pytest.mark.parametrize("pull", ["up", "down", "none"])
async def test_an_input_says_active_by_its_level_whatever_the_pull(
    pins: Pins, chips: Chips, active_low: bool, pull: str, eventually
) -> None:
    heard: list[bool] = []
    options = GpioInput("K1", active_low=active_low, pull=pull, debounce_s=0.01)  # type: ignore[arg-type]
    line = Input(options, pins, lambda: heard.append(line.is_active))
    settings = chips["gpiochip0:2"].settings
    assert settings is not None
    bias = {"up": "PULL_UP", "down": "PULL_DOWN", "none": "DISABLED"}[pull]
    assert settings.bias is gpiod.line.Bias[bias]
    assert settings.debounce_period == timedelta(milliseconds=10)
    assert settings.edge_detection is gpiod.line.Edge.BOTH
    start = line.is_active
    assert start is ((pull == "up") is not active_low)
    chips["gpiochip0:2"].drive(pull != "up")
    await eventually(lambda: heard)
    assert heard == [not start]
    line.close()
    chips["gpiochip0:2"].drive(pull == "up")
    await asyncio.sleep(0.01)
    assert heard == [not start]


async def test_a_pulse_that_is_over_before_it_is_read_is_heard(
    pins: Pins, chips: Chips, eventually
) -> None:
    heard: list[int] = []
    line = Input(GpioInput("K1"), pins, lambda: heard.append(1))
    for high in (True, False):
        chips["gpiochip0:2"].drive(high)
    await eventually(lambda: len(heard) == 2)
    line.close()


async def test_lines_of_an_expander_that_is_pulled_fail_and_come_back(
    pins: Pins, chips: Chips
) -> None:
    line, output = Input(GpioInput("K1"), pins, lambda: None), Output(GpioOutput("K2"), pins)
    chips.unplug()
    with pytest.raises(OSError, match="No such device"):
        line.is_active  # noqa: B018
    with pytest.raises(OSError, match="No such device"):
        output.set(True)
    line.close()
    output.close()
    with pytest.raises(PortError):
        Output(GpioOutput("K2"), pins)
    chips.replug()
    again = Output(GpioOutput("K2"), pins)
    again.set(True)
    assert chips["gpiochip1:0"].level
    again.close()


async def test_a_chip_that_comes_back_under_another_number_is_found_by_the_name_of_its_line(
    pins: Pins, chips: Chips
) -> None:
    output = Output(GpioOutput("K2"), pins)
    output.close()
    chips.renumber("gpiochip1", "gpiochip3")
    again = Output(GpioOutput("K2"), pins)
    again.set(True)
    assert chips["gpiochip3:0"].level
    again.close()


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gpiod", None)
    with pytest.raises(DriverError, match="pip install"):
        GpiodFactory()


def test_the_old_package_of_the_same_name_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gpiod", object())
    with pytest.raises(DriverError, match="older than version 2"):
        GpiodFactory()


def test_lines_of_a_raspberry_pi_need_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "no_such_factory")
    monkeypatch.setattr("gpiozero.Device.pin_factory", None)
    with pytest.raises(DriverError, match="gpiochip0:17"):
        Pins().find("pi:GPIO17")
