"""Block G: availability. Connector status, heartbeat, ChangeAvailability."""

from agent.core.effects import StatusChanged
from agent.core.events import AvailabilityRequested, ClockSet, CsmsReached, Now
from agent.ocpp.block import (
    Answer,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
)
from agent.ocpp.clocks import csms_time
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import format_time
from agent.ocpp.view import Place, View


def _status(place: Place, status: str, at_s: float, now: Now) -> OutgoingCall:
    payload = {
        "timestamp": format_time(now.utc_s(at_s)),
        "connectorStatus": status,
        "evseId": place[0],
        "connectorId": place[1],
    }
    return OutgoingCall("StatusNotification", payload, priority=4)


def _status_changed(effect: StatusChanged, view: View, now: Now) -> OutgoingCall:
    place = (effect.evse_id, effect.connector_id)
    view.told_status[place] = effect.status
    return _status(place, effect.status, effect.at_s, now)


def _reached(event: CsmsReached, view: View, now: Now) -> Consequences:
    """All connectors after a boot or a long time offline, else those that changed (B04)."""
    lost_at_s = view.connection.lost_at_s
    threshold_s = float(view.variables.value("OCPPCommCtrlr", "OfflineThreshold"))
    long_gone = lost_at_s is None or now.mono_s - lost_at_s > threshold_s
    all_places = view.connection.freshly_booted or long_gone
    calls = []
    for evse_id in view.station.evse_ids:
        for connector_id in view.station.connector_ids(evse_id):
            place = (evse_id, connector_id)
            status = view.station.status(place)
            if all_places or view.told_status.get(place) != status:
                view.told_status[place] = status
                calls.append(_status(place, status, now.mono_s, now))
    return Consequences(effects=tuple(calls))


def _status_answered(
    request: Payload, response: Payload | None, view: View, now: Now
) -> Consequences:
    """A status that got no answer is told again at the next connection."""
    if response is None:
        view.told_status.pop((request["evseId"], request["connectorId"]), None)
    return Consequences()


def _heartbeat(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """G02.FR.06: the answer sets the clock."""
    if response is None:
        return Consequences()
    utc_s = csms_time(response["currentTime"])
    return Consequences(events=(ClockSet(utc_s, now.mono_s),) if utc_s is not None else ())


def _change_availability(payload: Payload, view: View, now: Now) -> Answer:
    """G03, G04: at once where nothing runs, else Scheduled until the transaction has ended."""
    evse = payload.get("evse", {})
    evse_id, connector_id = evse.get("id", 0), evse.get("connectorId", 0)
    station = view.station
    known = evse_id == 0 or evse_id in station.evses
    connector_ids = station.connector_ids(evse_id) if evse_id in station.evses else ()
    if not known or (connector_id and connector_id not in connector_ids):
        return Answer({"status": "Rejected"})
    operative = payload["operationalStatus"] == "Operative"
    concerned = station.evse_ids if evse_id == 0 else (evse_id,)
    running = any(station.evses[e].transaction is not None for e in concerned)
    already = station.is_operative(evse_id, connector_id) == operative
    status = "Scheduled" if running and not operative and not already else "Accepted"
    requested = AvailabilityRequested(evse_id, connector_id, operative)
    return Answer({"status": status}, events=(requested,))


INCOMING: Incoming = {"ChangeAvailability": _change_availability}
OUTGOING: Outgoing = {StatusChanged: _status_changed}
ON_RESPONSE: OnResponse = {"StatusNotification": _status_answered, "Heartbeat": _heartbeat}
ON_EVENT: OnEvent = {CsmsReached: _reached}
VARIABLES: tuple[Variable, ...] = ()
