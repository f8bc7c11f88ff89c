"""The composite schedule: what an EVSE, or the station as a whole, may draw over time (K08)."""

from math import ceil, floor, inf

from msgspec import Struct

from agent.core.events import Now
from agent.ocpp.block import Payload
from agent.ocpp.charging.schedule import Limit
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

MAX_STEPS = 1024
MAX_LOOKS = 2048
"""Edges, and profiles looked at, for one answer: nothing else happens meanwhile. A schedule that
would take more is reported as far as they reach."""


class _Chart(Struct, frozen=True):
    """One question: the place, the unit, and where Relative schedules begin."""

    view: View
    unit: str
    anchors_s: dict[int, float]
    """EVSE -> where its Relative schedules begin."""
    seen: dict[int, tuple[Limit | None, float]] = {}
    """Place -> what its profiles allow, and until when."""

    def limit(self, evse_id: int) -> Limit:
        """Of one EVSE, hardware and local limit included."""
        outer = self.outer(evse_id, self.view.facts.phases(evse_id))
        return outer.lower(self.seen[evse_id][0])

    def outer(self, evse_id: int, phases: int) -> Limit:
        """What the hardware and a local energy manager allow, now and from now on (SC.01)."""
        hardware_a = self.view.station.hardware_limit_a(evse_id)
        local_a = self.view.profiles.external.limit_a(evse_id)
        return Limit(hardware_a if local_a is None else min(hardware_a, local_a), phases)

    def rate(self, limit: Limit) -> float:
        if self.unit == "A":
            return limit.current_a
        return limit.current_a * self.view.facts.voltage_v * limit.phases

    def look(self, evse_id: int, at_s: float) -> int:
        """Sees what holds at a moment that is an edge; how many profiles were looked at."""
        profiles, looks = self.view.profiles, 0
        for place in (evse_id,) if evse_id else (0, *self.anchors_s):
            if place not in self.seen or self.seen[place][1] <= at_s:
                anchor_s = self.anchors_s.get(place)
                limit = profiles.limit(place, at_s, anchor_s)
                self.seen[place] = limit, profiles.next_edge(place, at_s, anchor_s)
                looks += len(profiles.of(place))
        return looks

    def period(self, evse_id: int) -> tuple[float, int]:
        """(limit in the unit, phases) as seen."""
        if evse_id != 0:
            limit = self.limit(evse_id)
            return _shown(self.rate(limit)), limit.phases
        limits = [self.limit(each) for each in self.anchors_s]
        phases = max(limit.phases for limit in limits)
        station = self.outer(0, phases).lower(self.seen[0][0])
        total = sum(self.rate(limit) for limit in limits)
        return _shown(min(total, self.rate(station))), station.phases

    def next_edge(self) -> float:
        return min(edge_s for _, edge_s in self.seen.values())


def composite(evse_id: int, unit: str, duration_s: int, view: View, now: Now) -> Payload:
    """CompositeScheduleType from now on (K08.FR.02); evse_id 0 is the sum of all (K08.FR.03).

    An EVSE without a transaction is shown as if one began now (K08.FR.06).
    """
    begin_s = float(floor(now.utc_s()))
    chart = _Chart(view, unit, _anchors(view, now, begin_s), {})
    periods: list[Payload] = []
    offset_s, last, looks = 0, None, 0
    for _ in range(MAX_STEPS):
        looks += chart.look(evse_id, begin_s + offset_s)
        if looks > MAX_LOOKS:
            break
        current = chart.period(evse_id)
        if current != last:
            limit, phases = last = current
            periods.append({"startPeriod": offset_s, "limit": limit, "numberPhases": phases})
        edge_s = chart.next_edge()
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
