"""The console's command `limit`: a local energy manager says how much may be drawn, and what came
of it is shown (docs/local-limit.md)."""

from collections.abc import Callable
from math import inf
from typing import Any

from agent.core.local_limit import STATION, LimitTold, LocalLimits
from agent.core.station import Station
from agent.errors import ChargepointError

KEYS = ("cmd", "limit_a", "for_s", "evse_id", "source")
MOST_A = 6000.0
LONGEST_S = 604_800.0
SOURCE_LENGTH = 40
FAILSAFE = "failsafe_a"
"""Source of the row that says: the energy manager is silent."""


class LimitRefused(ChargepointError):
    """That was no limit; the text says what to write."""


def limited(
    station: Station, post: Callable[[object], None], request: dict[str, Any]
) -> dict[str, Any]:
    """`{"cmd": "limit", "limit_a": 10, "for_s": 60, "evse_id": 1, "source": "pv"}`, of which only
    limit_a is needed; null: released. Answers what was understood and within how many seconds the
    next word is due. Raises LimitRefused."""
    manager = station.local.manager
    if manager is None:
        raise LimitRefused(
            "charger.yaml names no energy manager; add the block energy_manager"
            " (docs/local-limit.md) and restart the service"
        )
    event = _told(station, request)
    post(event)
    return {
        "evse_id": event.evse_id,
        "limit_a": event.limit_a,
        "for_s": event.lifetime_s,
        "silent_s": manager.silent_s,
    }


def _told(station: Station, request: dict[str, Any]) -> LimitTold:
    unknown = [str(key)[:20] for key in request if key not in KEYS]
    if unknown:
        raise LimitRefused(f"there is no {unknown[0]!r}; use: {', '.join(KEYS[1:])}")
    if "limit_a" not in request:
        raise LimitRefused("limit_a is missing; write amperes per phase, or null to release it")
    evse_id = request.get("evse_id", STATION)
    if type(evse_id) is not int or evse_id not in (STATION, *station.evse_ids):
        there = ", ".join(str(one) for one in station.evse_ids)
        raise LimitRefused(f"there is no EVSE {str(evse_id)[:20]}; write one of {there}, or 0: all")
    source = request.get("source", "")
    if not isinstance(source, str) or len(source) > SOURCE_LENGTH or not source.isprintable():
        raise LimitRefused(f"source is a name of at most {SOURCE_LENGTH} characters; shorten it")
    limit_a = _number(request, "limit_a", 0.0, MOST_A)
    return LimitTold(evse_id, limit_a, _number(request, "for_s", 1.0, LONGEST_S), source)


def _number(request: dict[str, Any], key: str, least: float, most: float) -> float | None:
    value = request.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise LimitRefused(f"{key} is {str(value)[:20]}; write a number from {least:g} to {most:g}")
    return float(value)


def rows(local: LocalLimits, now_s: float) -> list[dict[str, Any]]:
    """What was said last of each place and how long ago; first what holds in a silence."""
    if local.manager is None:
        return []
    found = []
    if now_s >= local.silent_from_s:
        age_s = None if local.heard_s is None else now_s - local.silent_from_s
        found.append(_row(STATION, local.manager.failsafe_a, FAILSAFE, age_s))
    for evse_id, word in sorted(local.words.items()):
        row = _row(evse_id, word.limit_a, word.source or "unnamed", now_s - word.told_s)
        if word.until_s < inf:
            row["left_s"] = round(max(0.0, word.until_s - now_s), 1)
        if now_s >= word.until_s:
            row |= {"limit_a": None, "source": f"{row['source']}, ran out"}
        found.append(row)
    return found


def _row(evse_id: int, limit_a: float | None, source: str, age_s: float | None) -> dict[str, Any]:
    return {
        "place": f"EVSE {evse_id}" if evse_id else "station",
        "limit_a": limit_a,
        "source": source,
        "age_s": None if age_s is None else round(age_s, 1),
    }
