"""The database's format: numbered scripts, one step at a time, a copy of the file before."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from agent.store.checksum import Damaged
from agent.store.rows import StoreFault

MIGRATIONS = Path(__file__).parent / "migrations"
FARTHEST = 100
"""A format that is newer by more than this was never made."""


def migrate(connection: sqlite3.Connection, backup_path: str | None, path: str) -> None:
    """Brings the file to this program's format; a file of an older one is copied first to
    `<backup_path>.format-<version>`. Raises StoreFault when the file is newer than the program,
    Damaged when its version cannot be one.
    """
    scripts = {int(script.name[:4]): script for script in sorted(MIGRATIONS.glob("[0-9]*.sql"))}
    newest = max(scripts)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if not 0 <= version <= newest + FARTHEST or (version == 0) != is_new:
        raise Damaged(f"format {version} cannot be")
    if version > newest:
        raise StoreFault(
            f"store {path} has format {version}, this program knows only up to {newest}: install"
            f" the newer chargepoint again, or stop the service and move {path}.format-{newest}"
            " (made before the update; it lacks all that happened since) to its place"
        )
    if 0 < version < newest and backup_path is not None:
        _back_up(connection, Path(f"{backup_path}.format-{version}"))
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


def check_tables(connection: sqlite3.Connection) -> None:
    """Raises Damaged where the file's own words for its tables are not those of its format."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh, None, ":memory:")
        if _tables(connection) != _tables(fresh):
            raise Damaged("its list of tables is not as it was written")


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str, str, str]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"))


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Whole or not at all: written beside, synced, then renamed."""
    unfinished = target.with_name(f"{target.name}.part")
    unfinished.unlink(missing_ok=True)
    make_private(unfinished)
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    unfinished.rename(target)
    sync_directory(target.parent)


def make_private(path: Path) -> None:
    """A new file that nobody but its owner may read: it may hold the CSMS password."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
