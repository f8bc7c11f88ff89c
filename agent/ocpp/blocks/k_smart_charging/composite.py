"""The composite schedule: what an EVSE, or the station as a whole, may draw over time (K08)."""

from math import ceil, floor, inf

from msgspec import Struct

from agent.core.events import Now
from agent.ocpp.block import Payload
from agent.ocpp.charging.schedule import Limit
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

MAX_STEPS = 1024
"""Edges looked at for one answer; a schedule with more is reported as far as they reach."""


class _Chart(Struct, frozen=True):
    """One question: the place, the unit, and where Relative schedules begin."""

    view: View
    unit: str
    anchors_s: dict[int, float]

    def limit(self, evse_id: int, at_s: float) -> Limit:
        """Of one EVSE, hardware and local limit included."""
        outer = self.outer(evse_id, self.view.facts.phases(evse_id))
        return outer.lower(self.view.profiles.limit(evse_id, at_s, self.anchors_s[evse_id]))

    def outer(self, evse_id: int, phases: int) -> Limit:
        """What the hardware and a local energy manager allow, now and from now on (SC.01)."""
        hardware_a = self.view.station.hardware_limit_a(evse_id)
        local_a = self.view.profiles.external.limit_a(evse_id)
        return Limit(hardware_a if local_a is None else min(hardware_a, local_a), phases)

    def rate(self, limit: Limit) -> float:
        if self.unit == "A":
            return limit.current_a
        return limit.current_a * self.view.facts.voltage_v * limit.phases

    def period(self, evse_id: int, at_s: float) -> tuple[float, int]:
        """(limit in the unit, phases) at a moment."""
        if evse_id != 0:
            limit = self.limit(evse_id, at_s)
            return _shown(self.rate(limit)), limit.phases
        limits = [self.limit(each, at_s) for each in self.anchors_s]
        phases = max(limit.phases for limit in limits)
        station = self.outer(0, phases).lower(self.view.profiles.limit(0, at_s, None))
        total = sum(self.rate(limit) for limit in limits)
        return _shown(min(total, self.rate(station))), station.phases

    def next_edge(self, evse_id: int, at_s: float) -> float:
        places = [evse_id] if evse_id else list(self.anchors_s)
        profiles = self.view.profiles
        return min(profiles.next_edge(place, at_s, self.anchors_s[place]) for place in places)


def composite(evse_id: int, unit: str, duration_s: int, view: View, now: Now) -> Payload:
    """CompositeScheduleType from now on (K08.FR.02); evse_id 0 is the sum of all (K08.FR.03).

    An EVSE without a transaction is shown as if one began now (K08.FR.06).
    """
    begin_s = float(floor(now.utc_s()))
    chart = _Chart(view, unit, _anchors(view, now, begin_s))
    periods: list[Payload] = []
    offset_s, last = 0, None
    for _ in range(MAX_STEPS):
        at_s = begin_s + offset_s
        current = chart.period(evse_id, at_s)
        if current != last:
            limit, phases = last = current
            periods.append({"startPeriod": offset_s, "limit": limit, "numberPhases": phases})
        edge_s = chart.next_edge(evse_id, at_s)
        if edge_s == inf or edge_s >= begin_s + duration_s:
            offset_s = duration_s
            break
        offset_s = ceil(edge_s - begin_s)
    return {
        "evseId": evse_id,
        "duration": offset_s,
        "scheduleStart": format_time(begin_s),
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": periods,
    }


def _anchors(view: View, now: Now, begin_s: float) -> dict[int, float]:
    found = {evse_id: view.profiles.anchor_s(evse_id, now) for evse_id in view.station.evse_ids}
    return {evse_id: begin_s if at_s is None else at_s for evse_id, at_s in found.items()}


def _shown(rate: float) -> float:
    """One digit after the point as the schema wants it, never more than allowed."""
    return floor(rate * 10 + 1e-6) / 10
