"""The guard: sees what the devices report before anybody else, and can do one thing, stop power.

It runs synchronously in the drivers' callbacks. It never lets power flow by its own decision;
orders to energise pass through it, with a permit that any stop since the decision has voided.
"""

import asyncio
from collections.abc import Callable, Mapping

from drivers.contract import (
    MeterReading,
    Permit,
    PilotController,
    PilotReading,
    PilotState,
    PowerPath,
)

Place = tuple[int, int]

TICK_S = 1.0
"""How often age and repetition are checked without any report."""
METER_AGE_S = 10.0
"""A meter that was not read for this long (or three of its intervals) stops the sale."""
UNKNOWN_PATH_S = 5.0
"""How long the power path may be unknown while power is allowed."""
OVER_CURRENT_S = 10.0
"""How long more than (offer + 0.5 A) x 1.1 may flow; the EV has 5 s to follow, the meter lags."""


class Guarded:
    """What the guard knows of one connector."""

    def __init__(self, pilot: PilotController, meter_interval_s: float) -> None:
        self.pilot = pilot
        self.reading: PilotReading | None = None
        self.meter: MeterReading | None = None
        self.meter_age_s = max(METER_AGE_S, 3 * meter_interval_s)
        self.pilot_age_s = max(3.0, 3 * pilot.capabilities.report_interval_s)
        self.allowed_a: float | None = None
        self.last_stop = Permit(0)
        self.stopped_at_s = 0.0
        self.unknown_since_s: float | None = None
        self.over_since_s: float | None = None


class Guard:
    """Watches every connector; `on_stop(place, cause)` tells when it stopped one by itself."""

    def __init__(
        self,
        pilots: Mapping[Place, PilotController],
        meter_intervals_s: Mapping[int, float],
        read_s: Callable[[], float],
        on_stop: Callable[[Place, str], None],
    ) -> None:
        self.permit = Permit(0)
        self.moves = 0
        self._read_s = read_s
        self._on_stop = on_stop
        self._places = {
            place: Guarded(pilot, meter_intervals_s.get(place[0], 1.0))
            for place, pilot in pilots.items()
        }

    # --- what it sees -----------------------------------------------------------------------

    def see_pilot(self, place: Place, reading: PilotReading) -> None:
        """Called with every report, before it enters the inbox."""
        guarded = self._places[place]
        guarded.reading = reading
        if reading.power_path is not PowerPath.UNKNOWN:
            guarded.unknown_since_s = None
        elif guarded.unknown_since_s is None:
            guarded.unknown_since_s = reading.at_s
        self._check(place, guarded)

    def see_meter(self, evse_id: int, reading: MeterReading) -> None:
        for place, guarded in self._places.items():
            if place[0] == evse_id:
                guarded.meter = reading
                self._watch_current(guarded, reading)
                self._check(place, guarded)

    def lost(self, place: Place, cause: str) -> None:
        """A device the connector depends on stopped answering."""
        if self._places[place].allowed_a is not None:
            self._stop(place, cause, emergency=False)

    def lost_meter(self, evse_id: int, cause: str) -> None:
        for place in self._places:
            if place[0] == evse_id:
                self.lost(place, cause)

    async def run(self) -> None:
        """Checks ages once a second; cancelling is safe."""
        while True:
            self.tick()
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        self.moves += 1
        for place, guarded in self._places.items():
            self._check(place, guarded)

    # --- orders that pass through -------------------------------------------------------------

    def allow(self, place: Place, limit_a: float, permit: Permit) -> str | None:
        """Passes an order to energise on, or says why not."""
        guarded = self._places[place]
        if permit < guarded.last_stop:
            return "the guard stopped power after this was decided"
        trouble = self._trouble(guarded)
        if trouble is not None:
            return trouble
        guarded.allowed_a = limit_a
        guarded.over_since_s = None
        guarded.pilot.allow_power(limit_a)
        return None

    def withdraw(self, place: Place, limit_a: float) -> None:
        """Lowers the offer; does nothing where power is not allowed."""
        guarded = self._places[place]
        if guarded.allowed_a is not None and limit_a < guarded.allowed_a:
            guarded.allowed_a = limit_a
            guarded.pilot.allow_power(limit_a)

    def stop(self, place: Place, *, emergency: bool) -> None:
        """A stop ordered by the core; voids no permit, the core knows of it."""
        guarded = self._places[place]
        guarded.allowed_a = None
        guarded.stopped_at_s = self._read_s()
        if emergency:
            guarded.pilot.emergency_stop()
        else:
            guarded.pilot.stop()

    def stop_all(self, cause: str) -> None:
        """Everything off, now: the agent cannot go on as it should."""
        for place, guarded in self._places.items():
            if guarded.allowed_a is not None:
                self._stop(place, cause, emergency=False)

    # --- what it decides ----------------------------------------------------------------------

    def _check(self, place: Place, guarded: Guarded) -> None:
        if guarded.allowed_a is None:
            self._check_stopped(place, guarded)
            return
        trouble = self._trouble(guarded)
        if trouble is not None:
            reading = guarded.reading
            harsh = reading is not None and (
                bool(reading.faults) or reading.state in (PilotState.E, PilotState.F, PilotState.D)
            )
            self._stop(place, trouble, emergency=harsh)

    def _check_stopped(self, place: Place, guarded: Guarded) -> None:
        """A path that stays closed after a stop gets emergency stops until it is seen open."""
        reading, now_s = guarded.reading, self._read_s()
        if reading is None or reading.power_path is not PowerPath.CLOSED:
            return
        patience_s = guarded.pilot.capabilities.opens_within_s + TICK_S
        if now_s - guarded.stopped_at_s > patience_s:
            guarded.stopped_at_s = now_s - patience_s + 2 * TICK_S
            guarded.pilot.emergency_stop()
            self._on_stop(place, "power path closed although power is not allowed")

    def _trouble(self, guarded: Guarded) -> str | None:
        """Why power may not flow, or None."""
        reading, meter, now_s = guarded.reading, guarded.meter, self._read_s()
        if reading is None or now_s - reading.at_s > guarded.pilot_age_s:
            return "no fresh view of the pilot controller"
        if reading.faults:
            return "fault: " + ", ".join(sorted(reading.faults))
        if reading.state not in (PilotState.B, PilotState.C):
            return f"pilot state {reading.state.value}"
        if guarded.unknown_since_s is not None and now_s - guarded.unknown_since_s > UNKNOWN_PATH_S:
            return "power path unknown"
        if meter is None or now_s - meter.at_s > guarded.meter_age_s:
            return "no fresh meter reading"
        if guarded.over_since_s is not None and now_s - guarded.over_since_s > OVER_CURRENT_S:
            return "over_current: more flows than is offered"
        return None

    def _watch_current(self, guarded: Guarded, reading: MeterReading) -> None:
        bound_a = ((guarded.allowed_a or 0.0) + 0.5) * 1.1
        if guarded.allowed_a is None or not any(a > bound_a for a in reading.current_a):
            guarded.over_since_s = None
        elif guarded.over_since_s is None:
            guarded.over_since_s = reading.at_s

    def _stop(self, place: Place, cause: str, *, emergency: bool) -> None:
        guarded = self._places[place]
        self.permit = guarded.last_stop = Permit(self.permit + 1)
        self.stop(place, emergency=emergency)
        self._on_stop(place, cause)
