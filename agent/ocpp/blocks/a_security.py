"""Block A: security. The profiles live in `csms.link`; here are security events (A04) and the
password for Basic authentication (A01)."""

from agent.core.effects import Enqueue, Log
from agent.core.events import FrameReceived, LinkOpened, Now, Started
from agent.ocpp.block import Consequences, Incoming, OnEvent, OnResponse, Outgoing
from agent.ocpp.device_model import Variable, VariablesSet
from agent.ocpp.messages import dump, open_stamp
from agent.ocpp.view import View

UNPLANNED = frozenset({"PowerUp", "Unknown"})


def _started(event: Started, view: View, now: Now) -> Consequences:
    """A04.FR.01: a start is a critical event, so it waits in the outbox."""
    kind = "StartupOfTheDevice" if event.boot_reason in UNPLANNED else "ResetOrReboot"
    body = dump({"type": kind, "timestamp": open_stamp(now.at_s)})
    return Consequences(
        effects=(Enqueue(now.new_id(), "SecurityEventNotification", body, True, "Critical"),)
    )


PASSWORD_KEY = "var/SecurityCtrlr/BasicAuthPassword"


def _variables_set(event: VariablesSet, view: View, now: Now) -> Consequences:
    """A01.FR.03, FR.11, FR.12: the next link is opened with the new password, at once."""
    newest = next((c.value for c in event.changes if c.key == PASSWORD_KEY), None)
    if newest is None:
        return Consequences()
    saved = view.passwords.changed(view.connection.credential, newest)
    told = Log(5, "security: the CSMS changed the password of Basic authentication")
    return Consequences(effects=(saved, told, *view.connection.redial("the password changed")))


def _opened(event: LinkOpened, view: View, now: Now) -> Consequences:
    view.passwords.opened(view.connection.failed_dials)
    return Consequences()


def _heard(event: FrameReceived, view: View, now: Now) -> Consequences:
    return Consequences(effects=tuple(view.passwords.heard(view.connection.credential)))


INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {
    Started: _started,
    VariablesSet: _variables_set,
    LinkOpened: _opened,
    FrameReceived: _heard,
}
VARIABLES: tuple[Variable, ...] = ()
