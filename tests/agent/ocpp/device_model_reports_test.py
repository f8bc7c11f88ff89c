"""Reports of the device model as a CSMS gets them: what is in them, in which parts, how many."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.ocpp.turns import MOST_CALLS, MOST_REPORTS
from hil.conformance import Octt
from hil.parts.csms import Delayed, Silent, StationError
from hil.sim import SimBench
from hil.virtual_time import run_virtual

Payload = dict[str, Any]
Names = set[tuple[str, int, int, str, str]]

FULL = "FullInventory"
BASES = (FULL, "ConfigurationInventory", "SummaryInventory")


def play(scene: Callable[[Octt], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with SimBench(**options) as bench:
            octt = Octt(bench)
            await octt.booted()
            await scene(octt)
            bench.csms.check()

    run_virtual(whole())


async def parts_of(octt: Octt, request_id: int) -> list[Payload]:
    """The parts of one report, others passed over; checked as B07.FR.04, FR.10 want them."""
    parts: list[Payload] = []
    while not parts or parts[-1]["tbc"]:
        payload = await octt.expect("NotifyReport")
        if payload["requestId"] == request_id:
            parts.append(payload)
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert all(part["generatedAt"] for part in parts)
    return parts


def names_in(parts: list[Payload]) -> list[tuple[str, int, int, str, str]]:
    """(component, evse, connector, variable, instance) of every row."""
    found = []
    for row in (row for part in parts for row in part["reportData"]):
        evse, variable = row["component"].get("evse", {}), row["variable"]
        place = (evse.get("id", 0), evse.get("connectorId", 0))
        found.append(
            (row["component"]["name"], *place, variable["name"], variable.get("instance", ""))
        )
    return found


async def base_report(octt: Octt, report_base: str, request_id: int = 1) -> list[Payload]:
    await octt.accepted("GetBaseReport", {"requestId": request_id, "reportBase": report_base})
    return await parts_of(octt, request_id)


async def asked(octt: Octt, **payload: Any) -> Names:
    """Names in the answer to a GetReport; none for EmptyResultSet, which nothing follows."""
    answer = await octt.call("GetReport", {"requestId": 9} | payload)
    if answer["status"] == "EmptyResultSet":
        await octt.expect_none("NotifyReport")
        return set()
    assert answer["status"] == "Accepted", answer
    return set(names_in(await parts_of(octt, 9)))


def of(component: str, variable: str | None = None, **more: Any) -> Payload:
    """ComponentVariableType; `evse`, `connector`, `instance` (of the variable)."""
    named: Payload = {"name": component}
    if "evse" in more:
        named["evse"] = {"id": more["evse"]}
    if "connector" in more:
        named["evse"]["connectorId"] = more["connector"]
    item: Payload = {"component": named}
    if variable is not None:
        item["variable"] = {"name": variable}
        if "instance" in more:
            item["variable"]["instance"] = more["instance"]
    return item


# --- base reports ---------------------------------------------------------------------------------


def test_each_base_report_is_a_part_of_the_full_one_and_nothing_is_told_twice() -> None:
    async def scene(octt: Octt) -> None:
        found = {base: names_in(await base_report(octt, base)) for base in BASES}
        full = found[FULL]
        assert len(full) == len(set(full)) > 100
        assert set(found["ConfigurationInventory"]) < set(full)
        assert set(found["SummaryInventory"]) < set(full)
        assert not set(found["SummaryInventory"]) & set(found["ConfigurationInventory"])

    play(scene, connector_count=2)


def test_values_are_read_when_their_part_is_told() -> None:
    """A report that lasts tells what is so by then, not what was so when it was asked for."""

    async def scene(octt: Octt) -> None:
        octt.csms.answer["NotifyReport"] = Delayed(5.0)
        await octt.accepted("GetBaseReport", {"requestId": 1, "reportBase": FULL})
        octt.bench.plug_in()
        rows = [row for part in await parts_of(octt, 1) for row in part["reportData"]]
        (state,) = [
            row["variableAttribute"][0]["value"]
            for row in rows
            if row["component"] == {"name": "Connector", "evse": {"id": 1, "connectorId": 1}}
            and row["variable"]["name"] == "AvailabilityState"
        ]
        assert state == "Occupied"

    play(scene)


# --- GetReport ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        (of("TxCtrlr", "TxStartPoint"), {("TxCtrlr", 0, 0, "TxStartPoint", "")}),
        (of("txctrlr", "txSTARTpoint"), {("TxCtrlr", 0, 0, "TxStartPoint", "")}),
        (
            of("OCPPCommCtrlr", "MessageAttempts"),
            {("OCPPCommCtrlr", 0, 0, "MessageAttempts", "TransactionEvent")},
        ),
        (of("OCPPCommCtrlr", "MessageAttempts", instance="BootNotification"), set()),
        (
            of("EVSE", "Available"),
            {("EVSE", 1, 0, "Available", ""), ("EVSE", 2, 0, "Available", "")},
        ),
        (of("EVSE", "Available", evse=2), {("EVSE", 2, 0, "Available", "")}),
        (
            of("Connector", "Available", evse=2),
            {("Connector", 2, 1, "Available", ""), ("Connector", 2, 2, "Available", "")},
        ),
        (
            of("Connector", "Available", evse=2, connector=2),
            {("Connector", 2, 2, "Available", "")},
        ),
        (of("EVSE", "Available", evse=3), set()),
        (of("Connector", "Available", evse=1, connector=3), set()),
        (of("Nowhere"), set()),
        (of("TxCtrlr", "Unheard"), set()),
        (of("TxCtrlr", evse=1), set()),
    ],
)
def test_an_item_leaves_open_what_it_does_not_name(item: Payload, wanted: Names) -> None:
    """B08.FR.15, FR.20 to FR.25."""

    async def scene(octt: Octt) -> None:
        assert await asked(octt, componentVariable=[item]) == wanted

    play(scene, connector_count=2)


def test_a_component_alone_asks_for_all_its_variables_and_nothing_at_all_for_everything() -> None:
    async def scene(octt: Octt) -> None:
        full = set(names_in(await base_report(octt, FULL)))
        clock = await asked(octt, componentVariable=[of("ClockCtrlr")])
        assert clock == {name for name in full if name[0] == "ClockCtrlr"} != set()
        both = await asked(octt, componentVariable=[of("ClockCtrlr"), of("TxCtrlr"), of("Nowhere")])
        assert both == {name for name in full if name[0] in ("ClockCtrlr", "TxCtrlr")}
        assert await asked(octt) == full

    play(scene)


@pytest.mark.parametrize("criterion", ["Active", "Available", "Enabled"])
def test_a_criterion_takes_what_is_so_and_what_says_nothing_of_it(criterion: str) -> None:
    """B08.FR.07 to FR.09."""

    async def scene(octt: Octt) -> None:
        full = await base_report(octt, FULL)
        said = {
            name[:3]: row["variableAttribute"][0]["value"]
            for part in full
            for name, row in zip(names_in([part]), part["reportData"], strict=True)
            if name[3] == criterion
        }
        wanted = {name for name in names_in(full) if said.get(name[:3], "true") == "true"}
        assert await asked(octt, componentCriteria=[criterion]) == wanted
        assert (wanted < set(names_in(full))) is (criterion == "Enabled")

    play(scene, variables={"AuthCtrlr.Enabled": "false", "AlignedDataCtrlr.Enabled": "false"})


def test_problem_takes_only_components_that_have_one_and_criteria_add_up() -> None:
    """B08.FR.10, FR.13; with named variables both must hold (FR.05)."""

    async def scene(octt: Octt) -> None:
        assert await asked(octt, componentCriteria=["Problem"]) == set()
        octt.bench.board.raise_fault(2, 1, "ground_fault")
        await octt.expect_status("Faulted", evseId=2)
        found = await asked(octt, componentCriteria=["Problem"])
        assert {name[:3] for name in found} == {("EVSE", 2, 0), ("Connector", 2, 1)}
        state = [of("EVSE", "AvailabilityState"), of("TxCtrlr")]
        troubled = await asked(octt, componentCriteria=["Problem"], componentVariable=state)
        assert troubled == {("EVSE", 2, 0, "AvailabilityState", "")}
        either = await asked(octt, componentCriteria=["Problem", "Enabled"])
        assert either == set(names_in(await base_report(octt, FULL)))

    play(scene)


# --- limits ---------------------------------------------------------------------------------------


async def limit(octt: Octt, name: str, action: str) -> int:
    result = await octt.get_variable("DeviceDataCtrlr", name, action)
    return int(result["attributeValue"])


def request_of(action: str, count: int, characters: int) -> Payload:
    """A request with so many items, each with a name of so many characters."""
    item: Payload = {"component": {"name": "x" * characters}, "variable": {"name": "y"}}
    match action:
        case "GetVariables":
            return {"getVariableData": [item] * count}
        case "SetVariables":
            return {"setVariableData": [item | {"attributeValue": "z" * 950}] * count}
    return {"requestId": 3, "componentVariable": [item] * count}


@pytest.mark.parametrize("action", ["GetVariables", "SetVariables", "GetReport"])
def test_a_request_may_have_as_many_items_and_bytes_as_the_station_says(action: str) -> None:
    """B06.FR.16, FR.17, B08.FR.17, FR.18."""

    async def scene(octt: Octt) -> None:
        items = await limit(octt, "ItemsPerMessage", action)
        most_bytes = await limit(octt, "BytesPerMessage", action)
        fitting = 20 if action == "SetVariables" else items
        await octt.call(action, request_of(action, fitting, 40))
        with pytest.raises(StationError) as refused:
            await octt.call(action, request_of(action, items + 1, 1))
        assert refused.value.code == "OccurrenceConstraintViolation"
        if action == "SetVariables":
            assert items * 950 > most_bytes
            with pytest.raises(StationError) as refused:
                await octt.call(action, request_of(action, items, 40))
            assert refused.value.code == "FormatViolation"

    play(scene)


def test_a_thousand_reports_asked_for_at_once_do_not_pile_up() -> None:
    """B07.FR.13: those that find no room are Rejected, the others told to the end."""

    async def scene(octt: Octt) -> None:
        octt.csms.answer["NotifyReport"] = Delayed(1.0)
        answers = await asyncio.gather(
            *(
                octt.call("GetBaseReport", {"requestId": number, "reportBase": FULL})
                for number in range(1000)
            )
        )
        accepted = [n for n, answer in enumerate(answers) if answer["status"] == "Accepted"]
        refused = [answer for answer in answers if answer["status"] == "Rejected"]
        assert MOST_REPORTS <= len(accepted) <= MOST_REPORTS + 1
        assert len(accepted) + len(refused) == 1000
        assert {answer["statusInfo"]["reasonCode"] for answer in refused} == {"OutOfMemory"}
        await asyncio.sleep(600)
        told = octt.csms.of("NotifyReport")
        assert {part["requestId"] for part in told} == set(accepted)
        full = set(names_in([part for part in told if part["requestId"] == accepted[0]]))
        for number in accepted:
            parts = [part for part in told if part["requestId"] == number]
            assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]
            assert set(names_in(parts)) == full
        octt.csms.forget()
        assert await asked(octt) == full

    play(scene)


def test_what_a_csms_triggers_and_does_not_answer_does_not_pile_up() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["Heartbeat"] = Silent()
        wish = {"requestedMessage": "Heartbeat"}
        answers = await asyncio.gather(*(octt.call("TriggerMessage", wish) for _ in range(1000)))
        accepted = sum(answer["status"] == "Accepted" for answer in answers)
        assert MOST_CALLS <= accepted <= MOST_CALLS + 1
        assert {answer["status"] for answer in answers} == {"Accepted", "Rejected"}

    play(scene)


def test_follow_ups_that_find_no_room_are_refused_and_orders_are_not() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["StatusNotification"] = Silent()
        operative = {"operationalStatus": "Operative"}
        refusals = 0
        for _ in range(100):
            try:
                await octt.accepted("ChangeAvailability", operative)
            except StationError as error:
                refusals += 1
                code = error.code
        assert refusals > 0
        assert code == "GenericError"
        await octt.accepted("ChangeAvailability", {"operationalStatus": "Inoperative"})
        assert octt.bench.connector()["status"] == "Unavailable"

    play(scene)
