"""Block J of Part 6: meter values, clock-aligned and sampled, signed and not."""

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from hil.conformance import Octt, Payload
from hil.sim import START_UTC_S, SimBench
from hil.virtual_time import run_virtual

INTERVAL_S = 15
"""<Configured interval> of whatever the case is about."""
DURATION_S = 62
"""<Configured transaction duration>"""
ENERGY = "Energy.Active.Import.Register"
ALL = f"{ENERGY},Power.Active.Import,Current.Import,Voltage,Frequency"
QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}


def play(scene: Callable[[Octt], Awaitable[None]], **bench: Any) -> None:
    """Runs a case on a station that has booted; afterwards no value is of the EV (errata)."""

    async def whole() -> None:
        variables = QUIET | bench.pop("variables", {})
        async with SimBench(variables=variables, **bench) as station:
            octt = Octt(station)
            await octt.booted()
            await scene(octt)
            station.csms.check()
            told = [v for call in station.csms.calls for v in call.payload.get("meterValue", ())]
            samples = [sample for value in told for sample in value["sampledValue"]]
            assert not [s for s in samples if s.get("location") == "EV"]
            for call in station.csms.calls:
                stamps = [value["timestamp"] for value in call.payload.get("meterValue", ())]
                stamps += [call.payload["timestamp"]] if "timestamp" in call.payload else []
                told_s = START_UTC_S + call.at_s
                assert all(at_s(stamp) <= told_s for stamp in stamps), call

    run_virtual(whole())


def at_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def measurands(value: Payload) -> set[str]:
    """Measurands of a MeterValueType."""
    return {sample.get("measurand", ENERGY) for sample in value["sampledValue"]}


def context(value: Payload) -> str:
    """Of a MeterValueType; all its samples have the same."""
    contexts = {sample["context"] for sample in value["sampledValue"]}
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


# --- clock-aligned ------------------------------------------------------------------------------


@pytest.mark.parametrize("main_meter", [False, True])
def test_TC_J_01_CS(main_meter: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "Measurands", ALL)
        values = await meter_values(octt, 3)
        for value in values:
            check_value(value, "Sample.Clock", ALL)
        check_grid(values, INTERVAL_S)
        told = octt.csms.of("MeterValues")
        assert {p["evseId"] for p in told} == ({0, 1, 2} if main_meter else {1, 2})
        for payload in told:
            check_value(payload["meterValue"][0], "Sample.Clock", ALL)

    play(scene, main_meter=main_meter)


def test_TC_J_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "Measurands", ALL)
        await octt.set_variable("AlignedDataCtrlr", "SendDuringIdle", "false")
        await octt.energy_transfer_started()
        octt.csms.forget()
        octt.evse_id = 2
        idle = await meter_values(octt, 3)
        octt.evse_id = 1
        main = [p["meterValue"][0] for p in octt.csms.of("MeterValues") if p["evseId"] == 0]
        values = []
        for _ in range(3):
            event = await octt.expect_event(
                meter_values=True, eventType="Updated", triggerReason="MeterValueClock"
            )
            values += event["meterValue"]
            assert len(event["meterValue"]) == 1
        assert main
        for value in [*values, *idle, *main]:
            check_value(value, "Sample.Clock", ALL)
        check_grid(values, INTERVAL_S)
        check_grid(idle, INTERVAL_S)
        check_grid(main, INTERVAL_S)
        phases = [s for s in values[0]["sampledValue"] if s.get("measurand") == "Current.Import"]
        assert [sample["phase"] for sample in phases] == ["L1", "L2", "L3"]

    play(scene, main_meter=True)


def test_TC_J_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "TxEndedInterval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "TxEndedMeasurands", ALL)
        await octt.set_variable("SampledDataCtrlr", "TxEndedMeasurands", "")
        await octt.set_variable("AlignedDataCtrlr", "SendDuringIdle", "false")
        await octt.energy_transfer_started()
        ended = await stop_and_leave(octt)
        assert len(ended["meterValue"]) >= DURATION_S // INTERVAL_S
        for value in ended["meterValue"]:
            check_value(value, "Sample.Clock", ALL)
        check_grid(ended["meterValue"], INTERVAL_S)

    play(scene)


def test_TC_J_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "SendDuringIdle", "true")
        await octt.set_variable("SampledDataCtrlr", "TxStartedMeasurands", "")
        values = await meter_values(octt, 2)
        await octt.energy_transfer_started()
        octt.csms.forget()
        await octt.expect_none("MeterValues", for_s=INTERVAL_S + 5.0)
        assert not [p for p in octt.csms.of("TransactionEvent") if "meterValue" in p]
        await octt.stop_authorized()
        await octt.ev_disconnected()
        again = await meter_values(octt, 2)
        assert {p["evseId"] for p in octt.csms.of("MeterValues")} == {0, 1, 2}
        for value in [*values, *again]:
            check_value(value, "Sample.Clock", ALL)
        check_grid(values, INTERVAL_S)
        check_grid(again, INTERVAL_S)

    play(scene, main_meter=True)


# --- sampled --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["EVConnected", "PowerPathClosed", "EnergyTransfer"])
@pytest.mark.parametrize("wanted", [ENERGY, ALL])
def test_TC_J_07_CS(start: str, wanted: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.set_variable("SampledDataCtrlr", "TxStartedMeasurands", wanted)
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()
        (started,) = [p for p in octt.csms.of("TransactionEvent") if p["eventType"] == "Started"]
        (value,) = started["meterValue"]
        check_value(value, "Transaction.Begin", wanted)

    play(scene)


@pytest.mark.parametrize("evse_count", [1, 2])
def test_TC_J_08_CS(evse_count: int) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start="Authorized")
        await octt.set_variable("SampledDataCtrlr", "TxStartedMeasurands", ALL)
        await octt.energy_transfer_started()
        events = octt.csms.of("TransactionEvent")
        known = next(event for event in events if "evse" in event)
        assert (known is events[0]) == (evse_count == 1)
        assert all("meterValue" not in event for event in events[: events.index(known)])
        (value,) = known["meterValue"]
        check_value(value, "Transaction.Begin", ALL)

    play(scene, evse_count=evse_count)


def test_TC_J_09_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "TxUpdatedInterval", str(INTERVAL_S))
        await octt.set_variable("SampledDataCtrlr", "TxUpdatedMeasurands", ALL)
        await octt.energy_transfer_started()
        values = []
        for _ in range(DURATION_S // INTERVAL_S):
            event = await octt.expect_event(
                meter_values=True, eventType="Updated", triggerReason="MeterValuePeriodic"
            )
            values += event["meterValue"]
        assert len(values) == DURATION_S // INTERVAL_S
        for value in values:
            check_value(value, "Sample.Periodic", ALL)
        check_grid(values, INTERVAL_S, aligned=False)

    play(scene)


def check_sampled_end(ended: Payload, wanted: str) -> None:
    """One value per interval, then the end."""
    *samples, last = ended["meterValue"]
    assert len(samples) == DURATION_S // INTERVAL_S
    for value in samples:
        check_value(value, "Sample.Periodic", wanted)
    check_value(last, "Transaction.End", wanted)
    check_grid(samples, INTERVAL_S, aligned=False)


def test_TC_J_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "TxEndedInterval", str(INTERVAL_S))
        await octt.set_variable("SampledDataCtrlr", "TxEndedMeasurands", ALL)
        await octt.set_variable("AlignedDataCtrlr", "TxEndedMeasurands", "")
        await octt.energy_transfer_started()
        check_sampled_end(await stop_and_leave(octt), ALL)

    play(scene)


# --- signed ---------------------------------------------------------------------------------------


def check_signed(values: list[Payload], when: str, key_at: str) -> None:
    """Each value carries the meter's signature, and its key as configured: in the value with the
    context `key_at`, in all, or nowhere."""
    for value in values:
        samples = value["sampledValue"]
        (signed,) = [s["signedMeterValue"] for s in samples if "signedMeterValue" in s]
        assert set(signed) == {"signedMeterData", "signingMethod", "encodingMethod", "publicKey"}
        assert len(signed["signedMeterData"]) <= 2500
        assert b"SIM00001" in b64decode(signed["signedMeterData"], validate=True)
        tells = when == "EveryMeterValue" or (
            when == "OncePerTransaction" and context(value) == key_at
        )
        assert bool(signed["publicKey"]) is tells, (when, value)


KEY_POLICIES = ("Never", "OncePerTransaction", "EveryMeterValue")


@pytest.mark.parametrize("when", KEY_POLICIES)
def test_TC_J_04_CS(when: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "PublicKeyWithSignedMeterValue", when)
        await octt.set_variable("AlignedDataCtrlr", "TxEndedInterval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "TxEndedMeasurands", ALL)
        await octt.set_variable("AlignedDataCtrlr", "SendDuringIdle", "false")
        await octt.set_variable("AlignedDataCtrlr", "SignReadings", "true")
        await octt.set_variable("SampledDataCtrlr", "TxEndedMeasurands", "")
        await octt.energy_transfer_started()
        ended = await stop_and_leave(octt)
        assert len(ended["meterValue"]) >= DURATION_S // INTERVAL_S
        for value in ended["meterValue"]:
            check_value(value, "Sample.Clock", ALL)
        check_grid(ended["meterValue"], INTERVAL_S)
        check_signed(ended["meterValue"][:1], when, "Sample.Clock")
        later = "Never" if when == "OncePerTransaction" else when
        check_signed(ended["meterValue"][1:], later, "Sample.Clock")

    play(scene, signs=True)


@pytest.mark.parametrize("when", KEY_POLICIES)
def test_TC_J_11_CS(when: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "PublicKeyWithSignedMeterValue", when)
        await octt.set_variable("SampledDataCtrlr", "TxEndedInterval", str(INTERVAL_S))
        await octt.set_variable("SampledDataCtrlr", "TxEndedMeasurands", ALL)
        await octt.set_variable("SampledDataCtrlr", "SignReadings", "true")
        await octt.energy_transfer_started()
        ended = await stop_and_leave(octt)
        check_sampled_end(ended, ALL)
        told = [v for p in octt.csms.of("TransactionEvent") for v in p.get("meterValue", ())]
        check_signed(told, when, "Transaction.Begin")

    play(scene, signs=True)


@pytest.mark.parametrize("sampled", ["true", "false"])
@pytest.mark.parametrize("aligned", ["true", "false"])
def test_each_kind_of_value_is_signed_as_its_own_switch_says(sampled: str, aligned: str) -> None:
    """J01.FR.21, J02.FR.21: of a transaction's values, by the clock and sampled."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "SignReadings", sampled)
        await octt.set_variable("AlignedDataCtrlr", "SignReadings", aligned)
        await octt.set_variable("SampledDataCtrlr", "TxUpdatedInterval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.energy_transfer_started()
        await stop_and_leave(octt)
        signed: dict[str, set[bool]] = {}
        for event in octt.csms.of("TransactionEvent"):
            for value in event.get("meterValue", ()):
                is_signed = any("signedMeterValue" in sample for sample in value["sampledValue"])
                signed.setdefault(context(value), set()).add(is_signed)
        by_clock = {aligned == "true"}
        of_its_own = {sampled == "true"}
        assert signed == {
            "Transaction.Begin": of_its_own,
            "Sample.Periodic": of_its_own,
            "Sample.Clock": by_clock,
            "Transaction.End": of_its_own,
        }

    play(scene, signs=True)


# --- what no case looks at ----------------------------------------------------------------------


def test_sampled_data_can_be_switched_off() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "TxUpdatedInterval", str(INTERVAL_S))
        await octt.set_variable("SampledDataCtrlr", "TxEndedInterval", str(INTERVAL_S))
        await octt.set_variable("SampledDataCtrlr", "Enabled", "false")
        await octt.energy_transfer_started()
        await stop_and_leave(octt)
        assert not [p for p in octt.csms.of("TransactionEvent") if "meterValue" in p]
        assert not [p for p in octt.csms.of("TransactionEvent") if "Meter" in p["triggerReason"]]

    play(scene)


def test_aligned_data_can_be_switched_off() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        await octt.set_variable("AlignedDataCtrlr", "Enabled", "false")
        await octt.expect_none("MeterValues", for_s=3.0 * INTERVAL_S)
        await octt.energy_transfer_started()
        await octt.expect_none("MeterValues", for_s=3.0 * INTERVAL_S)
        assert not [p for p in octt.csms.of("TransactionEvent") if "Meter" in p["triggerReason"]]

    play(scene)


def test_a_station_whose_meters_do_not_sign_does_not_speak_of_signatures() -> None:
    async def scene(octt: Octt) -> None:
        for component, name in (
            ("SampledDataCtrlr", "SignReadings"),
            ("AlignedDataCtrlr", "SignReadings"),
            ("OCPPCommCtrlr", "PublicKeyWithSignedMeterValue"),
        ):
            result = await octt.get_variable(component, name)
            assert result["attributeStatus"] == "UnknownVariable"

    play(scene)


def test_a_long_transaction_thins_its_samples_and_keeps_first_and_last() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "TxEndedInterval", "10")
        await octt.energy_transfer_started()
        began_s = at_s(octt.csms.of("TransactionEvent")[0]["timestamp"])
        await asyncio.sleep(3600)
        ended = await octt.stop_authorized()
        *samples, last = ended["meterValue"]
        assert 40 < len(samples) <= 100
        assert at_s(samples[0]["timestamp"]) == pytest.approx(began_s + 10, abs=1.0)
        assert context(last) == "Transaction.End"

    play(scene)


async def measured(octt: Octt, for_s: float) -> set[int]:
    """Whose MeterValues come in the meantime."""
    before = len(octt.csms.of("MeterValues"))
    await asyncio.sleep(for_s)
    return {payload["evseId"] for payload in octt.csms.of("MeterValues")[before:]}


@pytest.mark.parametrize("busy", [1, 2])
def test_an_evse_silenced_while_it_charges_silences_no_other(busy: int) -> None:
    """J01.FR.19: SendDuringIdle of EVSE 1."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Interval", str(INTERVAL_S))
        item = {
            "attributeValue": "true",
            "component": {"name": "AlignedDataCtrlr", "evse": {"id": 1}},
            "variable": {"name": "SendDuringIdle"},
        }
        answer = await octt.call("SetVariables", {"setVariableData": [item]})
        assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted"
        octt.evse_id = busy
        await octt.energy_transfer_started()
        others = {0, 2} if busy == 1 else {0, 1}
        assert await measured(octt, 2 * INTERVAL_S) == others
        events = octt.csms.of("TransactionEvent")
        by_clock = [e for e in events if e["triggerReason"] == "MeterValueClock"]
        assert len(by_clock) == (2 if busy == 2 else 0)
        await octt.stop_authorized()
        await octt.ev_disconnected()
        assert await measured(octt, 2 * INTERVAL_S) == {0, 1, 2}

    play(scene, main_meter=True)


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
