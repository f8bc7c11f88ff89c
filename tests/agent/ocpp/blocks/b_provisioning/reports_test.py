"""Base reports (B07), and reports of what is asked for (B08)."""

from typing import Any

import pytest

from agent.ocpp.block import Answer
from agent.ocpp.blocks import b_provisioning, g_availability
from agent.ocpp.device_model import DeviceModel, Variable
from agent.ocpp.view import Facts, Plug
from tests.agent.ocpp.blocks.b_provisioning.provisioning_bench import call, schema, view_of

# --- GetBaseReport --------------------------------------------------------------------------------


def report(view: Any, report_base: str, request_id: int = 0) -> list[dict[str, Any]]:
    answer = call("GetBaseReport", {"requestId": request_id, "reportBase": report_base}, view)
    assert answer.payload == {"status": "Accepted"}
    return parts_of(answer)


def parts_of(answer: Answer) -> list[dict[str, Any]]:
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
                members = set(value.split(",")) - {""}
                assert members <= set(characteristics["valuesList"].split(","))
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


def test_the_summary_tells_how_available_everything_is_and_what_is_wrong() -> None:
    """TC_B_14: a connector only where it differs from its EVSE."""
    view = view_of(*g_availability.VARIABLES)
    rows = [row for part in report(view, "SummaryInventory") for row in part["reportData"]]
    names = [(row["component"]["name"], row["variable"]["name"]) for row in rows]
    assert names == [
        ("ChargingStation", "AvailabilityState"),
        ("EVSE", "AvailabilityState"),
    ]
    view.station.connector.faults = frozenset({"ground_fault"})
    rows = [row for part in report(view, "SummaryInventory") for row in part["reportData"]]
    wrong = [row["component"]["name"] for row in rows if row["variable"]["name"] == "Problem"]
    assert wrong == ["EVSE", "Connector"]


# --- GetReport ------------------------------------------------------------------------------------


def asked(view: Any, **payload: Any) -> list[tuple[str, int, int, str, str]]:
    """(component, EVSE, connector, variable, instance) of each row; [] for EmptyResultSet."""
    answer = call("GetReport", {"requestId": 3} | payload, view)
    if answer.payload["status"] == "EmptyResultSet":
        assert answer.stream is None
        return []
    assert answer.payload == {"status": "Accepted"}
    found = []
    for part in parts_of(answer):
        for row in part["reportData"]:
            evse = row["component"].get("evse", {})
            place = (evse.get("id", 0), evse.get("connectorId", 0))
            variable = row["variable"]
            name = row["component"]["name"]
            found.append((name, *place, variable["name"], variable.get("instance", "")))
    return found


EVSE, CONNECTOR = {"name": "EVSE"}, {"name": "Connector"}


@pytest.mark.parametrize(
    ("item", "count"),
    [
        ({"component": EVSE, "variable": {"name": "AllowReset"}}, 2),
        ({"component": EVSE | {"evse": {"id": 2}}, "variable": {"name": "AllowReset"}}, 1),
        ({"component": EVSE | {"evse": {"id": 3}}, "variable": {"name": "AllowReset"}}, 0),
        ({"component": CONNECTOR | {"evse": {"id": 1}}, "variable": {"name": "Problem"}}, 2),
        (
            {
                "component": CONNECTOR | {"evse": {"id": 1, "connectorId": 2}},
                "variable": {"name": "Problem"},
            },
            1,
        ),
        ({"component": {"name": "DeviceDataCtrlr"}, "variable": {"name": "ItemsPerMessage"}}, 3),
        (
            {
                "component": {"name": "devicedatactrlr"},
                "variable": {"name": "itemspermessage", "instance": "getreport"},
            },
            1,
        ),
        ({"component": {"name": "ClockCtrlr"}}, 2),
        ({"component": {"name": "ClockCtrlr", "instance": "x"}}, 0),
        ({"component": {"name": "ClockCtrlr"}, "variable": {"name": "Nothing"}}, 0),
    ],
)
def test_a_report_takes_whatever_an_item_leaves_open(item: dict[str, Any], count: int) -> None:
    """TC_B_54 to TC_B_56, B08.FR.20 to FR.25."""
    view = view_of()
    view.variables = DeviceModel(b_provisioning.VARIABLES, ((1, (1, 2)), (2, (1,))), {})
    plugs = {(1, 1): Plug("cType2", 3), (1, 2): Plug("cType2", 3), (2, 1): Plug("cType2", 3)}
    view.facts = Facts("CP1", "Maker", "Box", plugs=plugs)
    evse = view.station.evses[1]
    evse.connectors = {1: view.station.connector, 2: view.station.connector}
    view.station.evses[2] = evse
    assert len(asked(view, componentVariable=[item])) == count


def test_criteria_choose_components_and_names_choose_of_them() -> None:
    """TC_B_16, TC_B_18: what has no such variable counts as Active, Available, Enabled; a problem
    must be there."""
    off = Variable("Off", "Enabled", "boolean", default="false")
    view = view_of(
        off, Variable("Off", "Other"), Variable("On", "Enabled", "boolean", default="true")
    )
    enabled = {row[0] for row in asked(view, componentCriteria=["Enabled"])}
    assert "Off" not in enabled
    assert {"On", "EVSE", "ClockCtrlr"} <= enabled
    both = {row[0] for row in asked(view, componentCriteria=["Enabled", "Active"])}
    assert "Off" in both
    assert asked(view, componentCriteria=["Problem"]) == []
    view.station.connector.faults = frozenset({"ground_fault"})
    assert {row[0] for row in asked(view, componentCriteria=["Problem"])} == {"EVSE", "Connector"}
    clock = [{"component": {"name": "ClockCtrlr"}}]
    assert asked(view, componentCriteria=["Problem"], componentVariable=clock) == []
    assert len(asked(view, componentCriteria=["Enabled"], componentVariable=clock)) == 3
    everything = len(view.variables.entries("FullInventory"))
    assert len(asked(view)) == everything
