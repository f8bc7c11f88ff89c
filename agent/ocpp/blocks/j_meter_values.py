"""Block J: meter values. How a reading looks on the wire is `ocpp.meter_value`."""

from agent.core.effects import MeterSample
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
from agent.ocpp.messages import format_time
from agent.ocpp.meter_value import ENERGY, MEASURANDS, meter_value
from agent.ocpp.view import View

ALL = ",".join(MEASURANDS)


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """F06.FR.06: the last reading of each EVSE that is meant, with the aligned measurands."""
    if event.message != "MeterValues":
        return Consequences()
    measurands = frozenset(view.variables.value("AlignedDataCtrlr", "Measurands").split(","))
    calls = []
    for evse_id, evse in view.station.evses.items():
        last = evse.metering.last
        if event.evse_id not in (0, evse_id) or last is None:
            continue
        value = meter_value(MeterSample("Trigger", last), measurands)
        if value is not None:
            value["timestamp"] = format_time(now.utc_s(last.at_s))
            payload = {"evseId": evse_id, "meterValue": [value]}
            calls.append(OutgoingCall("MeterValues", payload))
    return Consequences(effects=tuple(calls))


def _measurands(name: str, default: str, component: str = "SampledDataCtrlr") -> Variable:
    return Variable(
        component,
        name,
        data_type="MemberList",
        values=tuple(MEASURANDS),
        default=default,
    )


INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {MessageTriggered: _triggered}

VARIABLES: tuple[Variable, ...] = (
    _measurands("TxStartedMeasurands", ENERGY),
    _measurands("TxUpdatedMeasurands", ALL),
    _measurands("TxEndedMeasurands", ENERGY),
    _measurands("Measurands", ALL, "AlignedDataCtrlr"),
    Variable(
        "SampledDataCtrlr",
        "TxUpdatedInterval",
        data_type="integer",
        unit="s",
        min_limit=0,
        default="60",
        policy="tx_updated_interval_s",
    ),
)
