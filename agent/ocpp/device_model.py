"""The device model: variables as blocks declare them, their values, and who may change them.

Components and variables are named as they stand on the wire; names compare without case.
Only the attribute type Actual is supported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from agent.core.effects import Save
from agent.core.events import Now, PolicyChanged
from agent.core.policy import Policy
from agent.ocpp.calls import Payload
from agent.ocpp.entry import (
    PREFIX,
    ComponentKey,
    Entry,
    Places,
    VariableKey,
    characteristics,
    component_key,
    component_named,
    component_of,
    entries_of,
    named,
    variable_key,
    variable_of,
)
from agent.ocpp.variable import Variable, accepted_text, policy_value

__all__ = ["Change", "DeviceModel", "Entry", "Variable", "VariablesSet", "Verdict"]

FIRST_VALUES_KEY = "meta/first_values"
"""State key that says: the technician's first values were applied once."""
FULL, CONFIGURATION = "FullInventory", "ConfigurationInventory"


class Change(Struct, frozen=True):
    """A new value that was found valid."""

    key: str
    value: str

    def __repr__(self) -> str:
        return f"Change({self.key!r})"


class VariablesSet(Struct, frozen=True):
    """Variables have new values, durable by now; `DeviceModel.handle` takes them over."""

    changes: tuple[Change, ...]


class Verdict(Struct, frozen=True):
    """SetVariableStatusEnumType, a reason code where it is a refusal, and what would change."""

    status: str
    reason: str = ""
    change: Change | None = None


class _Name(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def instance(self) -> str | None: ...


class _PlacedName(_Name, Protocol):
    @property
    def evse(self) -> int | None: ...
    @property
    def connector(self) -> int | None: ...


class FirstValue(Protocol):
    """A first value from the technician's file."""

    @property
    def component(self) -> _PlacedName: ...
    @property
    def variable(self) -> _Name: ...
    @property
    def value(self) -> str: ...
    @property
    def attribute(self) -> str: ...


# --- the model ----------------------------------------------------------------------------------


class DeviceModel:
    """Values of all variables. Handlers only ask; `handle` is the one place that changes.

    `places`: (evse_id, connector_ids) of the station. `saved`: the state table. Raises ValueError
    when a block declares a variable wrongly or a second time.
    """

    def __init__(
        self,
        variables: Iterable[Variable],
        places: Places,
        saved: Mapping[str, str],
        first_values: Iterable[FirstValue] = (),
    ) -> None:
        self.warnings: list[str] = []
        """What the technician should know about saved and first values."""
        self.first_saves: tuple[Save, ...] = ()
        """To be committed at start, so that first values are applied only once."""
        self._entries: dict[str, Entry] = {}
        self._components: dict[ComponentKey, dict[VariableKey, Entry]] = {}
        self._asked: dict[tuple[str | int, ...], Entry] = {}
        """By the arguments of `value`: some are asked for with each frame."""
        self._values: dict[str, str] = {}
        self._policy_keys: dict[str, dict[int, str]] = {}
        """Policy field -> state keys of its variable, by EVSE."""
        for entry in entries_of(variables, places):
            self._declare(entry)
        self._load(saved)
        if FIRST_VALUES_KEY not in saved and not any(key.startswith(PREFIX) for key in saved):
            self._apply_first(first_values)

    def _declare(self, entry: Entry) -> None:
        component = component_key(component_of(entry))
        variables = self._components.setdefault(component, {})
        name = variable_key(variable_of(entry))
        if name in variables:
            raise ValueError(f"{entry.key} is declared twice")
        variables[name] = entry
        self._entries[entry.key] = entry
        if entry.variable.policy is not None:
            self._policy_keys.setdefault(entry.variable.policy, {})[entry.evse_id] = entry.key

    def _load(self, saved: Mapping[str, str]) -> None:
        for key, text in saved.items():
            entry = self._entries.get(key)
            if entry is None or entry.variable.is_given or not entry.variable.persistent:
                continue
            try:
                value = accepted_text(entry.variable, msgspec.json.decode(text, type=str))
            except msgspec.DecodeError:
                value = None
            if value is None:
                self.warnings.append(
                    f"{key.removeprefix(PREFIX)}: the saved value is not valid any more and the"
                    " default is used; set it again from the CSMS"
                )
            else:
                self._values[key] = value

    def _apply_first(self, first_values: Iterable[FirstValue]) -> None:
        saves = []
        for first in first_values:
            place, variable = first.component, first.variable
            component = component_named(
                place.name, place.instance, place.evse or 0, place.connector or 0
            )
            wanted = named(variable.name, variable.instance)
            verdict = self.judge(component, wanted, first.attribute, first.value, by_station=True)
            if verdict.change is not None and self._entries[verdict.change.key].variable.secret:
                verdict = Verdict("Rejected", "a secret has no place here")
            if verdict.change is None:
                self.warnings.append(
                    f"ocpp.variables: {place.name}.{variable.name} was not applied"
                    f" ({verdict.reason or verdict.status}); set it from the CSMS: charger.yaml is"
                    " asked on an empty data directory only (`chargepoint check` knows the names)"
                )
            else:
                self._values[verdict.change.key] = verdict.change.value
                saves.append(self._save(verdict.change))
        self.first_saves = (*saves, Save(FIRST_VALUES_KEY, "true"))

    # --- asking -----------------------------------------------------------------------------

    def _find(self, component: Payload, variable: Payload, attribute: str) -> Entry | str:
        """The entry, or the status that says what is unknown (B05.FR.04 to 06, B06.FR.15)."""
        variables = self._components.get(component_key(component))
        if variables is None:
            return "UnknownComponent"
        entry = variables.get(variable_key(variable))
        if entry is None:
            return "UnknownVariable"
        return entry if attribute == "Actual" else "NotSupportedAttributeType"

    def get(
        self, component: Payload, variable: Payload, attribute: str, view: object, now: Now
    ) -> tuple[str, str | None]:
        """(GetVariableStatusEnumType, value); unset is "", a refusal has None (B06.FR.13)."""
        found = self._find(component, variable, attribute)
        if isinstance(found, str):
            return found, None
        if found.variable.mutability == "WriteOnly":
            return "Rejected", None
        return "Accepted", self._read(found, view, now) or ""

    def _read(self, entry: Entry, view: object, now: Now) -> str | None:
        variable = entry.variable
        if variable.read_at is not None:
            return variable.read_at(now)
        if variable.read is None:
            kept = self._values.get(entry.key, variable.default)
            return kept if variable.resolve is None else variable.resolve(view, kept)
        if variable.level == "station":
            return variable.read(view)
        return variable.read(view, entry.evse_id, entry.connector_id)

    def value(
        self,
        component: str,
        variable: str,
        instance: str = "",
        *,
        component_instance: str = "",
        evse_id: int = 0,
        connector_id: int = 0,
    ) -> str:
        """Value of a stored variable, secrets too, "" when unset; KeyError when not declared."""
        asked = (component, variable, instance, component_instance, evse_id, connector_id)
        entry = self._asked.get(asked)
        if entry is None:
            key = (component.lower(), component_instance.lower(), evse_id, connector_id)
            entry = self._components[key][variable.lower(), instance.lower()]
            if entry.variable.is_fact:
                raise KeyError(f"{entry.key} is a fact: ask its source")
            self._asked[asked] = entry
        return self._values.get(entry.key, entry.variable.default) or ""

    def policy(self, changes: Iterable[Change] = ()) -> Policy:
        """What the core is to obey, with `changes` if they happened now."""
        new = {change.key: change.value for change in changes}
        fields: dict[str, Any] = {}
        for name, keys in self._policy_keys.items():
            texts = {
                evse_id: new.get(key, self._values.get(key, self._entries[key].variable.default))
                for evse_id, key in keys.items()
            }
            fields[name] = policy_value(name, texts)
        return Policy(**fields)

    # --- changing ---------------------------------------------------------------------------

    def judge(
        self,
        component: Payload,
        variable: Payload,
        attribute: str,
        value: str,
        *,
        by_station: bool = False,
    ) -> Verdict:
        """What setting the value would come to; `by_station`: as charger.yaml may."""
        found = self._find(component, variable, attribute)
        if isinstance(found, str):
            return Verdict(found)
        read_only = found.variable.mutability == "ReadOnly" and not by_station
        if read_only or found.variable.is_given:
            return Verdict("Rejected", "ReadOnly")
        text = accepted_text(found.variable, value)
        if text is None:
            return Verdict("Rejected", "InvalidValue")
        if found.variable.refused:
            return Verdict("Rejected", found.variable.refused)
        status = "RebootRequired" if found.variable.reboot_needed else "Accepted"
        return Verdict(status, change=Change(found.key, text))

    def objection(self, change: Change, view: object) -> str:
        """Reason code why this station cannot take a new value, though it is a valid one; or ""."""
        object_to = self._entries[change.key].variable.objection
        return "" if object_to is None else object_to(view, change.value)

    def check(self, component: Payload, variable: Payload, attribute: str, value: str) -> str:
        """SetVariableStatusEnumType that the CSMS would get."""
        return self.judge(component, variable, attribute, value).status

    def set(
        self,
        component: Payload,
        variable: Payload,
        attribute: str,
        value: str,
        *,
        by_station: bool = False,
    ) -> tuple[str, tuple[Save, ...], tuple[object, ...]]:
        """(status, effects, events) of one new value; nothing changes before `handle`."""
        verdict = self.judge(component, variable, attribute, value, by_station=by_station)
        changes = () if verdict.change is None else (verdict.change,)
        return verdict.status, *self.consequences(changes)

    def consequences(
        self, changes: Sequence[Change]
    ) -> tuple[tuple[Save, ...], tuple[object, ...]]:
        """(effects, events) of all changes of one request; of two for one variable the last. What
        is set to the value that it has is told only where that value may not be in use."""
        last = {change.key: change for change in changes}.values()
        new = [change for change in last if self._values.get(change.key) != change.value]
        told = [c for c in last if c in new or self._entries[c.key].variable.secret]
        if not told:
            return (), ()
        events: tuple[object, ...] = (VariablesSet(tuple(told)),)
        policy = self.policy(new)
        if policy != self.policy():
            events += (PolicyChanged(policy),)
        kept = (change for change in new if self._entries[change.key].variable.persistent)
        return tuple(self._save(change) for change in kept), events

    @staticmethod
    def _save(change: Change) -> Save:
        return Save(change.key, msgspec.json.encode(change.value).decode())

    def handle(self, event: VariablesSet) -> None:
        """Takes over values that are durable."""
        for change in event.changes:
            self._values[change.key] = change.value

    # --- reporting --------------------------------------------------------------------------

    def entries(self, report_base: str) -> tuple[Entry, ...]:
        """What a base report tells of, in a standing order (B07.FR.07, FR.08)."""
        everything = tuple(self._entries.values())
        if report_base == FULL:
            return everything
        return tuple(entry for entry in everything if entry.variable.mutability != "ReadOnly")

    def inventory(self, report_base: str, view: object, now: Now) -> Iterator[Payload]:
        """ReportDataType of each entry, made one by one."""
        return (self.report(entry, view, now) for entry in self.entries(report_base))

    def report(self, entry: Entry, view: object, now: Now) -> Payload:
        """ReportDataType; a WriteOnly or unset value is left out (B07.FR.03, FR.11)."""
        variable = entry.variable
        attribute: Payload = {"type": "Actual"}
        if variable.mutability != "WriteOnly":
            value = self._read(entry, view, now)
            if value is not None:
                attribute["value"] = value
        attribute["mutability"] = variable.mutability
        attribute["persistent"] = variable.persistent and not variable.is_fact
        return {
            "component": component_of(entry),
            "variable": variable_of(entry),
            "variableAttribute": [attribute],
            "variableCharacteristics": characteristics(entry, view),
        }
