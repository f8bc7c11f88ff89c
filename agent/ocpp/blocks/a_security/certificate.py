"""The station's own certificate (A02, A03): asked for, checked before the answer, then shown."""

from agent.core.effects import CheckCertificate
from agent.core.events import (
    CertificateChecked,
    CertificateFacts,
    FrameReceived,
    KeyMade,
    MessageTriggered,
    Now,
    SecurityNoted,
    Started,
    Tick,
)
from agent.ocpp.block import NOTHING, Answer, Consequences, Later, Payload
from agent.ocpp.certificates import CSMS, period_problem
from agent.ocpp.station_certificate import KIND, Identity, IdentityInstalled, IdentityRefused
from agent.ocpp.view import View

MAX_CHAIN_SIZE = 10_000
"""Characters (A02.FR.16)."""
CHECK_WAIT_S = 25.0


def subject(view: View) -> tuple[str, str]:
    """(CN, O) of a certificate of this station (A00.FR.509, FR.511)."""
    facts = view.facts
    named = view.variables.value("SecurityCtrlr", "OrganizationName")
    return facts.serial or facts.identity, named or facts.vendor


def _seconds(view: View, name: str) -> int:
    return int(view.variables.value("SecurityCtrlr", name))


# --- asking for one -------------------------------------------------------------------------------


def triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """A02.FR.02: TriggerMessage for SignChargingStationCertificate."""
    if event.message != "SignChargingStationCertificate":
        return Consequences()
    return Consequences(effects=tuple(view.station_certificate.begin(*subject(view), now)))


def ticked(event: Tick, view: View, now: Now) -> Consequences:
    """A03.FR.02, A02.FR.17: what is due, while the CSMS is there to hear it."""
    if not renews(view):
        return Consequences()
    return Consequences(effects=tuple(view.station_certificate.tick(*subject(view), now)))


def renews(view: View) -> bool:
    """The CSMS is there, and a request is under way or a certificate in use."""
    is_wanted = _shows_one(view) or view.station_certificate.request is not None
    return view.connection.online and is_wanted


def _shows_one(view: View) -> bool:
    """The link is one of security profile 3."""
    connection = view.connection
    return connection.slots[connection.slot].security_profile == 3


def key_made(event: KeyMade, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.station_certificate.made(event, now)))


def sign_answered(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    found = view.station_certificate.answered(
        response,
        _seconds(view, "CertSigningWaitMinimum"),
        _seconds(view, "CertSigningRepeatTimes"),
        now,
    )
    return Consequences(effects=tuple(found))


def started(event: Started, view: View, now: Now) -> Consequences:
    minimum_s = _seconds(view, "CertSigningWaitMinimum")
    return Consequences(effects=tuple(view.station_certificate.started(minimum_s, now)))


# --- CertificateSigned ----------------------------------------------------------------------------


def certificate_signed(payload: Payload, view: View, now: Now) -> Answer | Later:
    """A02.FR.06: the chain is looked at before the answer."""
    chain, request = payload["certificateChain"], view.station_certificate.request
    if payload.get("certificateType", KIND) != KIND:
        return _refusal("UnsupportedRequest", "this station has no V2G certificate")
    if len(chain) > MAX_CHAIN_SIZE:
        return _refusal("TooLargeElement", f"at most {MAX_CHAIN_SIZE} characters")
    if request is None:
        return _refusal("InvalidCertificate", "no certificate was asked for")
    question, key = now.new_id(), request.key
    roots = tuple(root.pem for root in view.certificates.roots(CSMS))

    def decide(view: View, now: Now) -> Answer | None:
        checked = view.certificates_checked.get(question)
        return None if checked is None else _judge(chain, key, checked, view, now)

    return Later(
        now.mono_s + CHECK_WAIT_S,
        otherwise=_refusal("InternalError", "the check took too long"),
        decide=decide,
        effects=(CheckCertificate(question, chain, roots, key),),
    )


def _refusal(reason: str, words: str) -> Answer:
    info = {"reasonCode": reason, "additionalInfo": words[:512]}
    return Answer({"status": "Rejected", "statusInfo": info})


def _judge(chain: str, key: str, checked: CertificateChecked, view: View, now: Now) -> Answer:
    """A02.FR.06 to FR.08."""
    if checked.trouble:
        return _refusal("InternalError", checked.trouble)
    problem = checked.problem or _problem(checked, view, now)
    if not problem:
        identity = Identity(key, chain, checked.chain[0])
        return Answer({"status": "Accepted"}, events=(IdentityInstalled(identity),))
    refusal = _refusal("InvalidCertificate", problem)
    event = SecurityNoted("InvalidChargingStationCertificate", problem)
    return Answer(refusal.payload, events=(event, IdentityRefused()))


def _problem(checked: CertificateChecked, view: View, now: Now) -> str:
    if not checked.vouched_by:
        return "no installed CSMS root certificate vouches for it"
    own = checked.chain[0]
    dates = (period_problem(facts, now) for facts in checked.chain)
    return next(filter(None, dates), "") or _subject_problem(own, view)


def _subject_problem(own: CertificateFacts, view: View) -> str:
    common_name, organization = subject(view)
    if own.is_authority:
        return "it is a certificate of an authority"
    if own.common_name != common_name:
        return f"its common name is not {common_name}"
    return "" if own.organization == organization else f"its organization is not {organization}"


def installed(event: IdentityInstalled, view: View, now: Now) -> Consequences:
    """A02.FR.08: shown at once, by dialling again after the answer."""
    effects = view.station_certificate.install(event.identity)
    words = f"ChargingStationCertificate {event.identity.facts.fingerprint[:16]} installed"
    noted = SecurityNoted("ReconfigurationOfSecurityParameters", words)
    again = view.connection.redial("the certificate changed")
    return Consequences((noted,), (*effects, *again))


def refused(event: IdentityRefused, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.station_certificate.refused(now)))


def heard(event: FrameReceived, view: View, now: Now) -> Consequences:
    """A02.FR.10, FR.29; a link that shows no certificate proves none."""
    if not _shows_one(view):
        return Consequences()
    effects, gave_up = view.station_certificate.heard()
    if not (effects or gave_up):
        return NOTHING
    words = "the CSMS was reached with the certificate before it only"
    events = (SecurityNoted("DiscardedRenewedClientCertificate", words),) if gave_up else ()
    return Consequences(events, tuple(effects))
