"""When values are due: at intervals from a transaction's start (J02), and at the clock's (J01)."""

import math

from msgspec import Struct
from msgspec.structs import replace

from agent.core.events import Now
from agent.core.policy import Policy

DAY_S = 86400.0
EARLY_S = 1.0
"""A reading this much older than an interval's end still counts for it."""


class Interval:
    """Every `interval_s` from a start; the grid of due times does not drift."""

    def __init__(self) -> None:
        self.due_s: float | None = None

    def begin(self, from_s: float, interval_s: int) -> None:
        """The next value is due one interval after `from_s`; 0: none."""
        self.due_s = from_s + interval_s if interval_s > 0 else None

    def end(self) -> None:
        self.due_s = None

    def take(self, now_s: float, interval_s: int) -> None:
        """What was due is taken."""
        while self.due_s is not None and self.due_s <= now_s:
            self.begin(self.due_s, interval_s)


class ClockInterval:
    """Every `interval_s` of the day, counted from midnight UTC."""

    def __init__(self) -> None:
        self._taken_utc_s: float | None = None

    def due_s(self, now: Now, interval_s: int) -> float | None:
        """Loop time of the slot that began and was not taken; a clock that steps back owes none."""
        if interval_s <= 0:
            self._taken_utc_s = None
            return None
        slot_s = slot_begin(now.utc_s(), interval_s)
        if self._taken_utc_s is None or slot_s < self._taken_utc_s:
            self._taken_utc_s = slot_s
        return slot_s - now.utc_offset_s if slot_s > self._taken_utc_s else None

    def take(self, now: Now, interval_s: int) -> None:
        self._taken_utc_s = slot_begin(now.utc_s(), interval_s)


def slot_begin(utc_s: float, interval_s: int) -> float:
    """When the slot of a moment began, UTC seconds."""
    midnight_s = math.floor(utc_s / DAY_S) * DAY_S
    return midnight_s + math.floor((utc_s - midnight_s) / interval_s) * interval_s


def next_slot_s(now: Now, interval_s: int) -> float | None:
    """Loop time at which the next slot begins; None: never."""
    if interval_s <= 0:
        return None
    utc_s = now.utc_s()
    midnight_s = math.floor(utc_s / DAY_S) * DAY_S
    following_s = slot_begin(utc_s, interval_s) + interval_s
    return min(following_s, midnight_s + DAY_S) - now.utc_offset_s


class Due(Struct, frozen=True):
    """Which values are due now, and how old a reading for them may be."""

    updated: bool = False
    """SampledDataCtrlr.TxUpdatedInterval"""
    ended: bool = False
    """SampledDataCtrlr.TxEndedInterval"""
    clock: bool = False
    """AlignedDataCtrlr.Interval"""
    clock_ended: bool = False
    """AlignedDataCtrlr.TxEndedInterval"""
    since_s: float = 0.0


def effective(policy: Policy) -> Policy:
    """What is switched off is never due."""
    if not policy.sampled_enabled:
        policy = replace(policy, tx_updated_interval_s=0, tx_ended_interval_s=0)
    if not policy.aligned_enabled:
        policy = replace(policy, aligned_interval_s=0, aligned_tx_ended_interval_s=0)
    return policy


class Sampling:
    """The four grids of one EVSE."""

    def __init__(self) -> None:
        self._updated = Interval()
        self._ended = Interval()
        self._clock = ClockInterval()
        self._clock_ended = ClockInterval()

    def begin(self, now: Now, policy: Policy) -> None:
        """A transaction starts."""
        policy = effective(policy)
        self._updated.begin(now.mono_s, policy.tx_updated_interval_s)
        self._ended.begin(now.mono_s, policy.tx_ended_interval_s)
        self._clock_ended = ClockInterval()
        self._clock_ended.due_s(now, policy.aligned_tx_ended_interval_s)

    def end(self) -> None:
        """It is over."""
        self._updated.end()
        self._ended.end()

    def reschedule(self, before: Policy, policy: Policy, now: Now, has_transaction: bool) -> None:
        """Intervals have new values: what changed counts from now."""
        before, policy = effective(before), effective(policy)
        if has_transaction and before.tx_updated_interval_s != policy.tx_updated_interval_s:
            self._updated.begin(now.mono_s, policy.tx_updated_interval_s)
        if has_transaction and before.tx_ended_interval_s != policy.tx_ended_interval_s:
            self._ended.begin(now.mono_s, policy.tx_ended_interval_s)
        if before.aligned_interval_s != policy.aligned_interval_s:
            self._clock = ClockInterval()
        if before.aligned_tx_ended_interval_s != policy.aligned_tx_ended_interval_s:
            self._clock_ended = ClockInterval()

    def due(self, now: Now, policy: Policy, has_transaction: bool) -> Due | None:
        """What waits for a reading; None: nothing."""
        policy = effective(policy)
        updated_s, ended_s = self._updated.due_s, self._ended.due_s
        clock_s = self._clock.due_s(now, policy.aligned_interval_s)
        clock_ended_s = None
        if has_transaction:
            clock_ended_s = self._clock_ended.due_s(now, policy.aligned_tx_ended_interval_s)
        updated = updated_s is not None and updated_s <= now.mono_s
        ended = ended_s is not None and ended_s <= now.mono_s
        since = [s - EARLY_S for s in (updated_s, ended_s) if s is not None and s <= now.mono_s]
        since += [s for s in (clock_s, clock_ended_s) if s is not None]
        if not since:
            return None
        return Due(updated, ended, clock_s is not None, clock_ended_s is not None, max(since))

    def take(self, now: Now, policy: Policy) -> None:
        """Everything due is taken."""
        policy = effective(policy)
        self._updated.take(now.mono_s, policy.tx_updated_interval_s)
        self._ended.take(now.mono_s, policy.tx_ended_interval_s)
        for grid, interval_s in (
            (self._clock, policy.aligned_interval_s),
            (self._clock_ended, policy.aligned_tx_ended_interval_s),
        ):
            if interval_s > 0:
                grid.take(now, interval_s)

    def deadline(self, now: Now, policy: Policy, has_transaction: bool) -> float | None:
        """When something becomes due that is not due yet."""
        policy = effective(policy)
        times = [next_slot_s(now, policy.aligned_interval_s)]
        if has_transaction:
            times.append(next_slot_s(now, policy.aligned_tx_ended_interval_s))
            times += [self._updated.due_s, self._ended.due_s]
        return min((t for t in times if t is not None and t > now.mono_s), default=None)
