"""A disk that forgets, at a power cut, every write after the last sync of its file.

A SQLite VFS (package `apsw`) under the store's own code: reads and writes pass through, and beside
them an image of each file is kept as it was last synced. The images are what a cut leaves.
"""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw

_names = itertools.count(1)


class LossyDisk:
    """`connect(path)` opens a database on it; `images` holds what is durable, by path."""

    def __init__(self, *, forgets_syncs: bool = False) -> None:
        self.images: dict[str, bytearray] = {}
        self.syncs = 0
        self.forgets_syncs = forgets_syncs
        """A disk that lies: syncs do nothing."""
        self._name = f"lossy-{next(_names)}"
        self._vfs = _Vfs(self._name, self)

    def connect(self, path: str, **_: Any) -> "Connection":
        """Takes the place of `agent.store.file.open_database`."""
        return Connection(path, self._name)

    def leave(self, source: Path, target: Path) -> None:
        """Writes what a power cut now would leave of `source` into an empty directory."""
        for path, image in self.images.items():
            if Path(path).parent == source:
                (target / Path(path).name).write_bytes(image)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: LossyDisk) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":
        return _File(name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._disk.images.pop(filename, None)


class _File(apsw.VFSFile):
    """Pending writes reach the image when the file is synced."""

    def __init__(self, name: Any, flags: list[int], disk: LossyDisk) -> None:
        super().__init__("", name, flags)
        self._path = name.filename() if hasattr(name, "filename") else str(name)
        self._disk = disk
        self._pending: list[tuple[int, bytes | None]] = []

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._pending.append((newsize, None))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.syncs += 1
        if self._disk.forgets_syncs:
            return
        image = self._disk.images.setdefault(self._path, bytearray())
        for offset, data in self._pending:
            if data is None:
                del image[offset:]
                continue
            if len(image) < offset:
                image.extend(bytes(offset - len(image)))
            image[offset : offset + len(data)] = data
        self._pending.clear()


class Connection:
    """The part of `sqlite3.Connection` that the store uses, over apsw."""

    def __init__(self, path: str, vfs: str) -> None:
        with _as_sqlite_errors():
            self._connection = apsw.Connection(path, vfs=vfs)

    def execute(self, sql: str, values: Iterable[Any] = ()) -> "Cursor":
        with _as_sqlite_errors():
            before = self._connection.total_changes()
            rows = list(self._connection.execute(sql, tuple(values)))
            changed = self._connection.total_changes() - before
            return Cursor(rows, changed, self._connection.last_insert_rowid())

    def executemany(self, sql: str, many: Iterable[Iterable[Any]]) -> "Cursor":
        changed = sum(self.execute(sql, values).rowcount for values in many)
        return Cursor([], changed, self._connection.last_insert_rowid())

    def executescript(self, script: str) -> None:
        self.execute(script)

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def close(self) -> None:
        self._connection.close()


class Cursor:
    """All rows of a statement."""

    def __init__(self, rows: list[Any], rowcount: int, lastrowid: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount
        self.lastrowid = lastrowid

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class _as_sqlite_errors:
    """Errors of apsw as those the store knows."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, apsw.Error):
            raised = sqlite3.OperationalError(str(error))
            raised.sqlite_errorcode = getattr(error, "extendedresult", 1)
            raise raised from error
