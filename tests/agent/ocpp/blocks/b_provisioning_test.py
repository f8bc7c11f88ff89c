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
from agent.ocpp.blocks import a_security, b_provisioning, g_availability
from agent.ocpp.certificates import Certificates
from agent.ocpp.device_model import DeviceModel, Variable, VariablesSet
from agent.ocpp.dialling import Slot
from agent.ocpp.network import Network
from agent.ocpp.station_certificate import StationCertificate
from agent.ocpp.turns import Turns
from agent.ocpp.view import Facts, Plug

SCHEMAS = Path(ocpp.__file__).parent / "v201" / "schemas"
NOW = Now(100.0, 1_700_000_000.0, True, "b", 0, lambda: 0.5, lambda: "id")  # type: ignore[arg-type]
AUTH = Variable("AuthCtrlr", "LocalAuthorizeOffline", "boolean", policy="local_authorize_offline")
COMM = {"name": "OCPPCommCtrlr"}
THRESHOLD = {"component": COMM, "variable": {"name": "OfflineThreshold"}}


class Connectors:
    """The part of the core that block B looks at."""

    def __init__(self, statuses: dict[tuple[int, int], str]) -> None:
        self.statuses = statuses
        self.site = SimpleNamespace(phases=3)
        self.connector = SimpleNamespace(faults=frozenset(), lock_failed=False)
        metering = SimpleNamespace(last=None)
        self.evses = {1: SimpleNamespace(connectors={1: self.connector}, metering=metering)}
        self.evse_ids = tuple(dict.fromkeys(evse_id for evse_id, _ in statuses))

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return tuple(connector for evse, connector in self.statuses if evse == evse_id)

    def status(self, place: tuple[int, int]) -> str:
        return self.statuses[place]

    def hardware_limit_a(self, evse_id: int) -> float:
        return 32.0


def view_of(*extra: Variable, statuses: Iterable[str] = ("Available",)) -> Any:
    slots = tuple(
        SimpleNamespace(security_profile=profile, number=number, message_timeout_s=None)
        for number, profile in ((1, 2), (2, 2))
    )
    return SimpleNamespace(
        variables=DeviceModel(
            (*b_provisioning.VARIABLES, *a_security.VARIABLES, AUTH, *extra), ((1, (1,)),), {}
        ),
        station=Connectors({(n, 1): status for n, status in enumerate(statuses, 1)}),
        connection=SimpleNamespace(slots=slots, slot=1, turns=Turns()),
        network=SimpleNamespace(numbers=(1, 2), security_profile=lambda number: 2),
        certificates=Certificates({}),
        station_certificate=StationCertificate({}),
        facts=Facts("CP1", "Maker", "Box", plugs={(1, 1): Plug("cType2", 3)}),
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


# --- SetNetworkProfile ----------------------------------------------------------------------------

PROFILE = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": "wss://other.example.com:8443/ocpp",
    "messageTimeout": 20,
    "securityProfile": 2,
    "ocppInterface": "Wired0",
}
VPN = {"server": "s", "user": "u", "password": "p", "key": "k", "type": "IKEv2"}


@pytest.mark.parametrize(
    ("slot", "change", "reason"),
    [
        (999, {}, "InvalidConfSlot"),
        (0, {}, "InvalidConfSlot"),
        (2, {}, "InvalidConfSlot"),
        (3, {"securityProfile": 1, "ocppCsmsUrl": "ws://a/b"}, "NoSecurityDowngrade"),
        (3, {"securityProfile": 4}, "InvalidNetworkConf"),
        (3, {"ocppVersion": "OCPP16"}, "InvalidNetworkConf"),
        (3, {"ocppTransport": "SOAP"}, "InvalidNetworkConf"),
        (3, {"messageTimeout": 0}, "InvalidNetworkConf"),
        (3, {"messageTimeout": 601}, "InvalidNetworkConf"),
        (3, {"vpn": VPN}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "ws://other.example.com/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss:///ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://a:99999/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://u:p@a/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://a/b c"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": ""}, "InvalidNetworkConf"),
    ],
)
def test_a_network_profile_that_cannot_work_is_rejected(
    slot: int, change: dict[str, Any], reason: str
) -> None:
    """B09.FR.02, FR.04, FR.05; slot 2 is in use."""
    answer = call(
        "SetNetworkProfile",
        {"configurationSlot": slot, "connectionData": PROFILE | change},
        view_of(),
    )
    assert answer.payload["status"] == "Rejected"
    assert answer.payload["statusInfo"]["reasonCode"] == reason
    assert not answer.effects
    assert not answer.events


def test_a_network_profile_is_saved_and_may_then_be_preferred() -> None:
    view = view_of()
    slot = Slot("wss://a/CP1", "CP1", 2)
    view.network = Network("CP1", (slot,), {})
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    assert set_one(view, "3,1", **priority)["attributeStatus"] == "Rejected"
    answer = call("SetNetworkProfile", {"configurationSlot": 3, "connectionData": PROFILE}, view)
    assert answer.payload == {"status": "Accepted"}
    assert set_one(view, "3,1", **priority)["attributeStatus"] == "RebootRequired"
    (save,) = answer.effects
    again = Network("CP1", (slot,), {save.key: save.value})
    assert again.slots("3,1") == (
        Slot("wss://other.example.com:8443/ocpp/CP1", "CP1", 2, 3, 20.0),
        slot,
    )


@pytest.mark.parametrize("order", ["1,2", "2,1", "2"])
def test_a_less_secure_slot_cannot_be_preferred_before_the_boot_was_accepted_either(
    order: str,
) -> None:
    """A05.FR.10."""
    view = view_of()
    view.network = Network("CP1", (Slot("wss://a/x", "CP1", 2), Slot("ws://a/x", "CP1", 1, 2)), {})
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    assert set_one(view, order, **priority)["attributeStatus"] == "Rejected"
    assert set_one(view, "1", **priority)["attributeStatus"] == "RebootRequired"


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
