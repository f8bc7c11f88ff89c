"""A whole station whose contactor, inputs and lamps hang on GPIO lines, seen from its CSMS."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory
from msgspec.structs import replace

from agent import safe_off
from agent.settings import Settings
from drivers.contract import Device, GpioBoardOptions, GpioContactorOptions, SimPilotOptions
from drivers.gpio.board import GpioBoard
from drivers.gpio.contactor import GpioContactor
from drivers.gpio.lines import Pins
from drivers.gpio_options import GpioInput, GpioLamps, GpioOutput, GpioSwitch
from hil.parts.gpio_relay import Relay
from hil.scenarios.day import begin, drained
from hil.sim import SimBench
from hil.virtual_time import run_virtual

COIL, AUX, STOP, MAINS, DOOR, GREEN, BLUE, RED, DC = 17, 4, 5, 6, 7, 22, 23, 24, 25


def line(number: int) -> str:
    return f"GPIO{number}"


CONTACTOR = GpioContactorOptions(
    "below",
    GpioSwitch(GpioOutput(line(COIL)), GpioInput(line(AUX))),
    dc_fault=GpioInput(line(DC)),
)
BOARD = GpioBoardOptions(
    emergency_stop=GpioInput(line(STOP)),
    mains=GpioInput(line(MAINS)),
    door=GpioInput(line(DOOR)),
    lamps=GpioLamps(
        available=GpioOutput(line(GREEN)),
        charging=GpioOutput(line(BLUE)),
        faulted=GpioOutput(line(RED)),
    ),
)


class Station(SimBench):
    """The simulated station, its controller below a contactor on mock lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(evse_count=1, change=with_board, **options)
        self.factory = MockFactory()
        self.relay = Relay(self.factory, COIL, AUX)
        self.pins = Pins(board=self.factory)
        self.drive(MAINS, True)
        below = self.board.build

        def build(name: str, options: Any = None) -> Device:
            if isinstance(options, GpioBoardOptions):
                return GpioBoard(name, options, self.pins)
            device = below(name, options)
            if isinstance(options, SimPilotOptions):
                return GpioContactor(name, CONTACTOR, device, self.pins)  # type: ignore[arg-type]
            return device

        self.board.build = build  # type: ignore[method-assign]

    def drive(self, number: int, high: bool) -> None:
        pin = self.factory.pin(line(number))
        if high:
            pin.drive_high()
        else:
            pin.drive_low()

    @property
    def lit(self) -> list[int]:
        return [n for n in (GREEN, BLUE, RED) if self.factory.pin(line(n)).state]

    @property
    def last(self) -> dict[str, Any]:
        """The last event of the last transaction."""
        return list(self.csms.transactions.values())[-1][-1]

    async def charge(self) -> None:
        await begin(self, 1, "04A1B2C3")
        await self.until(lambda: self.relay.is_on)
        await asyncio.sleep(60)


def with_board(settings: Settings) -> Settings:
    return replace(settings, devices={**settings.devices, "board": BOARD})


def played(scene: Callable[[Station], Awaitable[None]]) -> None:
    async def play() -> None:
        async with Station() as station:
            await station.csms.wait_for("StatusNotification")
            await scene(station)
            await drained(station)
            station.csms.check()

    run_virtual(play())


def test_a_charge_is_sold_through_the_contactor_and_shown_by_the_lamps() -> None:
    async def scene(station: Station) -> None:
        await asyncio.sleep(5)
        assert station.lit == [GREEN]
        await station.charge()
        assert station.lit == [BLUE]
        station.swipe()
        await station.until(lambda: not station.relay.is_on)
        await asyncio.sleep(30)
        assert station.last["eventType"] == "Ended"
        assert station.last["transactionInfo"]["stoppedReason"] == "Local"
        station.board.plug_out(1, 1)
        await asyncio.sleep(30)
        assert station.lit == [GREEN]

    played(scene)


@pytest.mark.parametrize(
    ("number", "level", "reason"), [(STOP, True, "EmergencyStop"), (MAINS, False, "PowerLoss")]
)
def test_an_input_ends_the_charge_at_once_and_its_reason_is_told(
    number: int, level: bool, reason: str
) -> None:
    async def scene(station: Station) -> None:
        await station.charge()
        station.drive(number, level)
        assert not station.relay.is_on, "in the edge's own callback"
        await asyncio.sleep(30)
        assert station.last["eventType"] == "Ended"
        assert station.last["transactionInfo"]["stoppedReason"] == reason
        assert station.connector()["status"] == "Faulted"
        assert station.lit == [RED]
        station.drive(number, not level)
        await asyncio.sleep(60)
        assert station.connector()["status"] == "Occupied"
        assert not station.relay.is_on, "nobody has authorised anything since"

    played(scene)


def test_after_a_dc_fault_the_next_ev_is_served_and_the_same_one_is_not() -> None:
    async def scene(station: Station) -> None:
        await station.charge()
        station.drive(DC, True)
        assert not station.relay.is_on
        await asyncio.sleep(2)
        station.drive(DC, False)
        await asyncio.sleep(30)
        assert station.last["transactionInfo"]["stoppedReason"] == "GroundFault"
        station.swipe()
        await asyncio.sleep(60)
        assert (station.connector()["status"], station.relay.is_on) == ("Faulted", False)
        station.board.plug_out(1, 1)
        await asyncio.sleep(30)
        assert station.connector()["status"] == "Available"
        await station.charge()

    played(scene)


def test_while_it_is_pressed_nothing_is_sold() -> None:
    async def scene(station: Station) -> None:
        station.drive(STOP, True)
        station.plug_in(1)
        await asyncio.sleep(5)
        station.swipe()
        await asyncio.sleep(120)
        assert station.relay.moves == []

    played(scene)


def test_an_open_door_is_told_as_tampering_and_the_charge_goes_on() -> None:
    async def scene(station: Station) -> None:
        await station.charge()
        station.drive(DOOR, True)
        await asyncio.sleep(10)
        told = [event["type"] for event in station.csms.of("SecurityEventNotification")]
        assert told.count("TamperDetectionActivated") == 1
        assert station.relay.is_on

    played(scene)


def test_a_welded_contactor_ends_the_sale_and_is_never_closed_again() -> None:
    async def scene(station: Station) -> None:
        await station.charge()
        station.relay.weld()
        station.swipe()
        await asyncio.sleep(60)
        assert station.connector()["status"] == "Faulted"
        moves = len(station.relay.moves)
        station.relay.weld(closed=False)
        station.board.plug_out(1, 1)
        await asyncio.sleep(60)
        station.plug_in(1)
        await asyncio.sleep(5)
        station.swipe()
        await asyncio.sleep(120)
        assert len(station.relay.moves) == moves
        assert station.connector()["status"] == "Faulted"

    played(scene)


@pytest.mark.parametrize(("welded", "code"), [(False, 0), (True, 1)])
def test_safe_off_drives_the_coil_off_and_says_what_it_saw(
    capsys: pytest.CaptureFixture[str], welded: bool, code: int
) -> None:
    """A line that kept its level over a crash: the coil is on when safe-off begins."""

    async def play() -> None:
        station = Station()
        coil = station.factory.pin(line(COIL))
        coil.function, coil.state = "output", True
        station.factory.pin(line(AUX)).drive_high()
        station.relay.stuck = True if welded else None
        assert station.relay.is_on
        assert await safe_off._open_all(station.settings, station.board.build) == code
        assert not station.relay.is_on

    run_virtual(play())
    assert ("not seen open" in capsys.readouterr().out) is welded
