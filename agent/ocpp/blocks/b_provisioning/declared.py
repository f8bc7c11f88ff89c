"""The variables of block B: communication, limits of messages, the station itself."""

from collections.abc import Iterable

from agent.ocpp.device_model import Variable
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

ITEMS_PER_MESSAGE = 64
BYTES_PER_MESSAGE = 32_768
LONGEST_HEARTBEAT_S = 86_400
"""The station may be its CSMS's only sign of life and takes its time from it (R16)."""
SLOTS = ("1", "2", "3", "4", "5", "6", "7", "8")
"""Network profiles; charger.yaml has room for eight back ends."""
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


def _unlocks_on_disconnect(view: View) -> str:
    """Only a plug that is not part of a fixed cable can be unlocked."""
    connectors = (connector for evse in view.station.site.evses for connector in evse.connectors)
    return "false" if all(connector.fixed_cable for connector in connectors) else "true"


def _security_profile(view: View) -> str:
    connection = view.connection
    return str(connection.slots[connection.slot].security_profile)


def _slot_order(view: View) -> str:
    return ",".join(SLOTS[: len(view.connection.slots)])


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
