"""Block E of Part 6: transactions, played against the station's frames."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from hil.conformance import CARD, OTHER_CARD, Octt, Payload
from hil.parts.csms import Delayed, Refused, Silent
from hil.sim import SimBench
from hil.virtual_time import run_virtual

QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
TIMEOUT_S = 40
"""<Configured ev_connection_timeout>"""
SAMPLES_S = 10
"""<Configured transaction updated meter values interval>"""
BACK_OFF_S = 30
"""<Configured RetryBackOffWaitMinimum duration>"""
DURATION_S = 35
"""<Configured transaction duration>"""
GROUP = {"idToken": "GROUP-1", "type": "Central"}


def play(
    scene: Callable[[Octt], Awaitable[None]],
    *,
    start: str | None = None,
    stop: str | None = None,
    **bench: Any,
) -> None:
    """Runs a case on a station that has booted and has these start and stop points."""

    async def whole() -> None:
        variables = QUIET | bench.pop("variables", {})
        async with SimBench(variables=variables, **bench) as station:
            octt = Octt(station)
            await octt.booted()
            await octt.configure(start=start, stop=stop)
            await scene(octt)
            station.csms.check()

    run_virtual(whole())


async def until_ended(octt: Octt) -> list[Payload]:
    """All further events (periodic ones, too) up to the end of the transaction."""
    events: list[Payload] = []
    while not events or events[-1]["eventType"] != "Ended":
        events.append(await octt.expect("TransactionEvent"))
    return events


async def unplug_at_ev_side(octt: Octt) -> None:
    """A loose cable stays in the socket, a fixed one on its hook."""
    octt.bench.board.unplug_ev(octt.evse_id, octt.connector_id)
    octt.facts.discard("EVConnected")


# --- when a transaction starts ------------------------------------------------------------


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


# --- what stops a transaction ------------------------------------------------------------


def test_TC_E_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        assert octt.transaction_id is None

    play(scene)


def test_TC_E_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await asyncio.sleep(DURATION_S)
        await octt.stop_authorized()

    play(scene, stop="PowerPathClosed")


def test_TC_E_08_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await asyncio.sleep(DURATION_S)
        event = await octt.stop_authorized()
        assert event["eventType"] == "Ended"

    play(scene, stop="EnergyTransfer")


async def stopped_by_request(octt: Octt) -> None:
    """RequestStopTransaction ends the transaction itself."""
    await octt.energy_transfer_started()
    answer = {"transactionId": octt.transaction_id}
    await octt.accepted("RequestStopTransaction", answer)
    await octt.expect_event(eventType="Ended", triggerReason="RemoteStop", stoppedReason="Remote")


def test_TC_E_21_CS() -> None:
    play(stopped_by_request, stop="Authorized")


def test_TC_E_35_CS() -> None:
    play(stopped_by_request, stop="PowerPathClosed")


@pytest.mark.parametrize("remote", [False, True])
def test_TC_E_14_CS(remote: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        if remote:
            await octt.stop_authorized_remotely()
        else:
            await octt.stop_authorized()
        await octt.ev_connected_post_session()
        octt.bench.plug_out()
        await octt.expect_status("Available")
        event = await octt.expect_event(
            eventType="Ended", triggerReason="EVCommunicationLost", chargingState="Idle"
        )
        reason = event["transactionInfo"].get("stoppedReason")
        assert reason in ({"Remote", "EVDisconnected"} if remote else {None, "Local"})

    play(scene, stop="EVConnected", socket=True)


def test_TC_E_15_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await asyncio.sleep(DURATION_S)
        octt.bench.swipe(CARD)
        await octt.expect_event(
            eventType="Ended", triggerReason="StopAuthorized", stoppedReason="Local"
        )

    play(scene, stop="Authorized")


@pytest.mark.parametrize("known", ["cached", "unknown"])
@pytest.mark.parametrize("stop", ["Authorized", "PowerPathClosed"])
def test_TC_E_16_CS(known: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "true")
        if known == "cached":
            await octt.token_cached()
        else:
            await octt.set_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "true")
        await octt.offline()
        octt.bench.swipe(CARD)
        octt.bench.plug_in()
        await asyncio.sleep(DURATION_S)
        invalid = {"idTokenInfo": {"status": "Invalid"}}
        octt.csms.answer["TransactionEvent"] = lambda p: invalid if "idToken" in p else None
        await octt.online()
        event = await octt.expect("TransactionEvent")
        assert event["eventType"] == "Started"
        while event["eventType"] != "Ended":
            assert event["offline"] is True, event
            event = await octt.expect("TransactionEvent")
        assert event["triggerReason"] == "Deauthorized"
        assert event["transactionInfo"]["stoppedReason"] == "DeAuthorized"

    play(scene, stop=stop, evse_count=1)


async def present_and_take_the_cable(octt: Octt) -> None:
    """With a loose cable: the card opens the lock, then the driver takes the cable along."""
    pilot = octt.bench.board.pilots[f"pilot{octt.evse_id}"]
    await asyncio.sleep(2.0)
    assert pilot.locked, "UnlockOnEVSideDisconnect is false: the cable waits for its driver"
    octt.bench.swipe(CARD)
    await asyncio.sleep(1.0)
    assert not pilot.locked
    octt.bench.plug_out()


@pytest.mark.parametrize("socket", [False, True])
def test_TC_E_17_CS(socket: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "true")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(
            eventType="Ended",
            triggerReason="EVCommunicationLost",
            chargingState="Idle",
            stoppedReason="EVDisconnected",
        )
        if socket:
            await present_and_take_the_cable(octt)
        await octt.expect_status("Available")

    play(scene, stop="Authorized", socket=socket)


def test_TC_E_20_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "false")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(
            eventType="Ended",
            triggerReason="EVCommunicationLost",
            chargingState="Idle",
            stoppedReason="EVDisconnected",
        )

    play(scene, stop="EVConnected")


def test_TC_E_37_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "false")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(
            eventType="Ended",
            triggerReason="EVCommunicationLost",
            chargingState="Idle",
            stoppedReason={"EVDisconnected", "StoppedByEV"},
        )

    play(scene, stop="PowerPathClosed")


def test_TC_E_22_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        octt.bench.board.ev_state(1, 1, "B")
        event = await octt.expect_event(
            triggerReason="ChargingStateChanged", chargingState={"EVConnected", "SuspendedEV"}
        )
        ended = event["transactionInfo"]["chargingState"] == "EVConnected"
        assert event["eventType"] == ("Ended" if ended else "Updated")
        assert event["transactionInfo"]["stoppedReason"] == "StoppedByEV"

    play(scene, stop="EnergyTransfer")


def test_TC_E_39_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", str(TIMEOUT_S))
        await octt.authorized()
        await octt.expect_event(
            eventType="Ended", triggerReason="EVConnectTimeout", stoppedReason="Timeout"
        )
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        await octt.expect_none("TransactionEvent", for_s=60.0)
        assert not octt.bench.board.connector(1, 1).closed

    play(scene, start="Authorized", stop="Authorized", evse_count=1)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("start", ["ParkingBayOccupancy", "EVConnected", "PowerPathClosed"])
def test_TC_E_19_CS(start: str, remote: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.parking_bay_occupied()
        await octt.energy_transfer_started()
        await (octt.stop_authorized_remotely() if remote else octt.stop_authorized())
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        running = octt.transaction_id
        octt.bench.board.set_input("bay", 1, False)
        event = await octt.expect_event(
            eventType="Ended",
            triggerReason="EVDeparted",
            stoppedReason="Remote" if remote else "Local",
        )
        assert event["transactionInfo"]["transactionId"] == running

    play(scene, start=start, stop="ParkingBayOccupancy", inputs=True)


def test_with_two_evs_in_their_bays_the_cable_says_whose_card_it_was() -> None:
    async def scene(octt: Octt) -> None:
        for evse_id in (1, 2):
            octt.bench.board.set_input("bay", evse_id, True)
            await octt.expect_event(eventType="Started", triggerReason="EVDetected")
        octt.bench.swipe(CARD)
        await octt.expect("Authorize")
        await octt.expect_none("TransactionEvent", for_s=5.0)
        octt.bench.plug_in(2)
        plugged = await octt.expect_event(triggerReason="CablePluggedIn")
        assert plugged["evse"] == {"id": 2, "connectorId": 1}
        authorized = await octt.expect_event(triggerReason="Authorized")
        assert authorized["idToken"]["idToken"] == CARD
        await octt.expect_event(chargingState="Charging")
        assert octt.bench.board.connector(2, 1).closed

    play(scene, start="ParkingBayOccupancy", inputs=True)


def test_an_ev_that_leaves_its_bay_unplugged_ends_what_was_authorised() -> None:
    async def scene(octt: Octt) -> None:
        await octt.parking_bay_occupied()
        await octt.authorized()
        await octt.parking_bay_unoccupied()
        assert octt.transaction_id is None
        await octt.expect_none("TransactionEvent", for_s=120.0)

    play(scene, start="ParkingBayOccupancy", stop="ParkingBayOccupancy", inputs=True)


def test_a_bay_that_stays_occupied_starts_one_transaction_only() -> None:
    async def scene(octt: Octt) -> None:
        await octt.parking_bay_occupied()
        await octt.energy_transfer_started()
        await octt.stop_authorized()
        await octt.ev_disconnected()
        await octt.expect_none("TransactionEvent", for_s=120.0)
        await octt.parking_bay_unoccupied()
        octt.facts.clear()
        await octt.parking_bay_occupied()

    play(scene, start="ParkingBayOccupancy", inputs=True)


def test_max_energy_on_invalid_id_lets_that_much_flow_and_no_more() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "false")
        await octt.set_variable("TxCtrlr", "MaxEnergyOnInvalidId", "500")
        invalid = {"idTokenInfo": {"status": "Invalid"}}
        octt.csms.answer["TransactionEvent"] = lambda p: invalid if "idToken" in p else None
        before_wh = octt.bench.board.energy_wh(1)
        await octt.energy_transfer_started()
        await asyncio.sleep(100.0)
        assert octt.bench.board.connector(1, 1).closed
        event = await octt.expect_event(triggerReason="ChargingStateChanged")
        assert event["transactionInfo"]["chargingState"] == "SuspendedEVSE"
        await asyncio.sleep(60.0)
        given_wh = octt.bench.board.energy_wh(1) - before_wh
        assert 500 <= given_wh < 530

    play(scene, stop="PowerPathClosed")


# --- the cable at the EV's side ------------------------------------------------------------


@pytest.mark.parametrize("stop", ["PowerPathClosed", "Authorized", "EVConnected"])
def test_TC_E_24_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "true")
        await octt.set_variable("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", "true")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(triggerReason="EVCommunicationLost", chargingState="Idle")
        await asyncio.sleep(1.0)
        assert not octt.bench.board.pilots["pilot1"].locked
        octt.bench.plug_out()
        await octt.expect_status("Available")

    play(scene, stop=stop, socket=True)


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize("stop", ["PowerPathClosed", "Authorized", "EVConnected"])
def test_TC_E_25_CS(stop: str, socket: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "true")
        if socket:
            await octt.set_variable("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", "false")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(triggerReason="EVCommunicationLost", chargingState="Idle")
        if socket:
            await present_and_take_the_cable(octt)
        await octt.expect_status("Available")

    play(scene, stop=stop, socket=socket)


@pytest.mark.parametrize("socket", [False, True])
def test_TC_E_26_CS(socket: bool) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "false")
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(
            eventType="Updated", triggerReason="EVCommunicationLost", chargingState="Idle"
        )
        if socket:
            assert octt.bench.board.pilots["pilot1"].locked
            await asyncio.sleep(120)
        else:
            await octt.expect_status("Available")
        octt.bench.plug_in()
        await octt.expect_event(
            eventType="Updated", triggerReason="CablePluggedIn", chargingState="EVConnected"
        )
        await octt.expect_event(
            eventType="Updated", triggerReason="ChargingStateChanged", chargingState="Charging"
        )

    play(scene, stop="Authorized", socket=socket)


def test_TC_E_27_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnEVSideDisconnect", "false")
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", str(TIMEOUT_S))
        await octt.energy_transfer_suspended()
        await unplug_at_ev_side(octt)
        await octt.expect_event(
            eventType="Updated", triggerReason="EVCommunicationLost", chargingState="Idle"
        )
        await octt.expect_status("Available")
        await octt.expect_event(
            eventType="Ended", triggerReason="EVConnectTimeout", stoppedReason="Timeout"
        )

    play(scene, stop="Authorized")


# --- GetTransactionStatus ------------------------------------------------------------


async def offline_setup(octt: Octt, wait_s: float = BACK_OFF_S) -> None:
    """Configuration of the cases that lose their link."""
    await octt.set_variable("SampledDataCtrlr", "TxUpdatedInterval", str(SAMPLES_S))
    await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", str(int(wait_s) + 60))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", str(int(wait_s)))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0")


async def offline_for(octt: Octt, duration_s: float = BACK_OFF_S) -> None:
    """The link is closed, nothing accepted for a while; then it is back, with slow answers."""
    await asyncio.sleep(1.0)
    await octt.offline()
    octt.csms.forget()
    await asyncio.sleep(duration_s)
    octt.csms.answer["TransactionEvent"] = Delayed(0.5)
    await octt.online()


async def check_status(octt: Octt, transaction_id: str | None, **wanted: bool) -> None:
    payload = {} if transaction_id is None else {"transactionId": transaction_id}
    assert await octt.call("GetTransactionStatus", payload) == wanted


async def queue_of_samples(octt: Octt) -> None:
    """What was measured offline comes, marked as such."""
    for _ in range(2):
        event = await octt.expect("TransactionEvent")
        assert event["eventType"] == "Updated"
        assert event["meterValue"]
        assert event["offline"] is True


def test_TC_E_28_CS() -> None:
    async def scene(octt: Octt) -> None:
        unknown = "2f1c8e0a-0000-4000-8000-000000000000"
        await check_status(octt, unknown, ongoingIndicator=False, messagesInQueue=False)

    play(scene)


def test_TC_E_29_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        running = octt.transaction_id
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=True)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        running = octt.transaction_id
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=False)

    play(scene)


async def offline_until(octt: Octt, *acts: Callable[[], None]) -> None:
    """The link is closed; somebody does something at the charger; the link is back."""
    await asyncio.sleep(1.0)
    await octt.offline()
    octt.csms.forget()
    for act in acts:
        act()
        await asyncio.sleep(2.0)
    await asyncio.sleep(DURATION_S)
    octt.csms.answer["TransactionEvent"] = Delayed(0.5)
    await octt.online()


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected", "EnergyTransfer"])
def test_TC_E_31_CS(stop: str, remote: bool) -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt, BACK_OFF_S + DURATION_S)
        await (octt.authorized_remotely() if remote else octt.authorized())
        await octt.energy_transfer_started()
        running, bench = octt.transaction_id, octt.bench
        by_card, by_ev = lambda: bench.swipe(CARD), lambda: bench.board.ev_state(1, 1, "B")
        await offline_until(octt, by_ev if remote else by_card, bench.plug_out)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=True)
        events = await until_ended(octt)
        told = [(e["triggerReason"], e["transactionInfo"].get("chargingState")) for e in events]
        first = "ChargingStateChanged" if remote else "StopAuthorized"
        assert first in {trigger for trigger, _ in told}
        if stop == "EVConnected" or (remote and stop == "PowerPathClosed"):
            assert told[-1] == ("EVCommunicationLost", "Idle")
            assert not remote or ("ChargingStateChanged", "SuspendedEV") in told
        else:
            assert told[-1][0] == first
        assert all(e["offline"] is True for e in events)
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=False)

    play(scene, stop=stop)


def test_TC_E_32_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        running = octt.transaction_id
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=False)

    play(scene)


def test_TC_E_33_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        await check_status(octt, None, messagesInQueue=True)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_34_CS() -> None:
    async def scene(octt: Octt) -> None:
        await check_status(octt, None, messagesInQueue=False)

    play(scene)


def test_what_waits_of_another_transaction_does_not_count() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        ended = octt.transaction_id
        await octt.stop_authorized()
        await octt.ev_disconnected()
        octt.facts.clear()
        await octt.energy_transfer_started(asks=True)
        await offline_setup(octt)
        await offline_for(octt)
        await check_status(octt, ended, ongoingIndicator=False, messagesInQueue=False)
        running = octt.transaction_id
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=True)

    play(scene)


# --- offline ------------------------------------------------------------


def test_TC_E_40_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_43_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.token_cached()
        await octt.offline()
        octt.csms.forget()
        octt.bench.plug_in()
        octt.bench.swipe(CARD)
        await asyncio.sleep(DURATION_S)
        octt.bench.swipe(CARD)
        await asyncio.sleep(2.0)
        octt.bench.plug_out()
        await asyncio.sleep(DURATION_S)
        await octt.online()
        events = await until_ended(octt)
        assert events[0]["eventType"] == "Started"
        assert all(e["offline"] is True for e in events)

    play(scene)


async def stopped_while_offline(octt: Octt, card: str) -> None:
    """The card stops the charge offline; afterwards everything comes, marked as such."""
    await octt.offline()
    octt.csms.forget()
    octt.bench.swipe(card)
    await asyncio.sleep(2.0)
    octt.bench.plug_out()
    await asyncio.sleep(BACK_OFF_S)
    await octt.online()
    events = await until_ended(octt)
    assert all(e["offline"] is True for e in events)
    assert {e["idToken"]["idToken"] for e in events if "idToken" in e} == {card}


def test_TC_E_44_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await stopped_while_offline(octt, CARD)

    play(scene)


def test_TC_E_45_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        of_group = {"idTokenInfo": {"status": "Accepted", "groupIdToken": GROUP}}
        octt.csms.answer["Authorize"] = of_group
        octt.csms.answer["TransactionEvent"] = lambda p: of_group if "idToken" in p else None
        octt.bench.swipe(OTHER_CARD)
        await octt.expect("Authorize")
        await asyncio.sleep(90)
        await octt.energy_transfer_started()
        await stopped_while_offline(octt, OTHER_CARD)

    play(scene)


# --- messages that are not taken ------------------------------------------------------------

ATTEMPTS = 3
INTERVAL_S = 10
MESSAGE_TIMEOUT_S = 30.0


async def failing_event(octt: Octt, answer: Any) -> tuple[list[float], list[Payload]]:
    """Start until charging; the event about it meets `answer`. Times and payloads of its sends."""
    await octt.set_variable("OCPPCommCtrlr", "MessageAttempts", str(ATTEMPTS), "TransactionEvent")
    interval = str(INTERVAL_S)
    await octt.set_variable("OCPPCommCtrlr", "MessageAttemptInterval", interval, "TransactionEvent")
    await octt.authorized()
    octt.csms.answer["TransactionEvent"] = lambda p: answer(p) if is_charging(p) else None
    await octt.ev_connected_pre_session()
    await asyncio.sleep(ATTEMPTS * (MESSAGE_TIMEOUT_S + INTERVAL_S * ATTEMPTS) + 60)
    sent = [c for c in octt.csms.calls if c.action == "TransactionEvent" and is_charging(c.payload)]
    assert len({c.message_id for c in sent}) == 1
    return [c.at_s for c in sent], [c.payload for c in sent]


def is_charging(payload: Payload) -> bool:
    return bool(payload["transactionInfo"].get("chargingState") == "Charging")


def intervals(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def first_time_only(answer: Any) -> Callable[[Payload], Any]:
    """That answer to the first request, the usual one to the second."""
    left = [answer]
    return lambda payload: left.pop() if left else None


def test_TC_E_41_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, lambda p: Silent())
        wanted = [INTERVAL_S * n + MESSAGE_TIMEOUT_S for n in range(1, ATTEMPTS)]
        assert intervals(times) == pytest.approx(wanted, abs=1.0)

    play(scene)


def test_TC_E_42_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, first_time_only(Silent()))
        assert intervals(times) == pytest.approx([INTERVAL_S + MESSAGE_TIMEOUT_S], abs=1.0)

    play(scene)


def test_TC_E_50_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, lambda p: Refused("InternalError"))
        wanted = [INTERVAL_S * n for n in range(1, ATTEMPTS)]
        assert intervals(times) == pytest.approx(wanted, abs=1.0)

    play(scene)


def test_TC_E_51_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, first_time_only(Refused("InternalError")))
        assert intervals(times) == pytest.approx([INTERVAL_S], abs=1.0)

    play(scene)
