"""Lock, temperatures and boot lock of an OpenEVSE, before the bench's controller."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.contract import InputSeen, OpenEvseOptions, PilotReading, PilotSeen, PowerPath
from drivers.pilots.openevse_extras import LOCK_S, REFUSED_S, TEMPERATURE_S, Extras
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
    rig = OpenEvseRig("openevse", lambda path: OpenEvseOptions(port=path, lock=lock))

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
    assert extras.temperature_c == temperature_c
    assert extras.next_command(5.0 + TEMPERATURE_S - 0.1) == ""
    assert extras.next_command(5.0 + TEMPERATURE_S) == "GP"


def test_firmware_without_sensors_is_not_asked_again() -> None:
    extras = Extras(has_lock=False)
    extras.answered("GP", Frame("NK"), 5.0)
    assert extras.next_command(1e6) == ""
    assert extras.due_s() == float("inf")


def test_a_lock_that_somebody_else_moved_is_moved_back() -> None:
    extras = Extras(has_lock=True)
    extras.order_lock(True)
    extras.answered("GP", Frame("NK"), 0.0)
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
