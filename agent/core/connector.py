"""One connector: the facts seen on it, and what was ordered for it."""

from agent.core.pilot import DEMANDING, plugged
from drivers.contract import PilotReading, PilotState, PowerPath

NOTHING_SEEN = PilotReading(at_s=0.0, state=PilotState.UNKNOWN, power_path=PowerPath.UNKNOWN)


class Connector:
    """Facts of one connector. What we asked for (`ordered_a`) and what we see never mix."""

    def __init__(self, evse_id: int, connector_id: int) -> None:
        self.evse_id = evse_id
        self.connector_id = connector_id
        self.reading = NOTHING_SEEN
        self.plugged = False
        self.plugged_at_s = 0.0
        self.open_since_s: float | None = None
        """When the power path was first seen open after it was closed or unknown."""
        self.extra_faults: frozenset[str] = frozenset()
        """Raised by FaultRaised: what no pilot reading carries."""
        self.operative = True
        self.ordered_a: float | None = None
        """Limit of the last order to energise; None: ordered off."""
        self.lock_ordered = False
        self.hold_until_s = 0.0
        """After a refused order or a guard stop: no new order before this loop time."""

    @property
    def place(self) -> tuple[int, int]:
        return self.evse_id, self.connector_id

    @property
    def faults(self) -> frozenset[str]:
        return self.reading.faults | self.extra_faults

    @property
    def demands(self) -> bool:
        """The EV asks for power."""
        return self.reading.state in DEMANDING

    @property
    def delivering(self) -> bool:
        """Power path seen closed while the EV asks for power."""
        return self.demands and self.reading.power_path is PowerPath.CLOSED

    def see(self, reading: PilotReading) -> bool:
        """Takes a report; True when the plug went in or out."""
        was_plugged, was_open = self.plugged, self.reading.power_path is PowerPath.OPEN
        self.reading = reading
        self.plugged = plugged(reading, was_plugged)
        if reading.power_path is not PowerPath.OPEN:
            self.open_since_s = None
        elif not was_open or self.open_since_s is None:
            self.open_since_s = reading.at_s
        if self.plugged and not was_plugged:
            self.plugged_at_s = reading.at_s
        return self.plugged != was_plugged
