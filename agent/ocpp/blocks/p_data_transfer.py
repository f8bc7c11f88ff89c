"""Block P: data transfer. No vendor's extensions are known here, so each is told so."""

from agent.core.events import Now
from agent.ocpp.block import Answer, Incoming, OnEvent, OnResponse, Outgoing, Payload
from agent.ocpp.device_model import Variable
from agent.ocpp.view import View


def _data_transfer(payload: Payload, view: View, now: Now) -> Answer:
    """P01.FR.05."""
    return Answer({"status": "UnknownVendorId"})


INCOMING: Incoming = {"DataTransfer": _data_transfer}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {}
VARIABLES: tuple[Variable, ...] = ()
