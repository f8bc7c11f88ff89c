"""A damaged file gives way to a sound one: kept under another name, never deleted.

The sound file is finished before the damaged one is touched; a power cut between any two steps is
made good at the next start.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.store.rows import Known
from agent.store.schema import sync_directory
from agent.store.wal import PAGE_BYTES, log_of

if TYPE_CHECKING:
    from agent.store.salvage import Salvaged

CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file is no sound database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    is_no_text = "Could not decode to UTF-8" in str(error)
    return isinstance(error, sqlite3.Error) and (code in CODES or is_no_text)


def words(error: BaseException) -> str:
    """The error without the content that it may quote."""
    return " ".join(str(error).split(" with text ")[0].split())


def replace_damaged(
    path: Path,
    cause: str,
    make: Callable[[Path], sqlite3.Connection],
    known: Known,
) -> str:
    """Puts a sound file with all that could be read in the place of `path`; what to tell of it.

    `make` opens a new database of this program's format. Raises sqlite3.Error or OSError, and
    then everything is as before.
    """
    from agent.store.salvage import salvage  # hardly ever needed: no start waits for it

    unfinished = path.with_name(f"{path.name}.sound.part")
    for leftover in (unfinished, log_of(unfinished)):
        leftover.unlink(missing_ok=True)
    connection = make(unfinished)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        found = salvage(path, connection, unfinished.read_bytes()[:PAGE_BYTES], known)
    finally:
        connection.close()
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.rename(_sound(path))
    return _notice(path, cause, found, finish(path))


def finish(path: Path) -> Path | None:
    """Swaps the files when a sound one stands ready; the name under which the old one is kept."""
    sound = _sound(path)
    if not sound.exists():
        return None
    kept = set_aside(path)
    log_of(path).unlink(missing_ok=True)
    sound.rename(path)
    sync_directory(path.parent)
    return kept


def set_aside(path: Path) -> Path:
    """A second name for the file and its log, which outlives the first one."""
    number = 1
    while _is_taken(kept := path.with_name(f"{path.name}.corrupt-{number}")):
        number += 1
    for source, target in ((log_of(path), log_of(kept)), (path, kept)):
        if source.exists():
            _name_again(source, target)
    sync_directory(path.parent)
    return kept


def _is_taken(path: Path) -> bool:
    return path.exists() or log_of(path).exists()


def _name_again(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links (vfat)
        import shutil

        shutil.copy2(source, target)


def _sound(path: Path) -> Path:
    return path.with_name(f"{path.name}.sound")


def _notice(path: Path, cause: str, found: "Salvaged", kept: Path | None) -> str:
    return (
        f"store {path} was damaged ({cause}) and begun anew: {found}; the old file is kept as"
        f" {kept}, send it to the manufacturer, then remove it"
    )
