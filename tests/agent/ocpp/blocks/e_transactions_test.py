"""Block E: how a recorded event looks on the wire, and what its answer means."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import MeterSample, Record
from agent.core.events import IdToken, Now, TokenInfo, TransactionAnswered
from agent.ocpp.blocks import e_transactions, j_meter_values
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.messages import close_stamps, dump, validate_request
from agent.ocpp.variable import fitting
from drivers.contract import MeterReading, Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
TOKEN = IdToken("04A1B2C3", "ISO14443")
READING = MeterReading(90.0, 5000.0, current_a=(16.0, 16.0, 16.0), power_w=11_000.0)


def record(**more: Any) -> Record:
    values: dict[str, Any] = {
        "event_type": "Updated",
        "trigger_reason": "ChargingStateChanged",
        "transaction_id": "t-1",
        "seq_no": 3,
        "at_s": 95.0,
        "evse_id": 2,
    }
    return Record(**values | more)


def wire(event: Record) -> dict[str, Any]:
    """The payload as it leaves, checked against the schema."""
    declared = (*e_transactions.VARIABLES, *j_meter_values.VARIABLES)
    variables = DeviceModel(fitting(declared, frozenset({"socket"})), (), {})
    view: Any = SimpleNamespace(variables=variables)
    call = e_transactions.OUTGOING[Record](event, view, NOW)
    assert call.action == "TransactionEvent"
    payload: dict[str, Any] = json.loads(close_stamps(dump(call.payload), NOW.utc_s))
    validate_request("TransactionEvent", payload)
    return payload


def test_a_bare_update_carries_what_is_required_and_no_more() -> None:
    assert wire(record()) == {
        "eventType": "Updated",
        "timestamp": "2001-09-09T01:48:15.000Z",
        "triggerReason": "ChargingStateChanged",
        "seqNo": 3,
        "transactionInfo": {"transactionId": "t-1"},
    }


@pytest.mark.parametrize(
    ("more", "evse"),
    [
        ({"seq_no": 0}, {"id": 2}),
        ({"seq_no": 0, "connector_id": 1}, {"id": 2, "connectorId": 1}),
        ({"seq_no": 1, "connector_id": 1}, {"id": 2, "connectorId": 1}),
        ({"seq_no": 1}, None),
    ],
)
def test_the_evse_is_told_first_and_the_connector_once_known(
    more: dict[str, Any], evse: Any
) -> None:
    assert wire(record(**more)).get("evse") == evse


def test_what_belongs_to_an_end_stands_in_its_place() -> None:
    payload = wire(
        record(
            event_type="Ended",
            trigger_reason="RemoteStop",
            charging_state="EVConnected",
            stopped_reason="Remote",
            remote_start_id=17,
            token=TOKEN,
            phases_used=3,
            samples=(MeterSample("Transaction.End", READING),),
        )
    )
    assert payload["transactionInfo"] == {
        "transactionId": "t-1",
        "chargingState": "EVConnected",
        "stoppedReason": "Remote",
        "remoteStartId": 17,
    }
    assert payload["idToken"] == {"idToken": "04A1B2C3", "type": "ISO14443"}
    assert payload["numberOfPhasesUsed"] == 3
    (value,) = payload["meterValue"]
    assert value["sampledValue"] == [{"value": 5000.0, "context": "Transaction.End"}]
    assert value["timestamp"] == "2001-09-09T01:48:10.000Z"


def test_updates_carry_all_measurands_and_starts_and_ends_the_energy() -> None:
    sample = (MeterSample("Sample.Periodic", READING),)
    counts = [
        len(wire(record(event_type=kind, samples=sample))["meterValue"][0]["sampledValue"])
        for kind in ("Started", "Updated", "Ended")
    ]
    assert counts == [1, 5, 1]


@pytest.mark.parametrize(
    ("request_has_token", "response", "told"),
    [
        (True, {"idTokenInfo": {"status": "Blocked"}}, True),
        (True, {}, False),
        (False, {"idTokenInfo": {"status": "Blocked"}}, False),
        (True, None, False),
    ],
)
def test_the_answer_judges_the_token_where_both_name_it(
    request_has_token: bool, response: dict[str, Any] | None, told: bool
) -> None:
    request: dict[str, Any] = {"transactionInfo": {"transactionId": "t-1"}}
    if request_has_token:
        request["idToken"] = {"idToken": "04A1B2C3", "type": "ISO14443"}
    view: Any = None
    found = e_transactions.ON_RESPONSE["TransactionEvent"](request, response, view, NOW)
    expected = (TransactionAnswered("t-1", TOKEN, TokenInfo("Blocked")),) if told else ()
    assert found.events == expected
