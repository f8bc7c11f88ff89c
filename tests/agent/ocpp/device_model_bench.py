"""A device model with a variable of each kind."""

from types import SimpleNamespace
from typing import Any

from agent.core.events import Now
from agent.ocpp.device_model import DeviceModel, Variable, VariablesSet

NOW = Now(100.0, 1_700_000_000.0, True, "b", 0, lambda: 0.5, lambda: "id")  # type: ignore[arg-type]
PLACES = ((1, (1,)), (2, (1, 2)))
VIEW: Any = SimpleNamespace(station="facts")
THRESHOLD = Variable(
    "OCPPCommCtrlr", "OfflineThreshold", "integer", min_limit=0, max_limit=600, default="60"
)
TIMEOUT = Variable(
    "OCPPCommCtrlr",
    "MessageTimeout",
    "integer",
    instance="Default",
    mutability="ReadOnly",
    from_file=True,
    default="30",
)
PASSWORD = Variable(
    "SecurityCtrlr",
    "BasicAuthPassword",
    min_length=16,
    max_length=40,
    mutability="WriteOnly",
    secret=True,
)
START_POINT = Variable(
    "TxCtrlr",
    "TxStartPoint",
    "MemberList",
    values=("EVConnected", "Authorized", "PowerPathClosed"),
    policy="tx_start_point",
)
TX_TIMEOUT = Variable("TxCtrlr", "EVConnectionTimeOut", "integer", policy="ev_connection_timeout_s")
REMOTE = Variable("AuthCtrlr", "AuthorizeRemoteStart", "boolean", policy="authorize_remote_start")
REBOOT = Variable("TestCtrlr", "Slow", "boolean", default="false", reboot_needed=True)
STATE = Variable(
    "Connector",
    "AvailabilityState",
    "OptionList",
    values=("Available", "Occupied"),
    level="connector",
    mutability="ReadOnly",
    read=lambda view, evse_id, connector_id: (
        "Occupied" if (evse_id, connector_id) == (2, 2) else None
    ),
)
POWER = Variable("EVSE", "Power", "decimal", unit="W", level="evse", max_limit=22000.0)
CLOCK = Variable(
    "ClockCtrlr",
    "DateTime",
    "dateTime",
    mutability="ReadOnly",
    read_at=lambda now: f"2026-01-01T00:00:{now.mono_s:.0f}Z",
)
ALL = (
    THRESHOLD,
    TIMEOUT,
    PASSWORD,
    START_POINT,
    TX_TIMEOUT,
    REMOTE,
    REBOOT,
    STATE,
    POWER,
    CLOCK,
)


def model(saved: dict[str, str] | None = None, first: tuple[Any, ...] = ()) -> DeviceModel:
    return DeviceModel(ALL, PLACES, saved or {}, first)


def named(name: str, instance: str | None = None) -> dict[str, Any]:
    return {"name": name} | ({"instance": instance} if instance is not None else {})


def set_now(variables: DeviceModel, component: str, variable: str, value: str) -> str:
    status, _, events = variables.set(named(component), named(variable), "Actual", value)
    for event in events:
        if isinstance(event, VariablesSet):
            variables.handle(event)
    return status
