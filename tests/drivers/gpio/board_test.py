"""The board's inputs and lamps over mock lines, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from gpiozero.pins.mock import MockFactory

from drivers.contract import DeviceFound, DeviceLost, GpioBoardOptions, InputSeen, Observation
from drivers.gpio.board import GpioBoard
from drivers.gpio.lines import Pins
from drivers.gpio_options import GpioInput, GpioLamps, GpioOutput
from hil.virtual_time import run_virtual

STOP, DOOR, BAY, GREEN, RED = 4, 5, 6, 17, 18

OPTIONS = GpioBoardOptions(
    emergency_stop=GpioInput(f"GPIO{STOP}", pull="up"),
    door=GpioInput(f"GPIO{DOOR}", active_low=True, pull="up"),
    inputs={"bay": GpioInput(f"GPIO{BAY}", pull="down")},
    lamps=GpioLamps(
        available=GpioOutput(f"GPIO{GREEN}"), faulted=GpioOutput(f"GPIO{RED}", active_low=True)
    ),
)


class Rig:
    def __init__(self) -> None:
        self.factory = MockFactory()
        self.board = GpioBoard("board", OPTIONS, Pins(board=self.factory))
        self.seen: list[Observation] = []
        self.factory.pin(f"GPIO{STOP}").drive_low()  # a normally closed button, not pressed

    def drive(self, number: int, high: bool) -> None:
        pin = self.factory.pin(f"GPIO{number}")
        if high:
            pin.drive_high()
        else:
            pin.drive_low()

    def take(self) -> list[tuple[str, bool]]:
        seen = [(o.name, o.active) for o in self.seen if isinstance(o, InputSeen)]
        self.seen.clear()
        return seen


def bench(scene: Callable[[Rig], Awaitable[None]]) -> Rig:
    rig = Rig()

    async def play() -> None:
        running = asyncio.create_task(rig.board.run(rig.seen.append))
        await asyncio.sleep(0.1)
        await scene(rig)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(play())
    return rig


def test_every_input_is_told_once_at_the_start_and_then_each_edge() -> None:
    async def scene(rig: Rig) -> None:
        # the mock pulls every input up or down when it is opened: the button looks pressed
        assert rig.take() == [("emergency_stop", True), ("door", False), ("bay", False)]
        rig.drive(STOP, False)
        assert rig.take() == [("emergency_stop", False)]
        rig.drive(STOP, True)
        rig.drive(DOOR, False)
        rig.drive(BAY, True)
        assert rig.take() == [("emergency_stop", True), ("door", True), ("bay", True)]
        await asyncio.sleep(60.0)
        assert rig.take() == []

    bench(scene)


def test_a_level_whose_edge_was_missed_is_found_by_looking() -> None:
    async def scene(rig: Rig) -> None:
        rig.take()
        rig.factory.pin(f"GPIO{BAY}")._change_state(True)
        assert rig.take() == []
        await asyncio.sleep(0.6)
        assert rig.take() == [("bay", True)]

    bench(scene)


def test_lamps_follow_and_are_dark_at_start_and_end() -> None:
    async def scene(rig: Rig) -> None:
        green, red = rig.factory.pin(f"GPIO{GREEN}"), rig.factory.pin(f"GPIO{RED}")
        assert (green.state, red.state) == (False, True)
        rig.board.show({1: "available"})
        assert (green.state, red.state) == (True, True)
        rig.board.show({1: "available", 2: "faulted"})
        assert (green.state, red.state) == (True, False)
        green.clear_states()
        red.clear_states()

    rig = bench(scene)
    assert rig.factory.pin(f"GPIO{GREEN}").states[-1].state is False
    assert rig.factory.pin(f"GPIO{RED}").states[-1].state is True


def test_lines_that_are_gone_are_told_once_and_all_inputs_again_when_they_are_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone() -> None:
        raise OSError(19, "No such device")

    async def scene(rig: Rig) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(rig.factory.pin(f"GPIO{BAY}"), "_get_state", gone)
            await asyncio.sleep(9.0)
        (lost,) = [o for o in rig.seen if isinstance(o, DeviceLost)]
        assert "expander" in lost.reason
        rig.seen.clear()
        await asyncio.sleep(3.0)
        assert [type(o) for o in rig.seen] == [InputSeen, InputSeen, InputSeen, DeviceFound]

    bench(scene)
