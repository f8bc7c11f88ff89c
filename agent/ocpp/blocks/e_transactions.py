"""Block E: transactions. When one starts and ends is `core.evse`; here is what is told of it."""

from agent.core.effects import Record
from agent.core.events import Now, TransactionAnswered
from agent.ocpp.block import (
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import open_stamp
from agent.ocpp.meter_value import meter_value
from agent.ocpp.tokens import from_wire, info_from_wire, to_wire
from agent.ocpp.view import View

START_POINTS = ("EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer")
"""Bay sensors and signing meters come with their drivers."""


def _transaction_event(record: Record, view: View, now: Now) -> OutgoingCall:
    """TransactionEventRequest without `offline`, which belongs to the sending (E04.FR.03)."""
    info: Payload = {"transactionId": record.transaction_id}
    if record.charging_state is not None:
        info["chargingState"] = record.charging_state
    if record.stopped_reason is not None:
        info["stoppedReason"] = record.stopped_reason
    if record.remote_start_id is not None:
        info["remoteStartId"] = record.remote_start_id
    payload: Payload = {
        "eventType": record.event_type,
        "timestamp": open_stamp(record.at_s),
        "triggerReason": record.trigger_reason,
        "seqNo": record.seq_no,
        "transactionInfo": info,
    }
    if record.connector_id is not None:
        payload["evse"] = {"id": record.evse_id, "connectorId": record.connector_id}
    elif record.seq_no == 0 or record.trigger_reason == "Trigger":
        payload["evse"] = {"id": record.evse_id}
    if record.token is not None:
        payload["idToken"] = to_wire(record.token)
    if record.phases_used is not None:
        payload["numberOfPhasesUsed"] = record.phases_used
    measurands = frozenset(
        view.variables.value("SampledDataCtrlr", f"Tx{record.event_type}Measurands").split(",")
    )
    values = [v for s in record.samples if (v := meter_value(s, measurands)) is not None]
    if values:
        payload["meterValue"] = values
    return OutgoingCall("TransactionEvent", payload)


def _answered(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """The CSMS may judge the token once more (E01.FR.12, E05)."""
    if response is None or "idTokenInfo" not in response or "idToken" not in request:
        return Consequences()
    return Consequences(
        events=(
            TransactionAnswered(
                request["transactionInfo"]["transactionId"],
                from_wire(request["idToken"]),
                info_from_wire(response["idTokenInfo"]),
            ),
        )
    )


INCOMING: Incoming = {}
OUTGOING: Outgoing = {Record: _transaction_event}
ON_RESPONSE: OnResponse = {"TransactionEvent": _answered}
ON_EVENT: OnEvent = {}

VARIABLES: tuple[Variable, ...] = (
    Variable(
        "OCPPCommCtrlr",
        "SetAsideEvents",
        data_type="integer",
        mutability="ReadOnly",
        read=lambda view: str(view.set_aside()),
    ),
    Variable(
        "TxCtrlr",
        "EVConnectionTimeOut",
        data_type="integer",
        unit="s",
        min_limit=1,
        default="60",
        policy="ev_connection_timeout_s",
    ),
    Variable(
        "TxCtrlr",
        "TxStartPoint",
        data_type="MemberList",
        values=START_POINTS,
        default="PowerPathClosed",
        policy="tx_start_point",
    ),
    Variable(
        "TxCtrlr",
        "TxStopPoint",
        data_type="MemberList",
        values=START_POINTS,
        default="PowerPathClosed",
        policy="tx_stop_point",
    ),
    Variable(
        "TxCtrlr",
        "StopTxOnInvalidId",
        data_type="boolean",
        default="true",
        policy="stop_tx_on_invalid_id",
    ),
    Variable(
        "TxCtrlr",
        "StopTxOnEVSideDisconnect",
        data_type="boolean",
        default="true",
        policy="stop_tx_on_ev_side_disconnect",
    ),
)
