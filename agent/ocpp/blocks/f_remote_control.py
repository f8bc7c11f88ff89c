"""Block F: remote control. Starts, stops, unlocking, and messages that the CSMS asks for."""

from collections.abc import Callable

from agent.core.connector import Connector
from agent.core.effects import MeterSample
from agent.core.events import (
    MessageTriggered,
    Now,
    StartRequested,
    StopRequested,
    UnlockRequested,
)
from agent.core.granting import STALE_S
from agent.core.master_pass import is_master
from agent.ocpp.block import (
    Answer,
    Incoming,
    Later,
    OnEvent,
    OnResponse,
    Outgoing,
    Payload,
    refused,
)
from agent.ocpp.charging.profiles import StartProfileSet
from agent.ocpp.charging.rules import check_start_profile, is_enabled
from agent.ocpp.device_model import Variable
from agent.ocpp.meter_value import asked_readings, tell
from agent.ocpp.tokens import from_wire
from agent.ocpp.view import View

UNLOCK_WAIT_S = 5.0
"""How long a lock may take to move and to say so."""


# --- start and stop -------------------------------------------------------------------------------


def _request_start(payload: Payload, view: View, now: Now) -> Answer:
    """F01, F02: answered first; whether it is authorised once more is up to the core. A master pass
    starts nothing (C16.FR.03)."""
    station = view.station
    evse_id = payload.get("evseId") or _choose(view)
    group = payload.get("groupIdToken")
    group_token = from_wire(group) if group else None
    profile = payload.get("chargingProfile") if is_enabled(view) else None
    remote_start_id = payload["remoteStartId"]
    if not view.connection.accepted:
        return refused("CSNotAccepted")
    if now.mono_s - now.at_s > STALE_S:
        return refused("InternalError", "the storage was busy for too long; ask again")
    if is_master(group_token, station.policy):
        return refused("InvalidIdToken", "a master pass starts nothing")
    if evse_id is None:
        return refused("TxInProgress", "no EVSE is free, or it is not clear which: name evseId")
    start = StartRequested(evse_id, from_wire(payload["idToken"]), group_token, remote_start_id)
    if evse_id == 0 and profile is None:
        return Answer({"status": "Accepted"}, events=(start,))
    if evse_id == 0:
        return refused("MissingParam", "with a chargingProfile name the evseId")
    evse = station.evses.get(evse_id)
    if evse is None:
        return refused("UnknownEvse")
    if not evse.free:
        return refused("TxInProgress", f"EVSE {evse_id} is in use, or cannot be used now")
    events: list[object] = []
    if profile is not None:
        refusal = check_start_profile(profile, evse.evse_id, view, now)
        if refusal is not None:
            return Answer({"status": "Rejected", "statusInfo": refusal})
        events.append(StartProfileSet(evse.evse_id, remote_start_id, profile))
    events.append(start)
    response: Payload = {"status": "Accepted"}
    running = evse.transaction
    if running is not None and running.started:
        response["transactionId"] = running.transaction_id
    return Answer(response, events=tuple(events))


def _choose(view: View) -> int | None:
    """F01.FR.07, F02.FR.22: without an evseId the free EVSE with an EV, else the only free one,
    else where the cable will be plugged in (0); None: nobody can tell, or none is free."""
    free = [evse for evse in view.station.evses.values() if evse.free]
    plugged = [evse for evse in free if evse.connected]
    if plugged:
        return plugged[0].evse_id if len(plugged) == 1 else None
    if not view.station.granting.has_room(free):
        return None
    return free[0].evse_id if len(free) == 1 else 0


def _request_stop(payload: Payload, view: View, now: Now) -> Answer:
    """F03.FR.07, FR.08."""
    transaction_id = payload["transactionId"]
    evse, running = view.station.evse_of(transaction_id), view.station.running(transaction_id)
    is_ending = evse is not None and evse.ending is not None
    if not view.connection.accepted:
        return refused("CSNotAccepted")
    if running is None or is_ending:
        return refused("TxNotFound", "it is ending already" if is_ending else "")
    return Answer({"status": "Accepted"}, events=(StopRequested(transaction_id),))


# --- unlock ---------------------------------------------------------------------------------------


def _unlock_connector(payload: Payload, view: View, now: Now) -> Answer | Later:
    """F05: tried with or without a plug; answered with what the lock says afterwards."""
    evse = view.station.evses.get(payload["evseId"])
    connector = evse.connectors.get(payload["connectorId"]) if evse is not None else None
    if evse is None or connector is None:
        return Answer({"status": "UnknownConnector"})
    is_authorized = evse.grant is not None or evse.ending is not None
    if evse.transaction is not None and is_authorized and evse.active is connector:
        return Answer({"status": "OngoingAuthorizedTransaction"})
    if not connector.has_lock:
        reason = "FixedCable" if connector.fixed_cable else "UnsupportedRequest"
        return refused(reason, status="UnlockFailed")
    if not connector.may_unlock(now.mono_s):
        words = "the power path is not seen open"
        return refused("InternalError", words, status="UnlockFailed")
    return Later(
        now.mono_s + UNLOCK_WAIT_S,
        otherwise=Answer({"status": "UnlockFailed"}),
        decide=_seen_unlocked(connector, now.mono_s),
        events=(UnlockRequested(*connector.place),),
    )


def _seen_unlocked(connector: Connector, since_s: float) -> Callable[[View, Now], Answer | None]:
    def decide(view: View, now: Now) -> Answer | None:
        is_unlocked = connector.locked is False and connector.lock_seen_s > since_s
        return Answer({"status": "Unlocked"}) if is_unlocked else None

    return decide


# --- trigger --------------------------------------------------------------------------------------


def _always(asked: MessageTriggered, view: View) -> bool:
    return True


def _boot_is_open(asked: MessageTriggered, view: View) -> bool:
    """F06.FR.17."""
    return not view.connection.accepted


def _has_reading(asked: MessageTriggered, view: View) -> bool:
    """Each meter concerned has a value to tell, so that all that is promised is sent
    (F06.FR.10)."""
    readings = asked_readings(view, asked.evse_id if asked.is_named else None).values()
    return bool(readings) and all(
        reading is not None and tell(view, "", MeterSample("Trigger", reading)) is not None
        for reading in readings
    )


def _has_transaction(asked: MessageTriggered, view: View) -> bool:
    """An event is recorded, and can leave: something runs that is not about to end."""
    if asked.evse_id == 0 and view.station.granting.unplaced() is not None:
        return view.connection.accepted
    return view.connection.accepted and any(
        evse.transaction is not None and evse.transaction.started and evse.ending is None
        for evse in view.station.evses.values()
        if asked.evse_id in (0, evse.evse_id)
    )


def _knows_connector(asked: MessageTriggered, view: View) -> bool:
    """A place that is not named means all of it (F06.FR.11)."""
    evses, evse_id, connector_id = view.station.evses, asked.evse_id, asked.connector_id
    if evse_id == 0:
        return connector_id == 0
    return evse_id in evses and (connector_id == 0 or connector_id in evses[evse_id].connectors)


TRIGGERS: dict[str, tuple[Callable[[MessageTriggered, View], bool], str]] = {
    "BootNotification": (_boot_is_open, "InvalidMessageSeq"),
    "FirmwareStatusNotification": (_always, ""),
    "Heartbeat": (_always, ""),
    "LogStatusNotification": (_always, ""),
    "MeterValues": (_has_reading, "NotFound"),
    "SignChargingStationCertificate": (_always, ""),
    "StatusNotification": (_knows_connector, "UnknownConnectorId"),
    "TransactionEvent": (_has_transaction, "TxNotFound"),
}
"""Message -> whether it can be sent now as it is asked for, and the reason code when not."""


def _trigger_message(payload: Payload, view: View, now: Now) -> Answer:
    """F06: a promise here is kept by the block that owns the message."""
    message, evse = payload["requestedMessage"], payload.get("evse", {})
    if message not in TRIGGERS:
        return Answer({"status": "NotImplemented"})
    is_possible, reason = TRIGGERS[message]
    asked = MessageTriggered(message, evse.get("id", 0), evse.get("connectorId", 0), bool(evse))
    if view.connection.turns.is_crowded:
        return refused("OutOfMemory", "too much waits for the answers of the CSMS; ask again then")
    if not is_possible(asked, view):
        return refused(reason)
    return Answer({"status": "Accepted"}, events=(asked,))


INCOMING: Incoming = {
    "RequestStartTransaction": _request_start,
    "RequestStopTransaction": _request_stop,
    "TriggerMessage": _trigger_message,
    "UnlockConnector": _unlock_connector,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {}
VARIABLES: tuple[Variable, ...] = ()
