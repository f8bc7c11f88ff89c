"""What every pilot controller promises (drivers/contract.py), simulated or real."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from drivers.contract import (
    DeviceFound,
    DeviceLost,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
)
from tests.contract.rigs import Rig, Watch

LIMIT_A, LOWER_A = 13.0, 8.0
SOON_S = 12.0
"""Any controller shows a change of its EV or an order within this."""
STEP_S = 0.2
REPLUG_S = 9.0
"""The longest pause of any driver before it opens its port again, and a stop by OpenEVSE."""
HOST_LOSS_S = 70.0
"""Longer than the longest supervision that any of them can be set to (an OpenEVSE: 65 s)."""


def readings(watch: Watch) -> list[PilotReading]:
    return [seen.reading for seen in watch.seen if isinstance(seen, PilotSeen)]


def shows(watch: Watch, state: PilotState, path: PowerPath) -> bool:
    seen = readings(watch)
    return bool(seen) and (seen[-1].state, seen[-1].power_path) == (state, path)


def kinds(watch: Watch, kind: type) -> int:
    return sum(isinstance(seen, kind) for seen in watch.seen)


async def until(condition: Callable[[], bool], watch: Watch, within_s: float = SOON_S) -> float:
    """How long it took, in the loop's seconds."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not condition():
        waited_s = loop.time() - began_s
        assert waited_s <= within_s, f"not within {within_s} s: {watch.seen[-3:]}"
        await asyncio.sleep(STEP_S)
    return loop.time() - began_s


async def idle(rig: Rig, watch: Watch) -> None:
    await until(lambda: shows(watch, PilotState.A, PowerPath.OPEN), watch)


async def charging(rig: Rig, watch: Watch, ev: str = "C") -> None:
    await idle(rig, watch)
    await rig.ev(ev)
    await until(lambda: readings(watch)[-1].state in (PilotState.B, PilotState.C), watch)
    rig.driver.allow_power(LIMIT_A)
    await until(lambda: shows(watch, PilotState.C, PowerPath.CLOSED), watch)


def needs(rig: Rig, *features: str) -> None:
    missing = set(features) - rig.features
    if missing:
        pytest.skip(f"{rig.name} has no way to do {sorted(missing)}; a rig file may name it")


def changes(states: Iterable[PilotState]) -> list[PilotState]:
    told: list[PilotState] = []
    for state in states:
        if not told or told[-1] is not state:
            told.append(state)
    return told


def test_a_charge_is_reported_from_plugging_in_to_pulling_out(play) -> None:
    async def scenario(rig: Rig, watch: Watch) -> None:
        await idle(rig, watch)
        await rig.ev("B")
        await until(lambda: shows(watch, PilotState.B, PowerPath.OPEN), watch)
        rig.driver.allow_power(LIMIT_A)
        await until(lambda: readings(watch)[-1].offered_a == LIMIT_A, watch)
        assert not rig.is_closed()
        await rig.ev("C")
        await until(lambda: shows(watch, PilotState.C, PowerPath.CLOSED), watch)
        assert rig.is_closed()
        assert rig.driver.power_path() is PowerPath.CLOSED
        await rig.ev("B")
        await until(lambda: shows(watch, PilotState.B, PowerPath.OPEN), watch)
        assert not rig.is_closed(), "the controller opens by itself"
        await rig.ev("A")
        await until(lambda: shows(watch, PilotState.A, PowerPath.OPEN), watch)
        order = [s for s in changes(r.state for r in readings(watch)) if s in "ABC"]
        assert order == ["A", "B", "C", "B", "A"]

    play(scenario)


def test_no_power_before_it_is_allowed_even_to_an_ev_that_grabs_it(play, rig) -> None:
    needs(rig, "stubborn")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await idle(rig, watch)
        before = len(watch.seen)
        await rig.ev("grabs")
        loop = asyncio.get_running_loop()
        end_s = loop.time() + SOON_S
        while loop.time() < end_s:
            assert not rig.is_closed()
            await asyncio.sleep(STEP_S)
        del watch.seen[:before]
        assert {r.offered_a for r in readings(watch)} <= {0.0, None}

    play(scenario)


def test_the_offer_follows_the_limit_and_less_than_six_ampere_is_a_stop(play) -> None:
    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        assert readings(watch)[-1].offered_a == LIMIT_A
        rig.driver.allow_power(LOWER_A)
        await until(lambda: readings(watch)[-1].offered_a == LOWER_A, watch)
        assert rig.is_closed()
        rig.driver.allow_power(5.9)
        await until(lambda: not rig.is_closed(), watch, rig.driver.capabilities.opens_within_s)

    play(scenario)


@pytest.mark.parametrize("ev", ["C", "grabs"])
def test_a_stop_opens_within_the_promised_time(play, rig, ev: str) -> None:
    needs(rig, *(["stubborn"] if ev == "grabs" else []))

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch, ev)
        rig.driver.stop()
        bound_s = rig.driver.capabilities.opens_within_s
        took_s = await until(
            lambda: not rig.is_closed() and rig.driver.power_path() is PowerPath.OPEN,
            watch,
            bound_s,
        )
        assert took_s <= bound_s
        await asyncio.sleep(3.0)
        assert not rig.is_closed(), "it stays open until the next order"

    play(scenario)


def test_an_emergency_stop_opens_under_load_and_stays(play, rig) -> None:
    needs(rig, "stubborn")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch, "grabs")
        rig.driver.emergency_stop()
        await until(lambda: not rig.is_closed(), watch, 2.0)
        await until(lambda: rig.driver.power_path() is PowerPath.OPEN, watch)
        await asyncio.sleep(SOON_S)
        assert not rig.is_closed()
        await rig.ev("A")
        rig.driver.stop()
        await idle(rig, watch)
        await rig.ev("C")
        rig.driver.allow_power(LIMIT_A)
        await until(lambda: shows(watch, PilotState.C, PowerPath.CLOSED), watch)

    play(scenario)


def test_an_order_is_given_again_after_it_was_stopped(play) -> None:
    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        rig.driver.stop()
        await until(lambda: rig.driver.power_path() is PowerPath.OPEN, watch)
        rig.driver.allow_power(LOWER_A)
        await until(lambda: shows(watch, PilotState.C, PowerPath.CLOSED), watch)
        assert readings(watch)[-1].offered_a == LOWER_A

    play(scenario)


def test_a_fault_opens_and_is_reported_until_it_is_gone(play, rig) -> None:
    needs(rig, "rcd")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await rig.do("rcd")
        await until(lambda: "rcd" in readings(watch)[-1].faults, watch)
        await until(lambda: not rig.is_closed(), watch, 1.0)
        rig.driver.stop()
        await rig.do("clear rcd")
        await until(lambda: not readings(watch)[-1].faults, watch)

    play(scenario)


def test_a_welded_contactor_is_never_told_open_by_who_watches_it(play, rig) -> None:
    needs(rig, "weld")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await rig.do("weld")
        rig.driver.stop()
        await asyncio.sleep(rig.driver.capabilities.opens_within_s + SOON_S)
        assert rig.is_closed()
        if rig.driver.capabilities.watches_contacts:
            assert "welded_contactor" in readings(watch)[-1].faults
            assert rig.driver.power_path() is not PowerPath.OPEN
        await rig.do("clear weld")

    play(scenario)


def test_a_silent_controller_is_lost_once_unknown_and_found_again(play, rig) -> None:
    needs(rig, "silence")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await rig.do("silence")
        await until(lambda: kinds(watch, DeviceLost) == 1, watch)
        told, path = readings(watch)[-1].power_path, rig.driver.power_path()
        if PowerPath.OPEN in (told, path):
            assert not rig.is_closed(), "seen by contacts of its own"
        assert path is not PowerPath.CLOSED
        rig.driver.stop()
        await rig.do("speak")
        await until(lambda: kinds(watch, DeviceFound) == 1, watch, 60.0)
        await until(lambda: rig.driver.power_path() is PowerPath.OPEN, watch, 60.0)
        assert not rig.is_closed(), "the stop ordered meanwhile is heard"
        assert kinds(watch, DeviceLost) == 1

    play(scenario)


@pytest.mark.feature("unplug")
def test_a_cable_that_was_pulled_for_long_is_found_soon_after_it_is_back(play, rig) -> None:
    """What went on charging meanwhile hears the stop that stands."""
    needs(rig, "unplug")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await rig.do("unplug")
        await until(lambda: kinds(watch, DeviceLost) == 1, watch)
        rig.driver.stop()
        await asyncio.sleep(HOST_LOSS_S)
        await rig.do("plug")
        await until(lambda: not rig.is_closed(), watch, REPLUG_S)
        await until(lambda: kinds(watch, DeviceFound) == 1, watch, REPLUG_S)

    play(scenario)


@pytest.mark.feature("host_loss")
def test_when_the_host_dies_it_does_what_its_capabilities_say(play, rig) -> None:
    needs(rig, "host_loss")

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await rig.do("host_loss")
        await asyncio.sleep(HOST_LOSS_S)
        capabilities = rig.driver.capabilities
        if capabilities.stops_on_host_loss:
            assert not rig.is_closed()
        else:
            assert rig.is_closed(), "better than it says; correct its capabilities"
            assert "charging" in capabilities.host_loss_fallback or rig.name == "sim"
        offered_a = getattr(rig, "offered_a", lambda: 0.0)()
        assert offered_a <= LIMIT_A
        if "at most 6 A" in capabilities.host_loss_fallback:
            assert offered_a == 6.0

    play(scenario)


@pytest.mark.feature("restart")
@pytest.mark.parametrize("allowed", [False, True])
def test_a_restarted_controller_gets_the_order_in_force(play, rig, allowed: bool) -> None:
    needs(rig, "restart", *([] if allowed else ["stubborn"]))

    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch) if allowed else await idle(rig, watch)
        if not allowed:
            await rig.ev("grabs")
        await rig.do("restart")
        if allowed:
            await until(lambda: not rig.is_closed(), watch)
            await until(lambda: shows(watch, PilotState.C, PowerPath.CLOSED), watch, 30.0)
            assert readings(watch)[-1].offered_a == LIMIT_A
            return
        if not rig.driver.capabilities.before_first_order:
            for _ in range(int(SOON_S / STEP_S)):
                assert not rig.is_closed()
                await asyncio.sleep(STEP_S)
        await asyncio.sleep(SOON_S)
        assert not rig.is_closed()

    play(scenario)


def test_the_end_of_the_driver_is_a_stop(play) -> None:
    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await watch.end()
        await until(lambda: not rig.is_closed(), watch, rig.driver.capabilities.opens_within_s)

    play(scenario)


def test_it_reports_as_often_as_it_promises(play) -> None:
    async def scenario(rig: Rig, watch: Watch) -> None:
        await charging(rig, watch)
        await asyncio.sleep(3 * SOON_S)
        times_s = [reading.at_s for reading in readings(watch)]
        longest_s = max(b - a for a, b in pairwise(times_s))
        assert longest_s < 3 * rig.driver.capabilities.report_interval_s

    play(scenario)
