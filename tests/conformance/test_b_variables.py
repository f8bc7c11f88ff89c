"""Block B of Part 6: variables and reports."""

import csv
from pathlib import Path
from typing import Any

import pytest

from hil.cases import play
from hil.cases_b import (
    COMM,
    REQUEST_ID,
    THRESHOLD,
    Payload,
    base_report,
    clean,
    get_variables,
    reported,
    set_variables,
)
from hil.conformance import Octt

OFFLINE_AUTHORIZE = {
    "component": {"name": "AuthCtrlr"},
    "variable": {"name": "LocalAuthorizeOffline"},
}
REQUIRED = Path(__file__).parent / "required_variables.csv"


async def value_of(octt: Octt, item: Payload) -> str:
    (result,) = await get_variables(octt, item)
    return str(result["attributeValue"])


# --- variables ------------------------------------------------------------------------------------


def test_TC_B_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", "300")
        (result,) = await get_variables(octt, THRESHOLD | {"attributeType": "Actual"})
        assert clean(result.pop("attributeStatusInfo", None))
        assert result == THRESHOLD | {
            "attributeStatus": "Accepted",
            "attributeType": "Actual",
            "attributeValue": "300",
        }

    play(scene)


def test_TC_B_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", "300")
        await octt.set_variable("AuthCtrlr", "LocalAuthorizeOffline", "true")
        actual = {"attributeType": "Actual"}
        results = await get_variables(octt, THRESHOLD | actual, OFFLINE_AUTHORIZE | actual)
        values = {}
        for result in results:
            assert clean(result.get("attributeStatusInfo"))
            assert result["attributeStatus"] == "Accepted"
            assert result["attributeType"] == "Actual"
            place = (result["component"]["name"], result["variable"]["name"])
            values[place] = result["attributeValue"]
        assert len(results) == 2
        assert values == {
            ("OCPPCommCtrlr", "OfflineThreshold"): "300",
            ("AuthCtrlr", "LocalAuthorizeOffline"): "true",
        }

    play(scene)


def test_TC_B_09_CS() -> None:
    async def scene(octt: Octt) -> None:
        item = THRESHOLD | {"attributeType": "Actual", "attributeValue": "300"}
        (result,) = await set_variables(octt, item)
        assert clean(result.pop("attributeStatusInfo", None))
        assert result == THRESHOLD | {"attributeStatus": "Accepted", "attributeType": "Actual"}
        assert await value_of(octt, THRESHOLD) == "300"

    play(scene)


def test_TC_B_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        actual = {"attributeType": "Actual"}
        results = await set_variables(
            octt,
            THRESHOLD | actual | {"attributeValue": "300"},
            OFFLINE_AUTHORIZE | actual | {"attributeValue": "true"},
        )
        assert all(clean(result.pop("attributeStatusInfo", None)) for result in results)
        accepted = {"attributeStatus": "Accepted"} | actual
        assert len(results) == 2
        assert THRESHOLD | accepted in results
        assert OFFLINE_AUTHORIZE | accepted in results
        assert await value_of(octt, THRESHOLD) == "300"
        assert await value_of(octt, OFFLINE_AUTHORIZE) == "true"

    play(scene)


@pytest.mark.parametrize(
    ("component", "variable", "accepted"),
    [
        ("OCPPCommCtrlr", "OfflineThreshold", {"300"}),
        ("SmartChargingCtrlr", "LimitChangeSignificance", {"30", "30.1"}),
        ("AuthCtrlr", "AuthorizeRemoteStart", {"true"}),
        ("ClockCtrlr", "NextTimeOffsetTransitionDateTime", {"2026-01-01T00:00:00Z"}),
    ],
)
def test_TC_B_11_CS(component: str, variable: str, accepted: set[str]) -> None:
    async def scene(octt: Octt) -> None:
        found = await octt.get_variable(component, variable)
        if found["attributeStatus"] != "Accepted":
            assert component in ("SmartChargingCtrlr", "ClockCtrlr"), "only these are optional"
            return
        known = found["attributeValue"]
        whole = "30" if component == "SmartChargingCtrlr" else "300"
        for value in (whole, whole + ".1", "true", "2026-01-01T00:00:00Z", "abc"):
            named = {"component": {"name": component}, "variable": {"name": variable}}
            (result,) = await set_variables(octt, named | {"attributeValue": value})
            info = result.pop("attributeStatusInfo", None)
            status = "Accepted" if value in accepted else "Rejected"
            assert result == named | {"attributeStatus": status, "attributeType": "Actual"}, value
            known = value if status == "Accepted" else known
            assert await value_of(octt, named) == known
            if status == "Rejected":
                assert info is None or info["reasonCode"] == "InvalidValue"

    play(scene)


def refused_get(component: str, variable: str, attribute: str | None, status: str) -> None:
    async def scene(octt: Octt) -> None:
        item: Payload = {"component": {"name": component}, "variable": {"name": variable}}
        if attribute is not None:
            item["attributeType"] = attribute
        (result,) = await get_variables(octt, item)
        result.pop("attributeStatusInfo", None)
        assert result == item | {
            "attributeStatus": status,
            "attributeType": attribute or "Actual",
        }

    play(scene)


def test_TC_B_32_CS() -> None:
    refused_get("UnknownComponent", "OfflineThreshold", None, "UnknownComponent")


def test_TC_B_33_CS() -> None:
    refused_get("OCPPCommCtrlr", "UnknownVariable", None, "UnknownVariable")


def test_TC_B_34_CS() -> None:
    refused_get("OCPPCommCtrlr", "OfflineThreshold", "Target", "NotSupportedAttributeType")


def refused_set(item: Payload, status: str) -> None:
    async def scene(octt: Octt) -> None:
        (result,) = await set_variables(octt, item | {"attributeValue": "20"})
        result.pop("attributeStatusInfo", None)
        assert result == {"attributeType": "Actual"} | item | {"attributeStatus": status}

    play(scene)


def test_TC_B_35_CS() -> None:
    item = {"component": {"name": "UnknownComponent"}, "variable": {"name": "OfflineThreshold"}}
    refused_set(item, "UnknownComponent")


def test_TC_B_36_CS() -> None:
    refused_set({"component": COMM, "variable": {"name": "UnknownVariable"}}, "UnknownVariable")


def test_TC_B_37_CS() -> None:
    refused_set(THRESHOLD | {"attributeType": "Target"}, "NotSupportedAttributeType")


def test_TC_B_39_CS() -> None:
    named = {"name": "MessageTimeout", "instance": "Default"}
    refused_set({"component": COMM, "variable": named}, "Rejected")


# --- reports --------------------------------------------------------------------------------------


def required() -> list[dict[str, str]]:
    with REQUIRED.open() as file:
        return list(csv.DictReader(file))


def lacking(octt: Octt, rows: list[Payload], *, writable: bool) -> list[str]:
    """What the standard requires of a station and a report does not have."""
    found = {}
    for row in rows:
        evse = row["component"].get("evse", {})
        place = (evse.get("id", 0), evse.get("connectorId", 0))
        name = (row["component"]["name"], row["variable"]["name"])
        found[*name, row["variable"].get("instance", ""), place] = row
    places = {"": [(0, 0)], "evse": [(1, 0), (2, 0)], "connector": [(1, 1), (2, 1)]}
    missing = []
    for wanted in required():
        allowed = wanted["mutability"].split("|")
        if writable and allowed != ["ReadWrite"]:
            continue
        for place in places[wanted["per"]]:
            row = found.get((wanted["component"], wanted["variable"], wanted["instance"], place))
            what = f"{wanted['component']}.{wanted['variable']} {wanted['instance']} {place}"
            if row is None:
                missing.append(what)
                continue
            if row["variableCharacteristics"]["dataType"] != wanted["data_type"]:
                missing.append(f"{what}: type")
            if row["variableAttribute"][0].get("mutability", "ReadWrite") not in allowed:
                missing.append(f"{what}: mutability")
            if wanted["max_limit"] and "maxLimit" not in row["variableCharacteristics"]:
                missing.append(f"{what}: maxLimit")
    return missing


def test_TC_B_12_CS() -> None:
    async def scene(octt: Octt) -> None:
        rows = await base_report(octt, "ConfigurationInventory")
        mutability = {row["variableAttribute"][0]["mutability"] for row in rows}
        assert mutability <= {"ReadWrite", "WriteOnly"}
        assert lacking(octt, rows, writable=True) == []

    play(scene)


def test_TC_B_13_CS() -> None:
    async def scene(octt: Octt) -> None:
        rows = await base_report(octt, "FullInventory")
        assert lacking(octt, rows, writable=False) == []

    play(scene)


def test_TC_B_14_CS() -> None:
    async def scene(octt: Octt) -> None:
        rows = await base_report(octt, "SummaryInventory")
        assert summary(rows) == {
            ("ChargingStation", (0, 0), "AvailabilityState"): "Available",
            ("EVSE", (1, 0), "AvailabilityState"): "Available",
            ("EVSE", (2, 0), "AvailabilityState"): "Available",
        }
        octt.bench.board.raise_fault(2, 1, "ground_fault")
        await octt.expect_status("Faulted", evseId=2)
        rows = await base_report(octt, "SummaryInventory")
        assert summary(rows) == {
            ("ChargingStation", (0, 0), "AvailabilityState"): "Available",
            ("EVSE", (1, 0), "AvailabilityState"): "Available",
            ("EVSE", (2, 0), "AvailabilityState"): "Faulted",
            ("EVSE", (2, 0), "Problem"): "true",
            ("Connector", (2, 1), "Problem"): "true",
        }

    play(scene)


def summary(rows: list[Payload]) -> dict[tuple[str, tuple[int, int], str], str]:
    found = {}
    for row in rows:
        evse = row["component"].get("evse", {})
        place = (evse.get("id", 0), evse.get("connectorId", 0))
        key = (row["component"]["name"], place, row["variable"]["name"])
        found[key] = row["variableAttribute"][0]["value"]
    return found


def test_TC_B_53_CS() -> None:
    async def scene(octt: Octt) -> None:
        rows = await base_report(octt, "FullInventory")
        assert lacking(octt, rows, writable=False) == []
        secret = {"name": "BasicAuthPassword"}
        (password,) = [row for row in rows if row["variable"] == secret]
        assert "value" not in password["variableAttribute"][0]

    play(scene)


STATES = {"Available", "Occupied", "Reserved", "Unavailable", "Faulted"}
EVSE_STATE = {
    "component": {"name": "EVSE", "evse": {"id": 1}},
    "variable": {"name": "AvailabilityState"},
}


async def custom_report(octt: Octt, **asked: Any) -> list[Payload]:
    answer = await octt.call("GetReport", {"requestId": REQUEST_ID} | asked)
    assert answer["status"] == "Accepted"
    assert clean(answer.get("statusInfo"))
    return await reported(octt)


def check_evse_state(rows: list[Payload]) -> None:
    (row,) = rows
    assert row["component"] == EVSE_STATE["component"]
    assert row["variable"] == EVSE_STATE["variable"]
    assert row["variableCharacteristics"]["dataType"] == "OptionList"
    assert set(row["variableCharacteristics"]["valuesList"].split(",")) == STATES
    (attribute,) = row["variableAttribute"]
    assert attribute["mutability"] == "ReadOnly"
    assert attribute["type"] == "Actual"


def test_TC_B_17_CS() -> None:
    async def scene(octt: Octt) -> None:
        check_evse_state(await custom_report(octt, componentVariable=[EVSE_STATE]))

    play(scene)


def test_TC_B_18_CS() -> None:
    async def scene(octt: Octt) -> None:
        asked = {"componentVariable": [EVSE_STATE]}
        check_evse_state(await custom_report(octt, componentCriteria=["Available"], **asked))
        answer = await octt.call(
            "GetReport", {"requestId": 2, "componentCriteria": ["Problem"]} | asked
        )
        assert answer["status"] == "EmptyResultSet"
        assert answer.get("statusInfo", {"reasonCode": "NotFound"})["reasonCode"] == "NotFound"
        await octt.expect_none("NotifyReport")

    play(scene)


def items_per_message(rows: list[Payload]) -> set[str]:
    for row in rows:
        assert row["component"] == {"name": "DeviceDataCtrlr"}
        assert row["variable"]["name"] == "ItemsPerMessage"
    return {row["variable"]["instance"] for row in rows}


def test_TC_B_54_CS() -> None:
    async def scene(octt: Octt) -> None:
        named = {"component": {"name": "DeviceDataCtrlr"}, "variable": {"name": "ItemsPerMessage"}}
        found = items_per_message(await custom_report(octt, componentVariable=[named]))
        assert found >= {"GetReport", "GetVariables"}

    play(scene)


def test_TC_B_55_CS() -> None:
    async def scene(octt: Octt) -> None:
        variable = {"name": "ItemsPerMessage", "instance": "GetReport"}
        named = {"component": {"name": "DeviceDataCtrlr"}, "variable": variable}
        found = items_per_message(await custom_report(octt, componentVariable=[named]))
        assert found == {"GetReport"}

    play(scene)


def test_TC_B_56_CS() -> None:
    async def scene(octt: Octt) -> None:
        named = {"component": {"name": "EVSE"}, "variable": {"name": "AvailabilityState"}}
        rows = await custom_report(octt, componentVariable=[named])
        assert {row["variable"]["name"] for row in rows} == {"AvailabilityState"}
        assert [row["component"] for row in rows] == [
            {"name": "EVSE", "evse": {"id": 1}},
            {"name": "EVSE", "evse": {"id": 2}},
        ]

    play(scene)
