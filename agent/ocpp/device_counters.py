"""Error counters of the devices inside the station as variables: one component `Device` for each,
its instance is the name in charger.yaml."""

from collections.abc import Iterable
from functools import partial

from agent.ocpp.variable import Variable
from agent.ocpp.view import View

COMPONENT = "Device"
COUNTED = {
    "Requests": "requests",
    "Timeouts": "timeouts",
    "UnusableAnswers": "unusable",
    "Exceptions": "exceptions",
    "Reconnects": "reconnects",
}
"""Variable -> what `drivers.contract.Counters` calls it; all since the start of the agent."""
TRIPS = "Trips"
"""Faults that a device counts itself; the variable's instance is the fault."""
INTEGER_ENDS = 2**31


def counter_variables(
    devices: Iterable[str], trips: Iterable[tuple[str, str]] = ()
) -> tuple[Variable, ...]:
    """ReadOnly facts of the devices with these names; `trips` by (device, fault)."""
    counted = tuple(
        Variable(
            COMPONENT,
            variable,
            "integer",
            component_instance=device,
            min_limit=0,
            mutability="ReadOnly",
            read=partial(_read, device, field),
        )
        for device in devices
        for variable, field in COUNTED.items()
    )
    return counted + tuple(
        Variable(
            COMPONENT,
            TRIPS,
            "integer",
            component_instance=device,
            instance=fault,
            min_limit=0,
            mutability="ReadOnly",
            read=partial(_read_trips, device, fault),
        )
        for device, fault in trips
    )


def _read(device: str, field: str, view: View) -> str | None:
    counters = view.counters(device)
    return None if counters is None else str(getattr(counters, field) % INTEGER_ENDS)


def _read_trips(device: str, fault: str, view: View) -> str | None:
    counters = view.counters(device)
    count = None if counters is None else counters.trips.get(fault)
    return None if count is None else str(count)
