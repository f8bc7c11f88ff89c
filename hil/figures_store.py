"""What recording costs: the agent's store, and bare SQLite with the same promise and disk."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.store import Batch, NewRow, open_store
from hil import figures_rows
from hil.figures_process import cost_of

RECORDED = 1_000
TRANSACTION = "x" * 600
"""As long as the row of the open transaction, which is saved with each of its events."""


class Recorded(Struct, frozen=True):
    """`events` were recorded one after the other, each durable before the next."""

    events: int
    took_s: float
    written_bytes: int


def body(seq_no: int) -> str:
    """Of an event with a sample."""
    event = figures_rows.sample("Updated", "2026-01-01T00:00:00.000Z", seq_no, 36 * "0")
    return msgspec.json.encode(event).decode()


async def measure_recording(directory: Path, count: int = RECORDED) -> Recorded:
    """Events and the state of their transaction through the agent's store, one commit each."""
    store = await open_store(str(directory / "recording.db"))
    try:
        before = cost_of(os.getpid())
        began_s = time.monotonic()
        for number in range(count):
            row = NewRow(f"{number:036x}", "TransactionEvent", body(number), "b", False, "", 0.0)
            saved = ("transaction/1", f"{number} {TRANSACTION}")
            await store.commit(Batch(enqueue=(row,), save=(saved,)))
        took_s = time.monotonic() - began_s
        written = cost_of(os.getpid()).written_bytes - before.written_bytes
    finally:
        await store.close()
    return Recorded(count, took_s, written)


async def measure_commits(directory: Path, count: int = RECORDED) -> float:
    """Seconds SQLite takes to delete one such row durably, with nothing of ours around it."""
    path = directory / "commits.db"
    await figures_rows.fill(path, count)
    return await asyncio.to_thread(_delete_each, path, count)


def _delete_each(path: Path, count: int) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        began_s = time.monotonic()
        for row_id in range(1, count + 1):
            connection.execute("DELETE FROM outbox WHERE row_id = ?", (row_id,))
        return (time.monotonic() - began_s) / count
    finally:
        connection.close()
