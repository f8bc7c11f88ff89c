"""Block B of Part 6: reset of the station and of one EVSE."""

import asyncio

import pytest

from hil.cases import play
from hil.cases_b import Payload, all_available, get_variables, statuses
from hil.conformance import Octt

# --- reset of the station -------------------------------------------------------------------------


async def after_reset(octt: Octt) -> Payload:
    """The station restarts by itself; returns its BootNotification."""
    await octt.bench.restarted()
    octt.csms.forget()
    return await octt.expect("BootNotification")


def test_TC_B_20_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.accepted("Reset", {"type": "OnIdle"})
        await after_reset(octt)
        await all_available(octt)

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_21_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle"})
        assert answer["status"] == "Scheduled"
        await asyncio.sleep(60)
        assert octt.bench.is_running
        ended = await octt.stop_authorized()
        occupied = ended["eventType"] == "Ended"
        if not occupied:
            await octt.ev_connected_post_session()
            octt.bench.plug_out()
            await octt.expect_event(
                eventType="Ended", triggerReason="EVCommunicationLost", chargingState="Idle"
            )
        boot = await after_reset(octt)
        assert boot["reason"] == "ScheduledReset"
        found = await statuses(octt)
        assert found == {(1, 1): "Occupied" if occupied else "Available", (2, 1): "Available"}
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] in ("StartupOfTheDevice", "ResetOrReboot")

    play(scene)


def test_TC_B_22_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await octt.accepted("Reset", {"type": "Immediate"})
        ended = await octt.expect_event(
            eventType="Ended",
            triggerReason="ResetCommand",
            chargingState="EVConnected",
            stoppedReason="ImmediateReset",
        )
        assert "idToken" not in ended
        assert len(octt.csms.of("BootNotification")) == 1, "told before the reset (B12.FR.04)"
        boot = await after_reset(octt)
        assert boot["reason"] == "RemoteReset"
        assert await statuses(octt) == {(1, 1): "Occupied", (2, 1): "Available"}
        await octt.expect_none("TransactionEvent")

    play(scene)


def test_TC_B_23_CS() -> None:
    async def scene(octt: Octt) -> None:
        inoperative = {"operationalStatus": "Inoperative", "evse": octt.evse}
        await octt.accepted("ChangeAvailability", inoperative)
        await octt.expect_status("Unavailable")
        await octt.accepted("Reset", {"type": "OnIdle"})
        boot = await after_reset(octt)
        assert boot["reason"] == "RemoteReset"
        assert await statuses(octt) == {(1, 1): "Unavailable", (2, 1): "Available"}

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_41_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        other = Octt(octt.bench, evse_id=2)
        await octt.configure(stop=stop)
        other.stop_points = octt.stop_points
        await octt.energy_transfer_started()
        await other.authorized(card="04D4E5F6")
        await other.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle"})
        assert answer["status"] == "Scheduled"
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        await asyncio.sleep(60)
        assert octt.bench.is_running
        event = await other.stop_authorized(card="04D4E5F6")
        occupied = event["eventType"] == "Ended"
        if not occupied:
            await other.ev_connected_post_session()
            octt.bench.plug_out(2)
            await other.expect_event(
                eventType="Ended", triggerReason="EVCommunicationLost", chargingState="Idle"
            )
        boot = await after_reset(octt)
        assert boot["reason"] == "ScheduledReset"
        found = await statuses(octt)
        assert found == {(1, 1): "Available", (2, 1): "Occupied" if occupied else "Available"}

    play(scene)


# --- reset of one EVSE ----------------------------------------------------------------------------


async def still_sells(octt: Octt) -> None:
    """The station did not boot, and the EVSE that was reset takes the next driver."""
    await asyncio.sleep(30)
    assert octt.bench.is_running
    assert len(octt.csms.of("BootNotification")) == 1
    octt.csms.forget()
    octt.facts.clear()
    octt.bench.plug_out()
    await octt.expect_status("Available")
    await octt.ev_connected_pre_session()
    await octt.energy_transfer_started()


def test_TC_B_25_CS() -> None:
    async def scene(octt: Octt) -> None:
        allowed = {
            "component": {"name": "EVSE", "evse": {"id": 1}},
            "variable": {"name": "AllowReset"},
        }
        (result,) = await get_variables(octt, allowed)
        assert result["attributeValue"] == "true"
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        await octt.accepted("Reset", {"type": "OnIdle", "evseId": 1})
        await still_sells(octt)

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_26_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle", "evseId": 1})
        assert answer["status"] == "Scheduled"
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        await still_sells(octt)

    play(scene)


def test_TC_B_27_CS() -> None:
    async def scene(octt: Octt) -> None:
        other = Octt(octt.bench, evse_id=2)
        await other.authorized(card="04D4E5F6")
        octt.bench.plug_in(2)
        await other.expect_event(eventType="Started", triggerReason="CablePluggedIn")
        await other.expect_event(eventType="Updated", chargingState="Charging")
        await octt.energy_transfer_started()
        await octt.accepted("Reset", {"type": "Immediate", "evseId": 1})
        await octt.expect_event(
            eventType="Ended",
            triggerReason="ResetCommand",
            chargingState="EVConnected",
            stoppedReason="ImmediateReset",
        )
        await octt.expect_none("TransactionEvent")
        assert octt.bench.connector(2)["charging_state"] == "Charging"
        await still_sells(octt)

    play(scene)
