"""Block B: provisioning. Variables set and asked, base reports, the heartbeat interval at boot."""

from collections.abc import Iterable

from agent.core.events import Now, ResetRequested
from agent.ocpp.block import (
    Answer,
    CallError,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    Payload,
    Stream,
)
from agent.ocpp.device_model import (
    CONFIGURATION,
    FULL,
    Change,
    Variable,
    VariablesSet,
    Verdict,
)
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

ITEMS_PER_MESSAGE = 64
BYTES_PER_MESSAGE = 32_768
ROWS_PER_REPORT = 16
"""Rows of a report in one NotifyReport, about 6 kB."""
LONGEST_HEARTBEAT_S = 86_400
"""The station may be its CSMS's only sign of life and takes its time from it (R16)."""
SLOTS = ("1", "2", "3", "4", "5", "6", "7", "8")
"""Network profiles; charger.yaml has room for eight back ends."""
AVAILABILITY_STATES = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")
"""Best first: a station is as available as its most available connector."""


# --- set and get ----------------------------------------------------------------------------------


def _check_count(items: list[Payload]) -> None:
    """B06.FR.16."""
    if len(items) > ITEMS_PER_MESSAGE:
        raise CallError(
            "OccurrenceConstraintViolation", f"at most {ITEMS_PER_MESSAGE} items in one message"
        )


def _result(item: Payload, status: str, reason: str) -> Payload:
    """What both answers have in common; the pair is echoed as asked (B05.FR.01 to 03, FR.12)."""
    result: Payload = {
        "attributeType": item.get("attributeType", "Actual"),
        "attributeStatus": status,
        "component": item["component"],
        "variable": item["variable"],
    }
    if reason:
        result["attributeStatusInfo"] = {"reasonCode": reason}
    return result


def _set_variables(payload: Payload, view: View, now: Now) -> Answer:
    """B05: one result per item; those that fail do not hold up the others."""
    items = payload["setVariableData"]
    _check_count(items)
    changes: list[Change] = []
    results = []
    for item in items:
        verdict = _judge(item, view)
        if verdict.change is not None:
            changes.append(verdict.change)
        results.append(_result(item, verdict.status, verdict.reason))
    effects, events = view.variables.consequences(changes)
    return Answer({"setVariableResult": results}, events=events, effects=effects)


def _judge(item: Payload, view: View) -> Verdict:
    return view.variables.judge(
        item["component"],
        item["variable"],
        item.get("attributeType", "Actual"),
        item["attributeValue"],
    )


def _get_variables(payload: Payload, view: View, now: Now) -> Answer:
    """B06."""
    items = payload["getVariableData"]
    _check_count(items)
    results = []
    for item in items:
        attribute = item.get("attributeType", "Actual")
        status, value = view.variables.get(
            item["component"], item["variable"], attribute, view, now
        )
        result = _result(item, status, "WriteOnly" if status == "Rejected" else "")
        if value is not None:
            result["attributeValue"] = value
        results.append(result)
    return Answer({"getVariableResult": results})


# --- base reports ---------------------------------------------------------------------------------


def _get_base_report(payload: Payload, view: View, now: Now) -> Answer:
    """B07; the summary is not offered (B07.FR.02, FR.12)."""
    if payload["reportBase"] not in (FULL, CONFIGURATION):
        return Answer({"status": "NotSupported", "statusInfo": {"reasonCode": "UnsupportedParam"}})
    return Answer(
        {"status": "Accepted"},
        stream=_report(payload["requestId"], payload["reportBase"], view, now),
    )


def _report(request_id: int, report_base: str, view: View, now: Now) -> Stream:
    """Parts of a report, each made when it is sent; the cursor is its seqNo (B07.FR.10)."""
    entries = view.variables.entries(report_base)

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


# --- boot and changes -----------------------------------------------------------------------------


def _booted(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """B01.FR.04: the interval becomes the HeartbeatInterval, which refuses 0 by its bounds."""
    if response is None or response["status"] != "Accepted":
        return Consequences()
    interval_s = min(response["interval"], LONGEST_HEARTBEAT_S)
    _, effects, events = view.variables.set(
        {"name": "OCPPCommCtrlr"}, {"name": "HeartbeatInterval"}, "Actual", str(interval_s)
    )
    return Consequences(events=events, effects=effects)


def _take_over(event: VariablesSet, view: View, now: Now) -> Consequences:
    view.variables.handle(event)
    return Consequences()


# --- facts ----------------------------------------------------------------------------------------


def most_available(statuses: Iterable[str]) -> str:
    """The station's AvailabilityState from those of its connectors."""
    return min(statuses, key=AVAILABILITY_STATES.index, default="Unavailable")


def _station_status(view: View) -> str:
    station = view.station
    return most_available(
        station.status((evse_id, connector_id))
        for evse_id in station.evse_ids
        for connector_id in station.connector_ids(evse_id)
    )


def _unlocks_on_disconnect(view: View) -> str:
    """Only a plug that is not part of a fixed cable can be unlocked."""
    connectors = (connector for evse in view.station.site.evses for connector in evse.connectors)
    return "false" if all(connector.fixed_cable for connector in connectors) else "true"


def _security_profile(view: View) -> str:
    connection = view.connection
    return str(connection.slots[connection.slot].security_profile)


def _slot_order(view: View) -> str:
    return ",".join(SLOTS[: len(view.connection.slots)])


# --- reset ----------------------------------------------------------------------------------------


def _reset(payload: Payload, view: View, now: Now) -> Answer:
    """B11, B12 for the whole station; a single EVSE cannot be reset here (B11.FR.09)."""
    if "evseId" in payload:
        return Answer({"status": "Rejected", "statusInfo": {"reasonCode": "UnsupportedParam"}})
    evses = view.station.evses.values()
    on_idle = payload["type"] == "OnIdle"
    waits = on_idle and any(evse.transaction is not None for evse in evses)
    status = "Scheduled" if waits else "Accepted"
    return Answer({"status": status}, events=(ResetRequested(on_idle),))


INCOMING: Incoming = {
    "Reset": _reset,
    "SetVariables": _set_variables,
    "GetVariables": _get_variables,
    "GetBaseReport": _get_base_report,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {"BootNotification": _booted}
ON_EVENT: OnEvent = {VariablesSet: _take_over}


# --- variables ------------------------------------------------------------------------------------


def _comm(name: str, default: str, low: int, high: int, unit: str = "s") -> Variable:
    """A number of OCPPCommCtrlr that the CSMS may set."""
    return Variable(
        "OCPPCommCtrlr",
        name,
        data_type="integer",
        unit=unit,
        min_limit=low,
        max_limit=high,
        default=default,
    )


def _transaction_event(name: str, default: str, low: int, high: int, unit: str = "") -> Variable:
    return Variable(
        "OCPPCommCtrlr",
        name,
        data_type="integer",
        instance="TransactionEvent",
        unit=unit,
        min_limit=low,
        max_limit=high,
        default=default,
    )


def _constant(component: str, name: str, value: int, instance: str | None = None) -> Variable:
    return Variable(
        component,
        name,
        data_type="integer",
        instance=instance,
        max_limit=value,
        mutability="ReadOnly",
        persistent=False,
        default=str(value),
    )


_COMMUNICATION = (
    _comm("HeartbeatInterval", "300", 1, LONGEST_HEARTBEAT_S),
    _comm("RetryBackOffWaitMinimum", "5", 0, 3600),
    _comm("RetryBackOffRandomRange", "10", 0, 3600),
    _comm("RetryBackOffRepeatTimes", "5", 0, 16, unit=""),
    _comm("WebSocketPingInterval", "30", 0, 86_400),
    _comm("OfflineThreshold", "60", 0, 2_592_000),
    _comm("NetworkProfileConnectionAttempts", "3", 1, 100, unit=""),
    _comm("ResetRetries", "3", 0, 100, unit=""),
    _transaction_event("MessageAttempts", "5", 1, 100),
    _transaction_event("MessageAttemptInterval", "10", 0, 86_400, unit="s"),
    Variable(
        "OCPPCommCtrlr",
        "MessageTimeout",
        data_type="integer",
        instance="Default",
        unit="s",
        min_limit=1,
        max_limit=600,
        mutability="ReadOnly",
        default="30",
    ),
    Variable(
        "OCPPCommCtrlr",
        "NetworkConfigurationPriority",
        data_type="SequenceList",
        values=SLOTS,
        mutability="ReadOnly",
        read=_slot_order,
    ),
    Variable(
        "OCPPCommCtrlr",
        "ActiveNetworkProfile",
        data_type="integer",
        mutability="ReadOnly",
        read=lambda view: SLOTS[view.connection.slot],
    ),
    Variable(
        "OCPPCommCtrlr",
        "UnlockOnEVSideDisconnect",
        data_type="boolean",
        mutability="ReadOnly",
        read=_unlocks_on_disconnect,
    ),
)

_LIMITS = (
    *(
        _constant("DeviceDataCtrlr", name, value, instance)
        for name, value in (
            ("ItemsPerMessage", ITEMS_PER_MESSAGE),
            ("BytesPerMessage", BYTES_PER_MESSAGE),
        )
        for instance in ("GetReport", "GetVariables", "SetVariables")
    ),
    _constant("DeviceDataCtrlr", "ConfigurationValueSize", 1000),
    _constant("DeviceDataCtrlr", "ReportingValueSize", 2500),
    _constant("DeviceDataCtrlr", "ValueSize", 2500),
)

_STATION = (
    Variable(
        "ChargingStation",
        "Available",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "true",
    ),
    Variable(
        "ChargingStation",
        "AvailabilityState",
        data_type="OptionList",
        values=AVAILABILITY_STATES,
        mutability="ReadOnly",
        read=_station_status,
    ),
    Variable(
        "ChargingStation",
        "SupplyPhases",
        data_type="integer",
        mutability="ReadOnly",
        read=lambda view: str(view.station.site.phases),
    ),
    Variable(
        "ChargingStation",
        "Model",
        max_length=20,
        mutability="ReadOnly",
        read=lambda view: view.facts.model,
    ),
    Variable(
        "ChargingStation",
        "VendorName",
        max_length=50,
        mutability="ReadOnly",
        read=lambda view: view.facts.vendor,
    ),
    Variable(
        "SecurityCtrlr",
        "Identity",
        max_length=48,
        mutability="ReadOnly",
        read=lambda view: view.facts.identity,
    ),
    Variable(
        "SecurityCtrlr",
        "BasicAuthPassword",
        min_length=16,
        max_length=64,
        mutability="WriteOnly",
        secret=True,
        # The link takes the password from charger.yaml: accepting another one would let the CSMS
        # change its own side and lock the station out for good.
        refused="UnsupportedRequest",
    ),
    Variable(
        "SecurityCtrlr",
        "SecurityProfile",
        data_type="integer",
        mutability="ReadOnly",
        read=_security_profile,
    ),
    Variable(
        "ClockCtrlr",
        "DateTime",
        data_type="dateTime",
        mutability="ReadOnly",
        read_at=lambda now: format_time(now.utc_s()),
    ),
    Variable(
        "ClockCtrlr",
        "TimeSource",
        data_type="SequenceList",
        values=("NTP", "Heartbeat"),
        default="NTP,Heartbeat",
    ),
)

VARIABLES: tuple[Variable, ...] = (*_COMMUNICATION, *_LIMITS, *_STATION)
