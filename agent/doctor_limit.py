"""Doctor on the local energy manager, as far as the running service hears of it."""

from collections.abc import Mapping
from typing import Any

from agent.doctor_finding import Finding
from agent.local_limit import FAILSAFE


def energy_manager(status: Mapping[str, Any]) -> Finding | None:
    """None: charger.yaml names none."""
    rows = status.get("local_limits")
    if rows is None:
        return None
    silence = next((row for row in rows if row["source"] == FAILSAFE), None)
    if silence is not None:
        age_s = silence["age_s"]
        since = "since the start" if age_s is None else f"for {age_s:.0f} s"
        return Finding(
            "warn",
            f"the energy manager is silent {since}: at most {silence['limit_a']:g} A for all EVSEs",
            "look at the program that says `limit` (docs/local-limit.md)",
        )
    age_s = min(row["age_s"] for row in rows)
    limits = [
        f"{row['place']} {row['limit_a']:g} A ({row['source']})"
        for row in rows
        if row["limit_a"] is not None
    ]
    what = ", ".join(limits) or "no limit"
    return Finding("ok", f"the energy manager was heard {age_s:.0f} s ago: {what}")
