"""What a local energy manager allows, and what holds while it is silent (K11 to K13).

It can only lower: its limits join the smallest of all. Nothing of it outlives the process, so that
a word every second wears no disk: a start counts as silence.
"""

from collections.abc import Mapping
from math import inf

from msgspec import Struct

from agent.core.effects import Announce, Log
from agent.core.events import Now
from agent.core.site import EnergyManager

STATION = 0


class LimitTold(Struct, frozen=True):
    """The energy manager said how much an EVSE (0: all together) may draw, in A per phase; None: as
    much as the others allow. After `lifetime_s` that is void; None: at its next word."""

    evse_id: int
    limit_a: float | None
    lifetime_s: float | None = None
    source: str = ""


class LocalLimitsChanged(Struct, frozen=True):
    """What holds now, by EVSE (0: the station), in A per phase; who is not named has no limit."""

    limits: dict[int, float]


class Word(Struct, frozen=True):
    """What was said last of one place; it has run out at `until_s`."""

    limit_a: float | None
    told_s: float
    until_s: float
    source: str


class LocalLimits:
    """Silent is the energy manager that said nothing for `silent_s`, that let a limit run out
    without a new word for the same place, or that was not heard since the start."""

    def __init__(self, manager: EnergyManager | None) -> None:
        self.manager = manager
        """None: charger.yaml names none, and nobody is listened to."""
        self.words: dict[int, Word] = {}
        """By EVSE; 0: the station."""
        self.heard_s: float | None = None
        self._announced: Mapping[int, float] = {}
        self._is_told_silent = False

    def take(self, event: LimitTold, now: Now) -> list[object]:
        """Its lifetime counts from when it was said, however long it waited."""
        if self.manager is None:
            return [Log(4, "a local limit was ignored: charger.yaml names no energy_manager")]
        lifetime_s = inf if event.lifetime_s is None else event.lifetime_s
        until_s = inf if event.limit_a is None else now.at_s + lifetime_s
        self.words[event.evse_id] = Word(event.limit_a, now.at_s, until_s, event.source)
        self.heard_s = now.at_s
        return []

    @property
    def silent_from_s(self) -> float:
        """When the fail-safe current begins to hold, if nothing more is said."""
        if self.manager is None:
            return inf
        if self.heard_s is None:
            return -inf
        ends_s = min((word.until_s for word in self.words.values()), default=inf)
        return min(self.heard_s + self.manager.silent_s, ends_s)

    def in_force(self, now_s: float) -> dict[int, float]:
        """Limits by EVSE (0: all together). What was said without a lifetime outlasts a silence, so
        that no silence ever raises anything."""
        if self.manager is None:
            return {}
        limits = {
            evse_id: word.limit_a
            for evse_id, word in self.words.items()
            if word.limit_a is not None and now_s < word.until_s
        }
        if now_s >= self.silent_from_s:
            limits[STATION] = min(self.manager.failsafe_a, limits.get(STATION, inf))
        return limits

    def lower(self, limits: Mapping[int, float | None], now_s: float) -> Mapping[int, float | None]:
        """The smaller one of each."""
        own = self.in_force(now_s)
        if not own:
            return limits
        return {**limits, **{key: _smaller(limits.get(key), own[key]) for key in own}}

    def news(self, now: Now) -> list[object]:
        """What is to be told of it since this was asked last; empty while nothing changes."""
        effects: list[object] = []
        if (now.mono_s >= self.silent_from_s) != self._is_told_silent:
            self._is_told_silent = not self._is_told_silent
            effects.append(self._silence())
        limits = self.in_force(now.mono_s)
        if limits != self._announced:
            self._announced = limits
            effects.append(Announce(LocalLimitsChanged(limits)))
        return effects

    def _silence(self) -> Log:
        """For the journal: when it begins, and when it is over."""
        if self.manager is None or not self._is_told_silent:
            return Log(5, "the energy manager is heard")
        most = f"no more than {self.manager.failsafe_a:g} A for all EVSEs together"
        if self.heard_s is None:
            return Log(5, f"nothing heard of the energy manager yet: {most}")
        return Log(4, f"the energy manager is silent: {most} until it speaks; look at its program")

    def deadline(self, now_s: float) -> float | None:
        """When something ends by itself."""
        times = [word.until_s for word in self.words.values()] + [self.silent_from_s]
        return min((at_s for at_s in times if now_s < at_s < inf), default=None)


def is_significant(before_a: float, after_a: float, percent: float) -> bool:
    """More than LimitChangeSignificance of what was told before (K11.FR.02, SC.03)."""
    return abs(after_a - before_a) > before_a * percent / 100


def _smaller(limit_a: float | None, own_a: float) -> float:
    return own_a if limit_a is None else min(limit_a, own_a)
