"""What may be offered on each connector now, in A per phase, and how fast that may change.

Every current counts on every phase of the supply: which phases an EV really uses is not known, so
a single-phase EV is taken for a three-phase one. Shares are whole tenths of an ampere.
"""

from collections.abc import Mapping
from math import ceil, floor

from msgspec import Struct

Place = tuple[int, int]
"""(evse_id, connector_id)"""

MIN_OFFER_A = 6.0
"""The smallest current a pilot can offer; less is none at all (IEC 61851-1 table A.7)."""
SETTLE_S = 5.0
"""An EV has this long to follow a new offer; between two raises as much passes (IEC 61851-1)."""

NOTHING: Mapping[Place, float] = {}

_ROUNDING_A = 1e-6


class Ceiling(Struct, frozen=True):
    """What a connector's hardware can carry, each in A per phase."""

    controller_a: float
    """Most the pilot controller can offer."""
    connector_a: float
    """Rated current from the technician's file."""
    cable_a: float | None = None
    """Rating of the plugged cable; None when it is fixed or not coded."""
    min_a: float = MIN_OFFER_A
    """Least the pilot controller can offer."""

    @property
    def limit_a(self) -> float:
        """The smallest of them."""
        known = self.controller_a, self.connector_a
        return min(known) if self.cable_a is None else min(*known, self.cable_a)


class Demand(Struct, frozen=True):
    """One connector's claim on the supply."""

    ceiling: Ceiling
    wants_power: bool = False
    """Authorised, and an EV that may take power is connected."""
    is_charging: bool = False
    """Is offered current already; goes before those that wait."""
    asked_at_s: float = 0.0
    """Since when it wants power; the first to ask is the first to be served."""
    profile_limit_a: float | None = None
    """Limit of the charging profiles of its EVSE; None: none."""
    unconfirmed_a: float = 0.0
    """May still flow though nothing is offered: power path not seen open. Taken off the supply."""

    @property
    def most_a(self) -> float:
        """What no offer may exceed, whoever else wants power."""
        limit_a, profile_a = self.ceiling.limit_a, self.profile_limit_a
        return limit_a if profile_a is None else min(limit_a, profile_a)


def share(
    demands: Mapping[Place, Demand], supply_a: float, station_limit_a: float | None = None
) -> dict[Place, float]:
    """Offer for each place in A per phase; 0: none, the EVSE suspends charging.

    The supply, and `station_limit_a` where it is lower (K04.FR.05), is shared evenly among those
    that want power. When it is too small for everyone's minimum, those that charge keep on
    charging and the last to ask wait. The sum never exceeds the supply.
    """
    supply = _tenths(supply_a if station_limit_a is None else min(supply_a, station_limit_a))
    supply -= sum(-_tenths(-demand.unconfirmed_a) for demand in demands.values())
    bounds = _admit(demands, supply)
    level = _level(list(bounds.values()), supply)
    return {
        place: _clamp(level, *bounds[place]) / 10 if place in bounds else 0.0 for place in demands
    }


def _tenths(current_a: float) -> int:
    """Rounded down, but for the noise of binary fractions."""
    return floor(current_a * 10 + _ROUNDING_A)


def _bounds(demand: Demand) -> tuple[int, int]:
    """(least, most) it can be offered, in tenths; never more than the smallest ceiling."""
    least = ceil(max(demand.ceiling.min_a, MIN_OFFER_A) * 10 - _ROUNDING_A)
    return least, _tenths(demand.most_a)


def _admit(demands: Mapping[Place, Demand], supply: int) -> dict[Place, tuple[int, int]]:
    """Those that get at least their minimum, with their bounds."""

    def order(place: Place) -> tuple[bool, float, Place]:
        return not demands[place].is_charging, demands[place].asked_at_s, place

    admitted: dict[Place, tuple[int, int]] = {}
    for place in sorted(demands, key=order):
        least, most = _bounds(demands[place])
        if demands[place].wants_power and least <= most and least <= supply:
            admitted[place] = least, most
            supply -= least
    return admitted


def _clamp(level: int, least: int, most: int) -> int:
    return max(least, min(level, most))


def _level(bounds: list[tuple[int, int]], supply: int) -> int:
    """The highest common level, clamped to each one's bounds, that the supply carries."""
    edges = sorted({edge for pair in bounds for edge in pair})
    level = edges[0] if edges else 0
    for edge in edges[1:]:
        spare = supply - sum(_clamp(level, *pair) for pair in bounds)
        rising = sum(least <= level < most for least, most in bounds)
        if rising and spare < rising * (edge - level):
            return level + spare // rising
        level = edge
    return level


class _Lane(Struct):
    """What a place is offered, and what its EV may still draw from before."""

    offered_a: float = 0.0
    changed_at_s: float = float("-inf")
    falling: tuple[tuple[float, float], ...] = ()
    """(until, current) of offers lowered less than SETTLE_S ago."""

    def has_settled(self, now_s: float) -> bool:
        """The EV had its time to follow the last change."""
        return now_s >= self.changed_at_s + SETTLE_S

    def drawn_a(self, now_s: float) -> float:
        return max([self.offered_a, *(amps for until, amps in self.falling if until > now_s)])

    def offer(self, current_a: float, now_s: float) -> None:
        falling = [entry for entry in self.falling if entry[0] > now_s]
        if current_a < self.offered_a:
            falling.append((now_s + SETTLE_S, self.offered_a))
        self.falling = tuple(falling)
        self.offered_a = current_a
        self.changed_at_s = now_s


class Pacer:
    """Turns shares into offers: one change in 5 s per place, raises only into what others were
    lowered out of at least 5 s ago. What a ceiling or the supply does not allow any more is
    lowered at once (docs/decisions, "less current does not wait").
    """

    def __init__(self, least_a: Mapping[Place, float] | None = None) -> None:
        """`least_a` holds the controllers that cannot offer as little as 6 A."""
        self._least_a = dict(least_a or {})
        self._lanes: dict[Place, _Lane] = {}
        self._wanted: dict[Place, float] = {}
        self._held: Mapping[Place, float] = NOTHING

    def pace(
        self,
        shares: Mapping[Place, float],
        supply_a: float,
        now_s: float,
        most_a: Mapping[Place, float] | None = None,
        held_a: Mapping[Place, float] = NOTHING,
    ) -> dict[Place, float]:
        """Offer for each place now; a place without a share gets none.

        `supply_a` is what was shared out: less the station's limit and the unconfirmed currents.
        `most_a`: what each place may have at most; a share below it makes room for others, and
        may wait until the EV has followed the last change. Default: the shares. `held_a`: what
        flows at a place whatever it is offered; others are not raised into it.
        """
        self._held = held_a
        most_a = shares if most_a is None else most_a
        self._wanted = {**dict.fromkeys(self._lanes, 0.0), **shares}
        for place, wanted_a in self._wanted.items():
            lane = self._lanes.setdefault(place, _Lane())
            is_due = wanted_a == 0.0 or lane.has_settled(now_s)
            if is_due or lane.offered_a > most_a.get(place, 0.0):
                self._lower(place, now_s)
        if sum(lane.offered_a for lane in self._lanes.values()) > supply_a + _ROUNDING_A:
            for place in self._wanted:
                self._lower(place, now_s)
        for place in self._waiting():
            self._raise(place, supply_a, now_s)
        return {place: self._lanes[place].offered_a for place in self._wanted}

    def deadline(self, now_s: float) -> float | None:
        """When an offer that waits may be changed; None when none waits."""
        lanes, waiting = self._lanes, self._waiting()
        above = [p for p, amps in self._wanted.items() if amps < lanes[p].offered_a]
        times = [lanes[place].changed_at_s + SETTLE_S for place in waiting + above]
        if waiting:
            times += [until for lane in lanes.values() for until, _ in lane.falling]
        return min((at_s for at_s in times if at_s > now_s), default=None)

    def _lower(self, place: Place, now_s: float) -> None:
        lane = self._lanes[place]
        if self._wanted[place] < lane.offered_a:
            lane.offer(self._wanted[place], now_s)

    def _waiting(self) -> list[Place]:
        """Places offered less than their share, the longest unchanged first."""
        lanes = self._lanes
        short = [place for place, amps in self._wanted.items() if amps > lanes[place].offered_a]
        return sorted(short, key=lambda place: (lanes[place].changed_at_s, place))

    def _raise(self, place: Place, supply_a: float, now_s: float) -> None:
        lane = self._lanes[place]
        if not lane.has_settled(now_s):
            return
        others_a = sum(
            max(other.drawn_a(now_s), self._held.get(key, 0.0))
            for key, other in self._lanes.items()
            if key != place
        )
        offer_a = min(self._wanted[place], _tenths(supply_a - others_a) / 10)
        if offer_a > lane.offered_a and offer_a >= self._least_a.get(place, MIN_OFFER_A):
            lane.offer(offer_a, now_s)
