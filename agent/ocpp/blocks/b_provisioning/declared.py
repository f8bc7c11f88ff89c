"""The variables of block B: communication, limits of messages, the station itself."""

from collections.abc import Callable, Iterable
from typing import Any

from agent.ocpp.certificates import CSMS
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import format_time
from agent.ocpp.network import SLOT_NUMBERS
from agent.ocpp.transfers import protocols
from agent.ocpp.view import View

ITEMS_PER_MESSAGE = 64
BYTES_PER_MESSAGE = 32_768
LONGEST_HEARTBEAT_S = 86_400
"""The station may be its CSMS's only sign of life and takes its time from it (R16)."""
SLOTS = tuple(str(number) for number in SLOT_NUMBERS)
AVAILABILITY_STATES = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")
"""Best first: a station is as available as its most available connector."""


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


def _slot_order(view: View, kept: str | None) -> str:
    """While nobody has set it, the order of charger.yaml."""
    order = kept.split(",") if kept else [str(slot.number) for slot in view.connection.slots]
    known = {str(number) for number in view.network.numbers}
    return ",".join(number for number in order if number in known)


def _unusable(view: View, order: str) -> str:
    """B10.FR.02; A05.FR.02, FR.03, FR.10."""
    numbers = [int(number) for number in order.split(",")]
    if not set(numbers) <= set(view.network.numbers):
        return "InvalidValue"
    active = view.connection.slots[view.connection.slot].security_profile
    profiles = [view.network.security_profile(number) for number in numbers]
    raised = [profile for profile in profiles if profile > active]
    has_root = bool(view.certificates.roots(CSMS))
    has_certificate = view.station_certificate.newest is not None
    lacks = (raised and not has_root) or (3 in raised and not has_certificate)
    return "InvalidValue" if min(profiles) < active or lacks else ""


def _message_timeout(view: View, kept: str | None) -> str | None:
    """The network profile in use has the first word."""
    connection = view.connection
    own_s = connection.slots[connection.slot].message_timeout_s
    return kept if own_s is None else f"{own_s:.0f}"


def _plug_type(view: View, evse_id: int, connector_id: int) -> str:
    return view.facts.plugs[evse_id, connector_id].type


def _plug_phases(view: View, evse_id: int, connector_id: int) -> str:
    return str(view.facts.plugs[evse_id, connector_id].phases)


def _evse_phases(view: View, evse_id: int, connector_id: int) -> str:
    return str(view.facts.phases(evse_id))


def _power_w(view: View, evse_id: int, connector_id: int) -> str | None:
    meter = view.station.evses[evse_id].metering.last
    return None if meter is None or meter.power_w is None else f"{meter.power_w:.0f}"


def _most_power_w(view: View, evse_id: int, connector_id: int) -> float:
    station, phases = view.station, view.facts.phases(evse_id)
    return round(station.hardware_limit_a(evse_id) * view.facts.voltage_v * phases)


def _has_problem(view: View, evse_id: int, connector_id: int) -> str:
    connectors = view.station.evses[evse_id].connectors
    places = [connector_id] if connector_id else connectors
    return "true" if any(connectors[place].faults for place in places) else "false"


# --- declarations ---------------------------------------------------------------------------------


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
    Variable(
        "OCPPCommCtrlr",
        "ResetRetries",
        data_type="integer",
        min_limit=0,
        max_limit=100,
        policy="reset_retries",
    ),
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
        from_file=True,
        default="30",
        resolve=_message_timeout,
    ),
    Variable(
        "OCPPCommCtrlr",
        "NetworkConfigurationPriority",
        data_type="SequenceList",
        values=SLOTS,
        reboot_needed=True,
        resolve=_slot_order,
        objection=_unusable,
    ),
    Variable(
        "OCPPCommCtrlr",
        "ActiveNetworkProfile",
        data_type="integer",
        mutability="ReadOnly",
        read=lambda view: str(view.connection.slots[view.connection.slot].number),
    ),
    Variable(
        "OCPPCommCtrlr",
        "FileTransferProtocols",
        data_type="MemberList",
        values=tuple(protocols(has_sftp=True).values()),
        mutability="ReadOnly",
        persistent=False,
        read=lambda view: ",".join(protocols(has_sftp=view.facts.has_sftp).values()),
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
        policy="time_source",
    ),
)


def _place(
    component: str, name: str, read: Callable[[View, int, int], str | None], **more: Any
) -> Variable:
    """A fact of every EVSE or every connector."""
    declared = {"data_type": "boolean", "level": component.lower(), "mutability": "ReadOnly"}
    return Variable(component, name, read=read, **(declared | more))


_PLACES = (
    _place("EVSE", "AllowReset", lambda view, evse_id, connector_id: "true"),
    _place("EVSE", "Problem", _has_problem),
    _place("EVSE", "SupplyPhases", _evse_phases, data_type="integer"),
    _place("EVSE", "Power", _power_w, data_type="decimal", unit="W", place_limit=_most_power_w),
    _place("Connector", "Problem", _has_problem),
    _place("Connector", "SupplyPhases", _plug_phases, data_type="integer"),
    _place("Connector", "ConnectorType", _plug_type, data_type="string", max_length=20),
)

VARIABLES: tuple[Variable, ...] = (*_COMMUNICATION, *_LIMITS, *_STATION, *_PLACES)
