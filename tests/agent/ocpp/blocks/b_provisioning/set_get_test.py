"""Variables set and asked by the CSMS (B05, B06)."""

from typing import Any

import pytest

from agent.core.effects import Save
from agent.core.events import PolicyChanged
from agent.ocpp.block import CallError
from agent.ocpp.blocks import b_provisioning
from agent.ocpp.device_model import VariablesSet
from tests.agent.ocpp.blocks.b_provisioning.provisioning_bench import (
    NOW,
    THRESHOLD,
    call,
    get_one,
    set_one,
    view_of,
)

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
        ({"name": "NetworkConfigurationPriority"}, "2,3", "InvalidValue"),
    ],
)
def test_a_refusal_has_a_reason(variable: dict[str, str], value: str, reason: str) -> None:
    """TC_B_11, TC_B_39, OCPP-J 8.4."""
    result = set_one(view_of(), value, variable=variable)
    assert result["attributeStatus"] == "Rejected"
    assert result["attributeStatusInfo"] == {"reasonCode": reason}


def test_a_password_is_accepted_when_it_is_long_enough() -> None:
    item = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
    assert set_one(view_of(), "correct horse battery", **item)["attributeStatus"] == "Accepted"
    assert set_one(view_of(), "fifteen letters", **item)["attributeStatus"] == "Rejected"


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
        ("SecurityCtrlr", "SecurityProfile", "2"),
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
