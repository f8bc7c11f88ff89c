"""Which UTC a loop time of some boot was, and what time of a CSMS is believed."""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Save
from agent.core.events import Now
from agent.ocpp.messages import parse_time

KEY = "clock/boots"
KEPT = 200
"""Boots remembered, so many that a failing supply cannot use them up while the CSMS is away: a row
of an older one is dated as if it were of this boot."""
EARLIEST_S, LATEST_S = 1_577_836_800.0, 4_102_444_800.0
"""2020 to 2100: a time outside is a mistake of the CSMS."""


def csms_time(text: str) -> float | None:
    """UTC seconds of a currentTime; None when it cannot be read or cannot be true."""
    try:
        utc_s = parse_time(text)
    except ValueError:
        return None
    return utc_s if EARLIEST_S <= utc_s <= LATEST_S else None


class BootClock(Struct, frozen=True):
    """Offset from the loop clock of a boot to UTC: known, or what the board's clock said."""

    boot_id: str
    offset_s: float
    known: bool


class BootClocks:
    """One entry per boot, saved when it begins and once more when its clock becomes known."""

    def __init__(self, saved: Mapping[str, str]) -> None:
        try:
            text = saved.get(KEY, "[]")
            self._boots = msgspec.json.decode(text, type=list[BootClock])[-KEPT:]
        except msgspec.MsgspecError:
            self._boots = []
        self._guess_s: float | None = None

    def follow(self, now: Now) -> list[Save]:
        """What must be remembered of the clock of this boot; mostly nothing."""
        if self._guess_s is None:
            self._guess_s = now.utc_offset_s
        current = self._boots[-1] if self._boots else None
        if current is None or current.boot_id != now.boot_id:
            clock = BootClock(now.boot_id, now.utc_offset_s, now.utc_known)
            self._boots = [*self._boots, clock][-KEPT:]
        elif now.utc_known and not current.known:
            self._boots[-1] = replace(current, offset_s=now.utc_offset_s, known=True)
        else:
            return []
        return [Save(KEY, msgspec.json.encode(self._boots).decode())]

    def to_utc(self, boot_id: str, now: Now) -> Callable[[float], float]:
        """UTC seconds of a loop time of a boot.

        Where that boot never learned the time, its board clock is taken to be as wrong as that
        of this boot was, and nothing is later than now.
        """
        if boot_id == now.boot_id:
            return now.utc_s
        unknown = BootClock(boot_id, now.utc_offset_s, True)
        clock = next((boot for boot in self._boots if boot.boot_id == boot_id), unknown)
        error_s = 0.0
        if not clock.known and self._guess_s is not None:
            error_s = now.utc_offset_s - self._guess_s
        offset_s = clock.offset_s + error_s
        return lambda at_s: min(at_s + offset_s, now.utc_s())
