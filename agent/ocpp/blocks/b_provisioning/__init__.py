"""Block B: provisioning. Variables, reports, resets, and what a boot changes."""

from agent.core.events import Now, ResetRequested
from agent.ocpp.block import (
    Answer,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    Payload,
    refused,
)
from agent.ocpp.blocks.b_provisioning.declared import LONGEST_HEARTBEAT_S, VARIABLES
from agent.ocpp.blocks.b_provisioning.network import profile_set, set_network_profile
from agent.ocpp.blocks.b_provisioning.reports import (
    ROWS_PER_REPORT,
    get_base_report,
    get_report,
)
from agent.ocpp.blocks.b_provisioning.set_get import get_variables, set_variables
from agent.ocpp.device_model import VariablesSet
from agent.ocpp.network import NetworkProfileSet
from agent.ocpp.view import View

__all__ = ["INCOMING", "ON_EVENT", "ON_RESPONSE", "OUTGOING", "ROWS_PER_REPORT", "VARIABLES"]


def _booted(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """B01.FR.04: the interval becomes the HeartbeatInterval, which refuses 0 by its bounds."""
    if response is None or response["status"] != "Accepted":
        return Consequences()
    interval_s = min(response["interval"], LONGEST_HEARTBEAT_S)
    _, effects, events = view.variables.set(
        {"name": "OCPPCommCtrlr"}, {"name": "HeartbeatInterval"}, "Actual", str(interval_s)
    )
    return Consequences(events=events, effects=effects)


def _take_over(event: VariablesSet, view: View, now: Now) -> Consequences:
    view.variables.handle(event)
    return Consequences()


def _reset(payload: Payload, view: View, now: Now) -> Answer:
    """B11, B12: of the station, or of one EVSE while the others go on."""
    evses, evse_id = view.station.evses, payload.get("evseId", 0)
    if "evseId" in payload and evse_id not in evses:
        return refused("UnknownEvse")
    if view.firmware.is_installing:
        return refused("FwUpdateInProgress")
    on_idle = payload["type"] == "OnIdle"
    waits = on_idle and view.station.runs(evse_id)
    status = "Scheduled" if waits else "Accepted"
    return Answer({"status": status}, events=(ResetRequested(on_idle, evse_id),))


INCOMING: Incoming = {
    "Reset": _reset,
    "SetVariables": set_variables,
    "GetVariables": get_variables,
    "GetBaseReport": get_base_report,
    "GetReport": get_report,
    "SetNetworkProfile": set_network_profile,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {"BootNotification": _booted}
ON_EVENT: OnEvent = {VariablesSet: _take_over, NetworkProfileSet: profile_set}
