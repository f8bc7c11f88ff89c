"""Block L: firmware management.

No update yet: its CALLs are answered NotSupported.
"""

from agent.core.events import MessageTriggered, Now
from agent.ocpp.block import (
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.view import View


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """F06.FR.16, L01.FR.25: nothing is under way."""
    if event.message != "FirmwareStatusNotification":
        return Consequences()
    return Consequences(effects=(OutgoingCall(event.message, {"status": "Idle"}),))


INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {MessageTriggered: _triggered}
VARIABLES: tuple[Variable, ...] = ()
