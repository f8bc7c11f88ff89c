"""An EVSE's meter: its last reading, and how old it may be."""

from drivers.contract import MeterReading, Signing

FRESH_S = 5.0
"""A reading older than this does not begin or end a transaction."""
SIGN_WAIT_S = 20.0
"""A signature takes seconds; so long it is waited for before a plain reading must do."""
SESSION = (Signing.BEGIN, Signing.END)
"""Asked once each: a meter may take the same question twice for two sessions."""


class Metering:
    """What is known of the meter of one EVSE, and whether somebody waits for a new reading."""

    def __init__(self) -> None:
        self.last: MeterReading | None = None
        self.asked_at_s: float | None = None
        self._asked_for = Signing.NONE
        self._answers: dict[Signing, MeterReading] = {}

    def take(self, reading: MeterReading) -> None:
        """A reading made before the question was asked does not answer it. A signed one may come
        after plain ones that are younger."""
        if self.last is None or reading.at_s >= self.last.at_s:
            self.last = reading
        if reading.signing is not Signing.NONE:
            self._answers[reading.signing] = reading
        if self.asked_at_s is None or reading.at_s < self.asked_at_s:
            return
        if self._asked_for is Signing.NONE or reading.signing in (self._asked_for, Signing.NONE):
            self.asked_at_s = None

    def fresh(
        self, now_s: float, *, since_s: float | None = None, signing: Signing = Signing.NONE
    ) -> MeterReading | None:
        """The last reading if younger than FRESH_S and not older than `since_s`; of a meter that
        signs when asked: the answer to `signing`, which may be as old as SIGN_WAIT_S."""
        last, oldest_s = self.last, now_s - FRESH_S
        if signing is not Signing.NONE and self.signs_when_asked:
            last, oldest_s = self._answers.get(signing), now_s - SIGN_WAIT_S
        if last is None or last.at_s < oldest_s:
            return None
        if since_s is not None and last.at_s < since_s:
            return None
        return last

    @property
    def signs_when_asked(self) -> bool:
        """By its last reading."""
        return self.last is not None and self.last.signing is not Signing.NONE

    def ask(
        self, now_s: float, *, again_after_s: float = 2.0, signing: Signing = Signing.NONE
    ) -> bool:
        """True when a reading should be asked for now, at most every `again_after_s`, or what a
        signature may take. While a session is to begin or end, nothing else is asked."""
        again_s = self.ask_again_s(again_after_s)
        if again_s is not None and now_s < again_s:
            is_in_the_way = self._asked_for in SESSION and signing not in SESSION
            if signing is self._asked_for or is_in_the_way:
                return False
        self.asked_at_s, self._asked_for = now_s, signing
        return True

    def ask_again_s(self, again_after_s: float = 2.0) -> float | None:
        """When an unanswered question is repeated."""
        if self.asked_at_s is None:
            return None
        is_slow = self._asked_for is not Signing.NONE and self.signs_when_asked
        return self.asked_at_s + (SIGN_WAIT_S if is_slow else again_after_s)


def phases_used(reading: MeterReading) -> int | None:
    """Phases that carry more than 1 A; None when the meter does not show currents (E02.FR.18)."""
    if not reading.current_a:
        return None
    return sum(1 for current_a in reading.current_a if current_a > 1.0) or None
