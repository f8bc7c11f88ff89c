"""Block J beyond the cases of Part 6: the meter at the grid connection, as EVSE 0."""

import asyncio
from base64 import b64decode

import pytest

from hil.cases_j import ALL, INTERVAL_S, at_s, check_value, measured, play, values_of
from hil.conformance import Octt, Payload

# --- the main meter -------------------------------------------------------------------------------


def energy_wh(value: Payload) -> float:
    """Of a MeterValueType."""
    (found,) = [s["value"] for s in value["sampledValue"] if "measurand" not in s]
    return float(found)


def test_the_main_meter_measures_what_all_evses_take() -> None:
    """J01.FR.04."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.energy_transfer_started()
        octt.bench.plug_in(2)
        octt.bench.swipe("CARD2")
        before = (await values_of(octt, 0, 2))[-1]
        after = (await values_of(octt, 0, 8))[-1]
        power_w = sum(octt.bench.board.meter(evse_id).power_w for evse_id in (1, 2))
        (told,) = [s for s in after["sampledValue"] if s.get("measurand") == "Power.Active.Import"]
        assert (told["value"], power_w) == (power_w, 2 * 3 * 16.0 * 230.0)
        hours = (at_s(after["timestamp"]) - at_s(before["timestamp"])) / 3600
        assert energy_wh(after) - energy_wh(before) == pytest.approx(power_w * hours, abs=2.0)

    play(scene, main_meter=True)


ASKED: list[tuple[Payload | None, set[int]]] = [
    (None, {0, 1, 2}),
    ({"id": 0}, {0}),
    ({"id": 2}, {2}),
]


@pytest.mark.parametrize(("evse", "told"), ASKED)
def test_the_values_of_the_main_meter_can_be_asked_for(
    evse: Payload | None, told: set[int]
) -> None:
    """F06.FR.06."""

    async def scene(octt: Octt) -> None:
        named = {"evse": evse} if evse is not None else {}
        await octt.accepted("TriggerMessage", {"requestedMessage": "MeterValues", **named})
        await asyncio.sleep(1.0)
        found = octt.csms.of("MeterValues")
        assert {payload["evseId"] for payload in found} == told
        assert len(found) == len(told)
        for payload in found:
            check_value(payload["meterValue"][0], "Trigger", ALL)

    play(scene, main_meter=True)


def test_where_there_is_no_main_meter_its_values_are_not_promised() -> None:
    async def scene(octt: Octt) -> None:
        asked = {"requestedMessage": "MeterValues", "evse": {"id": 0}}
        assert (await octt.call("TriggerMessage", asked))["status"] == "Rejected"
        await octt.expect_none("MeterValues", for_s=2.0)

    play(scene)


@pytest.mark.parametrize("trouble", ["meter_lost", "meter_stale"])
def test_a_main_meter_that_fails_is_seen_and_stops_no_charge(trouble: str) -> None:
    async def scene(octt: Octt) -> None:
        bench = octt.bench
        lost_after_s = 5.0 if trouble == "meter_lost" else 3 * 60.0 + 5.0
        await octt.energy_transfer_started()
        assert (await octt.get_variable("ElectricalFeed", "Problem"))["attributeValue"] == "false"
        if trouble == "meter_stale":
            bench.board.meters["main"].hangs = True
        else:
            bench.board.world.raise_evse_fault(0, "meter_lost")
        await asyncio.sleep(lost_after_s)
        assert bench.agent.status()["main_meter"] == trouble
        assert (await octt.get_variable("ElectricalFeed", "Problem"))["attributeValue"] == "true"
        asked = {"requestedMessage": "MeterValues", "evse": {"id": 0}}
        assert (await octt.call("TriggerMessage", asked))["status"] == "Rejected"
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        assert await measured(octt, 2 * INTERVAL_S) == {2}
        assert bench.board.connector(1, 1).drawn_a == 16.0, "the charge goes on"
        await octt.accepted("TriggerMessage", {"requestedMessage": "MeterValues"})
        if trouble == "meter_stale":
            bench.board.meters["main"].hangs = False
        else:
            bench.board.world.clear_evse_fault(0, "meter_lost")
        await values_of(octt, 0, 2)
        assert bench.agent.status()["main_meter"]["current_a"] == 16.0
        assert (await octt.get_variable("ElectricalFeed", "Problem"))["attributeValue"] == "false"

    play(scene, main_meter=True)


def test_a_main_meter_that_signs_signs_its_own_values() -> None:
    """J01.FR.21."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "SignReadings", "true")
        await octt.set_variable("OCPPCommCtrlr", "PublicKeyWithSignedMeterValue", "EveryMeterValue")
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        (value,) = await values_of(octt, 0, 1)
        (signed,) = [
            s["signedMeterValue"] for s in value["sampledValue"] if "signedMeterValue" in s
        ]
        assert b"SIM00000" in b64decode(signed["signedMeterData"], validate=True)
        assert b"SIM00000" in b64decode(signed["publicKey"], validate=True)
        await octt.set_variable("AlignedDataCtrlr", "SignReadings", "false")
        (value,) = await values_of(octt, 0, 1)
        assert not [s for s in value["sampledValue"] if "signedMeterValue" in s]

    play(scene, main_meter=True, signs=True)
