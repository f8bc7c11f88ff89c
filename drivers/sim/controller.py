"""What a self-closing pilot controller does on its own, over the simulated world."""

from drivers.contract import PilotReading, PilotState, PowerPath
from drivers.sim.world import WELDED, Place, World

FORCED_OPEN_S = 6.0
"""IEC 61851-1 A.6 seq. 10.2: an EV that does not let go is cut off under load."""
WELD_SEEN_S = 1.0
"""Contacts still closed this long after the coil was released are welded."""
NOT_BLOCKING = frozenset({WELDED, "pilot_lost", "meter_lost"})


class Controller:
    """Firmware of one connector: closes in state C once allowed, opens when the EV leaves C."""

    def __init__(self, world: World, place: Place) -> None:
        self._world = world
        self._place = place
        self._limit_a: float | None = None
        self._stopped_s: float | None = None
        self._released_s: float | None = None
        world.listeners.append(self.react)

    def allow(self, limit_a: float) -> None:
        """Offers `limit_a` and closes when the EV asks."""
        self._limit_a, self._stopped_s = limit_a, None
        self.react()

    def stop(self) -> None:
        """Offers nothing; opens when the EV lets go, or at last after `FORCED_OPEN_S`."""
        if self._limit_a is not None:
            self._limit_a, self._stopped_s = None, self._world.now_s
        self.react()

    def cut(self) -> None:
        """Opens now, under load if need be."""
        self._limit_a, self._stopped_s = None, None
        self.react()

    def react(self) -> None:
        """Puts pilot and contactor where orders, EV and faults want them."""
        connector = self._world.connectors[self._place]
        blocked = bool(connector.faults - NOT_BLOCKING)
        limit_a = 0.0 if blocked or self._limit_a is None else self._limit_a
        self._world.offer(self._place, limit_a)
        wants = self._world.pilot_state(self._place) is PilotState.C
        allowed = not blocked and WELDED not in connector.faults and self._limit_a is not None
        if wants and allowed:
            self._world.order_contactor(self._place, True)
        elif not (wants and not blocked and self._waits_for_ev()):
            self._stopped_s = None
            self._world.set_alarm(("forced open", self._place), None)
            self._world.order_contactor(self._place, False)
        self._watch_weld()

    def reading(self) -> PilotReading:
        """The complete view, as the controller reports it."""
        connector = self._world.connectors[self._place]
        return PilotReading(
            at_s=self._world.now_s,
            state=self._world.pilot_state(self._place),
            power_path=PowerPath.CLOSED if connector.closed else PowerPath.OPEN,
            offered_a=connector.offered_a,
            faults=frozenset(connector.faults - {"pilot_lost", "meter_lost"}),
            cable_a=connector.cable_a if connector.cable_at_evse else None,
        )

    def _waits_for_ev(self) -> bool:
        """A graceful stop is under way; sets the alarm for its end."""
        if self._stopped_s is None:
            return False
        end_s = self._stopped_s + FORCED_OPEN_S
        waits = self._world.now_s < end_s
        self._world.set_alarm(("forced open", self._place), end_s if waits else None)
        return waits

    def _watch_weld(self) -> None:
        connector = self._world.connectors[self._place]
        alarm = ("weld", self._place)
        if connector.ordered_closed or not connector.closed or WELDED in connector.faults:
            self._released_s = None
            self._world.set_alarm(alarm, None)
            return
        if self._released_s is None:
            self._released_s = self._world.now_s
        seen_s = self._released_s + WELD_SEEN_S
        if self._world.now_s >= seen_s:
            self._world.raise_fault(self._place, WELDED)
        else:
            self._world.set_alarm(alarm, seen_s)
