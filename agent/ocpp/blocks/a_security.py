"""Block A: security. The profiles live in `csms.link`; here are security events (A04)."""

from agent.core.effects import Enqueue
from agent.core.events import Now, Started
from agent.ocpp.block import Consequences, Incoming, OnEvent, OnResponse, Outgoing
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import dump, open_stamp
from agent.ocpp.view import View

UNPLANNED = frozenset({"PowerUp", "Unknown"})


def _started(event: Started, view: View, now: Now) -> Consequences:
    """A04.FR.01: a start is a critical event, so it waits in the outbox."""
    kind = "StartupOfTheDevice" if event.boot_reason in UNPLANNED else "ResetOrReboot"
    body = dump({"type": kind, "timestamp": open_stamp(now.mono_s)})
    return Consequences(
        effects=(Enqueue(now.new_id(), "SecurityEventNotification", body, True, "Critical"),)
    )


INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {Started: _started}
VARIABLES: tuple[Variable, ...] = ()
