"""The standard's test tool in small: configured values, waiting for a message, reusable states.

A case drives the station as a driver and as a CSMS would, through the sim bench's frames only. The
states follow Part 6, 2.18: each says which messages it expects, depending on TxStartPoint and
TxStopPoint, and checks them.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from hil.parts.csms import Refused
from hil.parts.pki import Root
from hil.sim import SimBench

Payload = dict[str, Any]

CARD = "04A1B2C3"
OTHER_CARD = "04D4E5F6"
INVALID_CARD = "0400BAD0"
REMOTE_START_ID = 4711
PATIENCE_S = 120.0
NONE_S = 20.0
"""How long the tool waits before it believes that a message does not come."""
EARLY_STARTS = {
    "ParkingBayOccupancy": ("ParkingBay",),
    "EVConnected": ("EVConnected",),
    "Authorized": ("Authorized",),
    "PowerPathClosed": ("EVConnected", "Authorized"),
    "EnergyTransfer": ("EVConnected", "Authorized", "EnergyTransfer"),
    "DataSigned": ("EVConnected", "Authorized", "DataSigned"),
}
"""TxStartStopPoint value -> the facts that must all hold for it."""


class Octt:
    """One station under test, at one EVSE and connector. Messages are taken in their order."""

    def __init__(self, bench: SimBench, evse_id: int = 1, connector_id: int = 1) -> None:
        self.bench = bench
        self.csms = bench.csms
        self.evse_id = evse_id
        self.connector_id = connector_id
        self.start_points = {"PowerPathClosed"}
        self.stop_points = {"PowerPathClosed"}
        self.facts: set[str] = set()
        """What holds at the EVSE now: ParkingBay, EVConnected, Authorized, DataSigned,
        EnergyTransfer."""
        self.transaction_id: str | None = None
        self.remote_start_pending = False

    @property
    def evse(self) -> Payload:
        return {"id": self.evse_id, "connectorId": self.connector_id}

    # --- words of the tool ------------------------------------------------------------------

    async def call(self, action: str, payload: Payload | None = None) -> Payload:
        """The station's answer to a CALL."""
        return await self.csms.call(action, payload or {})

    async def accepted(self, action: str, payload: Payload | None = None) -> Payload:
        answer = await self.call(action, payload)
        assert answer["status"] == "Accepted", answer
        return answer

    async def set_variable(
        self, component: str, variable: str, value: str, instance: str | None = None
    ) -> None:
        """A preparation: it must be accepted."""
        named: Payload = {"name": variable}
        if instance is not None:
            named["instance"] = instance
        item = {"attributeValue": value, "component": {"name": component}, "variable": named}
        answer = await self.call("SetVariables", {"setVariableData": [item]})
        (result,) = answer["setVariableResult"]
        assert result["attributeStatus"] == "Accepted", result

    async def get_variable(
        self, component: str, variable: str, instance: str | None = None
    ) -> Payload:
        named: Payload = {"name": variable}
        if instance is not None:
            named["instance"] = instance
        item = {"component": {"name": component}, "variable": named}
        answer = await self.call("GetVariables", {"getVariableData": [item]})
        (result,) = answer["getVariableResult"]
        return dict(result)

    async def configure(self, *, start: str | None = None, stop: str | None = None) -> None:
        """Sets TxStartPoint and TxStopPoint, comma separated."""
        if start is not None:
            await self.set_variable("TxCtrlr", "TxStartPoint", start)
            self.start_points = set(start.split(","))
        if stop is not None:
            await self.set_variable("TxCtrlr", "TxStopPoint", stop)
            self.stop_points = set(stop.split(","))

    async def expect(self, action: str, *, within_s: float = PATIENCE_S) -> Payload:
        """The next message of that action."""
        return await self.csms.wait_for(action, timeout_s=within_s)

    async def expect_none(self, action: str, *, for_s: float = NONE_S) -> None:
        """No message of that action in the meantime."""
        try:
            payload = await self.csms.wait_for(action, timeout_s=for_s)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {action}: {payload}")

    async def expect_status(self, status: str, **place: int) -> Payload:
        """The next StatusNotification of the connector under test (or of `place`) says so."""
        wanted = {"evseId": self.evse_id, "connectorId": self.connector_id} | place
        payload = await self.csms.wait_for(
            "StatusNotification",
            lambda p: all(p[key] == value for key, value in wanted.items()),
            timeout_s=PATIENCE_S,
        )
        assert payload["connectorStatus"] == status, payload
        return payload

    async def expect_event(self, *, meter_values: bool = False, **wanted: Any) -> Payload:
        """The next TransactionEvent (periodic ones are passed over unless wanted) is as `wanted`:
        eventType, triggerReason (one, or a set of them), chargingState, stoppedReason."""
        payload = await self.csms.wait_for(
            "TransactionEvent",
            lambda p: meter_values or p["triggerReason"] not in PERIODIC,
            timeout_s=PATIENCE_S,
        )
        check_event(payload, **wanted)
        self.transaction_id = payload["transactionInfo"]["transactionId"]
        if payload["eventType"] == "Ended":
            self.transaction_id = None
        return payload

    # --- which event is due -------------------------------------------------------------------

    def _started(self, facts: set[str]) -> bool:
        return any(set(EARLY_STARTS[point]) <= facts for point in self.start_points)

    def _event_type(self, fact: str) -> str | None:
        """Started, Updated or None for an event at the moment `fact` becomes true."""
        before = self.transaction_id is not None
        self.facts.add(fact)
        if before:
            return "Updated"
        return "Started" if self._started(self.facts) else None

    # --- reusable states ------------------------------------------------------------------------

    async def booted(self) -> Payload:
        """The station has booted, told all connectors and the start. Returns the boot."""
        boot = await self.expect("BootNotification")
        for evse in self.bench.settings.evses:
            for connector in evse.connectors:
                place = {"evseId": evse.id, "connectorId": connector.id}
                await self.expect_status("Available", **place)
        event = await self.expect("SecurityEventNotification")
        assert event["type"] in ("StartupOfTheDevice", "ResetOrReboot")
        return boot

    async def parking_bay_occupied(self) -> Payload | None:
        """ParkingBayOccupied: the EV drives into the bay. Returns the event, when one is due."""
        self.bench.board.set_input("bay", self.evse_id, True)
        event_type = self._event_type("ParkingBay")
        if event_type is None:
            return None
        return await self.expect_event(eventType=event_type, triggerReason="EVDetected")

    async def parking_bay_unoccupied(self) -> Payload | None:
        """ParkingBayUnoccupied, after the EV was disconnected."""
        self.bench.board.set_input("bay", self.evse_id, False)
        self.facts.discard("ParkingBay")
        if self.transaction_id is None:
            return None
        return await self.expect_event(
            eventType="Ended", triggerReason="EVDeparted", stoppedReason={"Local", "Remote"}
        )

    async def ev_connected_pre_session(self, **ev: Any) -> Payload | None:
        """EVConnectedPreSession: the cable is plugged in. Returns the event, when one is due."""
        self.bench.plug_in(self.evse_id, self.connector_id, **ev)
        await self.expect_status("Occupied")
        event_type = self._event_type("EVConnected")
        if event_type is None:
            return None
        trigger = {"RemoteStart"} if self.remote_start_pending else {"CablePluggedIn"}
        self.remote_start_pending = False
        event = await self.expect_event(eventType=event_type, triggerReason=trigger)
        if "Authorized" in self.facts:
            states = {"EVConnected", "SuspendedEVSE", "Charging"}
        else:
            states = {"EVConnected"}
        assert event["transactionInfo"]["chargingState"] in states, event
        assert event["evse"] == self.evse, event
        return event

    async def authorized(self, *, card: str = CARD, asks: bool = True) -> Payload | None:
        """Authorized, locally. `asks`: an Authorize is due (not when the cache answers)."""
        self.bench.swipe(card)
        if asks:
            request = await self.expect("Authorize")
            assert request["idToken"] == {"idToken": card, "type": "ISO14443"}
        else:
            before = len(self.csms.of("Authorize"))
        event_type = self._event_type("Authorized")
        event = None
        if event_type is not None:
            event = await self.expect_event(eventType=event_type, triggerReason="Authorized")
            assert event["idToken"] == {"idToken": card, "type": "ISO14443"}, event
        elif asks:
            await asyncio.sleep(1.0)  # a driver who plugs in afterwards has seen the answer
        if not asks:
            await asyncio.sleep(2.0)
            assert len(self.csms.of("Authorize")) == before, "asked although the cache knew"
        return event

    async def authorized_remotely(
        self, *, asks: bool = False, card: str = CARD, **extra: Any
    ) -> Payload | None:
        """Authorized, by RequestStartTransaction. `asks`: AuthorizeRemoteStart is true."""
        running = self.transaction_id
        request = {
            "idToken": {"idToken": card, "type": "ISO14443"},
            "remoteStartId": REMOTE_START_ID,
            "evseId": self.evse_id,
        } | extra
        answer = await self.accepted("RequestStartTransaction", request)
        assert answer.get("transactionId") == running, answer
        if asks:
            asked = await self.expect("Authorize")
            assert asked["idToken"] == {"idToken": card, "type": "ISO14443"}
        event_type = self._event_type("Authorized")
        if event_type is None:
            self.remote_start_pending = True
            if asks:
                await asyncio.sleep(1.0)  # as above
            return None
        event = await self.expect_event(eventType=event_type, triggerReason="RemoteStart")
        assert event["transactionInfo"]["remoteStartId"] == REMOTE_START_ID, event
        assert event["idToken"] == {"idToken": card, "type": "ISO14443"}, event
        return event

    async def energy_transfer_started(self, *, asks: bool = True) -> Payload:
        """EnergyTransferStarted, from wherever the station is."""
        if "Authorized" not in self.facts:
            await self.authorized(asks=asks)
        if "EVConnected" not in self.facts:
            await self.ev_connected_pre_session()
        event_type = self._event_type("EnergyTransfer")
        assert event_type is not None
        return await self.expect_event(
            eventType=event_type,
            triggerReason={"ChargingStateChanged", "RemoteStart"},
            chargingState="Charging",
        )

    async def energy_transfer_suspended(self) -> Payload:
        """EnergyTransferSuspended: the EV stops drawing by itself."""
        if "EnergyTransfer" not in self.facts:
            await self.energy_transfer_started()
        self.bench.board.ev_state(self.evse_id, self.connector_id, "B")
        self.facts.discard("EnergyTransfer")
        if "EnergyTransfer" in self.stop_points:
            return await self.expect_event(
                eventType="Ended", triggerReason="ChargingStateChanged", stoppedReason="StoppedByEV"
            )
        return await self.expect_event(
            eventType="Updated", triggerReason="ChargingStateChanged", chargingState="SuspendedEV"
        )

    def _ends_with_authorization(self) -> bool:
        return bool(self.stop_points & {"Authorized", "PowerPathClosed", "EnergyTransfer"})

    async def stop_authorized(self, *, card: str = CARD) -> Payload:
        """StopAuthorized, locally."""
        self.bench.swipe(card)
        self.facts -= {"Authorized", "EnergyTransfer"}
        token = {"idToken": card, "type": "ISO14443"}
        if not self._ends_with_authorization():
            event = await self.expect_event(eventType="Updated", triggerReason="StopAuthorized")
            assert event.get("idToken", token) == token, event
            return event
        event = await self.expect_event(eventType="Ended", triggerReason="StopAuthorized")
        assert event.get("idToken", token) == token, event
        assert event["transactionInfo"].get("stoppedReason", "Local") == "Local", event
        return event

    async def stop_authorized_remotely(self) -> Payload:
        """StopAuthorized, by RequestStopTransaction."""
        await self.accepted("RequestStopTransaction", {"transactionId": self.transaction_id})
        self.facts -= {"Authorized", "EnergyTransfer"}
        if not self._ends_with_authorization():
            return await self.expect_event(eventType="Updated", triggerReason="RemoteStop")
        return await self.expect_event(
            eventType="Ended", triggerReason="RemoteStop", stoppedReason="Remote"
        )

    async def ev_connected_post_session(self) -> None:
        """EVConnectedPostSession: no energy any more, the cable still in."""
        if "Authorized" in self.facts:
            await self.stop_authorized()
        if self.transaction_id is not None:
            await self.expect_event(
                eventType="Updated",
                triggerReason="ChargingStateChanged",
                chargingState="EVConnected",
            )

    async def ev_disconnected(self) -> Payload | None:
        """EVDisconnected, after the session was stopped."""
        self.bench.plug_out(self.evse_id, self.connector_id)
        self.facts.discard("EVConnected")
        event = None
        if self.transaction_id is not None:
            event = await self.expect_event(
                triggerReason="EVCommunicationLost", chargingState="Idle"
            )
        await self.expect_status("Available")
        return event

    async def token_cached(self, card: str = CARD, status: str = "Accepted") -> None:
        """IdTokenCached: the CSMS has judged this card once; the station is idle again."""
        info = {"idTokenInfo": {"status": status}}
        self.csms.answer["Authorize"] = info
        self.csms.answer["TransactionEvent"] = lambda payload: (
            info if "idToken" in payload else None
        )
        self.bench.swipe(card)
        await self.expect("Authorize")
        await asyncio.sleep(90)
        del self.csms.answer["Authorize"]
        del self.csms.answer["TransactionEvent"]

    async def certificate_installed(self, use: str, pem: str) -> None:
        """CertificateInstalled."""
        await self.accepted("InstallCertificate", {"certificateType": use, "certificate": pem})

    async def installed_certificates(self, *uses: str) -> list[tuple[str, Payload]]:
        """GetInstalledCertificates: (type, hash data) of each; none: the status is NotFound."""
        asked = {"certificateType": list(uses)} if uses else {}
        answer = await self.call("GetInstalledCertificateIds", asked)
        if answer["status"] == "NotFound":
            assert "certificateHashDataChain" not in answer, answer
            return []
        assert answer["status"] == "Accepted", answer
        chains = answer["certificateHashDataChain"]
        return [(chain["certificateType"], chain["certificateHashData"]) for chain in chains]

    async def offline(self) -> None:
        await self.bench.network.drop()
        await self.bench.until(lambda: not self.bench.agent.view.connection.online)

    async def online(self) -> None:
        await self.bench.network.accept()
        await self.bench.until(lambda: self.bench.agent.view.connection.online)


async def firmware(
    octt: Octt,
    *,
    retrieve_s: float = -7200.0,
    install_s: float | None = None,
    maker: Root | None = None,
) -> Payload:
    """The `firmware` of an UpdateFirmware with a signer the station trusts; seconds from now.
    `maker`: whose root it has already."""
    if maker is None:
        maker = Root("maker")
        await octt.certificate_installed("ManufacturerRootCertificate", maker.pem)
    now_s = octt.bench.utc_s()
    found: Payload = {
        "location": "https://files.invalid/firmware.raucb",
        "retrieveDateTime": iso(now_s + retrieve_s),
        "signingCertificate": maker.signer(),
        "signature": "c2lnbmF0dXJl",
    }
    if install_s is not None:
        found["installDateTime"] = iso(now_s + install_s)
    return found


def iso(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).isoformat().replace("+00:00", "Z")


PERIODIC = {"MeterValuePeriodic", "MeterValueClock"}


def check_event(payload: Payload, **wanted: Any) -> None:
    """A TransactionEvent has the wanted values; a set means one of them."""
    info = payload["transactionInfo"]
    for name, value in wanted.items():
        found = info.get(name) if name in ("chargingState", "stoppedReason") else payload.get(name)
        allowed = value if isinstance(value, set) else {value}
        assert found in allowed, f"{name} is {found!r}, expected {value!r}: {payload}"


def refused(code: str = "InternalError") -> Refused:
    return Refused(code)
