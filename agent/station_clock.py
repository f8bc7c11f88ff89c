"""What time it is: by the board's clock, or by the one the CSMS told, as TimeSource says."""

from collections.abc import Callable

from msgspec import Struct

from agent.core.events import ClockSet, Now
from drivers.contract import Permit

CLOCK_STEP_S = 1.0
"""The CSMS's clock replaces ours only where they differ by more: answers take time to travel."""


class ClockReading(Struct, frozen=True):
    """One look at the clocks: loop seconds, system UTC seconds, and whether that is trusted."""

    mono_s: float
    utc_s: float
    is_synced: bool
    boot_id: str


class StationClock:
    """The moments that the pure rooms are told."""

    def __init__(
        self,
        read: Callable[[], ClockReading],
        random: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._read = read
        self._random = random
        self._new_id = new_id
        self._csms_offset_s: float | None = None

    def now(self, sources: str, permit: Permit, happened_s: float | None = None) -> Now:
        """The time of the first of `sources` (TimeSource) that has one, else the board's best
        guess."""
        clock = self._read()
        offset_s = self._trusted_offset_s(clock, sources)
        return Now(
            mono_s=clock.mono_s,
            utc_offset_s=clock.utc_s - clock.mono_s if offset_s is None else offset_s,
            utc_known=offset_s is not None,
            boot_id=clock.boot_id,
            permit=permit,
            random=self._random,
            new_id=self._new_id,
            happened_s=happened_s,
        )

    def set(self, event: ClockSet) -> None:
        """The CSMS told its time."""
        offset_s = event.utc_s - event.at_s
        if self._csms_offset_s is None or abs(offset_s - self._csms_offset_s) > CLOCK_STEP_S:
            self._csms_offset_s = offset_s

    def _trusted_offset_s(self, clock: ClockReading, sources: str) -> float | None:
        for source in sources.split(","):
            if source == "NTP" and clock.is_synced:
                return clock.utc_s - clock.mono_s
            if source == "Heartbeat" and self._csms_offset_s is not None:
                return self._csms_offset_s
        return None
