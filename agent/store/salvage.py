"""What can still be read of a damaged database, row by row, into a sound one."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.store import wal
from agent.store.checksum import checksum
from agent.store.schema import make_private

LONGEST_GAP = 200_000
"""Row ids that are tried one by one between two readable stretches."""
DAMAGED = "damaged on disk: not as it was recorded"
_HEADER_BYTES = 100
_FIELDS = (
    "message_id, action, boot_id, offline, event_type, created_s, attempts, reason, body"
)
_INSERT = "INSERT OR IGNORE INTO {} (row_id, {}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Salvaged(Struct, frozen=True):
    """What was taken over."""

    waiting: int = 0
    set_aside: int = 0
    """Also those that would wait if they were still as they had been recorded."""
    values: int = 0
    unreadable: int = 0
    """Places where something stood, or may have stood, that nobody can read any more."""

    def __str__(self) -> str:
        taken = (
            f"{self.waiting} waiting messages, {self.set_aside} set aside and {self.values} values"
            " were taken over"
        )
        if self.unreadable:
            return f"{taken}, up to {self.unreadable} could not be read"
        return taken


class _Tally:
    def __init__(self) -> None:
        self.unreadable = 0


def salvage(
    damaged: Path, target: sqlite3.Connection, sound: bytes, state: Mapping[str, str] | None
) -> Salvaged:
    """Copies rows into the empty database `target`; changes nothing at `damaged` or its log.

    `sound` is the first page of a new database of this format. `state`: what the state table
    must say, where that is known better than from the file. Raises OSError for want of space.
    """
    copy = damaged.with_name(f"{damaged.name}.reading")
    copy.unlink(missing_ok=True)
    try:
        make_private(copy)
        shutil.copyfile(damaged, copy)
        wal.fold(copy, wal.log_of(damaged))
        for first_page in (_own_first_page(copy, sound), sound):
            _write_first_page(copy, first_page)
            with closing(_open(copy)) as source:
                if _is_readable(source):
                    return _take(source, target, state)
        return _take(None, target, state)
    finally:
        copy.unlink(missing_ok=True)


def _own_first_page(copy: Path, sound: bytes) -> bytes:
    """The file's own list of tables under a sound header."""
    with copy.open("rb") as file:
        page = file.read(wal.PAGE_BYTES)
    return sound[:_HEADER_BYTES] + page[_HEADER_BYTES:]


def _write_first_page(copy: Path, page: bytes) -> None:
    """Without log, free pages, or a size that SQLite would believe."""
    plain = bytearray(page)
    plain[18:20] = b"\x01\x01"
    pages = copy.stat().st_size // wal.PAGE_BYTES
    plain[28:32] = max(1, pages).to_bytes(4, "big")
    plain[32:40] = bytes(8)
    with copy.open("r+b") as file:
        file.write(plain)


def _open(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    return connection


def _is_readable(source: sqlite3.Connection) -> bool:
    try:
        names = {name for (name,) in source.execute("SELECT name FROM sqlite_schema")}
        return {"outbox", "set_aside", "state"} <= names
    except sqlite3.Error:
        return False


def _take(
    source: sqlite3.Connection | None,
    target: sqlite3.Connection,
    state: Mapping[str, str] | None,
) -> Salvaged:
    tally = _Tally()
    target.execute("BEGIN IMMEDIATE")
    try:
        if source is not None:
            _take_set_aside(source, target, tally)
            _take_outbox(source, target, tally)
            _keep_ids_rising(source, target)
        if state is None:
            state = _state_of(source, tally) if source is not None else {}
        for key, value in state.items():
            target.execute("INSERT INTO state VALUES (?, ?, ?)", (key, value, checksum(key, value)))
        target.execute("COMMIT")
    except BaseException:
        if target.in_transaction:
            target.execute("ROLLBACK")
        raise
    (waiting,) = target.execute("SELECT count(*) FROM outbox").fetchone()
    (set_aside,) = target.execute("SELECT count(*) FROM set_aside").fetchone()
    return Salvaged(waiting, set_aside, len(state), tally.unreadable)


def _take_outbox(
    source: sqlite3.Connection, target: sqlite3.Connection, tally: _Tally
) -> None:
    """A row that is not as recorded is kept, but not sent."""
    has_checksums = _has_column(source, "outbox", "checksum")
    fields = f"{_FIELDS}, checksum" if has_checksums else f"{_FIELDS}, NULL"

    def put(row: tuple[Any, ...]) -> None:
        row_id, *values, kept = row
        is_sound = kept is None or kept == outbox_checksum(values)
        if is_sound:
            target.execute(_INSERT.format("outbox", _FIELDS), (row_id, *values))
            target.execute("UPDATE outbox SET checksum = ? WHERE row_id = ?", (kept, row_id))
        else:
            values[7] = DAMAGED
            target.execute(_INSERT.format("set_aside", _FIELDS), (row_id, *values))

    _each_by_id(source, "outbox", fields, put, tally)


def outbox_checksum(values: list[Any]) -> int:
    """Of the values of `_FIELDS`, without what changes at every attempt."""
    message_id, action, boot_id, offline, event_type, created_s, _, _, body = values
    return checksum(message_id, action, boot_id, offline, event_type, created_s, body)


def _take_set_aside(
    source: sqlite3.Connection, target: sqlite3.Connection, tally: _Tally
) -> None:
    def put(row: tuple[Any, ...]) -> None:
        target.execute(_INSERT.format("set_aside", _FIELDS), row)

    _each_by_id(source, "set_aside", _FIELDS, put, tally)


def _keep_ids_rising(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """New rows come after all that were ever there, where that can still be read."""
    try:
        found = source.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    except sqlite3.Error:
        return
    if found is None or not isinstance(found[0], int):
        return
    (highest,) = target.execute("SELECT coalesce(max(row_id), 0) FROM outbox").fetchone()
    target.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    target.execute("INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (max(found[0], highest),))


def _has_column(source: sqlite3.Connection, table: str, column: str) -> bool:
    return column in {row[1] for row in source.execute(f"PRAGMA table_info({table})")}


def _each_by_id(
    source: sqlite3.Connection,
    table: str,
    fields: str,
    put: Callable[[tuple[Any, ...]], None],
    tally: _Tally,
) -> None:
    """Every readable row: from the first on, from the last back, and between them one by one."""

    def read(condition: str, *values: int) -> Iterator[tuple[Any, ...]]:
        yield from source.execute(f"SELECT row_id, {fields} FROM {table} {condition}", values)

    def take(row: tuple[Any, ...]) -> None:
        try:
            put(row)
        except sqlite3.IntegrityError:
            tally.unreadable += 1

    low, high = 0, None
    try:
        for row in read("ORDER BY row_id"):
            low = row[0]
            take(row)
        return
    except (sqlite3.Error, OverflowError):
        pass
    try:
        for row in read("WHERE row_id > ? ORDER BY row_id DESC", low):
            high = row[0]
            take(row)
    except (sqlite3.Error, OverflowError):
        pass
    if high is None:
        tally.unreadable += 1
        return
    for row_id in range(max(low + 1, high - LONGEST_GAP), high):
        try:
            for row in read("WHERE row_id = ?", row_id):
                take(row)
        except (sqlite3.Error, OverflowError):
            tally.unreadable += 1


def _state_of(source: sqlite3.Connection, tally: _Tally) -> dict[str, str]:
    """Readable values, from both ends of the table."""
    column = "checksum" if _has_column(source, "state", "checksum") else "NULL"
    state: dict[str, str] = {}
    bad: set[str] = set()
    is_whole = False
    for order in ("ASC", "DESC"):
        try:
            for key, value, kept in source.execute(
                f"SELECT key, value, {column} FROM state ORDER BY key {order}"
            ):
                if kept is None or kept == checksum(key, value):
                    state[key] = value
                else:
                    bad.add(key)
            is_whole = True
            break
        except (sqlite3.Error, OverflowError):
            continue
    tally.unreadable += len(bad) + (not is_whole)
    return state
