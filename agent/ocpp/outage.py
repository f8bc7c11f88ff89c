"""What the journal hears of a CSMS that is away: each reason once, then seldom."""

from agent.core.effects import Log
from agent.core.events import Now

SAME_AGAIN_S = 600.0
"""The same reason is not written again sooner."""
STEADY_S = 60.0
"""A link that was online so long is news when it breaks; one that flaps is not."""
REASONS = 8
"""Reasons told apart; a CSMS that finds ever new ones shares one more place."""
OTHERS = ""


class Outage:
    """The time from the loss of the CSMS, or from the start, to the next time online."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        """Since when we are offline for a reason that is known."""
        self._attempts = 0
        self._written_s: dict[str, float] = {}
        self._is_written = False
        self._online_s = float("-inf")

    def failed(self, reason: str, was_online: bool, now: Now) -> list[Log]:
        """The link was lost, or an attempt failed."""
        if was_online:
            self._begin(now)
        else:
            self._since_s = now.mono_s if self._since_s is None else self._since_s
            self._attempts += 1
        fresh = {r: s for r, s in self._written_s.items() if now.mono_s - s < SAME_AGAIN_S}
        self._written_s = fresh
        key = reason if reason in fresh or len(fresh) < REASONS else OTHERS
        if key in fresh:
            return []
        fresh[key] = now.mono_s
        self._is_written = True
        return [Log(4, f"CSMS: {reason}{self._so_far(now) if self._attempts > 1 else ''}")]

    def _begin(self, now: Now) -> None:
        if now.mono_s - self._online_s >= STEADY_S:
            self._written_s.clear()
        self._since_s, self._attempts, self._is_written = now.mono_s, 0, False

    def ended(self, now: Now) -> list[Log]:
        """Online: written where its beginning was."""
        is_news = self._since_s is None or self._is_written
        after = "" if self._since_s is None else self._so_far(now)
        self._since_s, self._attempts, self._is_written = None, 0, False
        self._online_s = now.mono_s
        return [Log(5, f"CSMS: online{after}")] if is_news else []

    def _so_far(self, now: Now) -> str:
        away_s = now.mono_s - (self._since_s or 0.0)
        away = f"{away_s:.0f} s" if away_s < 120 else f"{away_s / 60:.0f} min"
        return f" (offline for {away}, failed attempts: {self._attempts})"
