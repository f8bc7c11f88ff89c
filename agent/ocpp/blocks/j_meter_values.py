"""Block J: meter values. How a reading looks on the wire is `ocpp.meter_value`."""

from agent.ocpp.block import Incoming, OnEvent, OnResponse, Outgoing
from agent.ocpp.device_model import Variable
from agent.ocpp.meter_value import ENERGY, MEASURANDS

ALL = ",".join(MEASURANDS)


def _measurands(name: str, default: str) -> Variable:
    return Variable(
        "SampledDataCtrlr",
        name,
        data_type="MemberList",
        values=tuple(MEASURANDS),
        default=default,
    )


INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {}

VARIABLES: tuple[Variable, ...] = (
    _measurands("TxStartedMeasurands", ENERGY),
    _measurands("TxUpdatedMeasurands", ALL),
    _measurands("TxEndedMeasurands", ENERGY),
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
