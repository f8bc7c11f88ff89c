"""Block B through its tables, answers checked against the schemas."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import ocpp
import pytest
from jsonschema import Draft6Validator

from agent.core.effects import Save
from agent.core.events import Now, PolicyChanged
from agent.ocpp.block import Answer, CallError
from agent.ocpp.blocks import b_provisioning
from agent.ocpp.device_model import DeviceModel, Variable, VariablesSet

SCHEMAS = Path(ocpp.__file__).parent / "v201" / "schemas"
NOW = Now(100.0, 1_700_000_000.0, True, "b", 0, lambda: 0.5, lambda: "id")  # type: ignore[arg-type]
AUTH = Variable("AuthCtrlr", "LocalAuthorizeOffline", "boolean", policy="local_authorize_offline")
COMM = {"name": "OCPPCommCtrlr"}
THRESHOLD = {"component": COMM, "variable": {"name": "OfflineThreshold"}}


class Connectors:
    """The part of the core that block B looks at."""

    def __init__(self, statuses: dict[tuple[int, int], str], fixed_cable: bool = True) -> None:
        self.statuses = statuses
        connectors = (SimpleNamespace(fixed_cable=True), SimpleNamespace(fixed_cable=fixed_cable))
        self.site = SimpleNamespace(phases=3, evses=(SimpleNamespace(connectors=connectors),))
        self.evse_ids = tuple(dict.fromkeys(evse_id for evse_id, _ in statuses))

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return tuple(connector for evse, connector in self.statuses if evse == evse_id)

    def status(self, place: tuple[int, int]) -> str:
        return self.statuses[place]


def view_of(*extra: Variable, statuses: Iterable[str] = ("Available",), fixed: bool = True) -> Any:
    slots = tuple(SimpleNamespace(security_profile=profile) for profile in (2, 3))
    return SimpleNamespace(
        variables=DeviceModel((*b_provisioning.VARIABLES, AUTH, *extra), ((1, (1,)),), {}),
        station=Connectors({(n, 1): status for n, status in enumerate(statuses, 1)}, fixed),
        connection=SimpleNamespace(slots=slots, slot=1),
        facts=SimpleNamespace(identity="CP1", vendor="Maker", model="Box"),
    )


@cache
def schema(name: str) -> Draft6Validator:
    return Draft6Validator(msgspec.json.decode((SCHEMAS / f"{name}.json").read_bytes()))


def call(action: str, payload: dict[str, Any], view: Any) -> Answer:
    """What the router does with a CALL: schemas, handler, then the events."""
    schema(f"{action}Request").validate(payload)
    answer = b_provisioning.INCOMING[action](payload, view, NOW)
    schema(f"{action}Response").validate(answer.payload)
    for event in answer.events:
        take = b_provisioning.ON_EVENT.get(type(event))
        if take is not None:
            take(event, view, NOW)
    return answer


def set_one(view: Any, value: str, **item: Any) -> dict[str, Any]:
    answer = call(
        "SetVariables",
        {"setVariableData": [THRESHOLD | {"attributeValue": value} | item]},
        view,
    )
    (result,) = answer.payload["setVariableResult"]
    return dict(result)


def get_one(view: Any, component: str, variable: str, **item: Any) -> dict[str, Any]:
    pair = {"component": {"name": component}, "variable": {"name": variable}}
    answer = call("GetVariables", {"getVariableData": [pair | item]}, view)
    (result,) = answer.payload["getVariableResult"]
    return dict(result)


# --- SetVariables ---------------------------------------------------------------------------------


def test_a_set_variable_is_saved_taken_over_and_told_to_the_core() -> None:
    """TC_B_09, TC_B_10."""
    view = view_of()
    other = {"component": {"name": "AuthCtrlr"}, "variable": {"name": "LocalAuthorizeOffline"}}
    answer = call(
        "SetVariables",
        {
            "setVariableData": [
                THRESHOLD | {"attributeValue": "300", "attributeType": "Actual"},
                other | {"attributeValue": "false"},
            ]
        },
        view,
    )
    assert answer.payload == {
        "setVariableResult": [
            THRESHOLD | {"attributeStatus": "Accepted", "attributeType": "Actual"},
            other | {"attributeStatus": "Accepted", "attributeType": "Actual"},
        ]
    }
    assert answer.effects == (
        Save("var/OCPPCommCtrlr/OfflineThreshold", '"300"'),
        Save("var/AuthCtrlr/LocalAuthorizeOffline", '"false"'),
    )
    assert [type(event) for event in answer.events] == [VariablesSet, PolicyChanged]
    assert get_one(view, "OCPPCommCtrlr", "OfflineThreshold")["attributeValue"] == "300"


def test_items_that_fail_do_not_hold_up_the_others_and_keep_their_place() -> None:
    view = view_of()
    unknown = {"component": {"name": "X", "instance": "i"}, "variable": {"name": "Y"}}
    answer = call(
        "SetVariables",
        {
            "setVariableData": [
                unknown | {"attributeValue": "1"},
                THRESHOLD | {"attributeValue": "77"},
                THRESHOLD | {"attributeValue": "1", "attributeType": "Target"},
            ]
        },
        view,
    )
    results = answer.payload["setVariableResult"]
    assert [result["attributeStatus"] for result in results] == [
        "UnknownComponent",
        "Accepted",
        "NotSupportedAttributeType",
    ]
    assert results[0]["component"] == {"name": "X", "instance": "i"}
    assert results[2]["attributeType"] == "Target"
    assert view.variables.value("OCPPCommCtrlr", "OfflineThreshold") == "77"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ({"name": "OfflineThreshold"}, "300.1", "InvalidValue"),
        ({"name": "WebSocketPingInterval"}, "-1", "InvalidValue"),
        ({"name": "HeartbeatInterval"}, "0", "InvalidValue"),
        ({"name": "MessageTimeout", "instance": "Default"}, "20", "ReadOnly"),
        ({"name": "NetworkConfigurationPriority"}, "2,1", "ReadOnly"),
    ],
)
def test_a_refusal_has_a_reason(variable: dict[str, str], value: str, reason: str) -> None:
    """TC_B_11, TC_B_39, OCPP-J 8.4."""
    result = set_one(view_of(), value, variable=variable)
    assert result["attributeStatus"] == "Rejected"
    assert result["attributeStatusInfo"] == {"reasonCode": reason}


def test_a_password_the_link_would_not_use_is_not_accepted() -> None:
    item = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    assert set_one(view_of(), "correct horse battery", **item)["attributeStatus"] == "Rejected"


def test_nothing_is_changed_by_the_handler_itself() -> None:
    view = view_of()
    item = THRESHOLD | {"attributeValue": "300"}
    b_provisioning.INCOMING["SetVariables"]({"setVariableData": [item]}, view, NOW)
    assert view.variables.value("OCPPCommCtrlr", "OfflineThreshold") == "60"


@pytest.mark.parametrize(
    ("action", "name", "item"),
    [
        ("SetVariables", "setVariableData", THRESHOLD | {"attributeValue": "1"}),
        ("GetVariables", "getVariableData", THRESHOLD),
    ],
)
def test_more_items_than_announced_are_a_call_error(
    action: str, name: str, item: dict[str, Any]
) -> None:
    """B06.FR.16."""
    view = view_of()
    limit = int(view.variables.value("DeviceDataCtrlr", "ItemsPerMessage", action))
    call(action, {name: [item] * limit}, view)
    with pytest.raises(CallError) as caught:
        call(action, {name: [item] * (limit + 1)}, view)
    assert caught.value.code == "OccurrenceConstraintViolation"


# --- GetVariables ---------------------------------------------------------------------------------


def test_a_value_is_told_with_its_attribute_type() -> None:
    """TC_B_06."""
    assert get_one(view_of(), "OCPPCommCtrlr", "OfflineThreshold") == THRESHOLD | {
        "attributeStatus": "Accepted",
        "attributeType": "Actual",
        "attributeValue": "60",
    }


@pytest.mark.parametrize(
    ("component", "variable", "item", "status"),
    [
        ("UnknownComponent", "OfflineThreshold", {}, "UnknownComponent"),
        ("OCPPCommCtrlr", "UnknownVariable", {}, "UnknownVariable"),
        (
            "OCPPCommCtrlr",
            "OfflineThreshold",
            {"attributeType": "Target"},
            "NotSupportedAttributeType",
        ),
        ("OCPPCommCtrlr", "MessageTimeout", {}, "UnknownVariable"),
        ("SecurityCtrlr", "BasicAuthPassword", {}, "Rejected"),
    ],
)
def test_what_cannot_be_told_has_no_value(
    component: str, variable: str, item: dict[str, str], status: str
) -> None:
    """TC_B_32 to TC_B_34, B06.FR.09, FR.15."""
    result = get_one(view_of(), component, variable, **item)
    assert result["attributeStatus"] == status
    assert "attributeValue" not in result


@pytest.mark.parametrize(
    ("component", "variable", "value"),
    [
        ("ChargingStation", "VendorName", "Maker"),
        ("ChargingStation", "Model", "Box"),
        ("ChargingStation", "SupplyPhases", "3"),
        ("SecurityCtrlr", "Identity", "CP1"),
        ("SecurityCtrlr", "SecurityProfile", "3"),
        ("OCPPCommCtrlr", "ActiveNetworkProfile", "2"),
        ("OCPPCommCtrlr", "NetworkConfigurationPriority", "1,2"),
        ("ClockCtrlr", "DateTime", "2023-11-14T22:15:00.000Z"),
    ],
)
def test_facts_come_from_their_source(component: str, variable: str, value: str) -> None:
    assert get_one(view_of(), component, variable)["attributeValue"] == value


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (("Available",), "Available"),
        (("Faulted", "Available"), "Available"),
        (("Unavailable", "Occupied"), "Occupied"),
        (("Faulted", "Reserved"), "Reserved"),
        (("Faulted", "Unavailable"), "Unavailable"),
        (("Faulted", "Faulted"), "Faulted"),
    ],
)
def test_the_station_is_as_available_as_its_best_connector(
    statuses: tuple[str, ...], state: str
) -> None:
    view = view_of(statuses=statuses)
    assert get_one(view, "ChargingStation", "AvailabilityState")["attributeValue"] == state


@pytest.mark.parametrize(("fixed", "value"), [(True, "false"), (False, "true")])
def test_only_a_socket_unlocks_on_disconnect(fixed: bool, value: str) -> None:
    view = view_of(fixed=fixed)
    result = get_one(view, "OCPPCommCtrlr", "UnlockOnEVSideDisconnect")
    assert result["attributeValue"] == value


# --- GetBaseReport --------------------------------------------------------------------------------


def report(view: Any, report_base: str, request_id: int = 0) -> list[dict[str, Any]]:
    answer = call("GetBaseReport", {"requestId": request_id, "reportBase": report_base}, view)
    assert answer.payload == {"status": "Accepted"}
    assert answer.stream is not None
    parts = []
    cursor: int | None = answer.stream.cursor
    while cursor is not None:
        action, part, cursor = answer.stream.next_part(cursor)
        assert action == "NotifyReport"
        schema("NotifyReportRequest").validate(part)
        parts.append(part)
    return parts


def test_the_full_inventory_comes_in_numbered_parts() -> None:
    """TC_B_13: seqNo from 0, tbc on all but the last, requestId 0 is valid."""
    view = view_of()
    parts = report(view, "FullInventory")
    assert len(parts) > 1
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert {part["requestId"] for part in parts} == {0}
    assert parts[0]["generatedAt"] == "2023-11-14T22:15:00.000Z"
    rows = [row for part in parts for row in part["reportData"]]
    assert len(rows) == len(view.variables.entries("FullInventory"))
    assert all("variableCharacteristics" in row for row in rows)


def test_every_list_holds_only_what_its_values_list_names() -> None:
    """TC_B_53."""
    lists = 0
    for part in report(view_of(), "FullInventory"):
        for row in part["reportData"]:
            characteristics = row["variableCharacteristics"]
            if characteristics["dataType"].endswith("List"):
                lists += 1
                value = row["variableAttribute"][0]["value"]
                assert set(value.split(",")) <= set(characteristics["valuesList"].split(","))
    assert lists >= 3


def test_the_configuration_inventory_has_only_what_can_be_set() -> None:
    """TC_B_12."""
    rows = [
        row for part in report(view_of(), "ConfigurationInventory", 7) for row in part["reportData"]
    ]
    mutability = {row["variableAttribute"][0]["mutability"] for row in rows}
    assert mutability == {"ReadWrite", "WriteOnly"}
    names = {row["variable"]["name"] for row in rows}
    assert {"OfflineThreshold", "HeartbeatInterval", "BasicAuthPassword"} <= names


def test_the_last_part_is_the_last_even_when_the_rows_fill_it() -> None:
    count = len(view_of().variables.entries("FullInventory"))
    missing = -count % b_provisioning.ROWS_PER_REPORT
    view = view_of(*(Variable("More", f"V{number}") for number in range(missing)))
    parts = report(view, "FullInventory")
    assert len(parts) == (count + missing) // b_provisioning.ROWS_PER_REPORT
    assert len(parts[-1]["reportData"]) == b_provisioning.ROWS_PER_REPORT


def test_the_summary_is_not_supported_and_nothing_follows() -> None:
    """TC_B_15."""
    answer = call("GetBaseReport", {"requestId": 1, "reportBase": "SummaryInventory"}, view_of())
    assert answer.payload["status"] == "NotSupported"
    assert answer.stream is None


# --- boot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "interval"),
    [
        ({"status": "Accepted", "interval": 900}, "900"),
        ({"status": "Accepted", "interval": 0}, "300"),
        ({"status": "Accepted", "interval": 1_000_000}, "86400"),
        ({"status": "Pending", "interval": 900}, "300"),
        (None, "300"),
    ],
)
def test_the_interval_of_an_accepted_boot_becomes_the_heartbeat_interval(
    response: dict[str, Any] | None, interval: str
) -> None:
    """B01.FR.04."""
    view = view_of()
    found = b_provisioning.ON_RESPONSE["BootNotification"]({}, response, view, NOW)
    for event in found.events:
        b_provisioning.ON_EVENT[type(event)](event, view, NOW)
    assert view.variables.value("OCPPCommCtrlr", "HeartbeatInterval") == interval
    assert len(found.effects) == (interval != "300")


# --- what the others need -------------------------------------------------------------------------


def test_everything_the_connection_reads_is_declared_with_a_number() -> None:
    variables = view_of().variables
    read = [
        ("HeartbeatInterval", ""),
        ("MessageTimeout", "Default"),
        ("MessageAttempts", "TransactionEvent"),
        ("MessageAttemptInterval", "TransactionEvent"),
        ("RetryBackOffWaitMinimum", ""),
        ("RetryBackOffRepeatTimes", ""),
        ("RetryBackOffRandomRange", ""),
        ("NetworkProfileConnectionAttempts", ""),
        ("WebSocketPingInterval", ""),
        ("OfflineThreshold", ""),
    ]
    for name, instance in read:
        assert float(variables.value("OCPPCommCtrlr", name, instance)) > 0
