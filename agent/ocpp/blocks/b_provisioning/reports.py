"""Reports of the device model: base reports (B07), and of what is asked for (B08)."""

from collections.abc import Sequence

from agent.core.events import Now
from agent.ocpp.block import Answer, Payload, Stream, refused
from agent.ocpp.blocks.b_provisioning.set_get import check_size
from agent.ocpp.device_model import CONFIGURATION, FULL, Entry
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

ROWS_PER_REPORT = 16
"""Rows of a report in one NotifyReport, about 6 kB."""
SUMMARY = "SummaryInventory"
TROUBLES = ("Problem", "Tripped", "Overload", "Fallback")

_ComponentKey = tuple[str, str, int, int]


# --- base reports ---------------------------------------------------------------------------------


def get_base_report(payload: Payload, view: View, now: Now) -> Answer:
    """B07."""
    report_base = payload["reportBase"]
    if report_base in (FULL, CONFIGURATION):
        entries = view.variables.entries(report_base)
    elif report_base == SUMMARY:
        entries = _summary(view, now)
    else:
        return refused("UnsupportedParam", status="NotSupported")
    return _answer(payload["requestId"], entries, view, now)


def _summary(view: View, now: Now) -> tuple[Entry, ...]:
    """B07.FR.09: how available everything is, and what is wrong."""
    return tuple(
        entry
        for entry in view.variables.entries(FULL)
        if (entry.variable.name == "AvailabilityState" and not _says_no_more(entry, view, now))
        or (entry.variable.name in TROUBLES and _value(entry, view, now) == "true")
    )


def _says_no_more(entry: Entry, view: View, now: Now) -> bool:
    """A connector that is as available as its EVSE."""
    if not entry.connector_id:
        return False
    evse = {"name": "EVSE", "evse": {"id": entry.evse_id}}
    named = {"name": "AvailabilityState"}
    return view.variables.get(evse, named, "Actual", view, now)[1] == _value(entry, view, now)


def _value(entry: Entry, view: View, now: Now) -> str | None:
    (attribute,) = view.variables.report(entry, view, now)["variableAttribute"]
    value: str | None = attribute.get("value")
    return value


# --- what is asked for ----------------------------------------------------------------------------


def get_report(payload: Payload, view: View, now: Now) -> Answer:
    """B08: the components that meet one of the criteria, and of them what is named."""
    named = payload.get("componentVariable", [])
    check_size(payload, named)
    entries = view.variables.entries(FULL)
    if criteria := payload.get("componentCriteria", []):
        meeting = _meeting(criteria, entries, view, now)
        entries = tuple(entry for entry in entries if _component(entry) in meeting)
    if named:
        entries = tuple(e for e in entries if any(_is_named(e, item) for item in named))
    if not entries:
        return refused("NotFound", status="EmptyResultSet")
    return _answer(payload["requestId"], entries, view, now)


def _component(entry: Entry) -> _ComponentKey:
    variable = entry.variable
    instance = variable.component_instance or ""
    return variable.component, instance, entry.evse_id, entry.connector_id


def _meeting(
    criteria: list[str], entries: Sequence[Entry], view: View, now: Now
) -> set[_ComponentKey]:
    """Active, Available, Enabled: true, or without such a variable; Problem: true (B08.FR.07 to
    FR.10); one of several is enough (FR.13)."""
    said = {
        (_component(entry), entry.variable.name): _value(entry, view, now)
        for entry in entries
        if entry.variable.name in criteria
    }
    return {
        component
        for component in map(_component, entries)
        for criterion in criteria
        if said.get((component, criterion), "" if criterion == "Problem" else "true") == "true"
    }


def _is_named(entry: Entry, item: Payload) -> bool:
    """What an item leaves out it does not care about (B08.FR.20 to FR.25)."""
    component, variable = item["component"], item.get("variable", {})
    evse = component.get("evse", {})
    name, instance, evse_id, connector_id = _component(entry)
    return (
        component["name"].lower() == name.lower()
        and _fits(component.get("instance"), instance)
        and evse.get("id", evse_id) == evse_id
        and evse.get("connectorId", connector_id) == connector_id
        and _fits(variable.get("name"), entry.variable.name)
        and _fits(variable.get("instance"), entry.variable.instance or "")
    )


def _fits(wanted: str | None, found: str) -> bool:
    return not wanted or wanted.lower() == found.lower()


# --- both -----------------------------------------------------------------------------------------


def _answer(request_id: int, entries: Sequence[Entry], view: View, now: Now) -> Answer:
    """Rejected while others wait to be told: this one is asked for again (B07.FR.13, B08.FR.16)."""
    if not view.connection.turns.takes_report:
        return refused("OutOfMemory", "other reports wait; ask again")
    return Answer({"status": "Accepted"}, stream=_report(request_id, entries, view, now))


def _report(request_id: int, entries: Sequence[Entry], view: View, now: Now) -> Stream:
    """Parts of a report, each made when it is sent; the cursor is its seqNo (B07.FR.10)."""

    def next_part(cursor: int) -> tuple[str, Payload, int | None]:
        begin, end = cursor * ROWS_PER_REPORT, (cursor + 1) * ROWS_PER_REPORT
        is_last = end >= len(entries)
        part: Payload = {
            "requestId": request_id,
            "generatedAt": format_time(now.utc_s()),
            "seqNo": cursor,
            "tbc": not is_last,
        }
        rows = [view.variables.report(entry, view, now) for entry in entries[begin:end]]
        if rows:
            part["reportData"] = rows
        return "NotifyReport", part, None if is_last else cursor + 1

    return Stream(0, next_part)
