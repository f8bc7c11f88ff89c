"""An EVSE's meter: its last reading, and how old it may be."""

from drivers.contract import MeterReading

FRESH_S = 5.0
"""A reading older than this does not begin or end a transaction."""


class Metering:
    """What is known of the meter of one EVSE, and whether somebody waits for a new reading."""

    def __init__(self) -> None:
        self.last: MeterReading | None = None
        self.asked_at_s: float | None = None

    def take(self, reading: MeterReading) -> None:
        """A reading made before the question was asked does not answer it."""
        self.last = reading
        if self.asked_at_s is not None and reading.at_s >= self.asked_at_s:
            self.asked_at_s = None

    def fresh(self, now_s: float, *, since_s: float | None = None) -> MeterReading | None:
        """The last reading if younger than FRESH_S and not older than `since_s`."""
        last = self.last
        if last is None or now_s - last.at_s > FRESH_S:
            return None
        if since_s is not None and last.at_s < since_s:
            return None
        return last

    def ask(self, now_s: float, *, again_after_s: float = 2.0) -> bool:
        """True when a reading should be asked for now, at most every `again_after_s`."""
        again_s = self.ask_again_s(again_after_s)
        if again_s is not None and now_s < again_s:
            return False
        self.asked_at_s = now_s
        return True

    def ask_again_s(self, again_after_s: float = 2.0) -> float | None:
        """When an unanswered question is repeated."""
        return None if self.asked_at_s is None else self.asked_at_s + again_after_s


def phases_used(reading: MeterReading) -> int | None:
    """Phases that carry more than 1 A; None when the meter does not show currents (E02.FR.18)."""
    if not reading.current_a:
        return None
    return sum(1 for current_a in reading.current_a if current_a > 1.0) or None
