"""The queue as a diagnostics bundle tells it: what waits, since when, and what was refused; never a
message itself."""

from typing import Any

import msgspec

from agent.core.events import Now
from agent.ocpp.connection import Connection
from agent.store.db import Store
from agent.store.rows import HeadRow, StoreFault

MOST_SET_ASIDE = 20


async def queue_summary(store: Store, connection: Connection, now: Now) -> dict[str, Any]:
    """Counts, the CALL in flight, the oldest rows; a store that cannot be read says so."""
    told: dict[str, Any] = {
        **msgspec.to_builtins(store.counts()),
        "in_flight": _in_flight(connection),
    }
    try:
        oldest = await store.waiting_rows(0, 1)
        set_aside = await store.set_aside_rows(0, MOST_SET_ASIDE)
    except StoreFault as fault:
        return told | {"problem": str(fault)}
    told["oldest_waiting"] = _row(oldest[0], connection, now) if oldest else None
    told["oldest_set_aside"] = [_row(row, connection, now) for row in set_aside]
    return told


def _row(row: HeadRow, connection: Connection, now: Now) -> dict[str, Any]:
    """Without its body: that names a driver's card."""
    created_s = connection.clocks.to_utc(row.boot_id, now)(row.created_s)
    return {
        "row_id": row.row_id,
        "action": row.action,
        "event_type": row.event_type,
        "age_s": round(now.utc_s() - created_s),
        "offline": row.offline,
        "attempts": row.attempts,
        "reason": row.reason,
    }


def _in_flight(connection: Connection) -> dict[str, Any] | None:
    """The CALL that waits for its answer, without its payload."""
    flight = connection.in_flight
    if flight is None:
        return None
    attempts = flight.row.attempts if flight.row is not None else 0
    return {"action": flight.action, "attempts": attempts}
