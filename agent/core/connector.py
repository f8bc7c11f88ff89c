"""One connector: the facts seen on it, and what was ordered for it."""

from msgspec.structs import replace

from agent.core.effects import StopPower
from agent.core.events import IdToken
from agent.core.pilot import (
    DEMANDING,
    DISCONNECTED,
    ENERGISABLE,
    SUSPENDING_FAULTS,
    UNCLEAR,
    plugged,
)
from drivers.contract import PilotReading, PilotState, PowerPath

NOTHING_SEEN = PilotReading(at_s=0.0, state=PilotState.UNKNOWN, power_path=PowerPath.UNKNOWN)

HOLD_S = 2.0
"""After a refused order or a guard stop nothing is energised for this long; twice as long after
each further one."""
HOLD_AT_MOST_S = 60.0
GUARD_STOPS_AT_MOST = 5
"""So many guard stops within GUARD_STOPS_WITHIN_S are a fault that stands until the EV leaves."""
GUARD_STOPS_WITHIN_S = 600.0

STILL_CLOSES_S = 2.0
"""After power was taken back an open path may still close for this long: the contacts were on their
way, or the view was older than the order. Longer where a lost controller is noticed later."""
CLOSING_S = 0.5
"""Contacts that were told to close have closed by then, and are seen closed."""
LEAST_CABLE_A = 13.0
"""The smallest coding of a loose cable there is (IEC 61851-1 table B.2)."""

PATH_FAULTS = frozenset({"welded_contactor", "open_unconfirmed"})
"""Concluded from a power path that did not open; seen open, they are over."""
EV_FAULTS = frozenset({"over_current", "guard_stops"})
"""Concluded from what happened with one EV; they are over when it has left."""


class Connector:
    """Facts of one connector. What we asked for (`ordered_a`) and what we see never mix."""

    def __init__(
        self,
        evse_id: int,
        connector_id: int,
        fixed_cable: bool = True,
        has_lock: bool = False,
        still_closes_s: float = STILL_CLOSES_S,
    ) -> None:
        self.evse_id = evse_id
        self.connector_id = connector_id
        self.fixed_cable = fixed_cable
        self.still_closes_s = still_closes_s
        self.reading = NOTHING_SEEN
        self.temperature_c: float | None = None
        """As last told; a sensor that falls silent has not cooled down."""
        self.plugged = False
        self.plugged_at_s = 0.0
        self.session_over = False
        """The session of the plugged EV has ended: another one needs a new authorisation."""
        self.tripped = False
        """A residual current ended it: over restarts, too, nothing recloses by itself."""
        self.tripped_s = float("-inf")
        """When it was seen; whoever asked for power before did not know of it."""
        self.open_since_s: float | None = None
        """When the power path was first seen open after it was closed or unknown."""
        self.extra_faults: frozenset[str] = frozenset()
        """Raised by FaultRaised: what no pilot reading carries."""
        self.judged_faults: frozenset[str] = frozenset()
        """Concluded by the core from what the guard and the power path did."""
        self.latched_faults: frozenset[str] = frozenset()
        """Stand until serviced, seen or not (core.latches)."""
        self.operative = True
        self.ordered_a: float | None = None
        """Limit of the last order to energise; None: ordered off."""
        self.offer_changed_s = float("-inf")
        """When that order was given, or the pilot was first seen to follow it."""
        self.offered_since_s: float | None = None
        """Since when power is ordered without a break."""
        self.withdrawn_s: float | None = None
        """When power was ordered off, as long as the path may close all the same."""
        self.asked_s = float("-inf")
        """When the EV was last seen to ask for power."""
        self.withdrawn_a = 0.0
        """What was offered then, until the path is seen open."""
        self.was_woken = False
        """The plugged EV had its pause of the offer, or has taken power and needs none."""
        self.is_hot = False
        """Nothing is offered until the device has cooled down."""
        self.lock_ordered = True
        """Last order to the lock; a process that ended before may have left it locked."""
        self.has_lock = has_lock
        self.locked: bool | None = None
        """Where the lock was last seen; None: never, or on its way open, or there is none."""
        self.lock_seen_s = float("-inf")
        self.cable_owner: IdToken | None = None
        """Unplugged at the EV's side: the loose cable stays locked for this driver (E09.FR.03)."""
        self.lock_failed = False
        """It was ordered to close on this plug and said that it did not."""
        self.hold_until_s = 0.0
        """After a refused order or a guard stop: no new order before this loop time."""
        self._holds = 0
        self._guard_stops: tuple[float, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        return self.evse_id, self.connector_id

    @property
    def faults(self) -> frozenset[str]:
        return self.standing_faults | self.latched_faults

    @property
    def standing_faults(self) -> frozenset[str]:
        """What is wrong now, as far as it can be seen."""
        return self.reading.faults | self.extra_faults | self.judged_faults

    @property
    def cable_a(self) -> float | None:
        """Most that a loose cable carries; one whose coding nobody tells is taken for the thinnest.
        None: fixed, or not plugged in."""
        if self.fixed_cable:
            return None
        return self.reading.cable_a or (LEAST_CABLE_A if self.plugged else None)

    @property
    def demands(self) -> bool:
        """The EV asks for power."""
        return self.reading.state in DEMANDING

    @property
    def energisable(self) -> bool:
        """An EV is seen that may be offered power."""
        return self.plugged and self.reading.state in ENERGISABLE

    @property
    def delivering(self) -> bool:
        """Power path seen closed while the EV asks for power."""
        return self.demands and self.reading.power_path is PowerPath.CLOSED

    @property
    def is_unseen(self) -> bool:
        """A plugged EV or its meter is out of sight."""
        return bool(self.faults & SUSPENDING_FAULTS) or (
            self.plugged and self.reading.state in UNCLEAR
        )

    @property
    def is_secured(self) -> bool:
        """The plug cannot be pulled under load: the lock, where there is one, says it is closed."""
        return not self.has_lock or self.locked is True

    def may_unlock(self, now_s: float) -> bool:
        """The contacts behind the lock are seen without voltage, and will stay so."""
        return self.reading.power_path is PowerPath.OPEN and not self.may_close(now_s)

    @property
    def holds_cable(self) -> bool:
        """A loose cable is still in the socket, so it is unplugged at the EV's side only."""
        return not self.fixed_cable and self.reading.cable_a is not None

    def see(self, reading: PilotReading) -> bool:
        """Takes a report; True when the plug went in or out."""
        was_plugged, before = self.plugged, self.reading.power_path
        if reading.offered_a != self.reading.offered_a:
            self.offer_changed_s = max(self.offer_changed_s, reading.at_s)
        self.reading = reading
        self.plugged = plugged(reading, was_plugged)
        if reading.temperature_c is not None:
            self.temperature_c = reading.temperature_c
        if reading.power_path is not PowerPath.OPEN:
            self.open_since_s = None
        else:
            self.judged_faults -= PATH_FAULTS
            self.withdrawn_a = 0.0
            if before is not PowerPath.OPEN or self.open_since_s is None:
                self.open_since_s = reading.at_s
        if self.plugged and not was_plugged:
            self.plugged_at_s = reading.at_s
            if self.locked is False:
                self.lock_ordered = False  # it failed with the plug before: tried again
        if self.plugged or not self.holds_cable:
            self.cable_owner = None
        if was_plugged and not self.plugged:
            self.lock_failed = self.was_woken = False
            self.judged_faults -= EV_FAULTS
            self._guard_stops, self._holds, self.hold_until_s = (), 0, 0.0
        if reading.state in DISCONNECTED:
            self.session_over = self.tripped = False
        if self.demands:
            self.asked_s = reading.at_s
        if self._lets_go(before, reading):
            self.withdrawn_s = None
        if self.delivering:
            self._holds, self.was_woken = 0, True
        return self.plugged != was_plugged

    def _lets_go(self, before: PowerPath, reading: PilotReading) -> bool:
        """A view from after power was withdrawn that the path will not close again: it just opened,
        or nothing is offered and nobody asks, nor did while the contacts could be on their way."""
        if reading.power_path is not PowerPath.OPEN or reading.at_s < (self.withdrawn_s or 0.0):
            return False
        is_long_ago = reading.at_s >= self.asked_s + CLOSING_S
        is_quiet = reading.offered_a == 0.0 and not self.demands and is_long_ago
        return is_quiet or before is PowerPath.CLOSED

    def order_lock(self, locked: bool) -> None:
        """The lock is told to move; one that is to open is not closed any more, whatever was seen,
        until it says so again."""
        self.lock_ordered = locked
        if not locked:
            self.locked = None

    def see_lock(self, locked: bool, at_s: float) -> None:
        """Takes the lock's own report."""
        self.locked, self.lock_seen_s = locked, at_s
        self.lock_failed = self.lock_failed and not locked

    def lose_sight(self, now_s: float) -> None:
        """The controller is lost: its last view is worth nothing."""
        state, path = PilotState.UNKNOWN, PowerPath.UNKNOWN
        self.see(replace(self.reading, at_s=now_s, state=state, power_path=path, offered_a=None))

    def may_close(self, now_s: float) -> bool:
        """An open path is not the last word yet: power is allowed, or was a moment ago."""
        if self.ordered_a is not None:
            return True
        settles_s = self.settles_s
        return settles_s is not None and now_s < settles_s

    @property
    def settles_s(self) -> float | None:
        """When an open path counts though the controller says nothing more."""
        return None if self.withdrawn_s is None else self.withdrawn_s + self.still_closes_s

    def order(self, limit_a: float | None, now_s: float) -> None:
        """Remembers the order that is given now; None: off."""
        if limit_a is None and self.ordered_a is not None:
            self.withdrawn_s, self.withdrawn_a = now_s, self.ordered_a
        if limit_a != self.ordered_a:
            self.offer_changed_s = now_s
        self.ordered_a = limit_a
        if limit_a is None:
            self.offered_since_s = None
        elif self.offered_since_s is None:
            self.offered_since_s = now_s

    def begin(self, now_s: float) -> object:
        """Off, whatever the process before ordered last: a moment ago it may have allowed power."""
        self.withdrawn_s = now_s
        return StopPower(*self.place)

    def wakes_s(self, after_s: float) -> float | None:
        """When an EV that does not take its offer is woken; None: nobody sleeps here."""
        asleep = self.reading.state is PilotState.B and not self.was_woken
        if not asleep or self.ordered_a is None or self.offered_since_s is None:
            return None
        return self.offered_since_s + after_s

    def pause(self, until_s: float, now_s: float) -> None:
        """The offer goes away for a moment; for the driver nothing changes."""
        since_s = self.offered_since_s
        self.order(None, now_s)
        self.was_woken, self.hold_until_s, self.offered_since_s = True, until_s, since_s

    def hold(self, now_s: float) -> None:
        """An order did not pass or was undone: the next one waits, longer each time."""
        self.order(None, now_s)
        self.hold_until_s = now_s + min(HOLD_S * 2**self._holds, HOLD_AT_MOST_S)
        self._holds = min(self._holds + 1, 10)

    def guard_stopped(self, cause: str, now_s: float) -> None:
        """The guard stopped power; `cause` may begin with a fault's name and a colon."""
        self.hold(now_s)
        fault = cause.partition(":")[0]
        if fault in PATH_FAULTS | EV_FAULTS:
            self.judged_faults |= {fault}
        recent = (at_s for at_s in self._guard_stops if now_s - at_s < GUARD_STOPS_WITHIN_S)
        self._guard_stops = (*recent, now_s)
        if len(self._guard_stops) >= GUARD_STOPS_AT_MOST:
            self.judged_faults |= {"guard_stops"}
