"""Block J beyond the cases of Part 6: values switched off, thinned, silenced."""

import asyncio

import pytest

from hil.cases_j import INTERVAL_S, at_s, context, measured, play, stop_and_leave
from hil.conformance import Octt

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
