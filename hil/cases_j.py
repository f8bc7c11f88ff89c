"""What the conformance tests of block J share."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from hil import cases
from hil.cases import Scene
from hil.cases_b import at_s
from hil.conformance import Octt, Payload
from hil.sim import START_UTC_S

INTERVAL_S = 15
"""<Configured interval> of whatever the case is about."""
DURATION_S = 62
"""<Configured transaction duration>"""
ENERGY = "Energy.Active.Import.Register"
ALL = f"{ENERGY},Power.Active.Import,Current.Import,Voltage,Frequency"


def play(scene: Scene, **bench_options: Any) -> None:
    """Runs a case on a station that has booted; afterwards no value is of the EV (errata)."""

    async def whole(octt: Octt) -> None:
        await scene(octt)
        calls = octt.csms.calls
        told = [value for call in calls for value in call.payload.get("meterValue", ())]
        samples = [sample for value in told for sample in value["sampledValue"]]
        assert not [sample for sample in samples if sample.get("location") == "EV"]
        for call in calls:
            stamps = [value["timestamp"] for value in call.payload.get("meterValue", ())]
            stamps += [call.payload["timestamp"]] if "timestamp" in call.payload else []
            told_s = START_UTC_S + call.at_s
            assert all(at_s(stamp) <= told_s for stamp in stamps), call

    cases.play(whole, **bench_options)


def measurands(value: Payload) -> set[str]:
    """Measurands of a MeterValueType."""
    return {sample.get("measurand", ENERGY) for sample in value["sampledValue"]}


def context(value: Payload) -> str:
    """Of a MeterValueType; all its samples have the same."""
    contexts: set[str] = {sample["context"] for sample in value["sampledValue"]}
    assert len(contexts) == 1, value
    return contexts.pop()


def check_value(value: Payload, wanted_context: str, wanted: str) -> None:
    assert context(value) == wanted_context, value
    assert measurands(value) == set(wanted.split(",")), value


def check_grid(values: list[Payload], interval_s: float, *, aligned: bool = True) -> None:
    """Timestamps stand `interval_s` apart, and on the clock's grid where they are aligned."""
    times = sorted({at_s(value["timestamp"]) for value in values})
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx(
        [interval_s] * (len(times) - 1), abs=0.1
    )
    if aligned:
        assert all(min(t % interval_s, interval_s - t % interval_s) < 0.1 for t in times)


async def meter_values(octt: Octt, count: int) -> list[Payload]:
    """The next MeterValues of the EVSE under test."""
    return await values_of(octt, octt.evse_id, count)


async def values_of(octt: Octt, evse_id: int, count: int) -> list[Payload]:
    """The next MeterValues of an EVSE, or of the main meter (0)."""
    found: list[Payload] = []
    while len(found) < count:
        payload = await octt.expect("MeterValues")
        found += payload["meterValue"] if payload["evseId"] == evse_id else []
    return found


async def stop_and_leave(octt: Octt) -> Payload:
    """ParkingBayUnoccupied after the configured duration; the Ended event."""
    await asyncio.sleep(DURATION_S)
    ended = await octt.stop_authorized()
    await octt.ev_connected_post_session()
    await octt.ev_disconnected()
    assert ended["eventType"] == "Ended"
    return ended


async def measured(octt: Octt, for_s: float) -> set[int]:
    """Whose MeterValues come in the meantime."""
    before = len(octt.csms.of("MeterValues"))
    await asyncio.sleep(for_s)
    return {payload["evseId"] for payload in octt.csms.of("MeterValues")[before:]}
