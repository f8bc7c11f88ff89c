"""Block N: diagnostics. Logs (N01) and customer information (N09, N10).

Monitoring (N02 to N08) is not there yet: its CALLs are answered NotSupported.
"""

import re

from agent.core.events import LookedUp, MessagesFound, MessageTriggered, Now, Tick
from agent.core.jobs import JobDone, JobFailed, JobMoved, UploadLog
from agent.ocpp.block import (
    NOTHING,
    Answer,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
)
from agent.ocpp.customers import CustomerAsked
from agent.ocpp.messages import format_time, parse_time
from agent.ocpp.tokens import from_wire
from agent.ocpp.transfers import patience, protocol_of
from agent.ocpp.uploads import STATUS, LogRequested
from agent.ocpp.variable import Variable
from agent.ocpp.view import View

FILE_NAMES = {"DiagnosticsLog": ("diagnostics", "zip"), "SecurityLog": ("security", "log")}


# --- logs -----------------------------------------------------------------------------------------


def _get_log(payload: Payload, view: View, now: Now) -> Answer:
    """N01. Both logs are always there, were they empty."""
    log = payload["log"]
    if protocol_of(log["remoteLocation"], has_sftp=view.facts.has_sftp) is None:
        return _rejected("InvalidURL")
    try:
        oldest_s, latest_s = _time(log, "oldestTimestamp"), _time(log, "latestTimestamp")
    except ValueError:
        return _rejected("InvalidValue")
    name = _file_name(payload["logType"], view, now)
    order = UploadLog(log["remoteLocation"], name, payload["logType"], oldest_s, latest_s)
    retries, interval_s = patience(payload.get("retries"), payload.get("retryInterval"))
    status = "Accepted" if view.uploads.current is None else "AcceptedCanceled"
    return Answer(
        {"status": status, "filename": name},
        events=(LogRequested(payload["requestId"], order, retries, interval_s),),
    )


def _time(log: Payload, name: str) -> float | None:
    return parse_time(log[name]) if name in log else None


def _file_name(log_type: str, view: View, now: Now) -> str:
    kind, suffix = FILE_NAMES[log_type]
    station = re.sub("[^A-Za-z0-9_.-]", "_", view.facts.identity)
    stamp = re.sub("[-:]|[.].*", "", format_time(now.utc_s()))
    return f"{station}_{kind}_{stamp}Z.{suffix}"


def _log_requested(event: LogRequested, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.uploads.request(event, now)))


def go_on(view: View) -> Consequences:
    """A notification that is due, or was lost with the link."""
    found = view.uploads.tell(online=view.connection.online)
    return Consequences(effects=tuple(found)) if found else NOTHING


def _told(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """One that the CSMS refuses is told all the same; one that the link lost is not."""
    view.uploads.answered(request, arrived=response is not None or view.connection.online)
    return Consequences()


def _tick(event: Tick, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.uploads.tick(now)))


def _moved(event: JobMoved, view: View, now: Now) -> Consequences:
    view.uploads.moved(event)
    return Consequences()


def _done(event: JobDone, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.uploads.done(event.job_id)))


def _failed(event: JobFailed, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.uploads.failed(event, now)))


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """F06.FR.14, FR.15."""
    if event.message != STATUS:
        return Consequences()
    return Consequences(effects=(OutgoingCall(STATUS, view.uploads.trigger()),))


# --- customer information -------------------------------------------------------------------------


def _customer_information(payload: Payload, view: View, now: Now) -> Answer:
    """N09.FR.07, FR.09."""
    names = ("idToken", "customerCertificate", "customerIdentifier")
    if sum(name in payload for name in names) != 1:
        return Answer({"status": "Invalid"})
    if not (payload["report"] or payload["clear"]) or view.customers.is_full:
        return Answer({"status": "Rejected"})
    token = from_wire(payload["idToken"]) if "idToken" in payload else None
    asked = CustomerAsked(payload["requestId"], token, payload["report"], payload["clear"])
    return Answer({"status": "Accepted"}, events=(asked,))


def _customer_asked(event: CustomerAsked, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.customers.asked(event, now)))


def _looked_up(event: LookedUp, view: View, now: Now) -> Consequences:
    view.customers.looked_up(event)
    return Consequences()


def _messages_found(event: MessagesFound, view: View, now: Now) -> Consequences:
    running = view.station.transactions
    return Consequences(effects=tuple(view.customers.found(event, running, now)))


def _rejected(reason: str) -> Answer:
    return Answer({"status": "Rejected", "statusInfo": {"reasonCode": reason}})


INCOMING: Incoming = {"GetLog": _get_log, "CustomerInformation": _customer_information}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {STATUS: _told}
ON_EVENT: OnEvent = {
    MessageTriggered: _triggered,
    LogRequested: _log_requested,
    Tick: _tick,
    JobMoved: _moved,
    JobDone: _done,
    JobFailed: _failed,
    CustomerAsked: _customer_asked,
    LookedUp: _looked_up,
    MessagesFound: _messages_found,
}
VARIABLES: tuple[Variable, ...] = ()
