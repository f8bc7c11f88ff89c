"""Both Modbus controllers on a line that misbehaves: a reported state is the right one or none."""

import asyncio
import random
from itertools import pairwise

import pytest
from msgspec.structs import replace

from drivers.contract import (
    DeviceLost,
    ModbusMeterOptions,
    PilotSeen,
    PilotState,
    PowerPath,
)
from hil.parts.modbus_slave import WRITE_REGISTER, WRITE_REGISTERS, Fault
from tests.drivers.pilots.modbus_bench import HERE, OPTIONS, Bench, play

KINDS = ("evse_wb", "phoenix")
SLOWEST_ANSWER_S = 0.6
"""What is true within this time before a report is told rightly: an answer may take `timeout_s`."""


async def unrest(bench: Bench, faults: list[Fault], seconds: float, seed: int) -> None:
    """An EV comes and goes while answers are spoilt; every report is held against the truth."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    bench.slave.in_order = True
    bench.slave.units[1] = replace(bench.controller.unit, answer_after_s=0.15)
    await bench.idle()
    bench.seen.clear()
    truth = [(loop.time(), PilotState.A)]
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        bench.slave.heal()
        if dice.random() < 0.6:
            bench.slave.inject(dice.choice(faults), times=1, delay_s=dice.uniform(0.05, 2.0))
        await asyncio.sleep(dice.uniform(0.1, 1.3))
        if bench.world.connectors[HERE].ev is None:
            bench.plug_in(wants="B")
            truth.append((loop.time(), PilotState.B))
        elif dice.random() < 0.5:
            bench.live.catch_up()
            bench.world.plug_out(HERE)
            truth.append((loop.time(), PilotState.A))
    told = [seen.reading for seen in bench.seen if isinstance(seen, PilotSeen)]
    assert len([r for r in told if r.state is not PilotState.UNKNOWN]) > seconds / 8, "too few"
    for reading in told:
        if reading.state is PilotState.UNKNOWN:
            continue
        since_s = reading.at_s - SLOWEST_ANSWER_S
        before = [state for at_s, state in truth if at_s <= since_s][-1:]
        during = [state for at_s, state in truth if since_s < at_s <= reading.at_s]
        assert reading.state in (before or [PilotState.A]) + during, reading
        assert reading.power_path is PowerPath.OPEN


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_no_state_is_told_that_was_not_so(kind: str, seed: int) -> None:
    play(kind, lambda bench: unrest(bench, list(Fault), 90, seed))


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("kind", KINDS)
def test_one_spoilt_answer_loses_nothing(kind: str, fault: Fault) -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        for _ in range(8):
            bench.slave.inject(fault, times=1, delay_s=0.8)
            await asyncio.sleep(4.3)
        told = [seen.reading for seen in bench.seen if isinstance(seen, PilotSeen)]
        assert not any(isinstance(seen, DeviceLost) for seen in bench.seen)
        after = told[[r.power_path for r in told].index(PowerPath.CLOSED) :]
        assert {r.power_path for r in after} == {PowerPath.CLOSED}
        assert max(b.at_s - a.at_s for a, b in pairwise(after)) < 3.0

    play(kind, scene)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.SHORT, Fault.WRONG_UNIT, Fault.BAD_CRC])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_gets_through_to_a_device_whose_answers_do_not(kind: str, fault: Fault) -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        bench.slave.inject(fault)
        await asyncio.sleep(0.3)
        bench.driver.stop()
        await bench.until(lambda: not bench.closed, bench.driver.capabilities.opens_within_s)

    play(kind, scene)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_goes_before_the_next_read_of_the_same_look(kind: str) -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        bench.slave.units[1] = replace(bench.controller.unit, answer_after_s=0.3)
        for _ in range(6):
            asked = len(bench.slave.requests)
            await bench.until(lambda n=asked: len(bench.slave.requests) > n)
            bench.driver.stop()
            asked = len(bench.slave.requests)
            await bench.until(lambda n=asked: len(bench.slave.requests) > n)
            assert bench.slave.requests[asked][1][0] in (5, WRITE_REGISTER)
            bench.driver.allow_power(13)
            await bench.until(lambda: bench.closed)
            await asyncio.sleep(2.1)

    play(kind, scene)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_overtakes_the_reads_of_dead_meters_on_its_line(kind: str) -> None:
    async def scene(bench: Bench) -> None:
        meters = [
            bench.registry.build(
                f"m{unit}", ModbusMeterOptions("bus", "eastron_sdm630_v2", unit=unit)
            )
            for unit in (7, 8, 9)
        ]
        tasks = [asyncio.create_task(meter.run(lambda _: None)) for meter in meters]
        try:
            await bench.charging()
            for wait_s in (0.0, 0.7, 1.9):
                bench.driver.allow_power(13)
                await bench.until(lambda: bench.closed)
                await asyncio.sleep(5 + wait_s)
                written = len(bench.controller.writes)
                bench.driver.stop()
                await bench.until(lambda n=written: len(bench.controller.writes) > n, 3.6)
                await bench.until(lambda: not bench.closed)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    play(kind, scene)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_controllers_on_its_line_hold_up_neither_a_stop_nor_what_is_seen(kind: str) -> None:
    async def scene(bench: Bench) -> None:
        dead = [
            bench.registry.build(f"d{unit}", replace(OPTIONS[kind], unit=unit))
            for unit in (7, 8, 9, 10)
        ]
        tasks = [asyncio.create_task(driver.run(lambda _: None)) for driver in dead]
        try:
            await bench.charging()
            await asyncio.sleep(10)
            settled = len(bench.seen)
            for wait_s in (0.0, 0.3, 0.9, 1.4):
                bench.driver.allow_power(13)
                await bench.until(lambda: bench.closed)
                await asyncio.sleep(5 + wait_s)
                written = len(bench.controller.writes)
                bench.driver.stop()
                await bench.until(lambda n=written: len(bench.controller.writes) > n, 2.1)
                await bench.until(lambda: not bench.closed)
            views = [o for o in bench.seen[settled:] if isinstance(o, PilotSeen)]
            seen_s = [view.reading.at_s for view in views]
            gaps_s = [after - before for before, after in pairwise(seen_s)]
            assert max(gaps_s) < 3.0, "older views are no views to the guard"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    play(kind, scene)


@pytest.mark.parametrize(("takes", "not_first"), [(WRITE_REGISTER, 0), (WRITE_REGISTERS, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_registers_are_written_by_the_function_that_the_device_takes(
    kind: str, takes: int, not_first: int
) -> None:
    async def scene(bench: Bench) -> None:
        bench.slave.units[1] = replace(bench.controller.unit, writes_by=(5, takes))
        await bench.charging()
        bench.driver.allow_power(8)
        await bench.until(lambda: bench.reading.offered_a == 8)
        other = WRITE_REGISTER + WRITE_REGISTERS - takes
        tried = [pdu[0] for _, pdu in bench.slave.requests].count(other)
        assert tried == not_first

    play(kind, scene)


@pytest.mark.parametrize("kind", KINDS)
def test_orders_before_the_start_do_no_io(kind: str) -> None:
    async def scene(bench: Bench) -> None:
        bench.driver.allow_power(16)
        bench.driver.lock(True)
        bench.driver.stop()
        assert bench.driver.power_path() is PowerPath.UNKNOWN
        assert bench.slave.requests == []

    play(kind, scene)


@pytest.mark.parametrize("emergency", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_the_driver_never_softens_an_emergency_stop(kind: str, emergency: bool) -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging(ignores_pilot=True)
        if emergency:
            bench.driver.emergency_stop()
            await bench.until(lambda: not bench.closed)
        await bench.end_driver()
        bench._task = None
        await asyncio.sleep(20)
        assert bench.closed is not emergency, "a graceful last word waits for the EV for ever"

    play(kind, scene)
