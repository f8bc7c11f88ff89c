import subprocess
import sys

import pytest

from drivers.contract import (
    DriverError,
    EvseWbOptions,
    GpioBoardOptions,
    GpioContactorOptions,
    KeyboardReaderOptions,
    ModbusMeterOptions,
    OpenEvseOptions,
    PhoenixOptions,
    Pn532Options,
    SerialLine,
    SerialReaderOptions,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)
from drivers.gpio_options import GpioInput, GpioOutput, GpioSwitch
from drivers.registry import Registry, roles_of

METER = ModbusMeterOptions(line="bus", model="eastron_sdm630_v2", interval_s=2.0)
LINES = {"bus": SerialLine(port="/dev/nothing_here")}
CONTACTOR = GpioContactorOptions("below", GpioSwitch(GpioOutput("K1"), GpioInput("K1_AUX")))


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        (METER, "meter"),
        (OpenEvseOptions(port="x"), "pilot meter"),
        (EvseWbOptions(line="bus"), "pilot"),
        (PhoenixOptions(line="bus"), "pilot"),
        (SerialReaderOptions(port="x"), "reader"),
        (KeyboardReaderOptions(port="x"), "reader"),
        (Pn532Options(port="x"), "reader"),
        (GpioBoardOptions(), "board"),
        (CONTACTOR, "pilot"),
        (SimPilotOptions(), "pilot"),
        (SimMeterOptions(), "meter"),
        (SimReaderOptions(), "reader"),
    ],
)
def test_the_roles_follow_from_the_options(options, roles: str) -> None:
    assert roles_of(options) == tuple(roles.split())


def test_a_controller_measures_only_where_it_is_named_as_a_meter() -> None:
    options = OpenEvseOptions(port="/dev/nothing_here")
    registry = Registry({}, {"p": options, "q": options}, {"p": 230.0})
    assert "not for billing" in registry.build("p", options).capabilities.measures
    assert registry.build("q", options).capabilities.measures == ""


def test_devices_are_built_without_touching_a_port() -> None:
    registry = Registry(LINES)
    meter = registry.build("m", METER)
    assert (meter.name, meter.interval_s) == ("m", 2.0)
    pilot = registry.build("p", OpenEvseOptions(port="/dev/nothing_here"))
    assert pilot.capabilities.closes_itself
    for options in (SerialReaderOptions, KeyboardReaderOptions, Pn532Options):
        assert registry.build("r", options(port="/dev/nothing_here")).name == "r"
    assert registry.build("b", GpioBoardOptions()).name == "b"


def test_a_contactor_is_built_upon_its_controller() -> None:
    registry = Registry({}, {"below": OpenEvseOptions(port="/dev/nothing_here")})
    contactor = registry.build("k", CONTACTOR)
    assert (
        contactor.capabilities.max_a
        == registry.build("below", OpenEvseOptions(port="/x")).capabilities.max_a
    )
    assert "nobody holds" in contactor.capabilities.host_loss_fallback


@pytest.mark.parametrize("below", [None, GpioBoardOptions(), CONTACTOR])
def test_a_contactor_without_a_controller_is_not_built(below) -> None:
    devices = {} if below is None else {"below": below}
    with pytest.raises(DriverError, match=r"no pilot controller 'below'.*add it"):
        Registry({}, devices).build("k", CONTACTOR)


def test_devices_on_one_line_share_its_arbiter() -> None:
    registry = Registry({**LINES, "other": SerialLine(port="/dev/x")})
    one, two = registry.build("a", METER), registry.build("b", METER)
    controllers = [
        registry.build("e", EvseWbOptions("bus")),
        registry.build("f", PhoenixOptions("bus")),
    ]
    third = registry.build("c", ModbusMeterOptions(line="other", model=METER.model))
    assert one._line is two._line
    assert [controller._line for controller in controllers] == [one._line] * 2
    assert one._line is not third._line


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (ModbusMeterOptions(line="buss", model="eastron_sdm630_v2"), "no line 'buss'.*bus"),
        (EvseWbOptions(line="buss"), "no line 'buss'.*bus"),
        (PhoenixOptions(line="buss"), "no line 'buss'.*bus"),
        (ModbusMeterOptions(line="bus", model="sdm"), "no register map.*eastron_sdm630_v2"),
        (SimPilotOptions(), "benches only"),
        (SimMeterOptions(), "benches only"),
        (SimReaderOptions(), "benches only"),
        (SerialReaderOptions(port="x", pattern="("), "no regular expression"),
        (SerialReaderOptions(port="x", pattern="abc"), "brackets"),
    ],
)
def test_what_cannot_be_built_is_named_with_the_next_step(options, complaint: str) -> None:
    with pytest.raises(DriverError, match=complaint):
        Registry(LINES).build("d", options)


def test_families_are_imported_only_when_one_of_their_devices_is_built() -> None:
    script = (
        "import sys\n"
        "from drivers.registry import Registry, roles_of\n"
        "from drivers.contract import OpenEvseOptions\n"
        "roles_of(OpenEvseOptions(port='x'))\n"
        "assert 'serial' not in sys.modules\n"
        "Registry({}).build('p', OpenEvseOptions(port='x'))\n"
        "assert 'serial' in sys.modules and 'pymodbus' not in sys.modules\n"
        "assert 'gpiozero' not in sys.modules and 'gpiod' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
