"""Every shipped meter on a server of another library: its registers mean what its maker says."""

import asyncio
from collections.abc import Callable

import pytest

from drivers.contract import MeterReading, MeterSeen
from drivers.meters import register_map
from hil.parts.pty_port import PtyPort
from tests.contract.golden_meters import GOLDEN
from tests.contract.meter_rigs import driver, foreign_rtu, foreign_tcp
from tests.drivers.meters.shipped_maps_test import MEASURED, SERIAL, words

PLAIN = [model for model in register_map.models() if not register_map.find(model).sunspec]
WIRED = ("eastron_sdm630_v2", "carlo_gavazzi_em340", "abb_b23", "iskra_wm3m4c", "sunspec_meter")

Read = Callable[[int, int], int]


async def first_reading(port: str, model: str) -> MeterReading:
    meter = driver(port, model)
    seen: list[object] = []
    task = asyncio.create_task(meter.run(seen.append))
    try:
        async with asyncio.timeout(20):
            while not seen:  # noqa: ASYNC110 - reports come by a plain callback
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert isinstance(seen[0], MeterSeen), seen
    return seen[0].reading


def golden(model: str) -> Read:
    known = {
        (function, first + n): word
        for function, blocks in GOLDEN[model].words.items()
        for first, block in blocks.items()
        for n, word in enumerate(block)
    }
    return lambda function, address: known.get((function, address), 0)


def close(reading: MeterReading, model: str) -> None:
    for name, value in GOLDEN[model].reading().items():
        told = getattr(reading, name)
        assert told == (value if isinstance(value, str) else pytest.approx(value)), name


@pytest.mark.parametrize("model", GOLDEN)
async def test_registers_worked_out_by_hand_are_read_right(model: str) -> None:
    async with foreign_tcp(golden(model)) as port:
        close(await first_reading(port, model), model)


@pytest.mark.parametrize("model", WIRED)
async def test_the_same_on_a_line(model: str) -> None:
    async with foreign_rtu(golden(model), PtyPort()) as port:
        close(await first_reading(port, model), model)


def test_one_meter_of_each_kind_of_number_is_among_them() -> None:
    kinds = {
        (item.type, shipped.word_order)
        for shipped in map(register_map.find, PLAIN)
        for item in shipped.fields.values()
    }
    tried = {
        (item.type, register_map.find(model).word_order)
        for model in GOLDEN
        for item in register_map.find(model).fields.values()
    }
    assert tried == kinds


@pytest.mark.parametrize("model", PLAIN)
async def test_every_shipped_map_is_read_from_a_server_of_another_library(model: str) -> None:
    shipped = register_map.find(model)
    known: dict[tuple[int, int], int] = {}
    for name, item in shipped.fields.items():
        if shipped.phases == 1 and name == "power_total":
            continue  # the same register as power_l1
        value = SERIAL if name == "serial" else MEASURED.get(name, 0.0)
        told = words(item.type, value, item.scale, item.length, shipped.word_order)
        known |= {(item.function, item.address + n): word for n, word in enumerate(told)}
    identity = shipped.identity
    if identity is not None:
        known[identity.function, identity.address] = identity.values[0]
    async with foreign_tcp(lambda *place: known.get(place, 0)) as port:
        reading = await first_reading(port, model)
    assert reading.energy_wh == pytest.approx(MEASURED["energy_import"], abs=reading.step_wh)
    if shipped.phases == 3:
        assert reading.power_w == pytest.approx(MEASURED["power_total"])
    assert reading.serial == (str(SERIAL) if "serial" in shipped.fields else "")
