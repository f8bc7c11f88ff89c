"""The bench's OpenEVSE and the real driver, written apart from each other, meet on the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    Observation,
    OpenEvseOptions,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
)
from drivers.pilots.openevse import OpenEvse as Driver
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.openevse import OpenEvse
from hil.parts.pty_port import PtyPort

HERE = (1, 1)


class Meeting:
    """Both ends of the line and what the driver reports."""

    def __init__(self, link: str) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.port = PtyPort(link)
        self.port.open()
        self.evse = OpenEvse(self.port, self.live, HERE, time_scale=0.05)
        self.driver = Driver("pilot", OpenEvseOptions(port=self.port.path, poll_s=0.1))
        self.seen: list[Observation] = []
        self.evse.start()

    @property
    def closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    @property
    def reading(self) -> PilotReading | None:
        readings = [seen.reading for seen in self.seen if isinstance(seen, PilotSeen)]
        return readings[-1] if readings else None

    def shows(self, state: PilotState, path: PowerPath) -> bool:
        reading = self.reading
        return reading is not None and (reading.state, reading.power_path) == (state, path)

    async def until(self, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - the world has no event to wait for
                await asyncio.sleep(0.01)

    def has(self, kind: type[Observation]) -> bool:
        return any(isinstance(seen, kind) for seen in self.seen)

    async def charge(self) -> None:
        await self.until(lambda: self.shows(PilotState.A, PowerPath.OPEN))
        self.live.catch_up()
        self.world.plug_in(HERE, Ev(ready_after_s=0.05))
        await self.until(lambda: self.shows(PilotState.B, PowerPath.OPEN))
        self.driver.allow_power(13)
        await self.until(lambda: self.shows(PilotState.C, PowerPath.CLOSED))


@pytest.fixture
async def meeting(tmp_path: object) -> AsyncIterator[Meeting]:
    made = Meeting(f"{tmp_path}/tty-evse")
    task = asyncio.create_task(made.driver.run(made.seen.append))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.evse.stop()
    made.port.unplug()


async def test_the_driver_keeps_the_controller_from_charging_unasked(meeting: Meeting) -> None:
    await meeting.until(lambda: meeting.shows(PilotState.A, PowerPath.OPEN))
    meeting.live.catch_up()
    meeting.world.plug_in(HERE, Ev(ready_after_s=0.05))
    await meeting.until(lambda: meeting.shows(PilotState.B, PowerPath.OPEN))
    await asyncio.sleep(0.3)
    assert not meeting.closed


async def test_a_charge_and_a_graceful_stop(meeting: Meeting) -> None:
    await meeting.charge()
    await meeting.until(lambda: meeting.closed)
    assert meeting.world.meter(1).current_a == (13, 13, 13)
    assert meeting.reading is not None
    assert meeting.reading.offered_a == 13
    meeting.driver.stop()
    await meeting.until(lambda: meeting.shows(PilotState.B, PowerPath.OPEN))
    assert not meeting.closed


async def test_an_emergency_stop_cuts_a_stubborn_ev(meeting: Meeting) -> None:
    await meeting.charge()
    meeting.live.catch_up()
    meeting.world.set_ev(HERE, Ev(ignores_pilot=True))
    meeting.driver.emergency_stop()
    await meeting.until(lambda: not meeting.closed)
    await meeting.until(
        lambda: meeting.reading is not None and meeting.reading.power_path is PowerPath.OPEN
    )


async def test_the_heartbeat_of_the_driver_is_heard(meeting: Meeting) -> None:
    await meeting.charge()
    names = [command.name for command in meeting.evse.received]
    assert "SY" in names
    assert meeting.evse.settings.heartbeat_ms == meeting.evse.settings.heartbeat_s * 1000 > 0
    assert meeting.evse.settings.saved_a == 32, "nothing was written to EEPROM"


async def test_a_fault_is_reported_by_name(meeting: Meeting) -> None:
    await meeting.charge()
    meeting.live.catch_up()
    meeting.world.raise_fault(HERE, "rcd")
    await meeting.until(lambda: meeting.reading is not None and "rcd" in meeting.reading.faults)
    assert not meeting.closed


async def test_a_controller_that_restarts_while_idle_is_put_to_sleep_again(
    meeting: Meeting,
) -> None:
    await meeting.until(lambda: meeting.shows(PilotState.A, PowerPath.OPEN))
    meeting.evse.received.clear()
    meeting.evse.start()
    await meeting.until(lambda: meeting.evse.state_code == 0xFE)
    assert meeting.evse.received[0].name in ("FS", "GS")


async def test_a_cut_line_is_lost_and_found_again(meeting: Meeting) -> None:
    await meeting.charge()
    meeting.live.catch_up()
    meeting.world.raise_fault(HERE, "pilot_lost")
    await meeting.until(lambda: meeting.has(DeviceLost))
    assert meeting.shows(PilotState.UNKNOWN, PowerPath.UNKNOWN)
    meeting.live.catch_up()
    meeting.world.clear_fault(HERE, "pilot_lost")
    await meeting.until(lambda: meeting.has(DeviceFound))


async def test_a_cable_pulled_and_plugged_in_again_is_found_under_its_link(
    meeting: Meeting,
) -> None:
    await meeting.until(lambda: meeting.shows(PilotState.A, PowerPath.OPEN))
    meeting.port.replug()
    await meeting.until(lambda: meeting.has(DeviceLost))
    await meeting.until(lambda: meeting.has(DeviceFound))
    await meeting.until(lambda: meeting.shows(PilotState.A, PowerPath.OPEN))
