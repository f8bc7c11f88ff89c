"""Block B, provisioning: the cases of Part 6, each by its id."""

import asyncio
import csv
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hil.conformance import Octt
from hil.parts.csms import StationError
from hil.parts.pki import Root
from hil.secure import FIRST_HOST as SECURE_FIRST
from hil.secure import OTHER_HOST as SECURE_OTHER
from hil.secure import SecureRig, run_secured
from hil.sim import SimBench
from hil.virtual_time import run_virtual

Payload = dict[str, Any]
Scene = Callable[[Octt], Awaitable[None]]

QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
COMM = {"name": "OCPPCommCtrlr"}
THRESHOLD = {"component": COMM, "variable": {"name": "OfflineThreshold"}}
OFFLINE_AUTHORIZE = {
    "component": {"name": "AuthCtrlr"},
    "variable": {"name": "LocalAuthorizeOffline"},
}
LISTS = ("OptionList", "SequenceList", "MemberList")
INTERVAL_S = 20
REQUEST_ID = 1234
REQUIRED = Path(__file__).parent / "required_variables.csv"


def play(
    scene: Scene,
    *,
    boots: bool = True,
    variables: dict[str, str] | None = None,
    **bench_options: Any,
) -> None:
    """The scene with an Octt at EVSE 1, after the station has booted."""

    async def whole() -> None:
        async with SimBench(variables=QUIET | (variables or {}), **bench_options) as bench:
            octt = Octt(bench)
            if boots:
                await octt.booted()
            await scene(octt)
            bench.csms.check()

    run_virtual(whole())


def at_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def clean(info: Payload | None) -> bool:
    """A statusInfo is absent or says that nothing is wrong."""
    return info is None or info["reasonCode"] == "NoError"


async def get_variables(octt: Octt, *items: Payload) -> list[Payload]:
    answer = await octt.call("GetVariables", {"getVariableData": list(items)})
    return list(answer["getVariableResult"])


async def value_of(octt: Octt, item: Payload) -> str:
    (result,) = await get_variables(octt, item)
    return str(result["attributeValue"])


async def set_variables(octt: Octt, *items: Payload) -> list[Payload]:
    answer = await octt.call("SetVariables", {"setVariableData": list(items)})
    return list(answer["setVariableResult"])


async def statuses(octt: Octt) -> dict[tuple[int, int], str]:
    """One StatusNotification of each connector, whatever their order."""
    found: dict[tuple[int, int], str] = {}
    for evse in octt.bench.settings.evses:
        for connector in evse.connectors:
            payload = await octt.csms.wait_for("StatusNotification", timeout_s=120)
            place = (payload["evseId"], payload["connectorId"])
            assert place not in found, payload
            assert (evse.id, connector.id) != (0, 0)
            found[place] = payload["connectorStatus"]
    return found


async def all_available(octt: Octt) -> None:
    assert set((await statuses(octt)).values()) == {"Available"}


# --- cold boot ------------------------------------------------------------------------------------


def test_TC_B_01_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.interval_s = 240
        boot = await octt.booted()
        assert boot["reason"] == "PowerUp"
        assert boot["chargingStation"] == {"vendorName": "Bench", "model": "Sim"}
        found = await octt.get_variable("OCPPCommCtrlr", "HeartbeatInterval")
        assert found["attributeValue"] == "240", "as the answer said (B01.FR.04)"

    play(scene, boots=False)


def test_TC_B_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.interval_s = 300
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": 300,
            "status": "Pending",
        }
        await octt.expect("BootNotification")
        (result,) = await set_variables(octt, THRESHOLD | {"attributeValue": "300"})
        assert result["attributeStatus"] == "Accepted"
        (result,) = await get_variables(octt, THRESHOLD)
        assert result["attributeStatus"] == "Accepted"
        assert result["attributeValue"] == "300"
        await base_report(octt, "FullInventory")
        request = {
            "idToken": {"idToken": "04A1B2C3", "type": "ISO14443"},
            "remoteStartId": 1,
            "evseId": 1,
        }
        answer = await octt.call("RequestStartTransaction", request)
        assert answer["status"] == "Rejected"
        calls = [call.action for call in octt.csms.calls]
        assert set(calls) == {"BootNotification", "NotifyReport"}
        before_s = asyncio.get_running_loop().time()
        del octt.csms.answer["BootNotification"]
        await octt.accepted("TriggerMessage", {"requestedMessage": "BootNotification"})
        boot = await octt.expect("BootNotification")
        assert boot["reason"] == "Triggered"
        assert asyncio.get_running_loop().time() - before_s < 200
        await all_available(octt)

    play(scene, boots=False)


def test_TC_B_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": INTERVAL_S,
            "status": "Rejected",
        }
        await octt.expect("BootNotification")
        del octt.csms.answer["BootNotification"]
        await octt.expect("BootNotification")
        first, second = octt.csms.calls[:2]
        assert first.action == second.action == "BootNotification"
        assert second.at_s - first.at_s >= INTERVAL_S
        await all_available(octt)

    play(scene, boots=False)


def test_TC_B_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": INTERVAL_S,
            "status": "Rejected",
        }
        await octt.expect("BootNotification")
        await asyncio.sleep(1)
        with pytest.raises(StationError) as caught:
            await octt.call(
                "GetBaseReport", {"requestId": REQUEST_ID, "reportBase": "FullInventory"}
            )
        assert caught.value.code == "SecurityError"

    play(scene, boots=False)


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


async def reported(octt: Octt, request_id: int = REQUEST_ID) -> list[Payload]:
    """The rows of one report, its parts checked."""
    rows: list[Payload] = []
    seq_no, more = 0, True
    while more:
        part = await octt.expect("NotifyReport")
        assert part["requestId"] == request_id
        assert abs(at_s(part["generatedAt"]) - octt.bench.utc_s()) < 60.0
        assert part["seqNo"] == seq_no
        seq_no, more = seq_no + 1, part.get("tbc", False)
        rows += part["reportData"]
    for row in rows:
        check_row(row)
    await octt.expect_none("NotifyReport")
    return rows


def check_row(row: Payload) -> None:
    """What every report owes (B07, B08, TC_B_53)."""
    characteristics = row["variableCharacteristics"]
    (attribute,) = row["variableAttribute"]
    is_list = characteristics["dataType"] in LISTS
    if is_list:
        assert characteristics["valuesList"], row
    if attribute.get("mutability") == "WriteOnly":
        assert "value" not in attribute
        return
    is_power = (row["component"]["name"], row["variable"]["name"]) == ("EVSE", "Power")
    assert is_power or "value" in attribute, row
    if is_list and attribute["value"]:
        assert set(attribute["value"].split(",")) <= set(characteristics["valuesList"].split(","))


async def base_report(octt: Octt, report_base: str) -> list[Payload]:
    answer = await octt.call("GetBaseReport", {"requestId": REQUEST_ID, "reportBase": report_base})
    assert answer["status"] == "Accepted"
    assert clean(answer.get("statusInfo"))
    return await reported(octt)


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


# --- reset of the station -------------------------------------------------------------------------


async def after_reset(octt: Octt) -> Payload:
    """The station restarts by itself; returns its BootNotification."""
    await octt.bench.restarted()
    octt.csms.forget()
    return await octt.expect("BootNotification")


def test_TC_B_20_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.accepted("Reset", {"type": "OnIdle"})
        await after_reset(octt)
        await all_available(octt)

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_21_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle"})
        assert answer["status"] == "Scheduled"
        await asyncio.sleep(60)
        assert octt.bench.is_running
        ended = await octt.stop_authorized()
        occupied = ended["eventType"] == "Ended"
        if not occupied:
            await octt.ev_connected_post_session()
            octt.bench.plug_out()
            await octt.expect_event(
                eventType="Ended", triggerReason="EVCommunicationLost", chargingState="Idle"
            )
        boot = await after_reset(octt)
        assert boot["reason"] == "ScheduledReset"
        found = await statuses(octt)
        assert found == {(1, 1): "Occupied" if occupied else "Available", (2, 1): "Available"}
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] in ("StartupOfTheDevice", "ResetOrReboot")

    play(scene)


def test_TC_B_22_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        await octt.accepted("Reset", {"type": "Immediate"})
        ended = await octt.expect_event(
            eventType="Ended",
            triggerReason="ResetCommand",
            chargingState="EVConnected",
            stoppedReason="ImmediateReset",
        )
        assert "idToken" not in ended
        assert len(octt.csms.of("BootNotification")) == 1, "told before the reset (B12.FR.04)"
        boot = await after_reset(octt)
        assert boot["reason"] == "RemoteReset"
        assert await statuses(octt) == {(1, 1): "Occupied", (2, 1): "Available"}
        await octt.expect_none("TransactionEvent")

    play(scene)


def test_TC_B_23_CS() -> None:
    async def scene(octt: Octt) -> None:
        inoperative = {"operationalStatus": "Inoperative", "evse": octt.evse}
        await octt.accepted("ChangeAvailability", inoperative)
        await octt.expect_status("Unavailable")
        await octt.accepted("Reset", {"type": "OnIdle"})
        boot = await after_reset(octt)
        assert boot["reason"] == "RemoteReset"
        assert await statuses(octt) == {(1, 1): "Unavailable", (2, 1): "Available"}

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_41_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        other = Octt(octt.bench, evse_id=2)
        await octt.configure(stop=stop)
        other.stop_points = octt.stop_points
        await octt.energy_transfer_started()
        await other.authorized(card="04D4E5F6")
        await other.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle"})
        assert answer["status"] == "Scheduled"
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        await asyncio.sleep(60)
        assert octt.bench.is_running
        event = await other.stop_authorized(card="04D4E5F6")
        occupied = event["eventType"] == "Ended"
        if not occupied:
            await other.ev_connected_post_session()
            octt.bench.plug_out(2)
            await other.expect_event(
                eventType="Ended", triggerReason="EVCommunicationLost", chargingState="Idle"
            )
        boot = await after_reset(octt)
        assert boot["reason"] == "ScheduledReset"
        found = await statuses(octt)
        assert found == {(1, 1): "Available", (2, 1): "Occupied" if occupied else "Available"}

    play(scene)


# --- reset of one EVSE ----------------------------------------------------------------------------


async def still_sells(octt: Octt) -> None:
    """The station did not boot, and the EVSE that was reset takes the next driver."""
    await asyncio.sleep(30)
    assert octt.bench.is_running
    assert len(octt.csms.of("BootNotification")) == 1
    octt.csms.forget()
    octt.facts.clear()
    octt.bench.plug_out()
    await octt.expect_status("Available")
    await octt.ev_connected_pre_session()
    await octt.energy_transfer_started()


def test_TC_B_25_CS() -> None:
    async def scene(octt: Octt) -> None:
        allowed = {
            "component": {"name": "EVSE", "evse": {"id": 1}},
            "variable": {"name": "AllowReset"},
        }
        (result,) = await get_variables(octt, allowed)
        assert result["attributeValue"] == "true"
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        await octt.accepted("Reset", {"type": "OnIdle", "evseId": 1})
        await still_sells(octt)

    play(scene)


@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])
def test_TC_B_26_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.energy_transfer_started()
        answer = await octt.call("Reset", {"type": "OnIdle", "evseId": 1})
        assert answer["status"] == "Scheduled"
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        octt.bench.plug_in()
        await octt.expect_status("Occupied")
        await still_sells(octt)

    play(scene)


def test_TC_B_27_CS() -> None:
    async def scene(octt: Octt) -> None:
        other = Octt(octt.bench, evse_id=2)
        await other.authorized(card="04D4E5F6")
        octt.bench.plug_in(2)
        await other.expect_event(eventType="Started", triggerReason="CablePluggedIn")
        await other.expect_event(eventType="Updated", chargingState="Charging")
        await octt.energy_transfer_started()
        await octt.accepted("Reset", {"type": "Immediate", "evseId": 1})
        await octt.expect_event(
            eventType="Ended",
            triggerReason="ResetCommand",
            chargingState="EVConnected",
            stoppedReason="ImmediateReset",
        )
        await octt.expect_none("TransactionEvent")
        assert octt.bench.connector(2)["charging_state"] == "Charging"
        await still_sells(octt)

    play(scene)


# --- network profiles -----------------------------------------------------------------------------

OTHER_HOST = "other.invalid"
FIRST_HOST = "csms.invalid"
"""The endpoint of charger.yaml, slot 1."""


def network_profile(slot: int, **data: Any) -> Payload:
    return {
        "configurationSlot": slot,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": f"ws://{OTHER_HOST}/ocpp",
            "messageTimeout": 25,
            "securityProfile": 1,
            "ocppInterface": "Wired0",
        }
        | data,
    }


def hosts(octt: Octt, since: int) -> list[str]:
    """Where the station dialled from then on."""
    return [urlsplit(dial.url).hostname or "" for _, dial, _ in octt.bench.network.dials[since:]]


async def migrate(octt: Octt, *, slot: int = 2) -> int:
    """Another slot is set and preferred, and the station restarts; returns the dials before."""
    active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
    assert active["attributeValue"] == "1"
    await octt.accepted("SetNetworkProfile", network_profile(slot))
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    (result,) = await set_variables(octt, priority | {"attributeValue": f"{slot},1"})
    assert result["attributeStatus"] in ("Accepted", "RebootRequired")
    await octt.accepted("Reset", {"type": "OnIdle"})
    before = len(octt.bench.network.dials)
    await octt.bench.restarted()
    octt.csms.forget()
    return before


def test_TC_B_43_CS() -> None:
    async def scene(octt: Octt) -> None:
        answer = await octt.call("SetNetworkProfile", network_profile(999))
        assert answer["status"] == "Rejected"

    play(scene)


@pytest.mark.parametrize("slot", [2, 3, 8])
def test_TC_B_45_CS(slot: int) -> None:
    async def scene(octt: Octt) -> None:
        before = await migrate(octt, slot=slot)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST]
        active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
        assert active["attributeValue"] == str(slot)
        timeout = await octt.get_variable("OCPPCommCtrlr", "MessageTimeout", "Default")
        assert timeout["attributeValue"] == "25"

    play(scene)


def test_TC_B_46_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "2")
        octt.bench.network.closed_hosts.add(OTHER_HOST)
        before = await migrate(octt)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST, OTHER_HOST, FIRST_HOST]
        active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
        assert active["attributeValue"] == "1"

    play(scene)


def test_TC_B_49_CS() -> None:
    wait_s = 10

    async def scene(octt: Octt) -> None:
        for name, value in (
            ("NetworkProfileConnectionAttempts", "1"),
            ("RetryBackOffRepeatTimes", "0"),
            ("RetryBackOffRandomRange", "0"),
            ("RetryBackOffWaitMinimum", str(wait_s)),
        ):
            await octt.set_variable("OCPPCommCtrlr", name, value)
        network = octt.bench.network
        network.closed_hosts |= {OTHER_HOST, FIRST_HOST}
        before = await migrate(octt)
        await octt.bench.until(lambda: len(network.dials) == before + 2)
        network.closed_hosts.discard(FIRST_HOST)
        network.closed_hosts.discard(OTHER_HOST)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST, FIRST_HOST, FIRST_HOST]
        assert network.dials[-1][0] - network.dials[-2][0] > wait_s - 0.001

    play(scene)


async def migrate_secured(rig: SecureRig) -> int:
    """Slot 2 leads to the other place; returns the dials before."""
    await rig.octt.accepted(
        "SetNetworkProfile",
        network_profile(2, ocppCsmsUrl=rig.place(rig.other), securityProfile=2),
    )
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    (result,) = await set_variables(rig.octt, priority | {"attributeValue": "2,1"})
    assert result["attributeStatus"] in ("Accepted", "RebootRequired"), result
    await rig.octt.accepted("Reset", {"type": "OnIdle"})
    before = len(rig.dials)
    await rig.restarted()
    return before


CSMS_ROOT = "CSMSRootCertificate"


def test_TC_B_47_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        octt, new = rig.octt, Root("second root", signer=rig.root)
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "1")
        await octt.certificate_installed(CSMS_ROOT, new.pem)
        before = await migrate_secured(rig)
        await octt.booted()
        hosts = [urlsplit(dial.url).hostname for dial in rig.dials[before:]]
        assert hosts == [SECURE_OTHER, SECURE_FIRST]
        installed = await octt.installed_certificates(CSMS_ROOT)
        assert (CSMS_ROOT, rig.root.hash_data()) in installed

    run_secured(scene, tmp_path, is_strict=True)


@pytest.mark.parametrize("is_strict", [False, True])
def test_TC_B_50_CS(tmp_path: Path, is_strict: bool) -> None:
    async def scene(rig: SecureRig) -> None:
        new = Root("second root", signer=rig.root if is_strict else None)
        await rig.octt.certificate_installed(CSMS_ROOT, new.pem)
        await rig.listen(rig.other, rig.context(new.server(SECURE_OTHER)))
        before = await migrate_secured(rig)
        await rig.octt.booted()
        assert [urlsplit(dial.url).hostname for dial in rig.dials[before:]] == [SECURE_OTHER]

    run_secured(scene, tmp_path, is_strict=is_strict)


# --- away from the CSMS ---------------------------------------------------------------------------


async def away(octt: Octt, threshold_s: int, wait_s: int) -> None:
    """An EV is plugged in while the link is broken; the first dial afterwards succeeds."""
    await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", str(threshold_s))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", str(wait_s))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0")
    octt.csms.forget()
    octt.bench.network.cut()
    octt.bench.plug_in()
    await octt.csms.wait_connected()


def test_TC_B_51_CS() -> None:
    async def scene(octt: Octt) -> None:
        await away(octt, 30, 32)
        assert await statuses(octt) == {(1, 1): "Occupied", (2, 1): "Available"}
        await octt.expect_none("StatusNotification")

    play(scene)


def test_TC_B_52_CS() -> None:
    async def scene(octt: Octt) -> None:
        await away(octt, 30, 28)
        await octt.expect_status("Occupied")
        await octt.expect_none("StatusNotification")

    play(scene)


def test_TC_B_57_CS() -> None:
    async def scene(octt: Octt) -> None:
        for name, value in (
            ("NetworkProfileConnectionAttempts", "3"),
            ("RetryBackOffRepeatTimes", "2"),
            ("RetryBackOffRandomRange", "0"),
            ("RetryBackOffWaitMinimum", "10"),
        ):
            await octt.set_variable("OCPPCommCtrlr", name, value)
        network, loop = octt.bench.network, asyncio.get_running_loop()
        cut_s = loop.time()
        network.cut()
        await octt.csms.wait_connected()
        assert network.dials[-1][0] - cut_s > 9.999
        await octt.bench.until(lambda: octt.bench.agent.view.connection.online)
        await asyncio.sleep(5)
        cut_s = loop.time()
        await network.drop()
        await octt.bench.until(lambda: network.dials[-1][0] > cut_s)
        refused_s = network.dials[-1][0]
        assert refused_s - cut_s > 9.999
        await asyncio.sleep(1)
        await network.accept()
        await octt.csms.wait_connected()
        assert network.dials[-1][0] - refused_s > 1.999 * (refused_s - cut_s)
        assert len(octt.csms.of("BootNotification")) == 1

    play(scene)
