"""A charging profile in numbers: what it allows at a moment, and when that changes next.

Times are whole UTC seconds since 1970. The anchor is where a Relative schedule begins: the start
of the transaction; None stands for the very moment looked at, as if one began then (K08.FR.06).
"""

from bisect import bisect_right
from collections.abc import Iterable
from math import floor, inf

from msgspec import Struct

from agent.ocpp.calls import Payload
from agent.ocpp.messages import OWN_TIME, format_time, parse_time

RECURRENCE_S = {"Daily": 86_400.0, "Weekly": 604_800.0}
DEFAULT_PHASES = 3
"""K01.FR.49"""


class Period(Struct, frozen=True):
    start_s: float
    """Since the schedule's begin."""
    limit: float
    """In the profile's unit: A per phase, or W of all phases together."""
    phases: int = DEFAULT_PHASES


class Profile(Struct, frozen=True):
    """A charging profile that has passed the rules, as installed on an EVSE (0: the station)."""

    profile_id: int
    evse_id: int
    purpose: str
    stack_level: int
    kind: str
    unit: str
    periods: tuple[Period, ...]
    starts_s: tuple[float, ...]
    """Where the periods begin."""
    payload: Payload
    """What the CSMS sent; times written otherwise than we write them stand in UTC."""
    begin_s: float | None = None
    duration_s: float = inf
    recurrence_s: float | None = None
    valid_from_s: float = -inf
    valid_to_s: float = inf
    transaction_id: str | None = None

    def overlaps(self, other: "Profile") -> bool:
        """Both are valid at some moment."""
        return self.valid_from_s < other.valid_to_s and other.valid_from_s < self.valid_to_s

    def period(self, at_s: float, anchor_s: float | None) -> Period | None:
        """What it allows at a moment; None when it says nothing (K01.FR.11 to 13, 30, 36, 37)."""
        if not self.valid_from_s <= at_s < self.valid_to_s:
            return None
        elapsed_s = at_s - self._run_began_s(at_s, anchor_s)
        if not 0 <= elapsed_s < self.duration_s:
            return None
        return self.periods[self._next_index(elapsed_s) - 1]

    def next_edge(self, at_s: float, anchor_s: float | None) -> float:
        """The first moment after `at_s` when it may say something else; infinite when never."""
        nearest_s = self.valid_from_s if at_s < self.valid_from_s else inf
        if at_s < self.valid_to_s < nearest_s:
            nearest_s = self.valid_to_s
        if self.kind == "Relative" and anchor_s is None:
            return nearest_s
        began_s = self._run_began_s(at_s, anchor_s)
        if at_s < began_s + self.duration_s < nearest_s:
            nearest_s = began_s + self.duration_s
        index = self._next_index(at_s - began_s)
        if index < len(self.starts_s):
            nearest_s = min(nearest_s, began_s + self.starts_s[index])
        if self.recurrence_s is not None:
            nearest_s = min(nearest_s, began_s + self.recurrence_s)
        return nearest_s

    def _next_index(self, elapsed_s: float) -> int:
        return bisect_right(self.starts_s, elapsed_s)

    def _run_began_s(self, at_s: float, anchor_s: float | None) -> float:
        if self.begin_s is None:
            return at_s if anchor_s is None else anchor_s
        if self.recurrence_s is None or at_s < self.begin_s:
            return self.begin_s
        return self.begin_s + floor((at_s - self.begin_s) / self.recurrence_s) * self.recurrence_s


class Limit(Struct, frozen=True):
    """A per phase, on that many phases."""

    current_a: float
    phases: int

    def lower(self, other: "Limit | None") -> "Limit":
        """The smaller current, on the smaller number of phases (SC.01, Part 2 3.7)."""
        if other is None:
            return self
        return Limit(min(self.current_a, other.current_a), min(self.phases, other.phases))


def parse(payload: Payload, evse_id: int) -> Profile:
    """A profile from its JSON object. Raises ValueError for a time that cannot be read."""
    payload = in_utc(payload)
    schedule = payload["chargingSchedule"][0]
    kind = payload["chargingProfileKind"]
    periods = tuple(
        Period(entry["startPeriod"], entry["limit"], entry.get("numberPhases", DEFAULT_PHASES))
        for entry in schedule["chargingSchedulePeriod"]
    )
    return Profile(
        profile_id=int(payload["id"]),
        evse_id=evse_id,
        purpose=payload["chargingProfilePurpose"],
        stack_level=int(payload["stackLevel"]),
        kind=kind,
        unit=schedule["chargingRateUnit"],
        periods=periods,
        starts_s=tuple(period.start_s for period in periods),
        payload=payload,
        begin_s=None if kind == "Relative" else _whole_s(schedule["startSchedule"]),
        duration_s=schedule.get("duration", inf),
        recurrence_s=RECURRENCE_S[payload["recurrencyKind"]] if kind == "Recurring" else None,
        valid_from_s=_whole_s(payload["validFrom"]) if "validFrom" in payload else -inf,
        valid_to_s=_whole_s(payload["validTo"]) if "validTo" in payload else inf,
        transaction_id=payload.get("transactionId"),
    )


def in_utc(payload: Payload) -> Payload:
    """A copy whose times we may send (R17); the same moments. Raises ValueError."""
    schedules = [_own_times(schedule, "startSchedule") for schedule in payload["chargingSchedule"]]
    return {**_own_times(payload, "validFrom", "validTo"), "chargingSchedule": schedules}


def _own_times(node: Payload, *keys: str) -> Payload:
    foreign = [key for key in keys if key in node and not OWN_TIME.fullmatch(node[key])]
    return {**node, **{key: format_time(parse_time(node[key])) for key in foreign}}


def _whole_s(text: str) -> float:
    return float(floor(parse_time(text)))


def current_a(period: Period, unit: str, voltage_v: float) -> float:
    """Limit of a period in A per phase (K01.FR.50, K01.FR.51)."""
    return period.limit if unit == "A" else period.limit / (voltage_v * period.phases)


def leading(
    profiles: Iterable[Profile], at_s: float, anchor_s: float | None, voltage_v: float
) -> Limit | None:
    """Limit of the first one that says something at `at_s`; the highest stack level stands first
    (K01.FR.17)."""
    for profile in profiles:
        period = profile.period(at_s, anchor_s)
        if period is not None:
            return Limit(current_a(period, profile.unit, voltage_v), period.phases)
    return None
