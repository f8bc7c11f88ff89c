"""Block E of Part 6: when a transaction starts."""

import asyncio

import pytest

from hil.cases_e import DURATION_S, TIMEOUT_S, play
from hil.conformance import CARD, OTHER_CARD, Octt


def test_TC_E_01_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.authorized()
        event = await octt.ev_connected_pre_session()
        assert event is not None
        assert event["eventType"] == "Started"
        await octt.energy_transfer_started()

    play(scene, start="PowerPathClosed")


def test_TC_E_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.authorized()
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        event = await octt.expect_event(
            eventType="Started",
            triggerReason={"ChargingStateChanged", "Authorized"},
            chargingState="Charging",
        )
        assert event["idToken"] == {"idToken": CARD, "type": "ISO14443"}
        assert event["evse"] == octt.evse

    play(scene, start="EnergyTransfer")


def test_TC_E_09_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        event = await octt.expect_event(
            eventType="Started",
            triggerReason={"CablePluggedIn", "ChargingStateChanged"},
            chargingState="EVConnected",
        )
        assert event["evse"] == octt.evse
        octt.facts.add("EVConnected")
        await octt.authorized()
        await octt.energy_transfer_started()

    play(scene, start="EVConnected")


def test_TC_E_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        event = await octt.authorized()
        assert event is not None
        assert event["eventType"] == "Started"
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()

    play(scene, start="Authorized", evse_count=1)


@pytest.mark.parametrize("asks", [False, True])
def test_TC_E_13_CS(asks: bool) -> None:
    async def scene(octt: Octt) -> None:
        event = await octt.authorized_remotely(asks=asks)
        assert event is not None
        assert event["eventType"] == "Started"
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()

    asked = {"AuthCtrlr.AuthorizeRemoteStart": str(asks).lower()}
    play(scene, start="Authorized", variables=asked)


@pytest.mark.parametrize("remote", [False, True])
def test_TC_E_11_CS(remote: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SampledDataCtrlr", "SignReadings", "true")
        await (octt.authorized_remotely() if remote else octt.authorized())
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        remotely = {"RemoteStart"} if remote else set()
        event = await octt.expect_event(
            eventType="Started", triggerReason={"SignedDataReceived"} | remotely
        )
        assert event["idToken"] == {"idToken": CARD, "type": "ISO14443"}
        assert event["evse"] == octt.evse
        (value,) = event["meterValue"]
        (sample,) = value["sampledValue"]
        assert sample["context"] == "Transaction.Begin"
        signed = {"encodingMethod", "publicKey", "signedMeterData", "signingMethod"}
        assert set(sample["signedMeterValue"]) == signed
        await octt.expect_event(
            eventType="Updated", triggerReason="ChargingStateChanged", chargingState="Charging"
        )

    play(scene, start="DataSigned", signs=True)


@pytest.mark.parametrize("evse_count", [1, 2])
@pytest.mark.parametrize("remote", [False, True])
def test_TC_E_12_CS(remote: bool, evse_count: int) -> None:
    async def scene(octt: Octt) -> None:
        event = await octt.parking_bay_occupied()
        assert event is not None
        assert event["eventType"] == "Started"
        await (octt.authorized_remotely() if remote else octt.authorized())
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()

    play(scene, start="ParkingBayOccupancy", inputs=True, evse_count=evse_count)


def test_TC_E_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.ev_connected_pre_session()
        await octt.authorized()
        await octt.energy_transfer_started()

    play(scene)


def test_TC_E_04_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.authorized()
        await octt.energy_transfer_started()

    play(scene)


@pytest.mark.parametrize("start", ["Authorized", "PowerPathClosed", "ParkingBayOccupancy"])
@pytest.mark.parametrize("stop", ["Authorized", "ParkingBayOccupancy"])
def test_TC_E_05_CS(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.parking_bay_occupied()
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", str(TIMEOUT_S))
        await octt.set_variable("AuthCacheCtrlr", "Enabled", "false")
        await octt.set_variable("AuthCtrlr", "LocalPreAuthorize", "false")
        await octt.authorized()
        before_s = asyncio.get_running_loop().time()
        if start != "PowerPathClosed":
            event = await octt.expect_event(triggerReason="EVConnectTimeout")
            assert event["eventType"] == ("Ended" if stop == "Authorized" else "Updated")
            if stop == "Authorized":
                assert event["transactionInfo"]["stoppedReason"] == "Timeout"
            waited_s = asyncio.get_running_loop().time() - before_s
            assert TIMEOUT_S - 1 < waited_s < TIMEOUT_S + 2
        else:
            await octt.expect_none("TransactionEvent", for_s=TIMEOUT_S + 5)
        octt.facts &= {"ParkingBay"}
        await octt.authorized()
        await octt.energy_transfer_started()

    play(scene, start=start, stop=stop, evse_count=1, inputs=True)


def test_a_card_before_any_plug_starts_where_the_cable_will_be() -> None:
    """E03 with several EVSEs: Started without `evse`, which stands in the first event after the
    plug (E01.FR.16, FR.17); the card is told once."""

    async def scene(octt: Octt) -> None:
        octt.evse_id = 2
        started = await octt.authorized()
        assert started is not None
        assert "evse" not in started
        assert "meterValue" not in started
        assert started["transactionInfo"]["chargingState"] == "Idle"
        await asyncio.sleep(10.0)
        event = await octt.ev_connected_pre_session()
        assert event is not None
        assert "idToken" not in event
        assert event["transactionInfo"]["transactionId"] == octt.transaction_id
        context = event["meterValue"][0]["sampledValue"][0]["context"]
        assert context == "Transaction.Begin"
        charging = await octt.energy_transfer_started()
        assert "evse" not in charging
        assert octt.bench.board.connector(2, 1).closed
        ended = await octt.stop_authorized()
        events = octt.csms.of("TransactionEvent")
        assert [event["seqNo"] for event in events] == list(range(ended["seqNo"] + 1))

    play(scene, start="Authorized", stop="Authorized")


@pytest.mark.parametrize("remote", [False, True])
def test_nobody_plugs_in_anywhere(remote: bool) -> None:
    """E03.FR.05, F02.FR.07; a transaction without an EVSE is asked for and refused as any other."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", str(TIMEOUT_S))
        if remote:
            request = {
                "idToken": {"idToken": CARD, "type": "ISO14443"},
                "remoteStartId": 4711,
            }
            await octt.accepted("RequestStartTransaction", request)
            started = await octt.expect_event(eventType="Started", triggerReason="RemoteStart")
            assert started["transactionInfo"]["remoteStartId"] == 4711
        else:
            started = await octt.authorized() or {}
        assert "evse" not in started
        asked = {"transactionId": octt.transaction_id}
        status = await octt.call("GetTransactionStatus", asked)
        assert status == {"ongoingIndicator": True, "messagesInQueue": False}
        ended = await octt.expect_event(
            eventType="Ended", triggerReason="EVConnectTimeout", stoppedReason="Timeout"
        )
        assert "evse" not in ended
        status = await octt.call("GetTransactionStatus", asked)
        assert status["ongoingIndicator"] is False
        octt.bench.plug_in(1)
        await octt.expect_none("TransactionEvent", for_s=30.0)

    play(scene, start="Authorized")


def test_the_csms_stops_what_has_no_evse_yet() -> None:
    async def scene(octt: Octt) -> None:
        await octt.authorized()
        stop = {"transactionId": octt.transaction_id}
        await octt.accepted("RequestStopTransaction", stop)
        event = await octt.expect_event(
            eventType="Ended", triggerReason="RemoteStop", stoppedReason="Remote"
        )
        assert event["transactionInfo"]["transactionId"] == stop["transactionId"]
        assert (await octt.call("RequestStopTransaction", stop))["status"] == "Rejected"

    play(scene, start="Authorized", stop="EVConnected")


def test_a_card_that_the_csms_refuses_in_started_ends_before_any_plug() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["TransactionEvent"] = {"idTokenInfo": {"status": "Blocked"}}
        octt.bench.swipe(CARD)
        await octt.expect_event(eventType="Started", triggerReason="Authorized")
        await octt.expect_event(
            eventType="Ended", triggerReason="Deauthorized", stoppedReason="DeAuthorized"
        )

    play(scene, start="Authorized")


@pytest.mark.parametrize("repeats", [False, True])
def test_the_evse_stands_in_every_event_for_a_csms_that_wants_it(repeats: bool) -> None:
    """E01.FR.16 asks for it once; TxCtrlr.RepeatEvse is for back ends that keep no transactions."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "RepeatEvse", "true" if repeats else "false")
        await octt.energy_transfer_started()
        await octt.stop_authorized()
        events = octt.csms.of("TransactionEvent")
        named = ["evse" in event for event in events]
        assert named == [number == 1 or (repeats and number > 1) for number in range(len(events))]
        assert "evse" not in events[0], "nothing was plugged in yet"
        assert all(event.get("evse", octt.evse) == octt.evse for event in events)

    play(scene, start="Authorized", stop="Authorized")


def test_the_start_button_starts_and_ends_a_charge_without_a_card() -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.plug_in(2)
        octt.bench.plug_in(1)
        await asyncio.sleep(1.0)
        octt.bench.board.press("start", 2)
        event = await octt.expect_event(eventType="Started", triggerReason="Authorized")
        assert event["evse"] == {"id": 2, "connectorId": 1}
        assert event["idToken"] == {"idToken": "", "type": "NoAuthorization"}
        await octt.expect_event(chargingState="Charging")
        octt.bench.board.press("start", 1)
        await octt.expect_event(eventType="Started", triggerReason="Authorized")
        await asyncio.sleep(DURATION_S)
        octt.bench.board.press("start", 2)
        while (await octt.expect("TransactionEvent"))["eventType"] != "Ended":
            pass
        assert octt.bench.board.connector(1, 1).closed
        assert not octt.bench.board.connector(2, 1).closed
        assert not octt.csms.of("Authorize")

    play(scene, inputs=True)


def test_TC_E_38_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.authorized()
        await octt.ev_connected_pre_session(ready_after_s=3600.0)
        await octt.expect_event(
            triggerReason="ChargingStateChanged",
            chargingState="SuspendedEV",
        )

    play(scene)


def test_TC_E_52_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "Enabled", "true")
        await octt.set_variable("AuthCtrlr", "DisableRemoteAuthorization", "true")
        octt.bench.swipe(OTHER_CARD)
        await octt.expect_none("Authorize")
        await octt.ev_connected_pre_session()
        await octt.expect_none("TransactionEvent", for_s=60.0)
        assert not octt.bench.board.connector(1, 1).closed

    play(scene, start="PowerPathClosed")
