"""What holds for the offers beside the profiles: pauses by chance, a silent CSMS, a hot device."""

from collections.abc import Mapping

from agent.core.effects import Log
from agent.core.events import Now, StopCause
from agent.core.limits import MIN_OFFER_A
from agent.core.site import Safety

STATION = 0
NO_MAINS = "no_mains"
Limits = Mapping[int, float | None]
"""EVSE (0: the station) -> A per phase; None: no limit."""


class Caps:
    """Turns what the profiles allow into what may be offered now; never more than they allow."""

    def __init__(self, safety: Safety) -> None:
        self._safety = safety
        self._told: dict[int, float | None] = {}
        """What the profiles allow."""
        self._held: dict[int, tuple[float | None, float]] = {}
        """A raise that waits: the limit in force before, and until when."""
        self._mains_until_s: dict[int, float] = {}
        """Until when load stays away since the mains returned, by EVSE; STATION: everywhere."""
        self._silent_since_s: float | None = None

    # --- facts ----------------------------------------------------------------------------

    def started(self, cause: StopCause, now: Now) -> list[object]:
        """Nobody has heard of the CSMS yet."""
        self._silent_since_s = now.mono_s
        return self._mains_returned(STATION, now) if cause is StopCause.POWER_LOSS else []

    def cleared(self, evse_id: int, fault: str, now: Now) -> list[object]:
        """A fault is over; the board may have run on while the mains were gone."""
        return self._mains_returned(evse_id, now) if fault == NO_MAINS else []

    def _mains_returned(self, evse_id: int, now: Now) -> list[object]:
        """Load comes back by and by."""
        wait_s = self._by_chance_s(now)
        if not wait_s:
            return []
        self._mains_until_s[evse_id] = now.mono_s + wait_s
        where = f"EVSE {evse_id}" if evse_id else "station"
        text = f"{where}: the mains returned, load waits {wait_s:.0f} s (safety.random_delay_s)"
        return [Log(5, f"{text}; a card or the start button begins a charge now")]

    def reached(self) -> None:
        self._silent_since_s = None

    def lost(self, now: Now) -> None:
        if self._silent_since_s is None:
            self._silent_since_s = now.mono_s

    def limited(self, evse_id: int, limit_a: float | None, is_running: bool, now: Now) -> None:
        """A lower limit holds at once; more for a charge that runs may have to wait."""
        before_a = self.in_force(evse_id, now)
        held = self._held.get(evse_id)
        if held is not None and now.mono_s >= held[1]:
            del self._held[evse_id]
        self._told[evse_id] = limit_a
        is_raise = before_a is not None and (limit_a is None or limit_a > before_a)
        if not is_raise or not is_running:
            self._held.pop(evse_id, None)
        elif evse_id not in self._held:
            self._held[evse_id] = before_a, now.mono_s + self._by_chance_s(now)

    def released(self, evse_id: int) -> None:
        """No charge runs there: the next one does not wait for what was held back from the last."""
        self._held.pop(evse_id, None)

    # --- what holds now -------------------------------------------------------------------

    def now(self, now: Now) -> dict[int, float | None]:
        """Limits in force. The station's is one for all; a silent CSMS counts per EVSE."""
        return {evse_id: self.in_force(evse_id, now) for evse_id in self._told}

    def mains_are_young(self, evse_id: int, now: Now) -> bool:
        """After their return nothing is offered for a time by chance, but to who is there."""
        until_s = [self._mains_until_s.get(key, now.mono_s) for key in (STATION, evse_id)]
        return now.mono_s < max(until_s)

    def in_force(self, evse_id: int, now: Now) -> float | None:
        """What the profiles allow, but for a raise that waits."""
        told_a = self._told.get(evse_id)
        held = self._held.get(evse_id)
        if held is None or now.mono_s >= held[1]:
            return told_a
        return held[0] if told_a is None or held[0] is None else min(told_a, held[0])

    def failsafe_a(self, now: Now) -> float | None:
        """Most for each connector while the CSMS is silent; None: it is not, or nobody minds."""
        due_s = self._silent_s()
        return self._safety.failsafe_a if due_s is not None and now.mono_s >= due_s else None

    def derated_a(self, limit_a: float, temperature_c: float | None, is_hot: bool) -> float:
        """Less the hotter the device is; `is_hot`: it was stopped for it and has not cooled down.

        In a straight line from `limit_a` at `derate_from_c` to 6 A just below `stop_at_c`.
        """
        safety = self._safety
        from_c, stop_c = safety.derate_from_c, safety.stop_at_c
        if from_c is None or temperature_c is None or temperature_c <= from_c:
            return limit_a
        if is_hot or temperature_c >= stop_c:
            return 0.0
        part = (stop_c - temperature_c) / (stop_c - from_c)
        return min(limit_a, MIN_OFFER_A + part * max(0.0, limit_a - MIN_OFFER_A))

    def deadline(self, now: Now) -> float | None:
        """When something of this changes by itself."""
        times = [until_s for _, until_s in self._held.values()]
        times += self._mains_until_s.values()
        times += [t for t in (self._silent_s(),) if t is not None]
        return min((t for t in times if t > now.mono_s), default=None)

    def _silent_s(self) -> float | None:
        if self._silent_since_s is None or not self._safety.csms_silent_s:
            return None
        return self._silent_since_s + self._safety.csms_silent_s

    def _by_chance_s(self, now: Now) -> float:
        return now.random() * self._safety.random_delay_s
