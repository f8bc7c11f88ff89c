"""What `check` says of GPIO lines, with the place and the next step."""

from pathlib import Path

import msgspec
import pytest

from agent.devices import DeviceBook
from agent.settings import Settings
from agent.settings_load import load
from agent.wiring import site_of, wire
from drivers.registry import Registry

EXAMPLE = Path(__file__).parent.parent.parent / "config/examples/gpio_contactor.yaml"
GOOD = EXAMPLE.read_text()


def told(tmp_path: Path, *pairs: tuple[str, str]) -> list[str]:
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = tmp_path / "charger.yaml"
    file.write_text(text)
    loaded = load(str(file))
    return [one.told().removeprefix(str(file)) for one in (*loaded.mistakes, *loaded.warnings)]


def test_the_example_is_good(tmp_path: Path) -> None:
    assert told(tmp_path) == []


def test_the_wiring_that_is_kept_for_safe_off_is_read_back_whole() -> None:
    settings = load(str(EXAMPLE)).settings
    assert settings is not None
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


def test_every_device_of_the_example_is_built_and_described() -> None:
    """The controller below the contactor is no device of its own any more."""
    settings = load(str(EXAMPLE)).settings
    assert settings is not None
    wiring = wire(settings, Registry(settings.lines, settings.devices).build)
    assert set(wiring.devices) == {"contactor", "board", "meter"}
    rows = {row.name: row for row in DeviceBook(settings, wiring.devices).rows(0.0)}
    assert (rows["contactor"].roles, rows["board"].roles) == (("pilot",), ("board",))
    assert rows["contactor"].places == ((1, 1),)
    assert rows["contactor"].counters is not None
    (site,) = site_of(settings, wiring).evses
    assert site.connectors[0].has_lock


CASES = [
    (
        ("gpiochip0:22", "gpiochip0:17"),
        "second.coil.line: gpiochip0:17 is used already by devices.contactor.contactor",
    ),
    (("gpiochip0:22", "/dev/gpiochip0:17"), "is used already"),
    (("gpiochip0:21", "gpiochip0:3"), "is used already by devices.board.inputs.start"),
    (
        ("line: gpiochip0:26", "line: 26"),
        "emergency_stop.line: is '26'; write chip and line, gpiochip0:26",
    ),
    (("line: gpiochip0:26", 'line: ""'), "write chip and line, gpiochip0:17"),
    (
        ("    dc_fault: {line: gpiochip0:24, pull: up}\n", ""),
        "dc_fault_test: cannot be judged without dc_fault",
    ),
    (
        ("coil: {line: gpiochip0:17}", "coil: {line: gpiochip0:17, active_low: true}"),
        "contactor.coil.active_low: closes the contactor while the line is low",
    ),
    (("      aux: {line: gpiochip0:23, pull: up}\n", ""), "second.aux: is missing"),
    (("debounce_s: 0.05", "debounce_s: 2"), "debounce_s: is 2, expected a number from 0"),
    (
        ("controller: controller", "controller: board"),
        "device 'board' (gpio_board) is not a pilot controller; expected one of: controller",
    ),
    (
        ("controller: controller", "controller: contactor"),
        "(gpio_contactor) is not a pilot controller",
    ),
    (("controller: controller", "controller: nothing"), "there is no device 'nothing'"),
    (
        ("pilot: contactor ", "pilot: controller "),
        "device 'controller' is used already by devices.contactor.controller",
    ),
    (
        ("input: start}", "input: stort}"),
        "device 'board' has no input 'stort' under its key inputs; did you mean 'start'",
    ),
    (("device: board, input", "device: meter, input"), "no device 'meter' with inputs"),
    (
        ("    driver: gpio_board\n", "    driver: gpio_board\n    evses: [3]\n"),
        "there is no EVSE 3",
    ),
]


@pytest.mark.parametrize(("change", "text"), CASES)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, change: tuple[str, str], text: str
) -> None:
    found = told(tmp_path, change)
    assert any(text in one for one in found), found
    assert all(one.startswith(":") and int(one.split(":")[1]) > 1 for one in found)
