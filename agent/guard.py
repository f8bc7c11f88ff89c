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
NEEDLESS_S = 2.0
"""How long (or for two reports) a path may be closed though the EV asks for no power: the device
opens it within 0.1 s, its reports come later (IEC 61851-1 A.6 seq. 8.1)."""
OVER_CURRENT_S = 10.0
"""How long more than (offer + 0.5 A) x 1.1 may flow; the EV has 5 s to follow, the meter lags."""
FOLLOW_S = 5.0
"""An EV that still draws what it was offered so long ago follows in time (IEC 61851-1 A.6)."""
CUT_AGAIN_S = 2.0
"""A path that stays closed gets an emergency stop this often until it is seen open."""
RELAX_S = 1.0
"""How long an emergency stop holds the pilot after the path is open; with -12 V on it nobody can
see the EV leave (IEC 61851-1 asks for at least 0.3 s)."""

SELLING_STATES = frozenset({PilotState.B, PilotState.C})
HARSH_STATES = frozenset({PilotState.D, PilotState.E, PilotState.F})
WELDED = "welded_contactor"
"""Causes that begin with a fault's name and a colon are standing faults for the core."""


class Guarded:
    """What the guard knows of one connector."""

    def __init__(self, pilot: PilotController, meter_interval_s: float) -> None:
        self.pilot = pilot
        self.reading: PilotReading | None = None
        """Last report; None while the controller is lost."""
        self.was_lost = True
        """Not seen since the start or a loss; it may not have heard the stop in force."""
        self.meter: MeterReading | None = None
        self.meter_age_s = max(METER_AGE_S, 3 * meter_interval_s)
        self.pilot_age_s = max(3.0, 3 * pilot.capabilities.report_interval_s)
        self.opens_within_s = pilot.capabilities.opens_within_s + TICK_S
        needless_s = max(NEEDLESS_S, 2 * pilot.capabilities.report_interval_s)
        self.needless_at_most_s = min(needless_s, self.opens_within_s)
        self.inputs: frozenset[tuple[str, str]] = frozenset()
        """(device, fault) of the board's own inputs that speak against power now."""
        self.is_unlocked = False
        """Its plug lock said last that it is open."""
        self.allowed_a: float | None = None
        self.falling: tuple[tuple[float, float], ...] = ()
        """(until, A) of offers that were lowered less than FOLLOW_S ago."""
        self.last_stop = Permit(0)
        self.must_be_open_s = 0.0
        """Not allowed: a path that is closed later is cut off, one seen closed later is welded."""
        self.cut_again_s = 0.0
        self.is_cut = False
        """Under an emergency stop that no later order has replaced."""
        self.cut_at_s = 0.0
        self.is_welded = False
        """Did not open though told to; told once, until it is seen open."""
        self.unknown_since_s: float | None = None
        self.needless_since_s: float | None = None
        """Since when the path is closed though the EV asks for no power."""
        self.over_since_s: float | None = None
        self.is_over = False
        """Readings showed too much current for OVER_CURRENT_S."""

    @property
    def has_hard_fault(self) -> bool:
        """What no EV is waited for: an input, a fault of the controller, pilot state D, E or F."""
        reading = self.reading
        seen = reading is not None and (bool(reading.faults) or reading.state in HARSH_STATES)
        return seen or bool(self.inputs)

    def see(self, reading: PilotReading) -> None:
        self.reading = reading
        path, at_s = reading.power_path, reading.at_s
        self.unknown_since_s = _since(path is PowerPath.UNKNOWN, self.unknown_since_s, at_s)
        needless = path is PowerPath.CLOSED and reading.state is PilotState.B
        self.needless_since_s = _since(needless, self.needless_since_s, at_s)
        if path is PowerPath.OPEN:
            self.is_welded = False

    def see_current(self, reading: MeterReading) -> None:
        """Over-current counts from one reading to a later one, never from silence."""
        self.meter, at_s = reading, reading.at_s
        allowed_a, drawn_a = self.allowed_a, max(reading.current_a, default=0.0)
        too_much = allowed_a is not None and _exceeds(drawn_a, allowed_a)
        since_s = self.over_since_s = _since(too_much, self.over_since_s, at_s)
        lasts = since_s is not None and at_s - since_s > OVER_CURRENT_S
        before_a = [amps for until_s, amps in self.falling if until_s > at_s]
        self.is_over = lasts and _exceeds(drawn_a, max([allowed_a or 0.0, *before_a]))

    def lower(self, limit_a: float, now_s: float) -> None:
        """Less is offered than before; the EV has FOLLOW_S to follow."""
        falling = [entry for entry in self.falling if entry[0] > now_s]
        self.falling = (*falling, (now_s + FOLLOW_S, self.allowed_a or 0.0))
        self.allowed_a = limit_a


def _since(holds: bool, since_s: float | None, at_s: float) -> float | None:
    """Start of the time a condition holds, or None."""
    if not holds:
        return None
    return at_s if since_s is None else since_s


def _exceeds(drawn_a: float, offer_a: float) -> bool:
    """More than the tolerance of EV and meter explains."""
    return drawn_a > (offer_a + 0.5) * 1.1


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
        guarded.see(reading)
        if guarded.was_lost and reading.power_path is not PowerPath.UNKNOWN:
            guarded.was_lost = False
            guarded.must_be_open_s = self._read_s() + guarded.opens_within_s
        if guarded.allowed_a is None and _pilot_trouble(reading) is not None:
            self._void(guarded)
        self._check(place, guarded)

    def see_meter(self, evse_id: int, reading: MeterReading) -> None:
        for place, guarded in self._places.items():
            if place[0] == evse_id:
                guarded.see_current(reading)
                self._check(place, guarded)

    def see_input(self, evse_id: int, device: str, fault: str, stands: bool) -> None:
        """An input of the station (emergency stop, RCD, ...); it counts until told otherwise."""
        for place, guarded in self._places.items():
            if place[0] != evse_id:
                continue
            if not stands:
                guarded.inputs -= {(device, fault)}
                continue
            guarded.inputs |= {(device, fault)}
            if guarded.allowed_a is None:
                self._void(guarded)
            self._check(place, guarded)

    def see_lock(self, place: Place, locked: bool) -> None:
        """Where the plug lock stands; open, the plug could be pulled under load."""
        guarded = self._places[place]
        guarded.is_unlocked = not locked and guarded.pilot.capabilities.has_lock
        if guarded.is_unlocked and guarded.allowed_a is None:
            self._void(guarded)
        self._check(place, guarded)

    def lost(self, place: Place, cause: str) -> None:
        """The pilot controller stopped answering: what it said last counts no more."""
        guarded = self._places[place]
        guarded.reading, guarded.was_lost = None, True
        guarded.unknown_since_s = guarded.needless_since_s = None
        self._stop_or_void(place, guarded, cause)

    def lost_meter(self, evse_id: int, cause: str) -> None:
        for place, guarded in self._places.items():
            if place[0] == evse_id:
                guarded.meter = guarded.over_since_s = None
                guarded.is_over = False
                self._stop_or_void(place, guarded, cause)

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
        self._check(place, guarded)
        if permit < guarded.last_stop:  # also by that look, whatever the device said to it
            return "the guard stopped power after this was decided"
        trouble = self._trouble(guarded)
        if trouble is None and guarded.allowed_a is None:
            trouble = _path_trouble(guarded)
        if trouble is not None:
            return trouble
        if guarded.allowed_a is None:  # a raise forgives no current that is too high for it, too
            guarded.over_since_s, guarded.is_over, guarded.falling = None, False, ()
        guarded.allowed_a = limit_a
        guarded.is_cut = False
        guarded.pilot.allow_power(limit_a)
        return None

    def withdraw(self, place: Place, limit_a: float) -> None:
        """Lowers the offer; does nothing where power is not allowed."""
        guarded = self._places[place]
        if guarded.allowed_a is not None and limit_a < guarded.allowed_a:
            guarded.lower(limit_a, self._read_s())
            guarded.pilot.allow_power(limit_a)

    def stop(self, place: Place, *, emergency: bool) -> None:
        """A stop ordered by the core; voids no permit, the core knows of it. An emergency stop in
        force is not softened by it."""
        guarded, now_s = self._places[place], self._read_s()
        if guarded.allowed_a is not None:
            guarded.must_be_open_s = now_s + guarded.opens_within_s
        guarded.allowed_a = None
        if emergency or guarded.is_cut:
            self._cut(guarded, now_s)
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
            self._stop(place, trouble, emergency=guarded.has_hard_fault)

    def _check_stopped(self, place: Place, guarded: Guarded) -> None:
        """A path that stays closed after a stop is cut off until it is seen open."""
        reading, now_s = guarded.reading, self._read_s()
        if reading is None:
            return
        may_be_closed = reading.power_path is PowerPath.CLOSED or (
            bool(guarded.inputs) and reading.power_path is PowerPath.UNKNOWN
        )
        if guarded.has_hard_fault and may_be_closed and not guarded.is_cut:
            self._cut(guarded, now_s)  # a graceful stop may still wait for the EV
        if reading.power_path is PowerPath.UNKNOWN:
            return
        if reading.power_path is PowerPath.OPEN:
            if guarded.is_cut and not reading.faults and now_s >= guarded.cut_at_s + RELAX_S:
                guarded.is_cut = False
                guarded.pilot.stop()
            return
        if now_s > guarded.must_be_open_s:
            if now_s >= guarded.cut_again_s:
                guarded.cut_again_s = now_s + CUT_AGAIN_S
                self._cut(guarded, now_s)
            # A view from before that says nothing: a silent controller may have opened since.
            if reading.at_s > guarded.must_be_open_s and not guarded.is_welded:
                guarded.is_welded = True
                self._void(guarded)
                self._on_stop(place, f"{WELDED}: power path closed although it must be open")

    def _trouble(self, guarded: Guarded) -> str | None:
        """Why power may not flow, or None."""
        reading, meter, now_s = guarded.reading, guarded.meter, self._read_s()
        if guarded.inputs:
            return "fault: " + ", ".join(sorted(fault for _, fault in guarded.inputs))
        if reading is None or now_s - reading.at_s > guarded.pilot_age_s:
            return "no fresh view of the pilot controller"
        trouble = _pilot_trouble(reading)
        if trouble is not None:
            return trouble
        if guarded.unknown_since_s is not None and now_s - guarded.unknown_since_s > UNKNOWN_PATH_S:
            return "power path unknown"
        needless_s = guarded.needless_since_s
        if needless_s is not None and now_s - needless_s > guarded.needless_at_most_s:
            return "power path stays closed although the EV asks for no power"
        if guarded.is_unlocked:
            return "the plug lock is open"
        if meter is None or now_s - meter.at_s > guarded.meter_age_s:
            return "no fresh meter reading"
        if guarded.is_over:
            return "over_current: more flows than is offered"
        return None

    def _cut(self, guarded: Guarded, now_s: float) -> None:
        if not guarded.is_cut:
            guarded.is_cut, guarded.cut_at_s = True, now_s
        guarded.pilot.emergency_stop()

    def _void(self, guarded: Guarded) -> None:
        """Orders decided before now do not pass any more."""
        self.permit = guarded.last_stop = Permit(self.permit + 1)

    def _stop_or_void(self, place: Place, guarded: Guarded, cause: str) -> None:
        if guarded.allowed_a is not None:
            self._stop(place, cause, emergency=False)
        else:
            self._void(guarded)

    def _stop(self, place: Place, cause: str, *, emergency: bool) -> None:
        """What the device reports while it is told to stop was decided on before the stop, too."""
        self.stop(place, emergency=emergency)
        self._void(self._places[place])
        self._on_stop(place, cause)


def _pilot_trouble(reading: PilotReading) -> str | None:
    """What a pilot reading alone says against power."""
    if reading.faults:
        return "fault: " + ", ".join(sorted(reading.faults))
    if reading.state not in SELLING_STATES:
        return f"pilot state {reading.state.value}"
    return None


def _path_trouble(guarded: Guarded) -> str | None:
    """What must be clear about the path before power is allowed anew."""
    if guarded.is_welded:
        return f"{WELDED}: power path not seen open since"
    if guarded.reading is not None and guarded.reading.power_path is PowerPath.UNKNOWN:
        return "power path unknown"
    return None
