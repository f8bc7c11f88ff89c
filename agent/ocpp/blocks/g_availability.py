"""Block G: availability. Connector status, heartbeat, ChangeAvailability."""

from agent.core.effects import LockProblem, StatusChanged
from agent.core.events import (
    AvailabilityRequested,
    ClockSet,
    CsmsReached,
    MessageTriggered,
    Now,
)
from agent.ocpp.block import (
    Answer,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
    refused,
)
from agent.ocpp.clocks import csms_time
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import format_time
from agent.ocpp.view import Place, View

LOCK = "ConnectorPlugRetentionLock"
STATUSES = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")


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


def _lock_problem(effect: LockProblem, view: View, now: Now) -> OutgoingCall:
    """G05.FR.02: told without being asked for, a change of the lock's variable Problem."""
    place = (effect.evse_id, effect.connector_id)
    view.told_locks[place] = effect.stands
    view.last_event_id = max(view.last_event_id + 1, int(now.utc_s()))
    event = {
        "eventId": view.last_event_id,
        "timestamp": format_time(now.utc_s(effect.at_s)),
        "trigger": "Delta",
        "actualValue": "true" if effect.stands else "false",
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": LOCK, "evse": {"id": place[0], "connectorId": place[1]}},
        "variable": {"name": "Problem"},
    }
    payload = {"generatedAt": format_time(now.utc_s()), "seqNo": 0, "eventData": [event]}
    return OutgoingCall("NotifyEvent", payload, priority=4)


def _untold_locks(view: View, now: Now) -> list[OutgoingCall]:
    """What became of locks while the CSMS was away."""
    connectors = [c for evse in view.station.evses.values() for c in evse.connectors.values()]
    return [
        _lock_problem(LockProblem(*c.place, c.lock_failed, c.lock_seen_s), view, now)
        for c in connectors
        if c.lock_failed != view.told_locks.get(c.place, False)
    ]


def _reached(event: CsmsReached, view: View, now: Now) -> Consequences:
    """All connectors after a boot or a long time offline, else those that changed (B04)."""
    lost_at_s = view.connection.lost_at_s
    threshold_s = float(view.variables.value("OCPPCommCtrlr", "OfflineThreshold"))
    long_gone = lost_at_s is None or now.mono_s - lost_at_s > threshold_s
    all_places = view.connection.freshly_booted or long_gone
    calls = []
    for place in _places(view):
        status = view.station.status(place)
        if all_places or view.told_status.get(place) != status:
            view.told_status[place] = status
            calls.append(_status(place, status, now.mono_s, now))
    return Consequences(effects=(*calls, *_untold_locks(view, now)))


def _places(view: View, evse_id: int = 0, connector_id: int = 0) -> list[Place]:
    """The connectors of the station, of an EVSE, or just one; 0: all."""
    station = view.station
    return [
        (evse, connector)
        for evse in station.evse_ids
        for connector in station.connector_ids(evse)
        if evse_id in (0, evse) and connector_id in (0, connector)
    ]


def _statuses_now(view: View, places: list[Place], now: Now) -> tuple[OutgoingCall, ...]:
    """How the connectors stand, whether the CSMS knows it or not."""
    return tuple(_status(place, view.station.status(place), now.mono_s, now) for place in places)


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """F06: the CSMS asks for a status or a heartbeat."""
    if event.message == "Heartbeat":
        return Consequences(effects=(OutgoingCall("Heartbeat", {}),))
    if event.message == "StatusNotification":
        places = _places(view, event.evse_id, event.connector_id)
        return Consequences(effects=_statuses_now(view, places, now))
    return Consequences()


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
    return Consequences(events=(ClockSet(utc_s, now.at_s),) if utc_s is not None else ())


def _change_availability(payload: Payload, view: View, now: Now) -> Answer:
    """G03, G04: at once where nothing runs, else Scheduled until the transaction has ended, however
    often it is asked. A CSMS that asks for what is so already is told how all connectors stand."""
    evse = payload.get("evse", {})
    evse_id, connector_id = evse.get("id", 0), evse.get("connectorId", 0)
    station = view.station
    if evse_id not in (0, *station.evses):
        return refused("UnknownEvse")
    if connector_id and (evse_id == 0 or connector_id not in station.connector_ids(evse_id)):
        return refused("UnknownConnectorId")
    operative = payload["operationalStatus"] == "Operative"
    requested = AvailabilityRequested(evse_id, connector_id, operative)
    busy = any(station.is_busy(place) for place in _places(view, evse_id, connector_id))
    if not operative and (busy or (evse_id == 0 and station.runs())):
        return Answer({"status": "Scheduled"}, events=(requested,))
    is_so = station.is_operative(evse_id, connector_id) == operative
    told = _statuses_now(view, _places(view), now) if is_so else ()
    return Answer({"status": "Accepted"}, events=(requested,), effects=told)


def _evse_status(view: View, evse_id: int, connector_id: int = 0) -> str:
    """An EVSE serves one connector at a time: the used one speaks for it, else the best one."""
    found = {view.station.status(place) for place in _places(view, evse_id)}
    return "Occupied" if "Occupied" in found else min(found, key=STATUSES.index)


def _connector_status(view: View, evse_id: int, connector_id: int) -> str:
    return view.station.status((evse_id, connector_id))


INCOMING: Incoming = {"ChangeAvailability": _change_availability}
OUTGOING: Outgoing = {StatusChanged: _status_changed, LockProblem: _lock_problem}
ON_RESPONSE: OnResponse = {"StatusNotification": _status_answered, "Heartbeat": _heartbeat}
ON_EVENT: OnEvent = {CsmsReached: _reached, MessageTriggered: _triggered}


def _has_lock_problem(view: View, evse_id: int, connector_id: int) -> str:
    connector = view.station.evses[evse_id].connectors[connector_id]
    return "true" if connector.lock_failed else "false"


VARIABLES: tuple[Variable, ...] = (
    Variable(
        LOCK,
        "Problem",
        data_type="boolean",
        level="connector",
        mutability="ReadOnly",
        read=_has_lock_problem,
        needs="socket",
    ),
    *(
        Variable(
            component,
            "AvailabilityState",
            data_type="OptionList",
            level=component.lower(),
            values=STATUSES,
            mutability="ReadOnly",
            read=read,
        )
        for component, read in (("EVSE", _evse_status), ("Connector", _connector_status))
    ),
    *(
        Variable(
            component,
            "Available",
            data_type="boolean",
            level=component.lower(),
            mutability="ReadOnly",
            read=lambda view, evse_id, connector_id: "true",
        )
        for component in ("EVSE", "Connector")
    ),
)
