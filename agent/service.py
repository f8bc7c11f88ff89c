"""The technician at the station: his word that a connector was looked into (`chargepoint service`),
and what the CSMS hears of his visit."""

from collections.abc import Callable
from typing import Any

from agent.core import events as ev
from agent.core.latches import refusal
from agent.core.station import Station
from agent.errors import ChargepointError


class ServiceError(ChargepointError):
    """Nothing to clear there, or not yet; the text says what to do."""


def login(user: str, accepted: bool) -> ev.SecurityNoted:
    """A user of the board at the console, in the form that the list of security events asks for."""
    kind = "MaintenanceLoginAccepted" if accepted else "MaintenanceLoginFailed"
    return ev.SecurityNoted(kind, f"{{'user': '{user}', 'origin': 'console'}}")


def serviced(
    station: Station, post: Callable[[object], None], request: dict[str, Any]
) -> dict[str, Any]:
    """`{"cmd": "service", "connector": "1/1"}` clears what waits there; without a connector the
    answer says where something waits. Raises ServiceError."""
    waiting = {
        f"{e.evse_id}/{c.connector_id}": sorted(c.latched_faults)
        for e in station.evses.values()
        for c in e.connectors.values()
        if c.latched_faults
    }
    name = request.get("connector")
    if name is None:
        return {"waiting": waiting}
    for evse in station.evses.values():
        for connector in evse.connectors.values():
            if name != f"{evse.evse_id}/{connector.connector_id}":
                continue
            cause = refusal(connector)
            if cause is not None:
                raise ServiceError(f"{name}: {cause}")
            post(ev.Serviced(*connector.place))
            return {"cleared": {name: waiting[name]}}
    raise ServiceError(f"there is no connector {str(name)[:20]!r}; write EVSE/CONNECTOR, like 1/1")
