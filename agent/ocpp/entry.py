"""A variable at its place: how it is named on the wire and in the state table, what it is told to
be. Names compare without case."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from agent.ocpp.calls import Payload
from agent.ocpp.variable import Variable, completed

PREFIX = "var/"
"""State keys of values begin so."""

Places = Sequence[tuple[int, tuple[int, ...]]]
"""(evse_id, connector_ids) of the station."""


class Entry(Struct, frozen=True):
    """A variable at its place; `key` is the state key of its value."""

    variable: Variable
    evse_id: int
    connector_id: int
    key: str


ComponentKey = tuple[str, str, int, int]
VariableKey = tuple[str, str]


def component_key(component: Payload) -> ComponentKey:
    evse = component.get("evse", {})
    instance = component.get("instance", "")
    return (
        component["name"].lower(),
        instance.lower(),
        evse.get("id", 0),
        evse.get("connectorId", 0),
    )


def variable_key(variable: Payload) -> VariableKey:
    return variable["name"].lower(), variable.get("instance", "").lower()


def named(name: str, instance: str | None) -> Payload:
    return {"name": name, "instance": instance} if instance else {"name": name}


def component_named(name: str, instance: str | None, evse_id: int, connector_id: int) -> Payload:
    component = named(name, instance)
    if evse_id:
        component["evse"] = {"id": evse_id}
        if connector_id:
            component["evse"]["connectorId"] = connector_id
    return component


def state_key(variable: Variable, evse_id: int, connector_id: int) -> str:
    component = variable.component
    if variable.component_instance:
        component += f"[{variable.component_instance}]"
    if evse_id:
        component += f"@{evse_id}" + (f".{connector_id}" if connector_id else "")
    name = variable.name + (f"[{variable.instance}]" if variable.instance else "")
    return f"{PREFIX}{component}/{name}"


def entries_of(variables: Iterable[Variable], places: Places) -> Iterator[Entry]:
    """Each variable at each of its places. Raises ValueError for a wrong declaration."""
    for variable in map(completed, variables):
        for evse_id, connector_id in _places(variable.level, places):
            key = state_key(variable, evse_id, connector_id)
            yield Entry(variable, evse_id, connector_id, key)


def _places(level: str, places: Places) -> list[tuple[int, int]]:
    if level == "evse":
        return [(evse_id, 0) for evse_id, _ in places]
    if level == "connector":
        return [(evse_id, connector) for evse_id, connectors in places for connector in connectors]
    return [(0, 0)]


def component_of(entry: Entry) -> Payload:
    """ComponentType of an entry."""
    variable = entry.variable
    return component_named(
        variable.component, variable.component_instance, entry.evse_id, entry.connector_id
    )


def variable_of(entry: Entry) -> Payload:
    """VariableType of an entry."""
    return named(entry.variable.name, entry.variable.instance)


def characteristics(entry: Entry, view: object) -> Payload:
    """VariableCharacteristicsType; maxLimit of a text or a list counts its characters."""
    variable = entry.variable
    told: Payload = {"dataType": variable.data_type}
    if variable.unit:
        told["unit"] = variable.unit
    high = variable.max_length if variable.max_limit is None else variable.max_limit
    if high is None and variable.data_type in ("MemberList", "SequenceList"):
        high = len(",".join(variable.values))
    if variable.place_limit is not None:
        high = variable.place_limit(view, entry.evse_id, entry.connector_id)
    if variable.min_limit is not None:
        told["minLimit"] = variable.min_limit
    if high is not None:
        told["maxLimit"] = high
    if variable.values:
        told["valuesList"] = ",".join(variable.values)
    told["supportsMonitoring"] = variable.supports_monitoring
    return told
