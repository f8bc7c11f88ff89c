"""What the station reports of its variables is what the standard says of them, and SetVariables
keeps to what is reported. All through frames, by the table standard_variables.csv (Part 2, errata).
"""

import asyncio
import csv
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hil.conformance import Octt
from hil.parts.csms import StationError
from hil.sim import SimBench
from hil.virtual_time import run_virtual

Payload = dict[str, Any]

TABLE = Path(__file__).parent / "standard_variables.csv"
OWN = {("OCPPCommCtrlr", "SetAsideEvents"), ("TxCtrlr", "RepeatEvse")}
"""Variables of this station that no standard knows."""
STRICTER = {("AuthCacheCtrlr", "Policy")}
"""ReadOnly here though the standard lets the CSMS set it: it can have one value only."""
ONLY_AT_START = {"NetworkConfigurationPriority"}
"""Taken over by the next start: SetVariables says RebootRequired."""
ALWAYS = {
    "AlignedDataCtrlr",
    "AuthCtrlr",
    "ChargingStation",
    "ClockCtrlr",
    "Connector",
    "DeviceDataCtrlr",
    "EVSE",
    "OCPPCommCtrlr",
    "SampledDataCtrlr",
    "SecurityCtrlr",
    "SmartChargingCtrlr",
    "TxCtrlr",
}
"""Components that every station of the profiles Core and Smart Charging has."""
ITEMS = 64
STATIONS = ({"socket": True, "signs": True, "inputs": True, "main_meter": True}, {})
LISTS = ("MemberList", "SequenceList")


def play(scene: Callable[[Octt], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with SimBench(**options) as bench:
            octt = Octt(bench)
            await octt.booted()
            await scene(octt)
            bench.csms.check()

    run_virtual(whole())


async def full_report(octt: Octt) -> list[Payload]:
    await octt.accepted("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"})
    rows: list[Payload] = []
    more = True
    while more:
        part = await octt.expect("NotifyReport")
        rows, more = rows + part["reportData"], part["tbc"]
    return rows


async def set_all(octt: Octt, items: list[Payload]) -> list[Payload]:
    """Results of SetVariables, in as many requests as it takes."""
    results: list[Payload] = []
    for first in range(0, len(items), ITEMS):
        answer = await octt.call("SetVariables", {"setVariableData": items[first : first + ITEMS]})
        results += answer["setVariableResult"]
    return results


def named(row: Payload) -> str:
    instance = row["variable"].get("instance", "")
    return f"{row['component']['name']}.{row['variable']['name']}" + (
        f"[{instance}]" * bool(instance)
    )


def item(row: Payload, value: str, **more: str) -> Payload:
    return {
        "component": row["component"],
        "variable": row["variable"],
        "attributeValue": value,
        **more,
    }


def mutability(row: Payload) -> str:
    return str(row["variableAttribute"][0]["mutability"])


def actual(row: Payload) -> str:
    return str(row["variableAttribute"][0].get("value", ""))


# --- what is reported -----------------------------------------------------------------------------


@cache
def standard() -> dict[tuple[str, str, str], dict[str, str]]:
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return {(row["component"], row["variable"], row["instance"]): row for row in rows}


def said_of(row: Payload) -> dict[str, str] | None:
    """What the standard says of the variable, or of one of that name anywhere."""
    component, variable = row["component"]["name"], row["variable"]["name"]
    instance = row["variable"].get("instance", "")
    anywhere = standard().get(("*", variable, ""))
    return standard().get((component, variable, instance), anywhere)


def differences(row: Payload) -> Iterator[str]:
    """How a reported variable differs from what the standard says of it."""
    component, variable = row["component"]["name"], row["variable"]["name"]
    said, told = said_of(row), row["variableCharacteristics"]
    if said is None:
        if (component, variable) not in OWN:
            yield "the standard does not know it: correct the name, or add it to OWN"
        return
    if told["dataType"] != said["data_type"]:
        yield f"dataType is {told['dataType']}, not {said['data_type']}"
    if told.get("unit", "") not in said["unit"].split("|"):
        yield f"unit is {told.get('unit')}, not {said['unit']}"
    allowed = said["mutability"].split("|") if said["mutability"] else ["ReadOnly", "ReadWrite"]
    if mutability(row) not in allowed and (component, variable) not in STRICTER:
        yield f"mutability is {mutability(row)}, not {said['mutability']}"
    if told["dataType"] in ("OptionList", *LISTS):
        values = set(told.get("valuesList", "").split(","))
        if said["values"] and not values <= set(said["values"].split("|")):
            yield f"valuesList has {values - set(said['values'].split('|'))}"
    if said["max_limit"] and not told.get("maxLimit", 1e9) <= float(said["max_limit"]):
        yield f"maxLimit is {told.get('maxLimit')}, more than {said['max_limit']}"
    if said["min_limit"] and not told.get("minLimit", -1e9) >= float(said["min_limit"]):
        yield f"minLimit is {told.get('minLimit')}, less than {said['min_limit']}"
    if mutability(row) != "ReadOnly" and not row["variableAttribute"][0]["persistent"]:
        yield "what can be set must persist"


@pytest.mark.parametrize("station", STATIONS)
def test_every_reported_variable_is_as_the_standard_says(station: dict[str, bool]) -> None:
    async def scene(octt: Octt) -> None:
        rows = await full_report(octt)
        wrong = [f"{named(row)}: {why}" for row in rows for why in differences(row)]
        assert not wrong, "\n".join(wrong)

    play(scene, **station)


@pytest.mark.parametrize("station", STATIONS)
def test_a_component_has_all_that_is_required_of_it_everywhere_it_is(
    station: dict[str, bool],
) -> None:
    """Also of features that come later: who declares LocalAuthListCtrlr.Available owes the rest."""

    async def scene(octt: Octt) -> None:
        lacking = []
        places: dict[str, dict[str, set[tuple[str, str]]]] = {}
        for row in await full_report(octt):
            component, variable = row["component"], row["variable"]
            if "evse" in component and component["name"].endswith("Ctrlr"):
                continue  # one EVSE may have its own SendDuringIdle
            names = places.setdefault(component["name"], {}).setdefault(str(component), set())
            names.add((variable["name"], variable.get("instance", "")))
        for component, variable, instance in required_of(set(places) | ALWAYS):
            for place, names in places.get(component, {component: set()}).items():
                if (variable, instance) not in names:
                    lacking.append(f"{place}: {variable} {instance}".strip())
        assert not lacking, "\n".join(lacking)

    play(scene, evse_count=2, connector_count=2, **station)


def required_of(components: set[str]) -> Iterator[tuple[str, str, str]]:
    for key, said in standard().items():
        if said["required"] and key[0] in components:
            yield key


def test_what_the_table_finds() -> None:
    """The comparison sees each kind of difference."""
    row = {
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "HeartbeatInterval"},
        "variableAttribute": [{"mutability": "ReadWrite", "persistent": True, "value": "300"}],
        "variableCharacteristics": {"dataType": "integer", "unit": "s", "minLimit": 1},
    }
    assert list(differences(row)) == []
    for change in ({"dataType": "string"}, {"unit": "min"}, {"minLimit": 0}):
        told = row["variableCharacteristics"] | change  # type: ignore[operator]
        assert len(list(differences(row | {"variableCharacteristics": told}))) == 1
    for attribute in ({"persistent": False}, {"mutability": "ReadOnly"}):
        told = row["variableAttribute"][0] | attribute  # type: ignore[index]
        assert len(list(differences(row | {"variableAttribute": [told]}))) == 1
    assert len(list(differences(row | {"variable": {"name": "Typo"}}))) == 1


def test_nothing_says_it_can_be_monitored_where_nothing_can() -> None:
    async def scene(octt: Octt) -> None:
        row = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
        monitor = {"value": 1.0, "type": "UpperThreshold", "severity": 5} | row
        try:
            answer = await octt.call("SetVariableMonitoring", {"setMonitoringData": [monitor]})
        except StationError:
            can = False
        else:
            can = answer["setMonitoringResult"][0]["status"] == "Accepted"
        rows = await full_report(octt)
        monitored = [r for r in rows if r["variableCharacteristics"]["supportsMonitoring"]]
        assert bool(monitored) is can

    play(scene)


# --- what is refused ------------------------------------------------------------------------------


def wrong_values(row: Payload) -> list[str]:
    """Values that contradict what is reported: bounds, lists, types, lengths."""
    told = row["variableCharacteristics"]
    kind, low, high = told["dataType"], told.get("minLimit"), told.get("maxLimit")
    values = told.get("valuesList", "").split(",")
    wrong = []
    if kind in ("integer", "decimal"):
        wrong += ["", "many", "0x10", "1e2", " 1"]
        wrong += [f"{low - 1:g}"] if low is not None else []
        wrong += [f"{high + 1:.0f}"] if high is not None else ["99999999999"]
    if kind == "integer":
        wrong.append(f"{actual(row)}.5")
    if kind == "boolean":
        wrong += ["", "True", "1", "yes"]
    if kind == "OptionList":
        wrong += ["", "Unheard", ",".join(values)]
    if kind in LISTS:
        wrong += ["Unheard", f"{values[0]},Unheard", f"{values[0]},{values[0]}", f"{values[0]},"]
        wrong.append(values[0].lower() if values[0].lower() != values[0] else values[0] + "x")
    if kind == "string" and high is not None:
        wrong.append("x" * (int(high) + 1))
    return wrong


@pytest.mark.parametrize("station", STATIONS)
def test_what_contradicts_the_report_is_refused_and_changes_nothing(
    station: dict[str, bool],
) -> None:
    async def scene(octt: Octt) -> None:
        before = await full_report(octt)
        settable = [row for row in before if mutability(row) != "ReadOnly"]
        items = [item(row, value) for row in settable for value in wrong_values(row)]
        assert len(items) > 150
        for asked, result in zip(items, await set_all(octt, items), strict=True):
            assert result["attributeStatus"] == "Rejected", asked
            assert result["attributeStatusInfo"]["reasonCode"] == "InvalidValue", asked
        after = {named(row): actual(row) for row in await full_report(octt)}
        assert {named(row): after[named(row)] for row in settable} == {
            named(row): actual(row) for row in settable
        }

    play(scene, **station)


@pytest.mark.parametrize("station", STATIONS)
def test_what_is_read_only_is_refused_with_its_reason(station: dict[str, bool]) -> None:
    async def scene(octt: Octt) -> None:
        rows = [row for row in await full_report(octt) if mutability(row) == "ReadOnly"]
        items = [item(row, actual(row)) for row in rows]
        for result in await set_all(octt, items):
            assert result["attributeStatus"] == "Rejected", result
            assert result["attributeStatusInfo"]["reasonCode"] == "ReadOnly", result

    play(scene, **station)


def test_no_other_attribute_than_the_actual_one_can_be_set_or_asked() -> None:
    async def scene(octt: Octt) -> None:
        rows = await full_report(octt)
        for kind in ("Target", "MinSet", "MaxSet"):
            items = [item(row, actual(row), attributeType=kind) for row in rows]
            for result in await set_all(octt, items):
                assert result["attributeStatus"] == "NotSupportedAttributeType", result
                assert result["attributeType"] == kind

    play(scene)


# --- what is taken --------------------------------------------------------------------------------


def right_values(row: Payload) -> list[str]:
    """Values at the edges of what is reported; the last is another one than now."""
    told = row["variableCharacteristics"]
    kind, low, high = told["dataType"], told.get("minLimit"), told.get("maxLimit")
    values = told.get("valuesList", "").split(",")
    match kind:
        case "integer" | "decimal":
            edges = [f"{edge:.0f}" for edge in (low, high) if edge is not None]
            return [*edges, str(int(float(actual(row))) + 1)]
        case "boolean":
            return [actual(row), "false" if actual(row) == "true" else "true"]
        case "OptionList":
            return [*values, next((value for value in values if value != actual(row)), values[0])]
        case "MemberList" | "SequenceList":
            everything = ",".join(values)
            return [everything, values[0] if actual(row) != values[0] else everything]
    return ["x" * int(high)] if high is not None else ["another text"]


@pytest.mark.parametrize("station", STATIONS)
def test_what_fits_the_report_is_taken_and_outlives_a_power_cut(station: dict[str, bool]) -> None:
    async def scene(octt: Octt) -> None:
        rows = [row for row in await full_report(octt) if mutability(row) == "ReadWrite"]
        set_last: dict[str, str] = {}
        for row in rows:
            name = row["variable"]["name"]
            # slots that nobody has configured cannot be preferred (B10.FR.02)
            values = ["1"] if name in ONLY_AT_START else right_values(row)
            for result in await set_all(octt, [item(row, value) for value in values]):
                wanted = "RebootRequired" if name in ONLY_AT_START else "Accepted"
                assert result["attributeStatus"] == wanted, (named(row), values)
            set_last[named(row)] = values[-1]
        await octt.bench.power_cut()
        await octt.bench.start()
        octt.csms.forget()
        await octt.expect("BootNotification")
        await asyncio.sleep(5)
        # the answer to the boot has set it again (B01.FR.04)
        set_last["OCPPCommCtrlr.HeartbeatInterval"] = str(octt.csms.interval_s)
        found = {named(row): actual(row) for row in await full_report(octt)}
        assert {name: found[name] for name in set_last} == set_last

    play(scene, **station)
