"""What every meter driver promises (contract.Meter), over all rigs of meters."""

import asyncio

import pytest

from drivers.contract import DeviceFound, DeviceLost, MeterSeen, Payer, Signing
from tests.contract.conftest import is_real
from tests.contract.meter_rigs import PLACES, SILENCE, SWAP, Rig, real

RIGS = [(place, model) for place, (_, models) in PLACES.items() for model in models]
RIGS += [("real", "real")] if is_real("meter") else []


@pytest.fixture(params=RIGS, ids=lambda rig: f"{rig[0]}: {rig[1]}")
async def meter_rig(request):
    place, model = request.param
    make = real if place == "real" else PLACES[place][0]
    async with make(model) as rig:
        task = asyncio.create_task(rig.meter.run(rig.seen.append))
        await rig.until(1)
        yield rig
        assert not task.done(), "the driver ended by itself"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def can(rig: Rig, what: str) -> bool:
    """Only a real meter may be one to which nobody can do it; then there is nothing to see."""
    return what in rig.features


async def test_energy_rises_and_each_reading_is_of_its_own_moment(meter_rig) -> None:
    await meter_rig.until(5)
    readings = meter_rig.readings()
    energies = [reading.energy_wh for reading in readings]
    assert energies == sorted(energies)
    times = [reading.at_s for reading in readings]
    assert times == sorted(set(times)), "no reading is published twice"
    assert all(reading.at_s <= asyncio.get_running_loop().time() for reading in readings)


async def test_a_reading_is_what_a_meter_can_show(meter_rig) -> None:
    reading = meter_rig.readings()[-1]
    assert reading.energy_wh >= 0
    assert reading.step_wh >= 1
    for values in (reading.voltage_v, reading.current_a, reading.power_phase_w):
        assert len(values) in (0, 1, 3)
    assert all(0 <= volts < 500 for volts in reading.voltage_v)
    assert all(amps >= 0 for amps in reading.current_a)
    assert reading.frequency_hz is None or reading.frequency_hz <= 100
    assert (reading.export_wh is not None) <= meter_rig.meter.has_export


async def test_a_reading_that_is_asked_for_is_made_after_the_question(meter_rig) -> None:
    asked_s = asyncio.get_running_loop().time()
    meter_rig.meter.read_soon()
    await meter_rig.until(2)
    assert meter_rig.readings()[-1].at_s >= asked_s


async def test_a_question_for_a_signature_is_answered_by_any_meter(meter_rig) -> None:
    payer = Payer("04A1B2C3", "ISO14443")
    for signing in (Signing.BEGIN, Signing.VALUE, Signing.END):
        asked_s = asyncio.get_running_loop().time()
        meter_rig.meter.read_soon(signing, payer)
        await meter_rig.until(2)
        reading = meter_rig.readings()[-1]
        assert reading.at_s >= asked_s
        assert (reading.signature is not None) <= meter_rig.meter.signs


async def test_a_lost_meter_publishes_nothing_until_it_is_found(meter_rig) -> None:
    if not can(meter_rig, SILENCE):
        return
    await meter_rig.do(SILENCE)
    await meter_rig.until(1, DeviceLost, after=0)
    lost_at = len(meter_rig.seen)
    lost_s = asyncio.get_running_loop().time()
    await meter_rig.do("speak")
    await meter_rig.until(1, DeviceFound, after=0)
    await meter_rig.until(1)
    assert isinstance(meter_rig.seen[lost_at], DeviceFound), "found is told before any value"
    assert all(
        one.reading.at_s >= lost_s for one in meter_rig.seen[lost_at:] if isinstance(one, MeterSeen)
    )
    assert meter_rig.count(DeviceLost) == meter_rig.count(DeviceFound) == 1


async def test_a_swapped_meter_is_told_by_its_serial_number(meter_rig) -> None:
    if not can(meter_rig, SWAP):
        return
    before = meter_rig.readings()[-1]
    await meter_rig.do(SILENCE)
    await meter_rig.until(1, DeviceLost, after=0)
    await meter_rig.do(SWAP)
    await meter_rig.do("speak")
    await meter_rig.until(1, DeviceFound, after=0)
    await meter_rig.until(1)
    after = meter_rig.readings()[-1]
    assert after.serial
    assert after.serial != before.serial
    if before.serial == "4711":
        assert (after.serial, after.energy_wh < 10_000) == ("4712", True)
