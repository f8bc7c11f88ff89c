"""A database of the agent with a long queue, made in bulk: what an outage of weeks leaves."""

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from agent.store import open_store
from agent.store.checksum import checksum

EVENTS_A_SESSION = 15
"""Started, a sample every few minutes, Ended: a short charge."""
FIRST_UTC = "2026-01-01T00:00:00"
_FILL = f"""
INSERT INTO outbox
    (message_id, action, boot_id, offline, event_type, created_s, body, checksum)
WITH RECURSIVE event (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM event WHERE n + 1 < :count),
kind (n, event_type) AS (
    SELECT n, CASE n % {EVENTS_A_SESSION} WHEN 0 THEN 'Started'
        WHEN {EVENTS_A_SESSION - 1} THEN 'Ended' ELSE 'Updated' END
    FROM event),
new (message_id, event_type, created_s, body) AS (
    SELECT printf('00000000-0000-4000-8000-%012x', n), event_type, n * 60.0,
        printf(:body, event_type,
            strftime('%Y-%m-%dT%H:%M:%S.000Z', '{FIRST_UTC}', n || ' minutes'),
            n % {EVENTS_A_SESSION}, n / {EVENTS_A_SESSION})
    FROM kind)
SELECT message_id, 'TransactionEvent', 'a-boot-before', 1, event_type, created_s, body,
    checksum(message_id, 'TransactionEvent', 'a-boot-before', 1, event_type, created_s, body)
FROM new
"""
_MARKS = {"TYPE": "%s", "TIME": "%s", "987654321": "%d", "TRANSACTION": "%036x"}
"""What stands in the sample's JSON text -> what SQLite's printf puts there, in this order."""


def sample(event_type: str, timestamp: str, seq_no: int, transaction_id: str) -> dict[str, Any]:
    """A TransactionEvent of the size that a three-phase meter makes every minute."""
    current = [{"value": 16.0, "phase": f"L{n}", "measurand": "Current.Import"} for n in (1, 2, 3)]
    voltage = [{"value": 230.0, "phase": f"L{n}-N", "measurand": "Voltage"} for n in (1, 2, 3)]
    amps, volts = {"unitOfMeasure": {"unit": "A"}}, {"unitOfMeasure": {"unit": "V"}}
    values: list[dict[str, Any]] = [
        {"value": 1234567.0},
        {"value": 11040.0, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W"}},
        *(value | amps for value in current),
        *(value | volts for value in voltage),
        {"value": 50.0, "measurand": "Frequency", "unitOfMeasure": {"unit": "Hz"}},
    ]
    return {
        "eventType": event_type,
        "timestamp": timestamp,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": transaction_id, "chargingState": "Charging"},
        "numberOfPhasesUsed": 3,
        "meterValue": [{"timestamp": "2026-01-01T00:00:00.000Z", "sampledValue": values}],
    }


def body_format() -> str:
    """The sample as a format of SQLite's printf: event type, timestamp, seqNo, transaction."""
    text = msgspec.json.encode(sample("TYPE", "TIME", 987654321, "TRANSACTION")).decode()
    for mark, place in _MARKS.items():
        text = text.replace(mark, place, 1)
    return text


async def fill(database: Path, count: int) -> None:
    """Makes the file as the agent makes it, then puts `count` events in its queue."""
    store = await open_store(str(database), inline=True)
    await store.close()
    if count:
        await asyncio.to_thread(_insert, database, count)
    await asyncio.to_thread(_sync, database)


def _insert(database: Path, count: int) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.create_function("checksum", -1, checksum, deterministic=True)
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_FILL, {"count": count, "body": body_format()})
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _sync(database: Path) -> None:
    """What still had to reach the disk would slow down what is measured next."""
    with database.open("rb+") as file:
        os.fsync(file.fileno())
