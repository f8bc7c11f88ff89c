"""An OpenEVSE that is the meter of its connector as well, before the bench's controller."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from drivers.contract import MeterReading, MeterSeen, OpenEvseOptions, PilotSeen, PowerPath, Signing
from drivers.pilots.openevse import PULSE_S
from drivers.pilots.openevse_meter import INTERVAL_S, VOLTAGE_S, Energy, MeterInside
from drivers.pilots.openevse_view import View
from drivers.pilots.rapi import Frame
from drivers.sim.connector import Ev
from tests.contract.rigs import OpenEvseRig, Watch

HERE = (1, 1)
VOLTS = 230.0
FREE, PLUGGED = View(0.0, 0x01, 1, 0x0000, 32), View(0.0, 0x03, 3, 0x0140, 32)


def readings(watch: Watch) -> list[MeterReading]:
    return [seen.reading for seen in watch.seen if isinstance(seen, MeterSeen)]


def path(watch: Watch) -> PowerPath:
    return [seen.reading for seen in watch.seen if isinstance(seen, PilotSeen)][-1].power_path


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - reports come by a plain callback
            await asyncio.sleep(0.01)


def play(scene: Callable[[OpenEvseRig, Watch], Awaitable[None]], **settings: Any) -> None:
    rig = OpenEvseRig("openevse", lambda port: OpenEvseOptions(port=port), meters_at_v=VOLTS)

    async def whole() -> None:
        await rig.start()
        for name, value in settings.items():
            setattr(rig.controller.settings, name, value)
        watch = Watch(rig)
        try:
            await until(lambda: readings(watch) or settings)
            await scene(rig, watch)
        finally:
            await watch.end()
            await rig.end()

    rig.run(whole())


async def charge(rig: OpenEvseRig, watch: Watch, current_a: float = 16.0) -> None:
    rig.live.catch_up()
    rig.world.plug_in(HERE, Ev(current_a, phases=1, ready_after_s=0.2))
    rig.driver.allow_power(current_a)
    await until(lambda: path(watch) is PowerPath.CLOSED)


def true_wh(rig: OpenEvseRig) -> float:
    rig.live.catch_up()
    return rig.world.energy_wh(1)


async def agrees(rig: OpenEvseRig, watch: Watch, less_wh: float = 0.0) -> None:
    """Its counter comes to show what flowed: whole Wh, a moment old."""

    def shown_wh() -> float:
        return true_wh(rig) - less_wh - readings(watch)[-1].energy_wh

    await until(lambda: -0.1 <= shown_wh() <= 1.5, 5.0)


def never_falls_or_jumps(watch: Watch) -> None:
    for before, after in pairwise(readings(watch)):
        most_wh = 32 * VOLTS * (after.at_s - before.at_s) / 3600 + 1
        assert 0 <= after.energy_wh - before.energy_wh <= most_wh


# --- whole charges ------------------------------------------------------------------------------


def test_two_charges_are_counted_through_from_one_to_the_next() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        for _ in range(2):
            await charge(rig, watch)
            await asyncio.sleep(60)
            last = readings(watch)[-1]
            assert (last.current_a, last.power_w) == ((16.0,), 16 * VOLTS)
            assert (last.voltage_v, last.step_wh, last.signing) == ((), 1.0, Signing.NONE)
            await agrees(rig, watch)
            rig.driver.stop()
            await until(lambda: path(watch) is PowerPath.OPEN)
            await rig.ev("A")
            await asyncio.sleep(5)
            assert readings(watch)[-1].current_a == (0.0,)
            await agrees(rig, watch)
        assert true_wh(rig) > 120
        never_falls_or_jumps(watch)

    play(scene)


def test_a_restart_amid_a_charge_is_held_logged_and_counted_on_from(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await charge(rig, watch)
        await asyncio.sleep(30)
        held_wh = readings(watch)[-1].energy_wh
        assert held_wh > 25
        rig.controller.start()
        await until(lambda: "counted on from" in caplog.text)
        assert readings(watch)[-1].energy_wh == held_wh
        unseen_wh = true_wh(rig) - held_wh
        await until(lambda: path(watch) is PowerPath.CLOSED)
        await asyncio.sleep(30)
        assert true_wh(rig) > held_wh + 25
        await agrees(rig, watch, less_wh=unseen_wh)
        await rig.ev("A")
        await asyncio.sleep(5)
        await agrees(rig, watch, less_wh=unseen_wh)
        never_falls_or_jumps(watch)

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert caplog.text.count("counted on from") == 1


def test_its_voltage_is_told_again_after_a_restart_that_nobody_heard_of() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        assert rig.controller.settings.millivolts == 230_000
        rig.controller.settings.millivolts = 240_000
        await until(lambda: rig.controller.settings.millivolts == 230_000, VOLTAGE_S + 5)

    play(scene)


def test_a_reading_that_is_asked_for_comes_at_once_and_was_made_after_the_question() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        for step_s in (0.02, 0.05, 0.08, 0.11, 0.3):
            await asyncio.sleep(2 * INTERVAL_S + step_s)
            seen, asked_s = len(readings(watch)), asyncio.get_running_loop().time()
            rig.driver.read_soon()
            await until(lambda: readings(watch)[-1].at_s >= asked_s, 0.5)  # noqa: B023
            assert len(readings(watch)) <= seen + 2

    play(scene)


@pytest.mark.parametrize("settings", [{"has_ammeter": False}])
def test_firmware_that_measures_nothing_is_named_once_and_the_controller_is_kept(
    caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        await asyncio.sleep(150)
        assert readings(watch) == []
        assert path(watch) is PowerPath.OPEN
        rig.controller.settings.has_ammeter = True
        await until(lambda: readings(watch), 70)

    with caplog.at_level(logging.WARNING):
        play(scene, **settings)
    assert caplog.text.count("counts no energy") == 1


# --- beside stops and supervision ---------------------------------------------------------------


def test_an_emergency_stop_waits_for_the_answer_under_way_alone() -> None:
    """Whatever was asked. By the firmware's 30 ms for each: 30 ms, its own 30 ms, the contacts."""

    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        received = rig.controller.received
        await charge(rig, watch)
        for moment in ("GU", "GG", "GC", "GS", "SY"):
            await until(lambda: rig.is_closed() and received[-1].name == moment)  # noqa: B023
            began_s, carried_out = loop.time(), len(received)
            rig.driver.emergency_stop()
            while rig.is_closed():  # noqa: ASYNC110 - the contacts tell nobody
                await asyncio.sleep(0.001)
            assert received[carried_out].name == "FD"
            assert loop.time() - began_s <= 0.15
            rig.driver.stop()
            await asyncio.sleep(2)
            rig.driver.allow_power(16)
            await until(lambda: path(watch) is PowerPath.CLOSED)

    play(scene)


def test_the_pulse_of_supervision_keeps_its_time() -> None:
    async def scene(rig: OpenEvseRig, watch: Watch) -> None:
        pulses: list[float] = []
        supervise = rig.controller.supervise

        def heard() -> None:
            pulses.append(asyncio.get_running_loop().time())
            supervise()

        rig.controller.supervise = heard
        await charge(rig, watch)
        await asyncio.sleep(120)
        assert len(pulses) >= 20
        assert max(after - before for before, after in pairwise(pulses)) <= PULSE_S + 0.2

    play(scene)


# --- the round ----------------------------------------------------------------------------------


def asked(meter: MeterInside, view: View, now_s: float, ws: int, total_wh: int) -> None:
    """Plays the questions of one round."""
    while command := meter.next_command(now_s):
        told = {"GU": (str(ws), str(total_wh)), "GG": ("16000", "230000")}.get(command[:2], ())
        meter.answered(command, Frame("OK", told), now_s, view)


def test_a_round_sets_the_voltage_then_counts_then_measures() -> None:
    meter = MeterInside("p", VOLTS, 80)
    commands = []
    for _ in range(3):
        commands.append(meter.next_command(5.0))
        meter.answered(commands[-1], Frame("OK", ("7200", "100")), 5.0, PLUGGED)
    assert commands == ["SV 230000", "GU", "GG"]
    assert (meter.next_command(5.0), meter.due_s()) == ("", float("inf"))
    reading = meter.seen(PLUGGED)
    assert reading is not None
    assert (reading.energy_wh, reading.at_s) == (102.0, 5.0)
    assert meter.due_s() == 5.0 + INTERVAL_S


@pytest.mark.parametrize(("before", "after"), [(FREE, PLUGGED), (PLUGGED, FREE)])
def test_a_plug_that_moved_amid_a_round_makes_it_void(before: View, after: View) -> None:
    """The total may hold the session already: counted twice, or not at all."""
    meter = MeterInside("p", VOLTS, 80)
    asked(meter, before, 1.0, 36_000_000, 10_000)
    assert meter.seen(after) is None
    assert meter.next_command(1.0) == "GU"
    asked(meter, after, 1.1, 36_000_000, 10_000)
    reading = meter.seen(after)
    assert reading is not None
    assert reading.energy_wh == (20_000 if after is PLUGGED else 10_000)


def test_what_was_counted_before_a_question_does_not_answer_it() -> None:
    meter = MeterInside("p", VOLTS, 80)
    meter.answered("GU", Frame("OK", ("0", "100")), 1.0, PLUGGED)
    meter.ask_soon(2.0)
    assert meter.next_command(2.0).startswith("SV")
    meter.answered("GU", Frame("OK", ("0", "101")), 1.9, PLUGGED)
    meter.answered("GG", Frame("OK", ("0", "0")), 2.0, PLUGGED)
    assert meter.seen(PLUGGED) is None


def test_a_voltmeter_of_its_own_is_believed() -> None:
    meter = MeterInside("p", VOLTS, 80)
    meter.answered("SV 230000", Frame("NK"), 1.0, PLUGGED)
    meter.answered("GU", Frame("OK", ("0", "100")), 1.0, PLUGGED)
    meter.answered("GG", Frame("OK", ("10000", "241500")), 1.0, PLUGGED)
    reading = meter.seen(PLUGGED)
    assert reading is not None
    assert (reading.voltage_v, reading.power_w) == ((241.5,), 2415.0)


@pytest.mark.parametrize("arguments", [(), ("1",), ("x", "1"), ("-1", "1"), ("1", "-1")])
def test_a_count_that_makes_no_sense_is_an_error(arguments: tuple[str, ...]) -> None:
    meter = MeterInside("p", VOLTS, 80)
    with pytest.raises(ValueError, match=r"argument|invalid|counted less"):
        meter.answered("GU", Frame("OK", arguments), 1.0, PLUGGED)


# --- the counter --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "followed"),
    [
        ([100, 101, 103], [100, 101, 103]),
        ([100, 40, 41, 42, 43], [100, None, None, 100, 101]),
        ([100, 40, 100], [100, None, 100]),
        ([100, 100_000, 100_001, 100_002, 100_004], [100, None, None, 100, 102]),
        ([100, 100_000, 101], [100, None, 101]),
        ([100, 0, 100_000, 1, 2], [100, None, None, 100, 101]),
    ],
)
def test_a_counter_never_falls_nor_jumps(told: list[int], followed: list[float | None]) -> None:
    """A reading each second, and not more than 62 Wh in it."""
    energy = Energy("p", 60 * 3600.0)
    assert [energy.follow(wh, float(at_s)) for at_s, wh in enumerate(told)] == followed
