"""Lines that frames of the CSMS write into the journal: enough to see what is wrong, no flood."""

from agent.core.effects import Log, SetAside
from agent.core.events import Now

LINES_AT_ONCE = 30
LINE_EVERY_S = 30.0
"""Beyond that a frame may write a line this often."""
LENGTH = 300
DEBUG = 6
"""Whoever turns on debugging wants it all."""


class Chatter:
    """Counts the lines, like a bucket that fills again with time."""

    def __init__(self) -> None:
        self._room = float(LINES_AT_ONCE)
        self._at_s = 0.0
        self._left_out = 0

    def thin(self, effects: list[object], now: Now) -> list[object]:
        """The effects of one frame without the lines that would be too many; a message set aside is
        always told."""
        if any(isinstance(effect, SetAside) for effect in effects):
            return effects
        kept: list[object] = []
        for effect in effects:
            if not isinstance(effect, Log) or effect.level >= DEBUG:
                kept.append(effect)
            elif self._has_room(now):
                kept.append(Log(effect.level, _line(effect.text) + self._so_far()))
            else:
                self._left_out += 1
        return kept

    def _has_room(self, now: Now) -> bool:
        grown = self._room + (now.mono_s - self._at_s) / LINE_EVERY_S
        self._room, self._at_s = min(float(LINES_AT_ONCE), grown), now.mono_s
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True

    def _so_far(self) -> str:
        left_out, self._left_out = self._left_out, 0
        return f" ({left_out} lines like this were left out)" if left_out else ""


def _line(text: str) -> str:
    """What the CSMS wrote may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text[:LENGTH])
