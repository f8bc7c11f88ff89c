"""Chattering GPIO inputs at the board's and the contactor's drivers: what is reported is the level,
and a coil is off as soon as an input says fault.
"""

import asyncio
import random

from gpiozero.pins.mock import MockFactory

from drivers.contract import InputSeen, Observation, PilotSeen, PowerPath
from drivers.gpio.board import GpioBoard
from drivers.gpio.contactor import GpioContactor
from drivers.gpio.lines import Pins
from drivers.gpio_options import (
    GpioBoardOptions,
    GpioContactorOptions,
    GpioInput,
    GpioOutput,
    GpioSwitch,
)
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.parts import SimPilot
from drivers.sim.world import World
from hil.fuzz_station import Failing
from hil.parts.gpio_relay import Relay

HERE = (1, 1)
COIL, AUX, DC, RCD, STOP, MAINS, DOOR = 17, 4, 5, 6, 7, 8, 9
NAMES = {"emergency_stop": STOP, "mains": MAINS, "door": DOOR}
LIMIT_A = 10.0


def _line(number: int) -> str:
    return f"GPIO{number}"


class Edges:
    """A contactor above a simulated controller, and a board of inputs, on the same mock chip."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.factory = MockFactory()
        self.relay = Relay(self.factory, COIL, AUX)
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.told: dict[str, bool] = {}
        self.reports = 0
        pins = Pins(board=self.factory)
        switch = GpioSwitch(GpioOutput(_line(COIL)), GpioInput(_line(AUX)))
        options = GpioContactorOptions(
            "below", switch, dc_fault=GpioInput(_line(DC)), rcd=GpioInput(_line(RCD))
        )
        below = SimPilot("below", self.live, HERE)
        self.contactor = GpioContactor("contactor", options, below, pins)
        inputs = GpioBoardOptions(
            emergency_stop=GpioInput(_line(STOP)),
            mains=GpioInput(_line(MAINS)),
            door=GpioInput(_line(DOOR)),
        )
        self.board = GpioBoard("board", inputs, pins)

    def level(self, number: int) -> bool:
        return bool(self.factory.pin(_line(number)).state)

    def drive(self, number: int, high: bool) -> None:
        pin = self.factory.pin(_line(number))
        if high:
            pin.drive_high()
        else:
            pin.drive_low()

    def heard(self, seen: Observation) -> None:
        self.reports += 1
        if isinstance(seen, InputSeen) and seen.name in NAMES:
            self.told[seen.name] = seen.active
            if seen.active is not self.level(NAMES[seen.name]):
                raise Failing(f"{seen} is not what the line says")
        is_open = isinstance(seen, PilotSeen) and seen.reading.power_path is PowerPath.OPEN
        if is_open and self.relay.is_closed:
            raise Failing("told open while the auxiliary contact is closed")

    def chatter(self) -> None:
        """One edge, or many within one turn of the loop."""
        number = self.dice.choice((*NAMES.values(), DC, RCD))
        for _ in range(self.dice.choice((1, 2, 3, 40))):
            self.drive(number, not self.level(number))
            if (self.level(DC) or self.level(RCD)) and self.relay.is_on:
                raise Failing("the coil is on while an input says fault")

    def check(self) -> None:
        """What was told last is so; an edge is told before its callback returns."""
        right = {name: self.level(number) for name, number in NAMES.items()}
        if self.told != right:
            raise Failing(f"told {self.told}, the lines say {right}")

    def rest(self) -> None:
        for number in (DC, RCD, STOP, DOOR):
            self.drive(number, False)
        self.drive(MAINS, True)


async def chattering(dice: random.Random, count: int) -> int:
    """`count` bursts of edges while power is allowed; returns the reports. Raises Failing."""
    edges = Edges(dice)
    edges.rest()
    tasks = [
        asyncio.create_task(device.run(edges.heard)) for device in (edges.contactor, edges.board)
    ]
    try:
        await asyncio.sleep(2)
        await _closed(edges)
        for _ in range(count):
            edges.chatter()
            edges.check()
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.001, 0.02, 0.3)))
            _alive(tasks)
            if dice.random() < 0.3:
                await _closed(edges)
        await _closed(edges)
        edges.check()
        _alive(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if edges.relay.is_on:
        raise Failing("the coil is on after the driver's end")
    return edges.reports


async def _closed(edges: Edges) -> None:
    """Power flows again in peace, for the next EV: a fault stands until the one before has left."""
    edges.rest()
    edges.contactor.stop()
    edges.live.catch_up()
    if edges.world.connectors[HERE].ev is not None:
        edges.world.plug_out(HERE)
    await asyncio.sleep(3)
    edges.live.catch_up()
    edges.world.plug_in(HERE, Ev(ready_after_s=0.1))
    edges.contactor.allow_power(LIMIT_A)
    for _ in range(120):
        await asyncio.sleep(1)
        if edges.relay.is_on and edges.contactor.power_path() is PowerPath.CLOSED:
            return
    raise Failing("the contactor did not close in peace")


def _alive(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        if task.done():
            raise Failing(f"a driver ended: {task.exception()!r}") from task.exception()
