"""Block A: security. Events (A04), the password (A01), the station's certificate (A02, A03), and
the way up to a higher security profile (A05). TLS itself is in `csms.tls`."""

from collections.abc import Callable
from typing import Any

from agent.core.effects import Log
from agent.core.events import (
    ClockSet,
    CsmsReached,
    FrameReceived,
    KeyMade,
    LinkClosed,
    LinkOpened,
    MessageTriggered,
    Now,
    OutboxHead,
    SecurityNoted,
    Started,
    Tick,
)
from agent.ocpp.block import NOTHING, Consequences, Incoming, OnEvent, OnResponse, Outgoing
from agent.ocpp.blocks.a_security import certificate, noted
from agent.ocpp.blocks.a_security.declared import VARIABLES
from agent.ocpp.device_model import VariablesSet
from agent.ocpp.network import NetworkProfileSet
from agent.ocpp.station_certificate import IdentityInstalled, IdentityRefused
from agent.ocpp.view import View

__all__ = ["INCOMING", "ON_EVENT", "ON_RESPONSE", "OUTGOING", "VARIABLES"]

PASSWORD_KEY = "var/SecurityCtrlr/BasicAuthPassword"
REFUSED = "FailedToAuthenticateAtCsms"
"""Security event of a dial that was answered by 401 or 403."""
Take = Callable[[Any, View, Now], Consequences]


def _password_set(event: VariablesSet, view: View, now: Now) -> Consequences:
    """A01.FR.03, FR.11, FR.12: the next link is opened with the new password, at once."""
    newest = next((c.value for c in event.changes if c.key == PASSWORD_KEY), None)
    if newest is None:
        return Consequences()
    saved = view.passwords.changed(view.connection.slot, view.connection.credential, newest)
    if saved is None:
        return Consequences()
    told = Log(5, "security: the CSMS changed the password of Basic authentication")
    again = view.connection.redial("the password changed")
    return Consequences(effects=(saved, told, *again))


def _closed(event: LinkClosed, view: View, now: Now) -> Consequences:
    view.passwords.closed(is_refused=event.security_event == REFUSED)
    return NOTHING


def _heard(event: FrameReceived, view: View, now: Now) -> Consequences:
    found = view.passwords.heard()
    return Consequences(effects=tuple(found)) if found else NOTHING


def _reached(event: CsmsReached, view: View, now: Now) -> Consequences:
    """A05.FR.06: what is less secure than this link is gone for good."""
    connection = view.connection
    profile = connection.slots[connection.slot].security_profile
    if profile <= view.network.floor:
        return Consequences()
    saves = view.network.reached(profile)
    connection.forget_below(profile)
    words = f"security profile {profile} reached, lower ones are not used any more"
    return Consequences(
        (SecurityNoted("ReconfigurationOfSecurityParameters", words),), tuple(saves)
    )


def _each(*takes: Take) -> Take:
    """Several things that the block makes of one fact, in this order."""

    def take(event: Any, view: View, now: Now) -> Consequences:
        found = [more for one in takes if (more := one(event, view, now)) is not NOTHING]
        if not found:
            return NOTHING
        return Consequences(
            tuple(event for one in found for event in one.events),
            tuple(effect for one in found for effect in one.effects),
        )

    return take


INCOMING: Incoming = {"CertificateSigned": certificate.certificate_signed}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {"SignCertificate": certificate.sign_answered}
ON_EVENT: OnEvent = {
    Started: _each(noted.started, certificate.started),
    SecurityNoted: noted.noted,
    ClockSet: noted.clock_moved,
    VariablesSet: _each(noted.variables_set, _password_set),
    NetworkProfileSet: noted.profile_set,
    LinkOpened: noted.link_opened,
    LinkClosed: _each(noted.link_closed, _closed),
    FrameReceived: _each(_heard, certificate.heard),
    CsmsReached: _reached,
    OutboxHead: noted.outbox_seen,
    MessageTriggered: certificate.triggered,
    Tick: _each(noted.clock_moved, certificate.ticked),
    KeyMade: certificate.key_made,
    IdentityInstalled: certificate.installed,
    IdentityRefused: certificate.refused,
}
