"""Lock, temperatures and boot lock of an OpenEVSE, before the bench's controller."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.contract import InputSeen, OpenEvseOptions, PilotReading, PilotSeen, PowerPath
from drivers.pilots.openevse import HEARTBEAT_S, PULSE_S
from drivers.pilots.openevse_extras import LOCK_S, REFUSED_S, TEMPERATURE_S, TRIPS_S, Cable, Extras
from drivers.pilots.openevse_view import View
from drivers.pilots.rapi import Frame
from tests.contract.rigs import OpenEvseRig, Watch


def locks(watch: Watch) -> list[bool]:
    return [seen.active for seen in watch.seen if isinstance(seen, InputSeen)]


def last(watch: Watch) -> PilotReading:
    return [seen.reading for seen in watch.seen if isinstance(seen, PilotSeen)][-1]


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - reports come by a plain callback
            await asyncio.sleep(0.1)


def play(
    scene: Callable[[OpenEvseRig, Watch], Awaitable[None]],
    lock: bool = False,
    **settings: Any,
) -> None:
    play_on(
        OpenEvseRig("openevse", lambda path: OpenEvseOptions(port=path, lock=lock)),
        scene,
        **settings,
    )


def play_on(
    rig: OpenEvseRig,
    scene: Callable[[OpenEvseRig, Watch], Awaitable[None]],
    **settings: Any,
) -> None:
    async def whole() -> None:
        await rig.start()
        for name, value in settings.items():
            setattr(rig.controller.settings, name, value)
        watch = Watch(rig)
        try:
            await scene(rig, watch)
        finally:
            await watch.end()
            await rig.end()

    rig.run(whole())


def test_the_lock_is_reported_and_follows_its_orders_in_manual_mode() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await until(lambda: locks(watch) == [False])
        rig.driver.lock(True)
        await until(lambda: locks(watch) == [False, True], 2.0)
        assert rig.controller.settings.lock_is_manual
        rig.driver.lock(False)
        await until(lambda: locks(watch) == [False, True, False], 2.0)
        rig.driver.lock(False)
        told = [False, True, False, False]
        await until(lambda: locks(watch) == told, 2.0)  # though it does not move

    play(scene, lock=True, has_lock=True)


def test_after_a_restart_the_lock_gets_its_order_again() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await until(lambda: locks(watch) == [False])
        rig.driver.lock(True)
        await until(lambda: locks(watch)[-1] is True)
        rig.controller.start()
        await until(lambda: not rig.controller.settings.locked)
        await until(lambda: rig.controller.settings.locked)
        await until(lambda: locks(watch)[-1] is True)

    play(scene, lock=True, has_lock=True)


def test_firmware_without_a_lock_is_named_and_goes_on(caplog) -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await asyncio.sleep(3 * REFUSED_S)
        assert locks(watch) == []
        assert last(watch).power_path is PowerPath.OPEN

    with caplog.at_level(logging.WARNING):
        play(scene, lock=True)
    assert caplog.text.count("MENNEKES_LOCK") == 1


def test_without_the_option_the_lock_is_left_alone() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        rig.driver.lock(True)
        await asyncio.sleep(10)
        assert {"S5", "G5"}.isdisjoint(command.name for command in rig.controller.received)

    play(scene, has_lock=True)


def test_a_boot_lock_is_cleared_only_when_power_is_allowed() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await rig.ev("C")
        await asyncio.sleep(10)
        assert rig.controller.settings.boot_locked
        rig.driver.allow_power(10)
        await until(lambda: last(watch).power_path is PowerPath.CLOSED)

    play(scene, boot_locked=True)


def test_the_hottest_sensor_is_told_in_whole_degrees() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await until(lambda: watch.seen and last(watch).temperature_c == 25.0)
        rig.live.catch_up()
        rig.world.raise_fault((1, 1), "over_temperature")
        await until(lambda: last(watch).temperature_c == 72.0, 2 * TEMPERATURE_S)
        assert last(watch).faults == {"over_temperature"}

    play(scene)


@pytest.mark.parametrize(
    ("arguments", "temperature_c"),
    [
        (("250", "-2560", "-2560"), 25.0),
        (("250", "412", "-2560"), 41.0),
        (("-104", "-2560", "-2560"), -10.0),
        (("-2560", "-2560", "-2560"), None),
        ((), None),
    ],
)
def test_absent_sensors_do_not_count(arguments: tuple[str, ...], temperature_c: float) -> None:
    extras = Extras(has_lock=False)
    extras.answered("GP", Frame("OK", arguments), 5.0)
    extras.answered("GF", Frame("NK"), 5.0)
    assert extras.temperature_c == temperature_c
    assert extras.next_command(5.0 + TEMPERATURE_S - 0.1) == ""
    assert extras.next_command(5.0 + TEMPERATURE_S) == "GP"


def test_firmware_without_sensors_and_trips_is_not_asked_again() -> None:
    extras = Extras(has_lock=False)
    extras.answered("GP", Frame("NK"), 5.0)
    extras.answered("GF", Frame("OK", ("0",)), 5.0)
    assert extras.next_command(1e6) == ""
    assert extras.due_s() == float("inf")


def test_a_lock_that_somebody_else_moved_is_moved_back() -> None:
    extras = Extras(has_lock=True)
    extras.order_lock(True)
    extras.answered("GP", Frame("NK"), 0.0)
    extras.answered("GF", Frame("NK"), 0.0)
    for command, reply in (
        ("G5", ("0", "A")),
        ("S5 M", ()),
        ("S5 1", ()),
        ("G5", ("1", "M")),
    ):
        assert extras.next_command(0.0) == command
        extras.answered(command, Frame("OK", reply), 0.0)
    assert extras.next_command(LOCK_S - 0.1) == ""
    assert extras.next_command(LOCK_S) == "G5"
    extras.answered("G5", Frame("OK", ("0", "M")), LOCK_S)
    assert extras.next_command(LOCK_S) == "S5 1"


def test_what_the_controller_counted_itself_is_told_and_saturates() -> None:
    extras = Extras(has_lock=False)
    assert set(extras.trips.values()) == {None}
    extras.answered("GP", Frame("NK"), 0.0)
    assert extras.next_command(0.0) == "GF"
    extras.answered("GF", Frame("OK", ("2", "0", "ff")), 0.0)
    assert extras.trips == {"rcd": 2, "ground": 0, "welded_contactor": 255}
    assert extras.due_s() == TRIPS_S


def test_trips_stand_among_the_counters_of_the_device() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        counters = rig.driver.counters
        await until(lambda: counters.trips["rcd"] == 0)
        rig.live.catch_up()
        rig.world.raise_fault((1, 1), "rcd")
        await until(lambda: counters.trips["rcd"] == 1, 2 * TRIPS_S)

    play(scene)


FREE, ASLEEP = View(0.0, 0xFE, 1, 0x0000, 32), View(0.0, 0xFE, 2, 0x0100, 32)
PLUGGED, CHARGES = View(0.0, 0x02, 2, 0x0100, 32), View(0.0, 0x03, 3, 0x0140, 32)


@pytest.mark.parametrize(
    ("told", "rated_a"),
    [
        ([(32, FREE, FREE)], None),
        ([(32, FREE, FREE), (13, PLUGGED, PLUGGED)], 13.0),
        ([(32, FREE, FREE), (13, PLUGGED, CHARGES)], 13.0),
        ([(32, FREE, FREE), (32, PLUGGED, PLUGGED)], 32.0),
        ([(32, FREE, FREE), (13, ASLEEP, PLUGGED)], None),
        ([(13, None, PLUGGED)], None),
        ([(32, FREE, FREE), (13, PLUGGED, PLUGGED), (32, ASLEEP, ASLEEP)], 13.0),
        ([(32, FREE, FREE), (13, PLUGGED, PLUGGED), (32, PLUGGED, FREE)], None),
        ([(32, FREE, FREE), (13, PLUGGED, PLUGGED), (20, PLUGGED, PLUGGED)], 20.0),
    ],
)
def test_the_maximum_while_plugged_is_what_the_cable_may_carry(
    told: list[tuple[int, View | None, View]], rated_a: float | None
) -> None:
    cable = Cable()
    for most_a, before, after in told:
        cable.told(most_a, before, after)
    assert cable.rated_a == rated_a


def test_a_coded_cable_caps_the_offer_and_is_reported_until_it_is_gone() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await until(lambda: watch.seen and last(watch).power_path is PowerPath.OPEN)
        rig.live.catch_up()
        rig.world.plug_in((1, 1), cable_a=20)
        await until(lambda: last(watch).state == "B")
        assert last(watch).cable_a is None, "asleep it does not look"
        rig.driver.allow_power(32)
        await until(lambda: last(watch).cable_a == 20.0)
        assert last(watch).offered_a == 20.0
        rig.driver.allow_power(10)
        await until(lambda: last(watch).offered_a == 10.0)
        assert rig.offered_a() == 10.0
        rig.driver.stop()
        await until(lambda: last(watch).offered_a == 0.0)
        assert last(watch).cable_a == 20.0
        await rig.ev("A")
        await until(lambda: last(watch).cable_a is None)

    play(scene, reads_cable=True)


def test_a_fallback_that_follows_the_limit_does_not_wear_the_eeprom_out() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        settings = rig.controller.settings
        await until(lambda: settings.heartbeat_a == 16)
        await rig.ev("C")
        for limit_a in (32, 10, 16, 9, 32, 9, 20, 10) * 3:
            rig.driver.allow_power(limit_a)
            await asyncio.sleep(8)
            assert settings.heartbeat_a <= limit_a
        assert settings.heartbeat_writes == 4, "the interval, 16 A, 10 A and 9 A"
        rig.driver.stop()
        await rig.ev("A")
        await until(lambda: settings.heartbeat_a == 16)

    play_on(OpenEvseRig("openevse", lambda path: OpenEvseOptions(path, fallback_a=16)), scene)


def test_without_its_host_it_falls_back_when_the_driver_says() -> None:
    """HEARTBEAT_S after the last pulse, which came at most PULSE_S before the host died."""

    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await rig.ev("C")
        rig.driver.allow_power(32)
        await until(lambda: watch.seen and last(watch).power_path is PowerPath.CLOSED)
        assert f"after {HEARTBEAT_S} s" in rig.driver.capabilities.host_loss_fallback
        await rig.do("host_loss")
        await asyncio.sleep(HEARTBEAT_S - PULSE_S - 1)
        assert rig.offered_a() == 32
        await asyncio.sleep(PULSE_S + 1.1)
        assert rig.offered_a() == 6

    play(scene)
