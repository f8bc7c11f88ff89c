"""Block E of Part 6: what stops a transaction, and the cable at the EV's side."""

import asyncio

import pytest

from hil.cases_e import DURATION_S, TIMEOUT_S, play
from hil.conformance import CARD, Octt


async def unplug_at_ev_side(octt: Octt) -> None:
    """A loose cable stays in the socket, a fixed one on its hook."""
    octt.bench.board.unplug_ev(octt.evse_id, octt.connector_id)
    octt.facts.discard("EVConnected")


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
