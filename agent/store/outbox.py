"""The outbox table: messages in the order recorded, the oldest ones kept ready in memory.

Everything here runs in the database's thread. Changes happen inside a transaction of the caller,
who calls `forget` when it failed.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from agent.store.checksum import Damaged, checksum
from agent.store.rows import HeadRow, NewRow

AHEAD = 32
"""Oldest waiting rows kept in memory, so that draining needs no SELECT per row."""
THINNABLE = "Updated"
SWEEP = 128
"""Row ids that are looked at in one commit where the outbox is too long."""
COUNTED = 20_000
"""Up to so many rows are counted at the start, longer queues are told by the ids of their ends."""
_COLUMNS = (
    "row_id, message_id, action, body, boot_id, offline, event_type, created_s, attempts, reason"
)


class _Transaction(Struct):
    id: str = field(name="transactionId", default="")


class _Body(Struct):
    transaction: _Transaction = field(name="transactionInfo", default_factory=_Transaction)


class Outbox:
    """Rows leave strictly in the order of their ids, and only by `settle` or `set_aside`."""

    def __init__(
        self, connection: sqlite3.Connection, max_rows: int, *, has_gaps: bool = False
    ) -> None:
        """`has_gaps`: rows may have left from the middle, so that ids do not tell how many wait."""
        self._connection = connection
        self._max_rows = max_rows
        self._has_gaps = has_gaps
        self._ahead: deque[HeadRow] = deque()
        self.waiting = 0
        self.set_aside_count = 0
        self._is_counted = False
        (self.last_row_id,) = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
        ).fetchone()
        """Newest row that ever was."""
        self._swept_to = 0
        """Thinning goes on behind this row."""
        self._round_dropped = 0
        self._sweep_above = max_rows
        self._set_aside_above = max_rows
        """Beyond this many refused rows some go; more, once nothing was found that may go."""
        self._is_odd: dict[str, bool] = {}
        """By transaction: the last Updated row that was looked at was dropped."""
        self.recount()

    def forget(self) -> None:
        """What is kept in memory may not be what the file holds: read it again when needed."""
        self._ahead.clear()
        self._is_counted = False
        self._begin_round()

    def recount(self) -> None:
        """Makes the figures true again after `forget`."""
        if self._is_counted:
            return
        (self.waiting,) = self._connection.execute(
            "SELECT (SELECT max(row_id) FROM outbox) - (SELECT min(row_id) FROM outbox) + 1"
        ).fetchone()
        if self.waiting is None or self._has_gaps or self.waiting <= COUNTED:
            (self.waiting,) = self._connection.execute("SELECT count(*) FROM outbox").fetchone()
        (self.set_aside_count,) = self._connection.execute(
            "SELECT count(*) FROM set_aside"
        ).fetchone()
        self._is_counted = True

    def head(self) -> HeadRow | None:
        """The oldest waiting row."""
        if not self._ahead and self.waiting:
            self._ahead.extend(self.rows(after=0, limit=AHEAD))
            if len(self._ahead) < AHEAD:
                self.waiting = len(self._ahead)
        return self._ahead[0] if self._ahead else None

    def following(self) -> tuple[HeadRow, ...]:
        """Those behind the oldest that are in memory."""
        return tuple(islice(self._ahead, 1, None))

    def rows(self, after: int, limit: int) -> list[HeadRow]:
        """Waiting rows with an id above `after`, oldest first. Raises Damaged."""
        return select_rows(self._connection, "outbox", after, limit)

    def holds(self, action: str, part: str) -> bool:
        """Whether a message of that action waits whose body contains `part`."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE action = ? AND instr(body, ?) > 0)",
            (action, part),
        ).fetchone()
        return bool(found)

    def mentions(self, part: str, limit: int, set_aside: bool) -> list[HeadRow]:
        """Messages whose body contains `part` in any case of its letters (ASCII), oldest first."""
        table = "set_aside" if set_aside else "outbox"
        rows = self._connection.execute(
            f"SELECT {_COLUMNS}, NULL FROM {table} WHERE instr(lower(body), lower(?)) > 0"
            " ORDER BY row_id LIMIT ?",
            (part, limit),
        )
        return [_head_row(row) for row in rows]

    def set_aside_rows(self, after: int, limit: int) -> list[HeadRow]:
        """Rows that were refused to the end, with an id above `after`, oldest first."""
        return select_rows(self._connection, "set_aside", after, limit)

    def enqueue(self, rows: Iterable[NewRow]) -> None:
        for row in rows:
            has_all_ahead = len(self._ahead) == self.waiting
            row_id = self._connection.execute(
                "INSERT INTO outbox"
                " (message_id, action, body, boot_id, offline, event_type, created_s, checksum)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.message_id,
                    row.action,
                    row.body,
                    row.boot_id,
                    row.offline,
                    row.event_type,
                    row.created_s,
                    _checksum(row, row.body),
                ),
            ).lastrowid
            assert row_id is not None
            self.last_row_id = row_id
            self.waiting += 1
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
            if self._delete(row_id):
                self._has_left(row_id)

    def freeze(self, bodies: Iterable[tuple[int, str]]) -> None:
        """Replaces the bodies of waiting rows; an unknown id is passed over."""
        for row_id, body in bodies:
            found = self.rows(after=row_id - 1, limit=1)
            if not found or found[0].row_id != row_id:
                continue
            self._connection.execute(
                "UPDATE outbox SET body = ?, checksum = ? WHERE row_id = ?",
                (body, _checksum(found[0], body), row_id),
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
            if self._delete(row_id):
                self._has_left(row_id)
                self.set_aside_count += 1

    @property
    def is_crowded(self) -> bool:
        """There is more than may stay: `thin` or `thin_set_aside` have something to do."""
        has_too_many = self.waiting > self._sweep_above
        return has_too_many or self.set_aside_count > self._set_aside_above

    def thin_set_aside(self) -> int:
        """Above the limit: the oldest Updated rows that were refused go; how many. A CSMS that
        refuses every event must not fill the disk; a begin and an end are money and stay."""
        excess = self.set_aside_count - self._set_aside_above
        if excess <= 0:
            return 0
        dropped = self._connection.execute(
            "DELETE FROM set_aside WHERE row_id IN"
            " (SELECT row_id FROM set_aside WHERE event_type = ? ORDER BY row_id LIMIT ?)",
            (THINNABLE, excess + self._worthwhile),
        ).rowcount
        self.set_aside_count -= dropped
        if dropped < excess:
            self._set_aside_above = self.set_aside_count + self._worthwhile
        return dropped

    def _delete(self, row_id: int) -> bool:
        """Whether it was there."""
        deleted = self._connection.execute("DELETE FROM outbox WHERE row_id = ?", (row_id,))
        return deleted.rowcount == 1

    def _has_left(self, row_id: int) -> None:
        self.waiting -= 1
        if self._ahead and self._ahead[0].row_id == row_id:
            self._ahead.popleft()
        else:
            self._has_gaps = True
            self._ahead = deque(row for row in self._ahead if row.row_id != row_id)

    def thin(self) -> int:
        """Above the limit: drops the 1st, 3rd, 5th ... Updated row of each transaction among the
        next `SWEEP` ids, from the oldest on and round again (E04.FR.08); how many.

        The head stays because it may be under way. After a round that found hardly any Updated
        rows the outbox may grow for a while: nothing else may go.
        """
        if self.waiting <= self._sweep_above:
            return 0
        oldest, newest = self._connection.execute(
            "SELECT (SELECT min(row_id) FROM outbox), (SELECT max(row_id) FROM outbox)"
        ).fetchone()
        begin = max(self._swept_to, oldest)
        dropped = self._sweep(begin, begin + SWEEP)
        self._swept_to = begin + SWEEP
        self._round_dropped += dropped
        if self._swept_to >= newest:
            is_barren = self._round_dropped < self._worthwhile
            self._begin_round()
            self._sweep_above = self.waiting + self._worthwhile if is_barren else self._max_rows
        return dropped

    @property
    def _worthwhile(self) -> int:
        return max(2, self._max_rows // 32)

    def _begin_round(self) -> None:
        self._swept_to = self._round_dropped = 0
        self._is_odd.clear()

    def _sweep(self, after: int, to: int) -> int:
        swept = self._connection.execute(
            "SELECT row_id, body FROM outbox"
            " WHERE row_id > ? AND row_id <= ? AND event_type = ? ORDER BY row_id",
            (after, to, THINNABLE),
        ).fetchall()
        dropped = 0
        for row_id, body in swept:
            transaction = _transaction_of(body)
            is_odd = self._is_odd[transaction] = not self._is_odd.get(transaction, False)
            if is_odd:
                dropped += self._delete(row_id)
        if dropped:
            self.waiting -= dropped
            self._has_gaps = True
            self._ahead.clear()
        return dropped


def select_rows(
    connection: sqlite3.Connection,
    table: str,
    after: int,
    limit: int,
    *,
    has_checksums: bool = True,
) -> list[HeadRow]:
    """Rows of `outbox` or `set_aside` with an id above `after`, oldest first. Raises Damaged."""
    more = ", checksum" if table == "outbox" and has_checksums else ", NULL"
    rows = connection.execute(
        f"SELECT {_COLUMNS}{more} FROM {table} WHERE row_id > ? ORDER BY row_id LIMIT ?",
        (after, limit),
    )
    return [_head_row(row) for row in rows]


def _head_row(row: tuple[Any, ...]) -> HeadRow:
    """A row of `_COLUMNS` and its checksum; SQLite has no booleans."""
    *values, kept = row
    values[5] = bool(values[5])
    head = HeadRow(*values)
    if kept is not None and kept != _checksum(head, head.body):
        raise Damaged(f"outbox row {head.row_id} is not as it was written")
    return head


def _checksum(row: NewRow | HeadRow, body: str) -> int:
    return checksum(
        row.message_id,
        row.action,
        row.boot_id,
        row.offline,
        row.event_type,
        row.created_s,
        body,
    )


def _transaction_of(body: str) -> str:
    """What tells the Updated rows of one transaction from those of another."""
    try:
        return msgspec.json.decode(body, type=_Body).transaction.id
    except msgspec.MsgspecError:
        return ""
