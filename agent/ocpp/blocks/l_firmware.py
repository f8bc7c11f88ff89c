"""Block L: firmware management. What is decided stands in `ocpp.firmware`; here are its messages.

PublishFirmware belongs to a local controller with a file server, which this station is not.
"""

from collections.abc import Callable

from agent.core.effects import CheckCertificate
from agent.core.events import CertificateChecked, MessageTriggered, Now, SecurityNoted, Started
from agent.core.jobs import JobDone, JobFailed, JobMoved
from agent.ocpp.block import (
    NOTHING,
    Answer,
    Consequences,
    Incoming,
    Later,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
)
from agent.ocpp.certificates import MANUFACTURER, period_problem
from agent.ocpp.firmware import Update, UpdateRequested
from agent.ocpp.messages import parse_time
from agent.ocpp.transfers import patience, protocol_of
from agent.ocpp.variable import Variable
from agent.ocpp.view import View

CHECK_S = 20.0
"""How long a check of the signing certificate may take before the request is refused."""
STATUS = "FirmwareStatusNotification"
ALLOW_NEW = "AllowNewSessionsPendingFirmwareUpdate"


# --- UpdateFirmware -------------------------------------------------------------------------------


def _update_firmware(payload: Payload, view: View, now: Now) -> Answer | Later:
    """L01, L02. The signing certificate is checked before the answer (L01.FR.21)."""
    refusal = _refusal(payload, view)
    if refusal:
        return _rejected(refusal)
    update = _update(payload, now)
    if not update.certificate:
        return _accept(update, view)
    question = now.new_id()
    roots = tuple(root.pem for root in view.certificates.roots(MANUFACTURER))
    return Later(
        now.mono_s + CHECK_S,
        otherwise=_rejected("InternalError"),
        decide=_when_checked(question, update),
        effects=(CheckCertificate(question, update.certificate, roots),),
    )


def _refusal(payload: Payload, view: View) -> str:
    """Why no update of this kind, from there, is taken: a reason code, or ""."""
    firmware = payload["firmware"]
    if not view.firmware.is_possible:
        return "NotEnabled"
    if protocol_of(firmware["location"], has_sftp=view.facts.has_sftp) is None:
        return "InvalidURL"
    times = ("retrieveDateTime", "installDateTime")
    if any(name in firmware and _time(firmware[name]) is None for name in times):
        return "InvalidValue"
    signs = [bool(firmware.get(name)) for name in ("signingCertificate", "signature")]
    if any(signs) != all(signs) or not (any(signs) or view.firmware.takes_unsigned):
        return "MissingParam"
    return ""


def _update(payload: Payload, now: Now) -> Update:
    firmware = payload["firmware"]
    retries, interval_s = patience(payload.get("retries"), payload.get("retryInterval"))
    retrieve_s = _time(firmware["retrieveDateTime"])
    install = firmware.get("installDateTime")
    assert retrieve_s is not None
    return Update(
        update_id=now.new_id(),
        request_id=payload["requestId"],
        url=firmware["location"],
        retrieve_s=retrieve_s,
        install_s=_time(install) if install is not None else None,
        certificate=firmware.get("signingCertificate", ""),
        signature=firmware.get("signature", ""),
        retries=retries,
        retry_interval_s=interval_s,
    )


def _time(text: str) -> float | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def _when_checked(question: str, update: Update) -> Callable[[View, Now], Answer | None]:
    def decide(view: View, now: Now) -> Answer | None:
        checked = view.certificates_checked.get(question)
        if checked is None:
            return None
        if checked.trouble:
            return _rejected("InternalError")
        problem = _problem(checked, now)
        if not problem:
            return _accept(update, view)
        noted = SecurityNoted("InvalidFirmwareSigningCertificate", problem)
        return Answer({"status": "InvalidCertificate"}, events=(noted,))

    return decide


def _problem(checked: CertificateChecked, now: Now) -> str:
    """L01.FR.12, FR.22: signed by the manufacturer, for signing, and valid now."""
    if checked.problem:
        return checked.problem
    if not checked.chain[0].may_sign:
        return "its key usage does not let it sign firmware"
    if not checked.vouched_by:
        return "no manufacturer root vouches for it"
    periods = (period_problem(facts, now) for facts in checked.chain)
    return next((problem for problem in periods if problem), "")


def _accept(update: Update, view: View) -> Answer:
    """L01.FR.24, FR.27: what is not yet being installed can be canceled."""
    firmware = view.firmware
    if not firmware.can_cancel:
        return _rejected("FwUpdateInProgress")
    status = "AcceptedCanceled" if firmware.is_running else "Accepted"
    return Answer({"status": status}, events=(UpdateRequested(update),))


def _rejected(reason: str) -> Answer:
    return Answer({"status": "Rejected", "statusInfo": {"reasonCode": reason}})


# --- what goes on ---------------------------------------------------------------------------------


def go_on(view: View, now: Now) -> Consequences:
    """What has become due since the last fact."""
    if view.firmware.is_quiet:
        return NOTHING
    found = view.firmware.go_on(
        now,
        online=view.connection.online,
        is_busy=view.station.runs(0),
        takes_drivers=view.variables.value("ChargingStation", ALLOW_NEW) == "true",
    )
    return Consequences(effects=tuple(found))


def _requested(event: UpdateRequested, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.firmware.request(event.update, now)))


def _started(event: Started, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.firmware.started(now)))


def _moved(event: JobMoved, view: View, now: Now) -> Consequences:
    view.firmware.job_moved(event)
    return Consequences()


def _done(event: JobDone, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.firmware.job_done(event, now)))


def _failed(event: JobFailed, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.firmware.job_failed(event, now)))


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    if event.message != STATUS:
        return Consequences()
    return Consequences(effects=(OutgoingCall(STATUS, view.firmware.trigger()),))


def _told(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """One that the CSMS refuses is told all the same; one that the link lost is not."""
    arrived = response is not None or view.connection.online
    return Consequences(effects=tuple(view.firmware.answered(request, arrived=arrived)))


INCOMING: Incoming = {"UpdateFirmware": _update_firmware}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {STATUS: _told}
ON_EVENT: OnEvent = {
    MessageTriggered: _triggered,
    UpdateRequested: _requested,
    Started: _started,
    JobMoved: _moved,
    JobDone: _done,
    JobFailed: _failed,
}
VARIABLES: tuple[Variable, ...] = (
    Variable("ChargingStation", ALLOW_NEW, data_type="boolean", default="false"),
    Variable(
        "ChargingStation",
        "FirmwareVersion",
        max_length=50,
        mutability="ReadOnly",
        read=lambda view: view.facts.firmware_version,
    ),
)
