"""Opening the database file: permissions, damage, schema version."""

import os
import sqlite3
from pathlib import Path

from agent.store import damage, wal
from agent.store.checksum import Damaged, no_text_is_damage
from agent.store.rows import Known, StoreFault
from agent.store.schema import check_tables, make_private, migrate, sync_directory

open_database = sqlite3.connect
"""Where the bytes go; a bench puts a disk of its own in its place."""
DATABASE = "chargepoint.db"
"""Its name in the data directory."""
MEMORY = ":memory:"
CACHE_KIB = 512
"""Pages kept in memory: a queue is passed through once, more would only be held."""
CHECKED_BYTES = 16_777_216
"""A longer file is not read through at the start, which a long queue must not delay. Its damage
shows where it is read, by SQLite or by the rows' checksums, and is mended then."""
PAGE_SIZE, FRACTIONS = wal.PAGE_BYTES.to_bytes(2, "big"), b"\x00\x40\x20\x20"
"""Fixed places of the header (fileformat2.html, chapter 1.3)."""
_DAMAGE_STEP = "the agent sets the damaged file aside by itself, `chargepoint status` says more"
_NEXT_STEPS = {
    sqlite3.SQLITE_FULL: "free space there (`df -h`), the agent goes on by itself",
    sqlite3.SQLITE_READONLY: "mount it writable and give it to the service's user",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and belongs to the service's user",
    sqlite3.SQLITE_PERM: "give the file to the service's user",
    sqlite3.SQLITE_BUSY: "another chargepoint process holds it: stop that one first",
    sqlite3.SQLITE_IOERR: "look for disk errors in `dmesg` and replace the storage",
    sqlite3.SQLITE_CORRUPT: _DAMAGE_STEP,
    sqlite3.SQLITE_NOTADB: _DAMAGE_STEP,
}


_CUT_OFF = (
    "store {}: the last commit was cut off and dropped, as if it had not been; if power was not"
    " cut then, check the storage (`dmesg`)"
)


def fault(path: str, error: sqlite3.Error | OSError) -> StoreFault:
    """The error in words for the technician."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        step = "check space (`df -h`) and owner of the directory"
    else:
        text = damage.words(error)
        step = _NEXT_STEPS.get(
            code, "restart the service; if it stays, keep the file and report it"
        )
        if damage.is_damage(error):
            step = _DAMAGE_STEP
    return StoreFault(f"store {path}: {text}; {step}")


def open_file(path: str) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    """A connection to a sound database of this program's version, and what to tell about it.

    Raises StoreFault. A damaged file is renamed, never deleted, and a new one begun with all that
    could be read of it.
    """
    try:
        if path == MEMORY:
            connection = _connect(path)
            migrate(connection, None, path)
            return connection, ()
        return _open_or_replace(Path(path))
    except (sqlite3.Error, OSError) as error:
        raise fault(path, error) from error


def replace_file(path: str, cause: str, known: Known) -> tuple[sqlite3.Connection, str]:
    """A sound database in the place of a damaged one that nobody holds open, and what to tell.

    Raises sqlite3.Error or OSError; the damaged file is then still in its place.
    """
    notice = damage.replace_damaged(Path(path), cause, _make_database, known)
    return _open_sound(Path(path), [], []), notice


def _open_or_replace(path: Path) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_read_only(path)
    damage.finish(path)
    frames = wal.read_frames(wal.log_of(path))
    notices = list(_kept_before(path))
    try:
        if frames and (not path.exists() or path.stat().st_size == 0):
            _make_private_file(path)
            raise Damaged("the file is gone, its log is there")
        _make_private_file(path)
        return _open_sound(path, frames, notices), tuple(notices)
    except Damaged as error:
        connection, notice = replace_file(str(path), str(error), Known())
        return connection, (notice, *notices)


def _kept_before(path: Path) -> list[str]:
    """Damaged files of earlier days, until somebody takes care of them."""
    names = sorted(p.name for p in path.parent.glob(f"{path.name}.corrupt-*[0-9]"))
    if not names:
        return []
    return [
        f"store {path} was damaged before: {', '.join(names)} in {path.parent}; send it to the"
        " manufacturer, then remove it"
    ]


def _refuse_read_only(path: Path) -> None:
    """SQLite would say `disk I/O error` only when it needs the first lock."""
    place = path if path.exists() else path.parent
    if not (os.access(place, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise StoreFault(
            f"store {path}: {place} is read-only; mount it writable and give it to the"
            " service's user"
        )


def _make_private_file(path: Path) -> None:
    """The file holds the CSMS password: nobody but its owner may read it."""
    if path.is_file():
        if path.stat().st_mode & 0o777 != 0o600:
            path.chmod(0o600)
        return
    make_private(path)
    sync_directory(path.parent)


def _make_database(path: Path) -> sqlite3.Connection:
    """A new file of this program's format."""
    make_private(path)
    connection = _connect(str(path))
    try:
        migrate(connection, None, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str) -> sqlite3.Connection:
    connection = open_database(path, isolation_level=None, timeout=5.0, cached_statements=64)
    try:
        # Exclusive before WAL: a second agent on the same data cannot get in, and no shared
        # memory file is needed.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=8388608")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_sound(path: Path, frames: list[wal.Frame], notices: list[str]) -> sqlite3.Connection:
    """Raises Damaged when anything is wrong; `frames` are those of the log. Adds to `notices`."""
    try:
        _check_header(path)
        with no_text_is_damage():
            connection = _connect_checked(str(path))
            try:
                if _commits_behind(connection, path, frames):
                    notices.append(_CUT_OFF.format(path))
                migrate(connection, str(path), str(path))
                check_tables(connection)
            except BaseException:
                connection.close()
                raise
    except sqlite3.DatabaseError as error:
        if damage.is_damage(error):
            raise Damaged(damage.words(error)) from error
        raise
    return connection


def _check_header(path: Path) -> None:
    """What SQLite would only take for a read-only file or one of another make."""
    with path.open("rb") as file:
        header = file.read(24)
    is_ours = header[16:18] == PAGE_SIZE and header[20:24] == FRACTIONS
    if header and not (is_ours and header[18] in (1, 2) and header[19] in (1, 2)):
        raise Damaged("its header is not as it was written")


def _connect_checked(path: str) -> sqlite3.Connection:
    try:
        connection = _connect(path)
        try:
            if os.path.getsize(path) <= CHECKED_BYTES:
                findings = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
                if findings != ["ok"]:
                    raise Damaged(" ".join(findings[0].split()))
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:
            raise Damaged(damage.words(error)) from error  # "unsupported file format"
        raise
    return connection


def _commits_behind(connection: sqlite3.Connection, path: Path, frames: list[wal.Frame]) -> int:
    """Commits that SQLite dropped from the log: 0, or 1 that may have been cut off.

    More mean damage, because each was synced before the next began: raises Damaged, and the log
    stays beside the file.
    """
    if not frames:
        return 0
    try:
        sound = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    except sqlite3.OperationalError:  # a full disk: the log stays as it is
        return 0
    behind = wal.commits_behind(frames, max(0, sound))
    if behind < 2 and (sound > 0 or behind == 0):
        return behind
    log = wal.log_of(path)
    kept = log.with_name(f"{log.name}.kept")
    kept.write_bytes(log.read_bytes())
    connection.close()
    kept.replace(log)
    raise Damaged(f"its log ends {behind} commits too early")
