"""Block E: transactions. When one starts and ends is `core.evse`; here is what is told of it."""

import msgspec

from agent.core.effects import FindRows, Record
from agent.core.events import Now, RowsFound, TransactionAnswered
from agent.ocpp.block import (
    NOTHING,
    Answer,
    Consequences,
    Incoming,
    Later,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import open_stamp
from agent.ocpp.meter_value import tell_all
from agent.ocpp.tokens import from_wire, info_from_wire, to_wire
from agent.ocpp.view import View

STOP_POINTS = (
    "ParkingBayOccupancy",
    "EVConnected",
    "Authorized",
    "PowerPathClosed",
    "EnergyTransfer",
)
START_POINTS = (*STOP_POINTS, "DataSigned")
NEEDS = (("ParkingBayOccupancy", "bay_sensor"), ("DataSigned", "signed_begin"))
STORE_ANSWERS_IN_S = 5.0


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
    connector_id = record.connector_id
    if view.variables.value("TxCtrlr", "RepeatEvse") == "true":
        connector_id = record.known_connector_id
    if connector_id is not None:
        payload["evse"] = {"id": record.evse_id, "connectorId": connector_id}
    elif record.evse_id and (record.seq_no == 0 or record.trigger_reason == "Trigger"):
        payload["evse"] = {"id": record.evse_id}
    if record.token is not None:
        payload["idToken"] = to_wire(record.token)
    if record.phases_used is not None:
        payload["numberOfPhasesUsed"] = record.phases_used
    values = tell_all(view, record)
    if values:
        payload["meterValue"] = values
    return OutgoingCall("TransactionEvent", payload)


def _answered(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """The CSMS may judge the token once more (E01.FR.12, E05)."""
    if response is None or "idTokenInfo" not in response or "idToken" not in request:
        return NOTHING
    return Consequences(
        events=(
            TransactionAnswered(
                request["transactionInfo"]["transactionId"],
                from_wire(request["idToken"]),
                info_from_wire(response["idTokenInfo"]),
            ),
        )
    )


def _transaction_status(payload: Payload, view: View, now: Now) -> Later:
    """E14. The store knows what waits; if it cannot be asked, anything that waits counts."""
    transaction_id = payload.get("transactionId")
    known: Payload = {}
    part = ""
    if transaction_id is not None:
        running = view.station.running(transaction_id)
        known["ongoingIndicator"] = running is not None and running.started
        part = f'"transactionId":{msgspec.json.encode(transaction_id).decode()}'
    question = now.new_id()

    def decide(view: View, now: Now) -> Answer | None:
        answer = view.rows_found
        if answer is None or answer.question != question:
            return None
        return Answer({**known, "messagesInQueue": answer.found})

    return Later(
        now.mono_s + STORE_ANSWERS_IN_S,
        Answer({**known, "messagesInQueue": view.connection.waiting > 0}),
        decide,
        effects=(FindRows(question, "TransactionEvent", part),),
    )


def _rows_found(event: RowsFound, view: View, now: Now) -> Consequences:
    view.rows_found = event
    return Consequences()


INCOMING: Incoming = {"GetTransactionStatus": _transaction_status}
OUTGOING: Outgoing = {Record: _transaction_event}
ON_RESPONSE: OnResponse = {"TransactionEvent": _answered}
ON_EVENT: OnEvent = {RowsFound: _rows_found}

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
        value_needs=NEEDS,
        default="PowerPathClosed",
        policy="tx_start_point",
    ),
    Variable(
        "TxCtrlr",
        "TxStopPoint",
        data_type="MemberList",
        values=STOP_POINTS,
        value_needs=NEEDS,
        default="PowerPathClosed",
        policy="tx_stop_point",
    ),
    Variable(
        "TxCtrlr",
        "RepeatEvse",
        data_type="boolean",
        default="false",
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
    Variable(
        "TxCtrlr",
        "MaxEnergyOnInvalidId",
        data_type="integer",
        unit="Wh",
        min_limit=0,
        default="0",
        policy="max_energy_on_invalid_id_wh",
    ),
    Variable(
        "OCPPCommCtrlr",
        "UnlockOnEVSideDisconnect",
        data_type="boolean",
        default="false",
        policy="unlock_on_ev_side_disconnect",
        needs="socket",
    ),
    Variable(
        "OCPPCommCtrlr",
        "UnlockOnEVSideDisconnect",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "false",
        needs="fixed_cables",
    ),
)
