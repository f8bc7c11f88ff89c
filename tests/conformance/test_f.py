"""Part 6, block F: remote start and stop, unlocking, messages on request."""

import asyncio
import json
from typing import Any

import pytest

from agent.core.jobs import VerifyFirmware
from hil.cases import Scene, play
from hil.conformance import CARD, OTHER_CARD, Octt, firmware
from hil.parts.csms import Delayed

Payload = dict[str, Any]

EV_CONNECTION_TIMEOUT_S = 30
WATCH_S = 60.0
STARTS = ("PowerPathClosed", "EVConnected", "Authorized", "EnergyTransfer")

starts = pytest.mark.parametrize("start", STARTS)


def case(scene: Scene, **options: Any) -> None:
    """A station that has booted plays the scene."""

    async def whole(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "Enabled", "true")
        await octt.set_variable("AuthCtrlr", "DisableRemoteAuthorization", "false")
        await scene(octt)

    play(whole, **options)


# --- helpers --------------------------------------------------------------------------------------


async def trigger(octt: Octt, message: str, evse: Payload | None = None) -> Payload:
    """The answer to a TriggerMessage; what it triggers has not been sent before it."""
    octt.csms.forget()
    mark = len(octt.csms.trace)
    request: Payload = {"requestedMessage": message}
    if evse is not None:
        request["evse"] = evse
    answer = await octt.call("TriggerMessage", request)
    sent = [json.loads(text) for _, way, text in list(octt.csms.trace)[mark:] if way == "<"]
    assert sent[0][0] == 3, f"something left before the answer: {sent}"
    return answer


async def triggered(octt: Octt, message: str, evse: Payload | None = None) -> Payload:
    """The message that an accepted TriggerMessage leads to."""
    answer = await trigger(octt, message, evse)
    assert answer["status"] == "Accepted", answer
    return await octt.expect(message)


def contexts(payload: Payload) -> set[str]:
    values = payload["meterValue"][0]["sampledValue"]
    return {value["context"] for value in values}


async def unlock(octt: Octt, connector_id: int = 1) -> str:
    request = {"evseId": octt.evse_id, "connectorId": connector_id}
    return str((await octt.call("UnlockConnector", request))["status"])


def is_locked(octt: Octt) -> bool:
    return octt.bench.board.pilots[f"pilot{octt.evse_id}"].locked


async def left_locked(octt: Octt) -> None:
    """Long after the start somebody has turned the lock by hand."""
    await asyncio.sleep(WATCH_S)
    octt.bench.board.pilots[f"pilot{octt.evse_id}"].locked = True


# --- remote start ---------------------------------------------------------------------------------


@starts
def test_TC_F_01_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.ev_connected_pre_session()
        await octt.authorized_remotely()
        await octt.energy_transfer_started()

    case(scene)


@starts
def test_TC_F_02_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.set_variable("AuthCtrlr", "AuthorizeRemoteStart", "true")
        await octt.authorized_remotely(asks=True)
        await octt.energy_transfer_started()

    case(scene)


@starts
def test_TC_F_03_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.set_variable("AuthCtrlr", "AuthorizeRemoteStart", "false")
        await octt.authorized_remotely()
        await octt.energy_transfer_started()
        assert not octt.csms.of("Authorize")

    case(scene)


@pytest.mark.parametrize("stop", ["Authorized", "EVConnected", "PowerPathClosed"])
def test_TC_F_04_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start="Authorized", stop=stop)
        timeout = str(EV_CONNECTION_TIMEOUT_S)
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", timeout)
        await octt.authorized_remotely()
        await octt.expect_none("TransactionEvent", for_s=EV_CONNECTION_TIMEOUT_S - 2)
        ended = await octt.expect_event(eventType="Ended", triggerReason="EVConnectTimeout")
        assert ended["transactionInfo"]["stoppedReason"] == "Timeout", ended
        octt.facts.clear()
        await octt.authorized_remotely()

    case(scene)


# --- unlock ---------------------------------------------------------------------------------------


def test_TC_F_05_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()
        assert await unlock(octt) == "OngoingAuthorizedTransaction"
        await octt.expect_none("TransactionEvent", for_s=WATCH_S)
        assert is_locked(octt)

    case(scene, socket=True)


@pytest.mark.parametrize("start", ["PowerPathClosed", "EVConnected"])
def test_TC_F_06_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start, stop="EVConnected")
        await octt.ev_connected_pre_session()
        await left_locked(octt)
        assert await unlock(octt) == "Unlocked"
        assert not is_locked(octt)

    case(scene, socket=True)


def test_TC_F_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        await left_locked(octt)
        assert await unlock(octt) == "Unlocked"
        assert not is_locked(octt)

    case(scene, socket=True)


def test_TC_F_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await unlock(octt, 999) == "UnknownConnector"

    case(scene, socket=True)


# --- remote stop ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected", "Authorized"])
def test_TC_F_08_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.energy_transfer_started()
        await octt.stop_authorized_remotely()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        (events,) = octt.csms.transactions.values()
        assert events[-1]["eventType"] == "Ended"
        assert events[-1]["transactionInfo"]["stoppedReason"] == "Remote"

    case(scene)


def test_TC_F_09_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        answer = await octt.call("RequestStopTransaction", {"transactionId": "another"})
        assert answer["status"] == "Rejected"
        await octt.expect_none("TransactionEvent", for_s=WATCH_S)

    case(scene)


# --- messages on request --------------------------------------------------------------------------


@pytest.mark.parametrize("measurands", ["Energy.Active.Import.Register", "Voltage,Current.Import"])
def test_TC_F_11_CS(measurands: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AlignedDataCtrlr", "Measurands", measurands)
        told = await triggered(octt, "MeterValues", {"id": octt.evse_id})
        assert told["evseId"] == octt.evse_id
        assert contexts(told) == {"Trigger"}
        values = told["meterValue"][0]["sampledValue"]
        found = {value.get("measurand", "Energy.Active.Import.Register") for value in values}
        assert found == set(measurands.split(","))
        await octt.expect_none("MeterValues")

    case(scene)


def test_TC_F_12_CS() -> None:
    async def scene(octt: Octt) -> None:
        told = [await triggered(octt, "MeterValues"), await octt.expect("MeterValues")]
        assert {payload["evseId"] for payload in told} == {1, 2}
        assert [contexts(payload) for payload in told] == [{"Trigger"}, {"Trigger"}]

    case(scene)


def check_triggered(event: Payload, octt: Octt) -> None:
    """The TransactionEvent of a running charge, because the CSMS asked."""
    assert event["triggerReason"] == "Trigger", event
    assert event["evse"] == octt.evse, event
    assert event["transactionInfo"]["transactionId"] == octt.transaction_id
    assert event["transactionInfo"]["chargingState"] == "Charging"
    assert contexts(event) == {"Trigger"}


@pytest.mark.parametrize("measurands", ["Energy.Active.Import.Register", "Voltage,Current.Import"])
def test_TC_F_13_CS(measurands: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "TxUpdatedMeasurands", measurands)
        await octt.energy_transfer_started()
        event = await triggered(octt, "TransactionEvent", {"id": octt.evse_id})
        check_triggered(event, octt)
        values = event["meterValue"][0]["sampledValue"]
        found = {value.get("measurand", "Energy.Active.Import.Register") for value in values}
        assert found == set(measurands.split(","))

    case(scene)


def test_TC_F_14_CS() -> None:
    async def scene(octt: Octt) -> None:
        other = Octt(octt.bench, evse_id=2)
        for charging, card in ((octt, CARD), (other, OTHER_CARD)):
            await charging.ev_connected_pre_session()
            await charging.authorized(card=card)
            await charging.energy_transfer_started()
        events = [
            await triggered(octt, "TransactionEvent"),
            await octt.expect("TransactionEvent"),
        ]
        events.sort(key=lambda event: int(event["evse"]["id"]))
        check_triggered(events[0], octt)
        check_triggered(events[1], other)

    case(scene)


def test_TC_F_15_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await triggered(octt, "LogStatusNotification") == {"status": "Idle"}
        await octt.expect_none("LogStatusNotification")

    case(scene)


def test_TC_F_16_CS() -> None:
    async def scene(octt: Octt) -> None:
        log = {"remoteLocation": "http://files.invalid/logs"}
        request = {"logType": "DiagnosticsLog", "requestId": 16, "log": log}
        await octt.accepted("GetLog", request)
        uploading = {"status": "Uploading", "requestId": 16}
        assert await octt.expect("LogStatusNotification") == uploading
        assert await triggered(octt, "LogStatusNotification") == uploading

    case(scene)


def test_TC_F_17_CS() -> None:
    async def scene(octt: Octt) -> None:
        told = await triggered(octt, "FirmwareStatusNotification", {"id": octt.evse_id})
        assert told == {"status": "Idle"}
        await octt.expect_none("FirmwareStatusNotification")

    case(scene)


def test_TC_F_18_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await triggered(octt, "FirmwareStatusNotification") == {"status": "Idle"}
        await octt.expect_none("FirmwareStatusNotification")

    case(scene)


def test_TC_F_19_CS() -> None:
    """Erratum 2025-02: the update is left to a wrong signature, so that it does not go on."""

    async def scene(octt: Octt) -> None:
        octt.bench.work.fails[VerifyFirmware] = ["InvalidSignature"]
        await octt.accepted("UpdateFirmware", {"requestId": 19, "firmware": await firmware(octt)})
        downloading = {"status": "Downloading", "requestId": 19}
        assert await octt.expect("FirmwareStatusNotification") == downloading
        assert await triggered(octt, "FirmwareStatusNotification") == downloading
        for status in ("Downloaded", "InvalidSignature"):
            told = await octt.expect("FirmwareStatusNotification")
            assert told == {"status": status, "requestId": 19}
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidFirmwareSignature"

    case(scene)


def test_TC_F_20_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.clock_error_s = 3600.0
        assert await triggered(octt, "Heartbeat") == {}
        await asyncio.sleep(1.0)
        told = await triggered(octt, "StatusNotification", octt.evse)
        assert told["timestamp"][:16] == octt.csms.utc()[:16], (
            "the answer sets the clock (G02.FR.06)"
        )

    case(scene)


@pytest.mark.parametrize("evse_id", [1, 2])
def test_TC_F_23_CS(evse_id: int) -> None:
    async def scene(octt: Octt) -> None:
        told = await triggered(octt, "StatusNotification", {"id": evse_id, "connectorId": 1})
        assert told["connectorStatus"] == "Available"
        assert (told["evseId"], told["connectorId"]) == (evse_id, 1)
        await octt.expect_none("StatusNotification")

    case(scene)


def test_TC_F_24_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.ev_connected_pre_session()
        await asyncio.sleep(WATCH_S)
        told = await triggered(octt, "StatusNotification", octt.evse)
        assert told["connectorStatus"] == "Occupied"
        assert (told["evseId"], told["connectorId"]) == (octt.evse_id, octt.connector_id)
        await octt.expect_none("StatusNotification")

    case(scene)


def test_TC_F_26_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert (await trigger(octt, "BootNotification"))["status"] == "Rejected"
        await octt.expect_none("BootNotification")

    case(scene)


def test_TC_F_27_CS() -> None:
    async def scene(octt: Octt) -> None:
        answer = await trigger(octt, "SignCombinedCertificate")
        assert answer["status"] == "NotImplemented"
        await octt.expect_none("SignCertificate")

    case(scene)


@pytest.mark.parametrize(("enabled", "offered_a"), [("true", 8.0), ("false", 32.0)])
def test_without_smart_charging_the_profile_of_a_remote_start_is_ignored(
    enabled: str, offered_a: float
) -> None:
    """F01.FR.12."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "Enabled", enabled)
        period = {"startPeriod": 0, "limit": 8.0}
        schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        profile = {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": [schedule],
        }
        octt.bench.plug_in(1, 1, current_a=32.0)
        await octt.authorized_remotely(chargingProfile=profile)
        await asyncio.sleep(30)
        assert octt.bench.board.connector(1, 1).offered_a == offered_a

    case(scene)


def test_starts_with_one_token_at_two_evses_share_one_authorize() -> None:
    """F01.FR.01: each was answered Accepted, though the CSMS takes its time to judge the token."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "AuthorizeRemoteStart", "true")
        octt.csms.answer["Authorize"] = Delayed(5.0)
        for evse_id in (1, 2):
            octt.bench.plug_in(evse_id)
        await asyncio.sleep(5)
        for evse_id in (1, 2):
            token = {"idToken": CARD, "type": "ISO14443"}
            start = {"idToken": token, "remoteStartId": 70 + evse_id, "evseId": evse_id}
            await octt.accepted("RequestStartTransaction", start)
        await asyncio.sleep(30)
        assert len(octt.csms.of("Authorize")) == 1
        begun = {e["evse"]["id"]: e for e in octt.csms.of("TransactionEvent") if "evse" in e}
        found = {n: e["transactionInfo"].get("remoteStartId") for n, e in begun.items()}
        assert found == {1: 71, 2: 72}

    case(scene)
