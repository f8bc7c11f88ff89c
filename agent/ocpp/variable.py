"""What a block declares of a variable, which values it takes, and which policy field follows it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core.events import Now
from agent.core.policy import Policy
from agent.ocpp.messages import parse_time

_INTEGER = re.compile(r"-?[0-9]{1,10}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_LISTS = ("OptionList", "MemberList", "SequenceList")


class Variable(Struct, frozen=True):
    """What a block declares of one variable of one component."""

    component: str
    name: str
    data_type: str = "string"
    """DataEnumType: string, integer, decimal, boolean, dateTime, OptionList, MemberList, ..."""
    component_instance: str | None = None
    instance: str | None = None
    level: str = "station"
    """station; evse: one per EVSE; connector: one per connector."""
    unit: str = ""
    min_limit: float | None = None
    max_limit: float | None = None
    min_length: int = 0
    max_length: int | None = None
    """Characters of a string or a list; reported as maxLimit."""
    values: tuple[str, ...] = ()
    """What an OptionList, MemberList or SequenceList may hold."""
    may_be_empty: bool = False
    """A list without any member is valid."""
    mutability: str = "ReadWrite"
    """ReadOnly, WriteOnly or ReadWrite: what the CSMS may do. A WriteOnly value is never told."""
    from_file: bool = False
    """ReadOnly to the CSMS, yet charger.yaml may give its first value."""
    persistent: bool = True
    default: str | None = None
    reboot_needed: bool = False
    refused: str = ""
    """Reason code when no new value can be carried out, though it may be declared (B05.FR.09)."""
    policy: str | None = None
    """Field of `core.policy.Policy` that follows this variable; gives the default, too. A boolean
    of each EVSE stands for the set of those where it is true."""
    read: Callable[..., str | None] | None = None
    """Fact: read(view), or read(view, evse_id, connector_id) where level is not station."""
    read_at: Callable[[Now], str | None] | None = None
    """Fact of the moment itself."""
    resolve: Callable[[Any, str | None], str | None] | None = None
    """resolve(view, kept value or None) -> what counts and is told instead."""
    objection: Callable[[Any, str], str] | None = None
    """objection(view, value) -> reason code why this station cannot take a valid value, or ""."""
    place_limit: Callable[[Any, int, int], float] | None = None
    """place_limit(view, evse_id, connector_id) -> maxLimit where it differs from place to place."""
    needs: str = ""
    """Declared only where the station has this feature (see agent.wiring.features)."""
    value_needs: tuple[tuple[str, str], ...] = ()
    """(value, feature): a value of a list that only stations with the feature take."""
    supports_monitoring: bool = False
    secret: bool = False
    """Never in a log, a report or an error text."""

    @property
    def is_fact(self) -> bool:
        """Seen, not stored."""
        return self.read is not None or self.read_at is not None

    @property
    def is_given(self) -> bool:
        """Nobody can set it: a fact, or what this program is."""
        return self.is_fact or (self.mutability == "ReadOnly" and not self.from_file)


def is_secret(name: str) -> bool:
    """Whether a variable of this name is a password, or the group by which a card rules over all
    others: its value stands in no text that people read."""
    return any(word in name.lower() for word in ("password", "masterpass"))


def accepted_text(variable: Variable, text: str) -> str | None:
    """The value as it is kept, or None when format, range or members are wrong (B05.FR.07, 08)."""
    if variable.max_length is not None and len(text) > variable.max_length:
        return None
    match variable.data_type:
        case "integer":
            is_number = _INTEGER.fullmatch(text) is not None and -(2**31) <= int(text) < 2**31
            return str(int(text)) if is_number and _in_range(variable, float(text)) else None
        case "decimal":
            is_number = _DECIMAL.fullmatch(text) is not None
            return text if is_number and _in_range(variable, float(text)) else None
        case "boolean":
            return text if text in ("true", "false") else None
        case "dateTime":
            return text if _is_time(text) else None
        case "OptionList":
            return text if text in variable.values else None
        case "MemberList" | "SequenceList":
            return _accepted_list(variable, text)
    return text if len(text) >= variable.min_length else None


def _in_range(variable: Variable, number: float) -> bool:
    low, high = variable.min_limit, variable.max_limit
    return (low is None or number >= low) and (high is None or number <= high)


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def _accepted_list(variable: Variable, text: str) -> str | None:
    members = [member.strip() for member in text.split(",")] if text.strip() else []
    if not members:
        return "" if variable.may_be_empty else None
    if len(set(members)) < len(members) or not set(members) <= set(variable.values):
        return None
    return ",".join(members)


def fitting(variables: Iterable[Variable], features: frozenset[str]) -> Iterator[Variable]:
    """The variables, with the values, that a station with these features has."""
    for variable in variables:
        if variable.needs and variable.needs not in features:
            continue
        lacking = {value for value, feature in variable.value_needs if feature not in features}
        values = tuple(value for value in variable.values if value not in lacking)
        yield replace(variable, values=values) if lacking else variable


_FROM_TEXT: Mapping[object, Callable[[str], object]] = {
    bool: lambda text: text == "true",
    int: int,
    float: float,
    str: str,
    frozenset[str]: lambda text: frozenset(text.split(",")) if text else frozenset(),
}
EVSES = frozenset[int]
"""Type of a policy field that names EVSEs."""
_POLICY_FIELDS = {field.name: field for field in msgspec.structs.fields(Policy)}


def _to_text(value: object) -> str:
    """A policy field's default as the text of its variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def completed(variable: Variable) -> Variable:
    """The declaration with its default, checked. Raises ValueError: a block's mistake."""
    where = f"{variable.component}.{variable.name}"
    if variable.data_type in _LISTS and not variable.values:
        raise ValueError(f"{where}: a list needs its values (TC_B_53)")
    if variable.is_fact and variable.mutability != "ReadOnly":
        raise ValueError(f"{where}: a fact must be ReadOnly")
    if variable.secret and variable.mutability != "WriteOnly":
        raise ValueError(f"{where}: a secret must be WriteOnly")
    if variable.policy is not None:
        field = _POLICY_FIELDS.get(variable.policy)
        if field is None or not _stands_for(variable, field.type):
            raise ValueError(f"{where}: no policy field {variable.policy} that it can stand for")
        if variable.default is None and variable.level == "station":
            variable = msgspec.structs.replace(variable, default=_to_text(field.default))
    if variable.default is not None and accepted_text(variable, variable.default) is None:
        raise ValueError(f"{where}: the default is none of its own values")
    return variable


def _stands_for(variable: Variable, field_type: object) -> bool:
    if variable.level == "evse":
        return field_type == EVSES and variable.data_type == "boolean"
    return field_type in _FROM_TEXT and variable.level == "station"


def policy_value(field: str, texts: Mapping[int, str | None]) -> object:
    """The value of a policy field from the text of its variable, by EVSE (0: the station)."""
    if _POLICY_FIELDS[field].type == EVSES:
        return frozenset(evse_id for evse_id, text in texts.items() if text == "true")
    return _FROM_TEXT[_POLICY_FIELDS[field].type](texts[0] or "")
