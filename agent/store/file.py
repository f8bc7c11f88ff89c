"""Opening the database file: permissions, damage, schema version."""

import os
import sqlite3
from pathlib import Path

from agent.store.rows import StoreFault

open_database = sqlite3.connect
"""Where the bytes go; a bench puts a disk of its own in its place."""
MEMORY = ":memory:"
MIGRATIONS = Path(__file__).parent / "migrations"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NEXT_STEPS = {
    sqlite3.SQLITE_FULL: "free space there (`df -h`), the agent goes on by itself",
    sqlite3.SQLITE_READONLY: "mount it writable and give it to the service's user",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and belongs to the service's user",
    sqlite3.SQLITE_PERM: "give the file to the service's user",
    sqlite3.SQLITE_BUSY: "another chargepoint process holds it: stop that one first",
    sqlite3.SQLITE_IOERR: "look for disk errors in `dmesg` and replace the storage",
    sqlite3.SQLITE_CORRUPT: "restart the service, it sets the damaged file aside",
    sqlite3.SQLITE_NOTADB: "restart the service, it sets the damaged file aside",
}


class _Damaged(Exception):
    """The file is no sound database."""


def fault(path: str, error: sqlite3.Error | OSError) -> StoreFault:
    """The error in words for the technician."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        step = "check space and owner of the directory"
    else:
        text = str(error)
        step = _NEXT_STEPS.get(
            code, "restart the service; if it stays, keep the file and report it"
        )
    return StoreFault(f"store {path}: {text}; {step}")


def open_file(path: str) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    """A connection to a sound database of this program's version, and what to tell about it.

    Raises StoreFault. A damaged file is renamed, never deleted, and a new one begun.
    """
    try:
        notices: tuple[str, ...] = ()
        if path == MEMORY:
            connection = _connect(path)
        else:
            connection, notices = _open_or_set_aside(Path(path))
        try:
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise fault(path, error) from error
    return connection, notices


def _open_or_set_aside(path: Path) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    _make_private_file(path)
    try:
        return _connect_checked(str(path)), ()
    except _Damaged as error:
        kept = _set_aside(path)
        _make_private_file(path)
        notice = (
            f"store {path} was damaged ({error}) and begun anew; the old one is kept as {kept}:"
            " messages in it that were not sent yet need the manufacturer's service to recover"
        )
        return _connect_checked(str(path)), (notice,)


def _make_private_file(path: Path) -> None:
    """The file holds the CSMS password: nobody but its owner may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_file():
        path.chmod(0o600)
        return
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _connect(path: str) -> sqlite3.Connection:
    connection = open_database(path, isolation_level=None, timeout=5.0, cached_statements=64)
    try:
        # Exclusive before WAL: a second agent on the same data cannot get in, and no shared
        # memory file is needed.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=8388608")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_checked(path: str) -> sqlite3.Connection:
    try:
        connection = _connect(path)
        try:
            findings = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            if findings != ["ok"]:
                raise _Damaged(" ".join(findings[0].split()))
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise _Damaged(str(error)) from error
        raise
    return connection


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(kept)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.rename(kept.with_name(f"{kept.name}-wal"))
    return kept


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    scripts = {int(script.name[:4]): script for script in sorted(MIGRATIONS.glob("[0-9]*.sql"))}
    newest = max(scripts)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise StoreFault(
            f"store {path} has format {version}, this program knows only up to {newest}: install"
            f" the newer chargepoint again, or stop the service and move {path}.format-{newest}"
            " (made before the update; it lacks all that happened since) to its place"
        )
    if 0 < version < newest and path != MEMORY:
        _back_up(connection, Path(f"{path}.format-{version}"))
    for number in range(version + 1, newest + 1):
        script = scripts[number].read_text(encoding="utf-8")
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Whole or not at all: written beside, synced, then renamed."""
    unfinished = target.with_name(f"{target.name}.part")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600))
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    unfinished.rename(target)
    _sync_directory(target.parent)
