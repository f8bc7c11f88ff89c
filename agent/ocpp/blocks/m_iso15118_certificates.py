"""Block M: certificates. What an ISO 15118 stack would ask (M01, M02, M06) is answered
NotSupported; here are the roots that the CSMS installs, lists and deletes (M03 to M05)."""

from agent.core.effects import CheckCertificate
from agent.core.events import (
    CertificateChecked,
    CertificateFacts,
    FrameReceived,
    LinkClosed,
    LinkOpened,
    Now,
    SecurityNoted,
)
from agent.ocpp.block import (
    NOTHING,
    Answer,
    Consequences,
    Incoming,
    Later,
    OnEvent,
    OnResponse,
    Outgoing,
    Payload,
)
from agent.ocpp.certificates import (
    CSMS,
    MANUFACTURER,
    MOST,
    USES,
    Root,
    RootDeleted,
    RootInstalled,
    period_problem,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.view import View

CHECK_WAIT_S = 25.0
"""Less than a CSMS waits; a slow board loads its crypto library in a few seconds."""
WHO_MUST_SIGN = {
    CSMS: "the root it replaces did not sign it",
    MANUFACTURER: "no root that came with the station signed it",
}
ALGORITHM = "SHA256"
"""What hash data is told with; the others are understood (M04.FR.07)."""


def _info(reason: str, words: str = "") -> Payload:
    return {"reasonCode": reason} | ({"additionalInfo": words[:512]} if words else {})


def _refusal(status: str, reason: str, words: str = "") -> Answer:
    return Answer({"status": status, "statusInfo": _info(reason, words)})


# --- M05 ------------------------------------------------------------------------------------------


def _install(payload: Payload, view: View, now: Now) -> Answer | Later:
    """M05: the certificate is looked at first, by a job."""
    use, pem = payload["certificateType"], payload["certificate"]
    if use not in USES:
        return _refusal("Rejected", "UnsupportedRequest", "only CSMS and manufacturer roots")
    question = now.new_id()
    signers = tuple(root.pem for root in view.certificates.roots(use))

    def decide(view: View, now: Now) -> Answer | None:
        checked = view.certificates_checked.get(question)
        return None if checked is None else _judge(use, pem, checked, view, now)

    return Later(
        now.mono_s + CHECK_WAIT_S,
        otherwise=_refusal("Failed", "InternalError", "the check took too long"),
        decide=decide,
        effects=(CheckCertificate(question, pem, signers),),
    )


def _judge(use: str, pem: str, checked: CertificateChecked, view: View, now: Now) -> Answer:
    """M05.FR.02, FR.03, FR.06, FR.07, FR.11."""
    if checked.trouble:
        return _refusal("Failed", "InternalError", checked.trouble)
    problem = checked.problem or _root_problem(checked, now)
    if problem:
        return _refusal("Rejected", "InvalidCertificate", problem)
    root = Root(use, pem, checked.chain[0])
    signers = {signer.facts.fingerprint for signer in view.certificates.must_sign(use)}
    if signers and checked.vouched_by not in signers:
        return _refusal("Rejected", "InvalidCertificate", WHO_MUST_SIGN[use])
    if not view.certificates.has_room_for(root):
        return _refusal("Rejected", "OutOfStorage", f"no room for more than {MOST}")
    return Answer({"status": "Accepted"}, events=(RootInstalled(root),))


def _root_problem(checked: CertificateChecked, now: Now) -> str:
    if len(checked.chain) != 1:
        return "it must be one certificate"
    (facts,) = checked.chain
    if not facts.is_authority:
        return "it may not sign others: it is no root"
    return period_problem(facts, now)


def _installed(event: RootInstalled, view: View, now: Now) -> Consequences:
    saves = view.certificates.install(event.root)
    return Consequences((_noted("installed", event.root),), tuple(saves))


def _noted(what: str, root: Root) -> SecurityNoted:
    words = f"{root.use} {root.facts.fingerprint[:16]} {what}"
    return SecurityNoted("ReconfigurationOfSecurityParameters", words)


# --- M03 ------------------------------------------------------------------------------------------


def hash_data(facts: CertificateFacts, algorithm: str = ALGORITHM) -> Payload:
    """CertificateHashDataType."""
    name, key = facts.hashes[algorithm]
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": name,
        "issuerKeyHash": key,
        "serialNumber": facts.serial,
    }


def _list(payload: Payload, view: View, now: Now) -> Answer:
    """M03.FR.02 to FR.04."""
    found = [
        {"certificateType": root.use, "certificateHashData": hash_data(root.facts)}
        for root in view.certificates.roots(*payload.get("certificateType", ()))
    ]
    if not found:
        return Answer({"status": "NotFound"})
    return Answer({"status": "Accepted", "certificateHashDataChain": found})


# --- M04 ------------------------------------------------------------------------------------------


def _is_meant(facts: CertificateFacts, asked: Payload) -> bool:
    if asked["hashAlgorithm"] not in facts.hashes:
        return False
    own = hash_data(facts, asked["hashAlgorithm"])
    return all(own[name].lower() == str(asked[name]).lower().removeprefix("0x") for name in own)


def _delete(payload: Payload, view: View, now: Now) -> Answer:
    """M04.FR.02 to FR.04; what the link lives on stays."""
    asked = payload["certificateHashData"]
    if any(_is_meant(own.facts, asked) for own in view.station_certificate.all):
        return _refusal("Failed", "Unspecified", "it is the station's own (M04.FR.06)")
    found = [root for root in view.certificates.roots() if _is_meant(root.facts, asked)]
    if not found:
        return Answer({"status": "NotFound"})
    for root in found:
        if reason := _needed(root, view):
            return _refusal("Failed", "Unspecified", reason)
    return Answer({"status": "Accepted"}, events=tuple(RootDeleted(root) for root in found))


def _needed(root: Root, view: View) -> str:
    """Why the station could not connect or be updated any more without it, or ""."""
    if root.use != CSMS:
        return "it came with the station, and only its file replaces it" if root.is_of_file else ""
    if root.facts.fingerprint == view.certificates.in_use:
        return "the link that this came on is secured with it"
    uses_tls = any(slot.security_profile > 1 for slot in view.connection.slots)
    return "it is the last one of its kind" if uses_tls and view.certificates.is_last(root) else ""


def _deleted(event: RootDeleted, view: View, now: Now) -> Consequences:
    saves = view.certificates.delete(event.root)
    return Consequences((_noted("deleted", event.root),), tuple(saves))


# --- the link -------------------------------------------------------------------------------------


def _checked(event: CertificateChecked, view: View, now: Now) -> Consequences:
    view.certificates_checked = {event.question: event}
    return Consequences()


def _opened(event: LinkOpened, view: View, now: Now) -> Consequences:
    view.certificates.in_use = event.trusted_by
    return Consequences()


def _closed(event: LinkClosed, view: View, now: Now) -> Consequences:
    view.certificates.in_use = ""
    return Consequences()


def _heard(event: FrameReceived, view: View, now: Now) -> Consequences:
    """A link without TLS proves nothing of a root."""
    found = view.certificates.heard() if view.certificates.in_use else []
    return Consequences(effects=tuple(found)) if found else NOTHING


INCOMING: Incoming = {
    "InstallCertificate": _install,
    "GetInstalledCertificateIds": _list,
    "DeleteCertificate": _delete,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {
    RootInstalled: _installed,
    RootDeleted: _deleted,
    CertificateChecked: _checked,
    LinkOpened: _opened,
    LinkClosed: _closed,
    FrameReceived: _heard,
}
VARIABLES: tuple[Variable, ...] = (
    Variable(
        "SecurityCtrlr",
        "CertificateEntries",
        data_type="integer",
        max_limit=MOST,
        mutability="ReadOnly",
        read=lambda view: str(view.certificates.count + view.station_certificate.count),
    ),
    Variable(
        "SecurityCtrlr",
        "AdditionalRootCertificateCheck",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "true" if view.certificates.is_strict else "false",
    ),
)
