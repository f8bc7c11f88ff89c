"""Block J of Part 6: meter values, clock-aligned and sampled, signed and not."""

from base64 import b64decode

import pytest

from hil.cases_j import (
    ALL,
    DURATION_S,
    ENERGY,
    INTERVAL_S,
    check_grid,
    check_value,
    context,
    meter_values,
    play,
    stop_and_leave,
)
from hil.conformance import Octt, Payload

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
