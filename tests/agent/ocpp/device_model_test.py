"""Variables: which values they take, what survives a restart, what the core is told."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.core.effects import Save
from agent.core.events import PolicyChanged
from agent.core.policy import Policy
from agent.ocpp.device_model import DeviceModel, Variable, VariablesSet
from tests.agent.ocpp.device_model_bench import NOW, PLACES, THRESHOLD, VIEW, model, named, set_now

NO_ATTRIBUTE = "NotSupportedAttributeType"


# --- who may do what ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "variable", "attribute", "value", "status"),
    [
        (named("NoCtrlr"), named("NoVariable"), "Target", "x", "UnknownComponent"),
        (named("OCPPCommCtrlr"), named("NoVariable"), "Target", "x", "UnknownVariable"),
        (
            named("OCPPCommCtrlr"),
            named("OfflineThreshold"),
            "Target",
            "x",
            "NotSupportedAttributeType",
        ),
        (named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "x", "Rejected"),
        (named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "601", "Rejected"),
        (named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "600", "Accepted"),
        (named("ocppcommctrlr"), named("OFFLINEthreshold"), "Actual", "600", "Accepted"),
        (named("OCPPCommCtrlr", ""), named("OfflineThreshold", ""), "Actual", "600", "Accepted"),
        (named("OCPPCommCtrlr"), named("OfflineThreshold", "X"), "Actual", "1", "UnknownVariable"),
        (named("OCPPCommCtrlr", "X"), named("OfflineThreshold"), "Actual", "1", "UnknownComponent"),
        (named("OCPPCommCtrlr"), named("MessageTimeout"), "Actual", "1", "UnknownVariable"),
        (named("OCPPCommCtrlr"), named("MessageTimeout", "Default"), "Actual", "1", "Rejected"),
        (named("TestCtrlr"), named("Slow"), "Actual", "true", "RebootRequired"),
        (named("ClockCtrlr"), named("DateTime"), "Actual", "2026-01-01T00:00:00Z", "Rejected"),
        (named("EVSE"), named("Power"), "Actual", "1", "UnknownComponent"),
        (named("EVSE") | {"evse": {"id": 1}}, named("Power"), "Actual", "1", "Accepted"),
        (named("EVSE") | {"evse": {"id": 3}}, named("Power"), "Actual", "1", "UnknownComponent"),
        (
            named("EVSE") | {"evse": {"id": 1, "connectorId": 1}},
            named("Power"),
            "Actual",
            "1",
            "UnknownComponent",
        ),
    ],
)
def test_setting_is_judged_in_the_order_of_the_standard(
    component: dict[str, Any], variable: dict[str, Any], attribute: str, value: str, status: str
) -> None:
    """B05.FR.04 to FR.09, B06.FR.15."""
    assert model().check(component, variable, attribute, value) == status


def test_a_value_is_told_only_where_it_may_be() -> None:
    variables = model()
    connector = named("Connector") | {"evse": {"id": 2, "connectorId": 2}}
    other = named("Connector") | {"evse": {"id": 2, "connectorId": 1}}
    asked: list[tuple[dict[str, Any], dict[str, Any], str, tuple[str, str | None]]] = [
        (named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", ("Accepted", "60")),
        (
            named("OCPPCommCtrlr"),
            named("OfflineThreshold"),
            "MinSet",
            ("NotSupportedAttributeType", None),
        ),
        (named("SecurityCtrlr"), named("BasicAuthPassword"), "Actual", ("Rejected", None)),
        (named("OCPPCommCtrlr"), named("Nothing"), "Actual", ("UnknownVariable", None)),
        (connector, named("AvailabilityState"), "Actual", ("Accepted", "Occupied")),
        (other, named("AvailabilityState"), "Actual", ("Accepted", "")),
        (named("ClockCtrlr"), named("DateTime"), "Actual", ("Accepted", "2026-01-01T00:00:100Z")),
    ]
    for component, variable, attribute, answer in asked:
        assert variables.get(component, variable, attribute, VIEW, NOW) == answer


def test_a_value_that_could_not_be_carried_out_is_refused_with_the_reason() -> None:
    """B05.FR.09."""
    variables = DeviceModel((Variable("C", "V", refused="UnsupportedRequest"),), PLACES, {})
    verdict = variables.judge(named("C"), named("V"), "Actual", "x")
    assert (verdict.status, verdict.reason, verdict.change) == (
        "Rejected",
        "UnsupportedRequest",
        None,
    )


# --- changing -------------------------------------------------------------------------------------


def test_a_new_value_counts_only_after_it_was_handled_and_survives_a_restart() -> None:
    variables = model()
    status, effects, events = variables.set(
        named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "300"
    )
    assert status == "Accepted"
    assert variables.value("OCPPCommCtrlr", "OfflineThreshold") == "60"
    (event,) = events
    assert isinstance(event, VariablesSet)
    variables.handle(event)
    assert variables.value("OCPPCommCtrlr", "OfflineThreshold") == "300"
    assert effects == (Save("var/OCPPCommCtrlr/OfflineThreshold", '"300"'),)
    again = model({effect.key: effect.value or "" for effect in effects})
    assert again.value("OCPPCommCtrlr", "OfflineThreshold") == "300"


def test_the_same_value_again_costs_no_write() -> None:
    variables = model()
    set_now(variables, "OCPPCommCtrlr", "OfflineThreshold", "300")
    assert variables.set(named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "300") == (
        "Accepted",
        (),
        (),
    )


def test_the_same_secret_again_is_told_and_costs_no_write() -> None:
    """A password may be known here and not be the one in use."""
    variables = model()
    password = ("SecurityCtrlr", "BasicAuthPassword", "correct horse battery")
    set_now(variables, *password)
    status, saves, events = variables.set(
        named(password[0]), named(password[1]), "Actual", password[2]
    )
    assert (status, saves) == ("Accepted", ())
    assert [type(event) for event in events] == [VariablesSet]


def test_a_refused_value_has_no_consequence() -> None:
    assert model().set(named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "x") == (
        "Rejected",
        (),
        (),
    )


def test_each_evse_has_its_own_value() -> None:
    variables = model()
    component = named("EVSE") | {"evse": {"id": 2}}
    _, effects, events = variables.set(component, named("Power"), "Actual", "11000")
    for event in events:
        assert isinstance(event, VariablesSet)
        variables.handle(event)
    assert variables.value("EVSE", "Power", evse_id=2) == "11000"
    assert variables.value("EVSE", "Power", evse_id=1) == ""
    assert [effect.key for effect in effects] == ["var/EVSE@2/Power"]


def test_the_station_itself_may_set_what_the_csms_may_not() -> None:
    status, effects, _ = model().set(
        named("OCPPCommCtrlr"), named("MessageTimeout", "Default"), "Actual", "20", by_station=True
    )
    assert (status, [effect.key for effect in effects]) == (
        "Accepted",
        ["var/OCPPCommCtrlr/MessageTimeout[Default]"],
    )


def test_what_the_program_is_cannot_be_set_by_anybody() -> None:
    fixed = Variable("C", "Items", "integer", mutability="ReadOnly", default="64")
    names = named("C"), named("Items"), "Actual"
    variables = DeviceModel((fixed,), PLACES, {"var/C/Items": '"5"'})
    assert variables.judge(*names, "5", by_station=True).reason == "ReadOnly"
    assert variables.value("C", "Items") == "64"
    variables = DeviceModel((fixed,), PLACES, {}, (first("C", "Items", "5"),))
    assert variables.value("C", "Items") == "64"
    assert "C.Items was not applied (ReadOnly)" in variables.warnings[0]


def test_what_need_not_last_is_not_saved() -> None:
    volatile = Variable("C", "V", "integer", persistent=False, default="1")
    variables = DeviceModel((volatile,), PLACES, {"var/C/V": '"5"'})
    assert variables.value("C", "V") == "1"
    _, effects, events = variables.set(named("C"), named("V"), "Actual", "2")
    assert (effects, len(events)) == ((), 1)


def test_saved_values_that_are_not_valid_any_more_give_way_to_the_default() -> None:
    variables = model(
        {
            "var/OCPPCommCtrlr/OfflineThreshold": '"9000"',
            "var/TxCtrlr/EVConnectionTimeOut": "not json",
            "var/SecurityCtrlr/BasicAuthPassword": '"short"',
            "var/GoneCtrlr/Gone": '"1"',
        }
    )
    assert variables.value("OCPPCommCtrlr", "OfflineThreshold") == "60"
    assert variables.policy() == Policy()
    assert len(variables.warnings) == 3
    assert all("set it again" in warning for warning in variables.warnings)
    assert not any("short" in warning for warning in variables.warnings)


def test_a_secret_shows_in_no_text_of_its_events() -> None:
    _, _, events = model().set(
        named("SecurityCtrlr"), named("BasicAuthPassword"), "Actual", "correct horse battery"
    )
    assert "correct horse" not in repr(events)
    assert "BasicAuthPassword" in repr(events)


# --- the core -------------------------------------------------------------------------------------


def test_the_policy_follows_its_variables() -> None:
    variables = model()
    assert variables.policy() == Policy()
    set_now(variables, "TxCtrlr", "TxStartPoint", "EVConnected,Authorized")
    set_now(variables, "TxCtrlr", "EVConnectionTimeOut", "15")
    set_now(variables, "AuthCtrlr", "AuthorizeRemoteStart", "true")
    assert variables.policy() == Policy(
        tx_start_point=frozenset({"EVConnected", "Authorized"}),
        ev_connection_timeout_s=15,
        authorize_remote_start=True,
    )


def test_one_policy_change_carries_all_changes_of_a_request() -> None:
    variables = model()
    wanted = [("EVConnectionTimeOut", "15"), ("TxStartPoint", "Authorized")]
    changes = [
        variables.judge(named("TxCtrlr"), named(name), "Actual", value).change
        for name, value in wanted
    ]
    _, events = variables.consequences([change for change in changes if change is not None])
    assert events[1:] == (
        PolicyChanged(Policy(ev_connection_timeout_s=15, tx_start_point=frozenset({"Authorized"}))),
    )


def test_variables_without_a_policy_field_do_not_disturb_the_core() -> None:
    _, _, events = model().set(named("OCPPCommCtrlr"), named("OfflineThreshold"), "Actual", "5")
    assert [type(event) for event in events] == [VariablesSet]


def test_the_default_of_a_policy_field_is_the_default_of_its_variable() -> None:
    variables = model()
    assert variables.value("TxCtrlr", "EVConnectionTimeOut") == "60"
    assert variables.value("AuthCtrlr", "AuthorizeRemoteStart") == "false"
    assert variables.value("TxCtrlr", "TxStartPoint") == "PowerPathClosed"


def test_asking_for_what_nobody_declared_or_for_a_fact_is_a_bug() -> None:
    with pytest.raises(KeyError):
        model().value("OCPPCommCtrlr", "Nothing")
    with pytest.raises(KeyError, match="fact"):
        model().value("ClockCtrlr", "DateTime")


@pytest.mark.parametrize(
    "mistaken",
    [
        pytest.param((THRESHOLD, THRESHOLD), id="declared twice"),
        pytest.param((Variable("C", "V", "MemberList"),), id="list without values"),
        pytest.param((Variable("C", "V", policy="no_such_field"),), id="unknown policy field"),
        pytest.param((Variable("C", "V", read=lambda view: "1"),), id="fact that can be set"),
        pytest.param((Variable("C", "V", secret=True),), id="secret that can be read"),
        pytest.param((Variable("C", "V", "integer", default="x"),), id="default out of range"),
    ],
)
def test_a_wrong_declaration_is_found_at_once(mistaken: tuple[Variable, ...]) -> None:
    with pytest.raises(ValueError, match=r"C\.V|declared twice"):
        DeviceModel(mistaken, PLACES, {})


# --- first values ---------------------------------------------------------------------------------


def first(component: str, variable: str, value: str, **other: Any) -> Any:
    where = {"instance": None, "evse": None, "connector": None} | other
    return SimpleNamespace(
        component=SimpleNamespace(name=component, **where),
        variable=SimpleNamespace(name=variable, instance=other.get("variable_instance")),
        value=value,
        attribute=other.get("attribute", "Actual"),
    )


def test_first_values_are_applied_to_an_empty_store_and_only_once() -> None:
    values = (
        first("OCPPCommCtrlr", "OfflineThreshold", "120"),
        first("OCPPCommCtrlr", "MessageTimeout", "20", variable_instance="Default"),
        first("EVSE", "Power", "7400", evse=2),
    )
    variables = model(first=values)
    assert variables.warnings == []
    assert variables.value("OCPPCommCtrlr", "OfflineThreshold") == "120"
    assert variables.value("OCPPCommCtrlr", "MessageTimeout", "Default") == "20"
    saved = {save.key: save.value or "" for save in variables.first_saves}
    assert set(saved) == {
        "var/OCPPCommCtrlr/OfflineThreshold",
        "var/OCPPCommCtrlr/MessageTimeout[Default]",
        "var/EVSE@2/Power",
        "meta/first_values",
    }
    other = (first("OCPPCommCtrlr", "OfflineThreshold", "1"),)
    again = model(saved, other)
    assert again.value("OCPPCommCtrlr", "OfflineThreshold") == "120"
    assert again.first_saves == ()
    assert (
        model({"meta/first_values": "true"}, other).value("OCPPCommCtrlr", "OfflineThreshold")
        == "60"
    )


def test_first_values_that_do_not_fit_are_told_and_the_others_applied() -> None:
    values = (
        first("OCPPCommCtrlr", "OfflineThresold", "120"),
        first("OCPPCommCtrlr", "OfflineThreshold", "x"),
        first("OCPPCommCtrlr", "OfflineThreshold", "5", attribute="Target"),
        first("ClockCtrlr", "DateTime", "2026-01-01T00:00:00Z"),
        first("SecurityCtrlr", "BasicAuthPassword", "tooshort"),
        first("SecurityCtrlr", "BasicAuthPassword", "correct horse battery"),
        first("TxCtrlr", "EVConnectionTimeOut", "15"),
    )
    variables = model(first=values)
    reasons = (
        "UnknownVariable",
        "InvalidValue",
        "NotSupportedAttributeType",
        "ReadOnly",
        "Invalid",
        "secret",
    )
    assert len(variables.warnings) == len(reasons)
    for warning, reason in zip(variables.warnings, reasons, strict=True):
        assert reason in warning
        assert "tooshort" not in warning
        assert "horse" not in warning
    assert variables.policy() == Policy(ev_connection_timeout_s=15)


# --- reports --------------------------------------------------------------------------------------


def test_the_full_inventory_has_every_variable_at_every_place_without_secrets() -> None:
    variables = model()
    set_now(variables, "SecurityCtrlr", "BasicAuthPassword", "correct horse battery")
    rows = list(variables.inventory("FullInventory", VIEW, NOW))
    assert len(rows) == 8 + 2 + 3
    assert b"correct horse" not in msgspec.json.encode(rows)
    by_name = {
        msgspec.json.encode([row["component"], row["variable"]]).decode(): row for row in rows
    }
    password = by_name['[{"name":"SecurityCtrlr"},{"name":"BasicAuthPassword"}]']
    assert password["variableAttribute"] == [
        {"type": "Actual", "mutability": "WriteOnly", "persistent": True}
    ]
    assert password["variableCharacteristics"] == {
        "dataType": "string",
        "maxLimit": 40,
        "supportsMonitoring": False,
    }
    power = by_name['[{"name":"EVSE","evse":{"id":2}},{"name":"Power"}]']
    assert power["variableCharacteristics"]["unit"] == "W"
    assert "value" not in power["variableAttribute"][0]
    state = by_name[
        '[{"name":"Connector","evse":{"id":2,"connectorId":2}},{"name":"AvailabilityState"}]'
    ]
    assert state["variableAttribute"][0]["value"] == "Occupied"
    assert state["variableAttribute"][0]["persistent"] is False
    assert state["variableCharacteristics"]["valuesList"] == "Available,Occupied"
    instance = by_name['[{"name":"OCPPCommCtrlr"},{"name":"MessageTimeout","instance":"Default"}]']
    assert instance["variableAttribute"][0]["value"] == "30"


def test_the_configuration_inventory_has_what_can_be_set() -> None:
    """B07.FR.07."""
    rows = list(model().inventory("ConfigurationInventory", VIEW, NOW))
    assert [row["variable"]["name"] for row in rows] == [
        "OfflineThreshold",
        "BasicAuthPassword",
        "TxStartPoint",
        "EVConnectionTimeOut",
        "AuthorizeRemoteStart",
        "Slow",
        "Power",
        "Power",
    ]
