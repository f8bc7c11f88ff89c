"""What can still be read of a damaged database, row by row, into a sound one."""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.store import wal
from agent.store.carve import carve, first_free_page
from agent.store.checksum import checksum
from agent.store.rows import GAPS_KEY, Known
from agent.store.schema import make_private

LARGEST_ID = 1 << 53
LONGEST_GAP = 200_000
"""Row ids that are tried one by one between two readable stretches."""
DAMAGED = "damaged on disk: not as it was recorded"
UNREADABLE = (sqlite3.Error, OverflowError, UnicodeDecodeError)
_HEADER_BYTES = 100
_FIELDS = "message_id, action, boot_id, offline, event_type, created_s, attempts, reason, body"
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
    """Places that could not be read: of rows, and of values."""

    def __init__(self) -> None:
        self.rows = 0
        self.values = 0


def salvage(damaged: Path, target: sqlite3.Connection, sound: bytes, known: Known) -> Salvaged:
    """Copies rows into the empty database `target`; changes nothing at `damaged` or its log.

    `sound` is the first page of a new database of this format. Raises OSError for want of space.
    """
    copy = damaged.with_name(f"{damaged.name}.reading")
    copy.unlink(missing_ok=True)
    try:
        make_private(copy)
        shutil.copyfile(damaged, copy)
        wal.fold(copy, wal.log_of(damaged))
        loose = partial(carve, copy, first_free_page(copy))
        for first_page in (_own_first_page(copy, sound), sound):
            _write_first_page(copy, first_page)
            with closing(_open(copy)) as source:
                if _is_readable(source):
                    return _take(source, target, known, loose)
        return _take(None, target, known, loose)
    finally:
        copy.unlink(missing_ok=True)


def _own_first_page(copy: Path, sound: bytes) -> bytes:
    """The file's own list of tables under a sound header."""
    with copy.open("rb") as file:
        page = file.read(wal.PAGE_BYTES)
    return sound[:_HEADER_BYTES] + page[_HEADER_BYTES:]


def _write_first_page(copy: Path, page: bytes) -> None:
    """Without a log; as long as the file is."""
    plain = bytearray(page)
    plain[18:20] = b"\x01\x01"
    pages = copy.stat().st_size // wal.PAGE_BYTES
    plain[28:32] = max(1, pages).to_bytes(4, "big")
    with copy.open("r+b") as file:
        file.write(plain)


def _open(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    return connection


def _is_readable(source: sqlite3.Connection) -> bool:
    try:
        for table, fields in (("outbox", _FIELDS), ("set_aside", _FIELDS), ("state", "key, value")):
            source.execute(f"SELECT {fields} FROM {table} LIMIT 0")
        return True
    except UNREADABLE:
        return False


def _take(
    source: sqlite3.Connection | None,
    target: sqlite3.Connection,
    known: Known,
    loose: Callable[[], Iterable[tuple[Any, ...]]],
) -> Salvaged:
    tally = _Tally()
    target.execute("BEGIN IMMEDIATE")
    try:
        if source is not None:
            _take_set_aside(source, target, tally)
            _take_outbox(source, target, tally)
        if source is None or not _is_whole(source):
            for row_id, *values, kept in loose():
                tally.rows -= _put_sound(target, row_id, values, kept)
        _keep_ids_rising(source, target, known.above)
        state = dict(known.state or {})
        if known.state is None and source is not None:
            state = _state_of(source, tally)
        if _has_gaps(target):
            state[GAPS_KEY] = "1"
        for key, value in state.items():
            target.execute("INSERT INTO state VALUES (?, ?, ?)", (key, value, checksum(key, value)))
        target.execute("COMMIT")
    except BaseException:
        if target.in_transaction:
            target.execute("ROLLBACK")
        raise
    (waiting,) = target.execute("SELECT count(*) FROM outbox").fetchone()
    (set_aside,) = target.execute("SELECT count(*) FROM set_aside").fetchone()
    return Salvaged(waiting, set_aside, len(state), max(0, tally.rows) + tally.values)


def _is_whole(source: sqlite3.Connection) -> bool:
    """Whether all pages of the outbox hang together, so that none can lie elsewhere."""
    try:
        return source.execute("PRAGMA quick_check('outbox')").fetchall() == [("ok",)]
    except UNREADABLE:
        return False


def _take_outbox(source: sqlite3.Connection, target: sqlite3.Connection, tally: _Tally) -> None:
    """A row that is not as recorded is kept, but not sent."""
    has_checksums = _has_column(source, "outbox", "checksum")
    fields = f"{_FIELDS}, checksum" if has_checksums else f"{_FIELDS}, NULL"

    def put(row: tuple[Any, ...]) -> None:
        row_id, *values, kept = row
        is_sound = kept is None or kept == outbox_checksum(values)
        if is_sound:
            _put_sound(target, row_id, values, kept)
        else:
            values[7] = DAMAGED
            target.execute(_INSERT.format("set_aside", _FIELDS), (row_id, *values))

    _each_by_id(source, "outbox", fields, put, tally)


def _put_sound(
    target: sqlite3.Connection, row_id: int, values: list[Any], kept: int | None
) -> bool:
    """Whether the row was not there yet."""
    known = target.execute("SELECT 1 FROM set_aside WHERE row_id = ?", (row_id,)).fetchone()
    if known is not None:
        return False
    is_new = target.execute(_INSERT.format("outbox", _FIELDS), (row_id, *values)).rowcount == 1
    if is_new:
        target.execute("UPDATE outbox SET checksum = ? WHERE row_id = ?", (kept, row_id))
    return is_new


def outbox_checksum(values: list[Any]) -> int:
    """Of the values of `_FIELDS`, without what changes at every attempt."""
    message_id, action, boot_id, offline, event_type, created_s, _, _, body = values
    return checksum(message_id, action, boot_id, offline, event_type, created_s, body)


def _take_set_aside(source: sqlite3.Connection, target: sqlite3.Connection, tally: _Tally) -> None:
    def put(row: tuple[Any, ...]) -> None:
        target.execute(_INSERT.format("set_aside", _FIELDS), row)

    _each_by_id(source, "set_aside", _FIELDS, put, tally)


def _keep_ids_rising(
    source: sqlite3.Connection | None, target: sqlite3.Connection, above: int
) -> None:
    """New rows come after all that were ever there, as far as that is known."""
    found = 0
    if source is not None:
        try:
            kept = source.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
            (found,) = kept.fetchone() or (0,)
        except UNREADABLE:
            found = 0
    found = found if isinstance(found, int) and found < LARGEST_ID else 0
    (highest,) = target.execute(
        "SELECT max(coalesce(max(row_id), 0), (SELECT coalesce(max(row_id), 0) FROM set_aside))"
        " FROM outbox"
    ).fetchone()
    target.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    target.execute(
        "INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (max(found, highest, above),)
    )


def _has_gaps(target: sqlite3.Connection) -> bool:
    (found,) = target.execute(
        "SELECT count(*) < max(row_id) - min(row_id) + 1 FROM outbox"
    ).fetchone()
    return bool(found)


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
            tally.rows += 1

    low, high = 0, None
    try:
        for row in read("ORDER BY row_id"):
            low = row[0]
            take(row)
        return
    except UNREADABLE:
        pass
    try:
        for row in read("WHERE row_id > ? ORDER BY row_id DESC", low):
            high = row[0]
            take(row)
    except UNREADABLE:
        pass
    if high is None:
        tally.rows += 1
        return
    for row_id in range(max(low + 1, high - LONGEST_GAP), high):
        try:
            for row in read("WHERE row_id = ?", row_id):
                take(row)
        except UNREADABLE:
            tally.rows += 1


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
                is_text = isinstance(key, str) and isinstance(value, str)
                if is_text and (kept is None or kept == checksum(key, value)):
                    state[key] = value
                else:
                    bad.add(str(key))
            is_whole = True
            break
        except UNREADABLE:
            continue
    tally.values += len(bad) + (not is_whole)
    return state
