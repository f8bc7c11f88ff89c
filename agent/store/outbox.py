"""The outbox table: messages in the order recorded, the oldest ones kept ready in memory.

Everything here runs in the database's thread. Changes happen inside a transaction of the caller,
who calls `forget` when it failed.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from agent.store.rows import HeadRow, NewRow

AHEAD = 32
"""Oldest waiting rows kept in memory, so that draining needs no SELECT per row."""
THINNABLE = "Updated"
_COLUMNS = (
    "row_id, message_id, action, body, boot_id, offline, event_type, created_s, attempts, reason"
)


class Outbox:
    """Rows leave strictly in the order of their ids, and only by `settle` or `set_aside`."""

    def __init__(self, connection: sqlite3.Connection, max_rows: int) -> None:
        self._connection = connection
        self._max_rows = max_rows
        self._ahead: deque[HeadRow] = deque()
        self.waiting = 0
        self._thinnable = 0
        self.set_aside_count = 0
        self._is_counted = False
        self.recount()

    def forget(self) -> None:
        """What is kept in memory may not be what the file holds: read it again when needed."""
        self._ahead.clear()
        self._is_counted = False

    def recount(self) -> None:
        """Makes the figures true again after `forget`."""
        if self._is_counted:
            return
        self.waiting, thinnable = self._connection.execute(
            "SELECT count(*), sum(event_type = ?) FROM outbox", (THINNABLE,)
        ).fetchone()
        self._thinnable = thinnable or 0
        (self.set_aside_count,) = self._connection.execute(
            "SELECT count(*) FROM set_aside"
        ).fetchone()
        self._is_counted = True

    def head(self) -> HeadRow | None:
        """The oldest waiting row."""
        if not self._ahead and self.waiting:
            self._ahead.extend(self.rows(after=0, limit=AHEAD))
        return self._ahead[0] if self._ahead else None

    def rows(self, after: int, limit: int) -> list[HeadRow]:
        """Waiting rows with an id above `after`, oldest first."""
        return self._select("outbox", after, limit)

    def set_aside_rows(self, limit: int) -> list[HeadRow]:
        """Rows that were refused to the end, oldest first."""
        return self._select("set_aside", 0, limit)

    def _select(self, table: str, after: int, limit: int) -> list[HeadRow]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {table} WHERE row_id > ? ORDER BY row_id LIMIT ?",
            (after, limit),
        )
        return [_head_row(row) for row in rows]

    def enqueue(self, rows: Iterable[NewRow]) -> None:
        for row in rows:
            has_all_ahead = len(self._ahead) == self.waiting
            row_id = self._connection.execute(
                "INSERT INTO outbox"
                " (message_id, action, body, boot_id, offline, event_type, created_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    row.message_id,
                    row.action,
                    row.body,
                    row.boot_id,
                    row.offline,
                    row.event_type,
                    row.created_s,
                ),
            ).lastrowid
            assert row_id is not None
            self.waiting += 1
            self._thinnable += row.event_type == THINNABLE
            if has_all_ahead and len(self._ahead) < AHEAD:
                self._ahead.append(
                    HeadRow(
                        row_id=row_id,
                        message_id=row.message_id,
                        action=row.action,
                        body=row.body,
                        boot_id=row.boot_id,
                        offline=row.offline,
                        event_type=row.event_type,
                        created_s=row.created_s,
                        attempts=0,
                        reason="",
                    )
                )

    def settle(self, row_ids: Iterable[int]) -> None:
        """Deletes answered rows; an unknown id is passed over."""
        for row_id in row_ids:
            gone = self._connection.execute(
                "DELETE FROM outbox WHERE row_id = ? RETURNING event_type", (row_id,)
            ).fetchone()
            if gone is not None:
                self._has_left(row_id, gone[0])

    def freeze(self, bodies: Iterable[tuple[int, str]]) -> None:
        """Replaces the bodies of waiting rows; an unknown id is passed over."""
        for row_id, body in bodies:
            self._connection.execute(
                "UPDATE outbox SET body = ? WHERE row_id = ?", (body, row_id)
            )
            self._ahead = deque(
                replace(row, body=body) if row.row_id == row_id else row for row in self._ahead
            )

    def count_attempts(self, attempts: Iterable[tuple[int, str]]) -> None:
        for row_id, reason in attempts:
            self._connection.execute(
                "UPDATE outbox SET attempts = attempts + 1, reason = ? WHERE row_id = ?",
                (reason, row_id),
            )
            self._ahead = deque(
                replace(row, attempts=row.attempts + 1, reason=reason)
                if row.row_id == row_id
                else row
                for row in self._ahead
            )

    def set_aside(self, refused: Iterable[tuple[int, str]]) -> None:
        """Moves rows out of the queue and keeps them with the reason."""
        for row_id, reason in refused:
            self._connection.execute(
                f"INSERT INTO set_aside ({_COLUMNS})"
                f" SELECT {_COLUMNS.replace(', reason', '')}, ? FROM outbox WHERE row_id = ?",
                (reason, row_id),
            )
            gone = self._connection.execute(
                "DELETE FROM outbox WHERE row_id = ? RETURNING event_type", (row_id,)
            ).fetchone()
            if gone is not None:
                self._has_left(row_id, gone[0])
                self.set_aside_count += 1

    def _has_left(self, row_id: int, event_type: str) -> None:
        self.waiting -= 1
        self._thinnable -= event_type == THINNABLE
        if self._ahead and self._ahead[0].row_id == row_id:
            self._ahead.popleft()
        else:
            self._ahead = deque(row for row in self._ahead if row.row_id != row_id)

    def thin(self) -> int:
        """Above the limit: drops every second Updated row but the head (E04.FR.08); how many.

        The head stays because it may be under way. Where hardly any Updated rows are left the
        scan is not worth it and the outbox grows: nothing else may go.
        """
        worthwhile = max(2, self._max_rows // 32)
        if self.waiting <= self._max_rows or self._thinnable < worthwhile:
            return 0
        dropped = self._connection.execute(
            "DELETE FROM outbox WHERE row_id IN ("
            " SELECT row_id FROM (SELECT row_id, row_number() OVER (ORDER BY row_id) AS place"
            "  FROM outbox WHERE event_type = ? AND row_id > (SELECT min(row_id) FROM outbox))"
            " WHERE place % 2 = 1)",
            (THINNABLE,),
        ).rowcount
        self.waiting -= dropped
        self._thinnable -= dropped
        self._ahead.clear()
        return dropped


def _head_row(row: tuple[Any, ...]) -> HeadRow:
    """A row of `_COLUMNS`; SQLite has no booleans."""
    values = list(row)
    values[5] = bool(values[5])
    return HeadRow(*values)
