"""The meter at the station's grid connection; on the wire its values are of EVSE 0 (J01.FR.03)."""

from agent.core.effects import Log, Metered, MeterSample, ReadMeter
from agent.core.events import FaultCleared, FaultRaised, MeterRead, Now
from agent.core.metering import SIGN_WAIT_S, Metering
from agent.core.policy import Policy
from agent.core.sampling import ClockInterval, effective, next_slot_s
from drivers.contract import MeterReading, Signing

STATION = 0
"""EVSE number of what belongs to the station as a whole."""
AGE_S = 10.0
"""So long (or three of its intervals) it may be silent before that is a fault."""
Measured = MeterRead | FaultRaised | FaultCleared
"""What there is to know of a meter."""
LOST, STALE = "meter_lost", "meter_stale"


class MainMeter:
    """What is known of it. Its faults are seen and told, and stop no charge."""

    def __init__(self, interval_s: float) -> None:
        self.fault: str | None = None
        """LOST, STALE or None."""
        self._age_s = max(AGE_S, 3 * interval_s)
        self._metering = Metering()
        self._heard_s: float | None = None
        """Its last reading; before the first one, when we began to wait for it."""
        self._is_lost = False
        self._clock = ClockInterval()
        self._asked_s: float | None = None

    @property
    def reading(self) -> MeterReading | None:
        """The last one, while it can be believed."""
        return self._metering.last if self.fault is None else None

    def see(self, event: Measured) -> None:
        """A reading of it, or its driver lost or found it; `follow` says what that comes to."""
        if isinstance(event, MeterRead):
            self._metering.take(event.reading)
            self._heard_s = event.reading.at_s
        else:
            self._is_lost = isinstance(event, FaultRaised)

    def reschedule(self, before: Policy, policy: Policy) -> None:
        """A new interval counts from now."""
        if effective(before).aligned_interval_s != effective(policy).aligned_interval_s:
            self._clock = ClockInterval()

    def follow(self, now: Now, policy: Policy, *, is_muted: bool) -> list[object]:
        """News of its health, and the clock-aligned value that is due (J01.FR.14)."""
        effects = [*self._judge(now), *self._tell_asked(now)]
        interval_s = effective(policy).aligned_interval_s
        due_s = self._clock.due_s(now, interval_s)
        if due_s is None:
            return effects
        is_signed = policy.aligned_signed and now.mono_s < due_s + SIGN_WAIT_S
        signing = Signing.VALUE if is_signed else Signing.NONE
        reading = self._metering.fresh(now.mono_s, since_s=due_s, signing=signing)
        if reading is None and self.fault is None and not is_muted:
            is_due = self._metering.ask(now.mono_s, signing=signing)
            return [*effects, ReadMeter(STATION, signing)] if is_due else effects
        self._clock.take(now, interval_s)
        if reading is None or self.fault is not None or is_muted:
            return effects
        return [*effects, Metered(STATION, MeterSample("Sample.Clock", reading))]

    def sign_values(self, now: Now) -> list[object]:
        """As of an EVSE's meter (core.evse_meter)."""
        if self.fault is not None or not self._metering.signs_when_asked:
            return []
        self._asked_s = now.mono_s if self._asked_s is None else self._asked_s
        return self._tell_asked(now)

    def _tell_asked(self, now: Now) -> list[object]:
        asked_s = self._asked_s
        if asked_s is None:
            return []
        reading = self._metering.fresh(now.mono_s, since_s=asked_s, signing=Signing.VALUE)
        is_late = self.fault is not None or now.mono_s >= asked_s + SIGN_WAIT_S
        reading = self._metering.last if reading is None and is_late else reading
        if reading is None:
            is_due = self._metering.ask(now.mono_s, signing=Signing.VALUE)
            return [ReadMeter(STATION, Signing.VALUE)] if is_due else []
        self._asked_s = None
        return [Metered(STATION, MeterSample("Trigger", reading))]

    def deadline(self, now: Now, policy: Policy) -> float | None:
        """When it is silent for too long, is asked again, or has a value to tell."""
        times = [next_slot_s(now, effective(policy).aligned_interval_s)]
        times.append(self._metering.ask_again_s() if self.fault is None else None)
        if self.fault is None and self._heard_s is not None:
            times.append(self._heard_s + self._age_s)
        return min((t for t in times if t is not None), default=None)

    def _judge(self, now: Now) -> list[object]:
        if self._heard_s is None:
            self._heard_s = now.mono_s
        before = self.fault
        is_silent = now.mono_s - self._heard_s >= self._age_s
        self.fault = LOST if self._is_lost else STALE if is_silent else None
        if self.fault == before:
            return []
        if self.fault is None:
            return [Log(5, "main meter: measures again")]
        advice = "no values of the grid connection are told, charging goes on; check its wiring"
        return [Log(4, f"main meter: {self.fault}; {advice}")]
