"""What is in a database that nobody has open; nothing at it is changed."""

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.store.checksum import no_text_is_damage
from agent.store.file import fault
from agent.store.outbox import select_rows
from agent.store.rows import HeadRow, StoreFault
from agent.store.state import read_state
from agent.store.wal import log_of

PAGE_ROWS = 500
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""Where SQLite locks a file (sqlite.org/lockingv3.html); an agent that runs holds this range."""


def read_rows(path: str, table: str, after: int) -> Iterator[HeadRow]:
    """Rows of `outbox` or `set_aside` with an id above `after`, oldest first. Raises StoreFault."""
    try:
        with _opened(Path(path)) as connection, no_text_is_damage():
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            while rows := select_rows(
                connection, table, after, PAGE_ROWS, has_checksums=version > 1
            ):
                yield from rows
                after = rows[-1].row_id
    except (sqlite3.Error, OSError) as error:
        raise fault(path, error) from error


def read_saved(path: str) -> dict[str, str]:
    """The state by key. Raises StoreFault."""
    try:
        with _opened(Path(path)) as connection, no_text_is_damage():
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > 1:
                return read_state(connection)
            return dict(connection.execute("SELECT key, value FROM state"))
    except (sqlite3.Error, OSError) as error:
        raise fault(path, error) from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """While this lasts, an agent that is started waits. With a log beside it (a crash, a power
    cut) the file is read from a copy: SQLite would write the log back."""
    with (
        _kept_closed(path),
        tempfile.TemporaryDirectory(prefix="chargepoint-reading-") as directory,
    ):
        if log_of(path).exists():
            copy = Path(directory, path.name)
            shutil.copyfile(path, copy)
            shutil.copyfile(log_of(path), log_of(copy))
            address = copy.as_uri()
        else:
            address = f"{path.absolute().as_uri()}?immutable=1"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            yield connection


@contextmanager
def _kept_closed(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise StoreFault(
            f"store {path}: there is no such file; the station has never run with this"
            " charger.yaml, check data_directory"
        ) from None
    try:
        try:
            fcntl.lockf(
                descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST, os.SEEK_SET
            )
        except (BlockingIOError, PermissionError):
            raise StoreFault(
                f"store {path} is held by a running chargepoint that does not answer on its"
                " console; wait until it is up, or read journalctl -u chargepoint"
            ) from None
        yield
    finally:
        os.close(descriptor)
