"""What an OpenEVSE is asked beside its state: temperatures, trips, the type 2 lock, the cable; no
I/O."""

from drivers.pilots.openevse_view import EV_CONNECTED, View
from drivers.pilots.rapi import Frame

TEMPERATURE_S = 10.0
TRIPS_S = 60.0
TRIPS = ("rcd", "ground", "welded_contactor")
"""What $GF counts, in its order; each stays at 255."""
PLUGGED = (0x02, 0x03)
"""States in which it looks at the cable's coding."""
LOCK_S = 2.0
REFUSED_S = 60.0
NO_SENSOR = -2560
MANUAL = "M"


class Extras:
    """Says what to ask when nothing else is due, and takes the answers.

    The lock is in manual mode while the agent lives; after a restart the controller is in its
    automatic one (locked while plugged). Its state is what was ordered: it has no feedback.
    """

    def __init__(self, has_lock: bool) -> None:
        self.temperature_c: float | None = None
        self.locked: bool | None = None
        """Where the lock stands; None: not known, or none is there."""
        self.lock_wish: bool | None = None
        self.is_refused = False
        """The firmware knows no lock."""
        self.trips: dict[str, int | None] = dict.fromkeys(TRIPS)
        """Faults that it counted itself, by name; None until it told."""
        self._has_lock = has_lock
        self._no_temperature = self._no_trips = False
        self.start_over()

    def start_over(self) -> None:
        """The controller was just opened, or restarted."""
        self.locked = None
        self._mode = ""
        self._temperature_at_s = 0.0
        self._trips_at_s = 0.0
        self._lock_at_s = 0.0

    def due_s(self) -> float:
        """When the next question is due."""
        times_s = [] if self._no_temperature else [self._temperature_at_s]
        times_s += [] if self._no_trips else [self._trips_at_s]
        return min([*times_s, *([self._lock_at_s] if self._has_lock else [])], default=float("inf"))

    def order_lock(self, locked: bool) -> None:
        self.lock_wish = locked
        self._lock_at_s = 0.0

    def next_command(self, now_s: float) -> str:
        """A question or an order to the lock; empty when nothing is due."""
        if self._has_lock and now_s >= self._lock_at_s:
            if self.locked is None or self.lock_wish is None:
                return "G5"
            if self._mode != MANUAL:
                return f"S5 {MANUAL}"
            return "G5" if self.locked is self.lock_wish else f"S5 {int(self.lock_wish)}"
        if not self._no_temperature and now_s >= self._temperature_at_s:
            return "GP"
        return "GF" if not self._no_trips and now_s >= self._trips_at_s else ""

    def answered(self, command: str, reply: Frame, now_s: float) -> None:
        """Takes an answer in; raises ValueError when it makes no sense."""
        if command == "GP":
            self._temperature_at_s = now_s + TEMPERATURE_S
            self._no_temperature = reply.word != "OK"
            if reply.word == "OK":
                tenths = [reply.number(index, 10) for index in range(len(reply.arguments))]
                there = [value for value in tenths if value != NO_SENSOR]
                self.temperature_c = float(round(max(there) / 10)) if there else None
        elif command == "GF":
            self._trips_at_s = now_s + TRIPS_S
            self._no_trips = reply.word != "OK" or len(reply.arguments) < len(TRIPS)
            if not self._no_trips:
                self.trips = {name: reply.number(index) for index, name in enumerate(TRIPS)}
        elif reply.word != "OK":
            self.is_refused, self._lock_at_s = True, now_s + REFUSED_S
        elif command == "G5":
            self.locked = bool(reply.number(0, 10))
            self._mode = reply.arguments[1] if len(reply.arguments) > 1 else MANUAL
            follows = self.lock_wish is None or self.locked is self.lock_wish
            self._lock_at_s = now_s + LOCK_S if follows and self._is_mine else now_s
        elif command == f"S5 {MANUAL}":
            self._mode = MANUAL
        else:
            self.locked = None  # asked, not assumed

    @property
    def _is_mine(self) -> bool:
        return self.lock_wish is None or self._mode == MANUAL


class Cable:
    """Most that the controller lets the plugged cable carry, by $GC: firmware that reads the coding
    of the cable lowers its configured maximum by it, in B and C alone, so not while it sleeps.
    Firmware that reads none tells its maximum: a socket needs the other one (PP_AUTO_AMPACITY)."""

    def __init__(self) -> None:
        self.rated_a: float | None = None
        """None: nothing is plugged, or it was not looked at yet."""

    def told(self, most_a: int, before: View | None, after: View) -> None:
        """`most_a`: fourth value of $GC, asked between two views."""
        if not after.flags & EV_CONNECTED:
            self.rated_a = None
        looked = [view is not None and view.state in PLUGGED for view in (before, after)]
        if all(looked):
            self.rated_a = float(most_a)
