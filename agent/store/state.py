"""The small tables: state by key, and the bounded table of tokens.

Everything here runs in the database's thread, changes inside a transaction of the caller.
"""

import sqlite3
from collections.abc import Iterable

from agent.store.checksum import Damaged, checksum
from agent.store.rows import TokenRow


def read_state(connection: sqlite3.Connection) -> dict[str, str]:
    """All values by key. Raises Damaged."""
    state = {}
    for key, value, kept in connection.execute("SELECT key, value, checksum FROM state"):
        if kept is not None and kept != checksum(key, value):
            raise Damaged(f"state {key} is not as it was written")
        state[key] = value
    return state


def save_state(connection: sqlite3.Connection, values: Iterable[tuple[str, str | None]]) -> None:
    """Keeps each value under its key; None deletes the key."""
    for key, value in values:
        if value is None:
            connection.execute("DELETE FROM state WHERE key = ?", (key,))
        else:
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                " value = excluded.value, checksum = excluded.checksum",
                (key, value, checksum(key, value)),
            )


class Tokens:
    """At most `max_tokens` entries; not accepted ones go first, then the least recently used.

    A look-up costs no write: uses are remembered here and written with the next commit; those
    of the last moments before a power cut are forgotten.
    """

    def __init__(self, connection: sqlite3.Connection, max_tokens: int) -> None:
        self._connection = connection
        self._max_tokens = max_tokens
        self._used: dict[tuple[str, str], int] = {}
        (self._last_use,) = connection.execute(
            "SELECT coalesce(max(last_use), 0) FROM token"
        ).fetchone()
        self.count = self.bytes = 0
        self._is_counted = False
        self.recount()

    def forget(self) -> None:
        """A transaction failed: the figure kept here may be wrong."""
        self._is_counted = False

    def recount(self) -> None:
        """Makes `count` and `bytes` true again after `forget`."""
        if not self._is_counted:
            self.count, self.bytes = self._connection.execute(
                "SELECT count(*), coalesce(sum(length(CAST(value_key AS BLOB)) + length(type)"
                " + length(CAST(info_json AS BLOB))), 0) FROM token"
            ).fetchone()
            self._is_counted = True

    def look_up(self, value_key: str, type_: str) -> str | None:
        """The entry's JSON text, or None; counts as a use."""
        found = self._connection.execute(
            "SELECT info_json FROM token WHERE value_key = ? AND type = ?", (value_key, type_)
        ).fetchone()
        if found is None:
            return None
        self._last_use += 1
        self._used[value_key, type_] = self._last_use
        return str(found[0])

    @property
    def has_uses(self) -> bool:
        """Some wait for the next commit."""
        return bool(self._used)

    def write_uses(self) -> None:
        if not self._used:
            return
        self._connection.executemany(
            "UPDATE token SET last_use = ? WHERE value_key = ? AND type = ?",
            [(use, *name) for name, use in self._used.items()],
        )

    def uses_are_kept(self) -> None:
        """The transaction with the written uses was committed."""
        self._used.clear()

    def forget_all(self) -> None:
        self._connection.execute("DELETE FROM token")
        self.count = self.bytes = 0

    def remove(self, names: Iterable[tuple[str, str]]) -> None:
        """Single entries, by (value_key, type)."""
        gone = self._connection.executemany(
            "DELETE FROM token WHERE value_key = ? AND type = ?", names
        )
        if gone.rowcount > 0:
            self.forget()
            self.recount()

    def save(self, rows: Iterable[TokenRow]) -> None:
        for row in rows:
            self._last_use += 1
            self._connection.execute(
                "INSERT INTO token (value_key, type, accepted, last_use, updated_s, info_json)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (value_key, type) DO UPDATE SET"
                " accepted = excluded.accepted, last_use = excluded.last_use,"
                " updated_s = excluded.updated_s, info_json = excluded.info_json",
                (
                    row.value_key,
                    row.type,
                    row.accepted,
                    self._last_use,
                    row.updated_s,
                    row.info_json,
                ),
            )
        self.forget()
        self.recount()
        self._evict()

    def _evict(self) -> None:
        excess = self.count - self._max_tokens
        if excess > 0:
            self._connection.execute(
                "DELETE FROM token WHERE (value_key, type) IN"
                " (SELECT value_key, type FROM token ORDER BY accepted, last_use LIMIT ?)",
                (excess,),
            )
            self.forget()
            self.recount()
