"""Block F: remote control. RequestStartTransaction and RequestStopTransaction so far."""

from agent.core.events import Now, StartRequested, StopRequested
from agent.ocpp.block import Answer, Incoming, OnEvent, OnResponse, Outgoing, Payload
from agent.ocpp.device_model import Variable
from agent.ocpp.tokens import from_wire
from agent.ocpp.view import View


def _request_start(payload: Payload, view: View, now: Now) -> Answer:
    """F01, F02: answered first; whether it is authorised once more is up to the core."""
    station = view.station
    evse_id = payload.get("evseId") or _choose(view)
    if not view.connection.accepted or evse_id is None or evse_id not in station.evses:
        return Answer({"status": "Rejected"})
    evse = station.evses[evse_id]
    if not evse.free:
        return Answer({"status": "Rejected"})
    events: list[object] = []
    profile, remote_start_id = payload.get("chargingProfile"), payload["remoteStartId"]
    if profile is not None:
        refusal = view.profiles.check_start(profile, evse_id, view, now)
        if refusal is not None:
            return Answer({"status": "Rejected", "statusInfo": refusal})
        events.append(view.profiles.start_event(profile, evse_id, remote_start_id))
    group = payload.get("groupIdToken")
    token = from_wire(payload["idToken"])
    group_token = from_wire(group) if group else None
    events.append(StartRequested(evse_id, token, group_token, remote_start_id))
    response: Payload = {"status": "Accepted"}
    running = evse.transaction
    if running is not None and running.started:
        response["transactionId"] = running.transaction_id
    return Answer(response, events=tuple(events))


def _choose(view: View) -> int | None:
    """F01.FR.07: without an evseId a free EVSE with an EV, else the only free one."""
    free = [evse for evse in view.station.evses.values() if evse.free]
    plugged = [evse for evse in free if evse.connected]
    chosen = plugged or free
    return chosen[0].evse_id if len(chosen) == 1 else None


def _request_stop(payload: Payload, view: View, now: Now) -> Answer:
    """F03.FR.07, FR.08."""
    evse = view.station.evse_of(payload["transactionId"])
    if not view.connection.accepted or evse is None or evse.ending is not None:
        return Answer({"status": "Rejected"})
    return Answer({"status": "Accepted"}, events=(StopRequested(payload["transactionId"]),))


INCOMING: Incoming = {
    "RequestStartTransaction": _request_start,
    "RequestStopTransaction": _request_stop,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {}
VARIABLES: tuple[Variable, ...] = ()
