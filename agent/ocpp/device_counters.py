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
INTEGER_ENDS = 2**31


def counter_variables(devices: Iterable[str]) -> tuple[Variable, ...]:
    """ReadOnly facts of the devices with these names."""
    return tuple(
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


def _read(device: str, field: str, view: View) -> str | None:
    counters = view.counters(device)
    return None if counters is None else str(getattr(counters, field) % INTEGER_ENDS)
