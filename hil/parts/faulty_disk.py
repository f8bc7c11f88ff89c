"""A disk that fails when it is told to: full, read-only, or with errors of its own.

A SQLite VFS (package `apsw`) under the store's own code, like `hil.parts.lossy_disk`.
"""

import contextlib
import itertools
import sqlite3
from typing import Any

import apsw

from hil.parts import lossy_disk

_names = itertools.count(1)
FULL, READ_ONLY = "full", "read-only"
WRITE_ERROR, SYNC_ERROR, READ_ERROR = "write error", "sync error", "read error"
FAULTS = (FULL, READ_ONLY, WRITE_ERROR, SYNC_ERROR)
"""Those under which a commit fails."""
_ERRORS: dict[str, tuple[type[apsw.Error], int, str]] = {
    FULL: (apsw.FullError, sqlite3.SQLITE_FULL, "database or disk is full"),
    READ_ONLY: (
        apsw.ReadOnlyError,
        sqlite3.SQLITE_READONLY,
        "attempt to write a readonly database",
    ),
    WRITE_ERROR: (apsw.IOError, sqlite3.SQLITE_IOERR_WRITE, "disk I/O error"),
    SYNC_ERROR: (apsw.IOError, sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"),
    READ_ERROR: (apsw.IOError, sqlite3.SQLITE_IOERR_READ, "disk I/O error"),
}


class FaultyDisk:
    """`connect(path)` opens a database on it; set `fault` to one of FAULTS, None: sound."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.refusals = 0
        """Operations that failed."""
        self._name = f"faulty-{next(_names)}"
        self._vfs = _Vfs(self._name, self)

    def connect(self, path: str, **_: Any) -> "Connection":
        """Takes the place of `agent.store.file.open_database`."""
        return Connection(path, self._name)

    def fail_if(self, *faults: str) -> None:
        if self.fault in faults:
            self.refusals += 1
            kind, code, text = _ERRORS[self.fault]
            error: Any = kind(text)
            error.extendedresult = code
            raise error


class Connection(lossy_disk.Connection):
    """Closing never fails, as with SQLite itself."""

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):
            super().close()


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: FaultyDisk) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":
        return _File(name, flags, self._disk)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: FaultyDisk) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.fail_if(READ_ERROR)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.fail_if(FULL, READ_ONLY, WRITE_ERROR)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.fail_if(READ_ONLY, WRITE_ERROR)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.fail_if(SYNC_ERROR)
        super().xSync(flags)
