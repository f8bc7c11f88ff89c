"""One SQLite file, one connection, one thread: the durable side of the agent."""

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from agent.store.checksum import no_text_is_damage
from agent.store.damage import is_damage, words
from agent.store.file import MEMORY, fault, open_file, replace_file
from agent.store.outbox import Outbox
from agent.store.rows import GAPS_KEY, Batch, Committed, Counts, HeadRow, Known, StoreFault
from agent.store.state import Tokens, read_state, save_state
from agent.store.thread import StoreThread

THINNED_KEY = "store/thinned"
"""State key under which the store counts the rows it gave up."""

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_NOTHING = Batch()


class _Database:
    """The work itself; constructed and used in one thread only."""

    def __init__(self, path: str, max_rows: int, max_tokens: int) -> None:
        self._path, self._max_rows, self._max_tokens = path, max_rows, max_tokens
        self._damage: str | None = None
        """Why the file is given up at the next call."""
        self._state: dict[str, str] | None = None
        self._last_row_id = 0
        self._is_log_doubtful = False
        """A commit failed: what it left in the log must not look like one that was lost."""
        self._is_news = False
        """See `Committed`."""
        self._connection, self.notices = open_file(path)
        try:
            with no_text_is_damage():
                self._read()
        except sqlite3.Error as error:
            self._note(error)
            if self._damage is None:
                raise
            self._state = None
            self._mend()
        ours = (THINNED_KEY, GAPS_KEY)
        self.saved = {key: value for key, value in self.state.items() if key not in ours}

    @property
    def state(self) -> dict[str, str]:
        """The state table as it was last committed; outlives damage to the file."""
        assert self._state is not None
        return self._state

    def _read(self) -> None:
        """Takes up what the file holds."""
        self._state = read_state(self._connection)
        self._thinned = int(self._state.get(THINNED_KEY, "0"))
        has_gaps = self._thinned > 0 or GAPS_KEY in self._state
        self.outbox = Outbox(self._connection, self._max_rows, has_gaps=has_gaps)
        self.tokens = Tokens(self._connection, self._max_tokens)
        self._last_row_id = self.outbox.last_row_id
        self.counts_at_open = self.counts()

    def carry_out(self, work: "Callable[[_Database], _T]") -> _T:
        """Every call from outside; the one after damage was seen begins with a sound file."""
        try:
            with no_text_is_damage():
                self._mend()
                return work(self)
        except sqlite3.Error as error:
            self._note(error)
            raise

    def _note(self, error: sqlite3.Error) -> None:
        if is_damage(error) and self._path != MEMORY:
            self._damage = words(error)

    def _mend(self) -> None:
        if self._damage is None:
            return
        self._connection.close()
        known = Known(self._state, self._last_row_id)
        self._connection, notice = replace_file(self._path, self._damage, known)
        self._damage = None
        log.error("%s", notice)
        self.notices = (notice, *self.notices)
        self._is_news = True
        self._read()

    def commit(self, batch: Batch) -> Committed:
        """One transaction, one sync; then the oldest waiting row, mostly from memory.

        What fails after the transaction is no failure of the commit; the head is then unknown.
        """
        self.outbox.recount()
        if batch != _NOTHING:
            thinned = self._thinned
            try:
                if self._is_one_answer(batch):
                    self.outbox.settle(batch.settle)  # a transaction by itself
                else:
                    self._connection.execute("BEGIN IMMEDIATE")
                    thinned += self._apply(batch)
                    self._connection.execute("COMMIT")
            except BaseException:
                # The first error tells what is wrong; a failed COMMIT may have rolled back.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                self.outbox.forget()
                self.tokens.forget()
                self._is_log_doubtful = True
                raise
            self._has_committed(batch, thinned)
        try:
            return self.head()
        except sqlite3.Error as error:
            if batch == _NOTHING:
                raise
            self._note(error)
            return Committed(None, self.outbox.waiting, is_news=True)

    def _is_one_answer(self, batch: Batch) -> bool:
        """Nothing but one row goes, as for each event of a queue that drains."""
        is_alone = len(batch.settle) == 1 and batch == Batch(settle=batch.settle)
        return is_alone and not (self.tokens.has_uses or self.outbox.is_crowded)

    def _has_committed(self, batch: Batch, thinned: int) -> None:
        self._is_news = self._is_news or thinned != self._thinned
        self._thinned = thinned
        self._last_row_id = self.outbox.last_row_id
        self.tokens.uses_are_kept()
        for key, value in (*batch.save, (THINNED_KEY, str(thinned) if thinned else None)):
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        if self._is_log_doubtful:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                self._is_log_doubtful = False

    def _apply(self, batch: Batch) -> int:
        save_state(self._connection, batch.save)
        if batch.forget_tokens:
            self.tokens.forget_all()
        self.tokens.remove(batch.forget)
        self.tokens.write_uses()
        if batch.save_tokens:
            self.tokens.save(batch.save_tokens)
        self.outbox.freeze(batch.freeze)
        self.outbox.settle(batch.settle)
        self.outbox.count_attempts(batch.attempts)
        self.outbox.set_aside(batch.set_aside)
        self.outbox.enqueue(batch.enqueue)
        thinned = self.outbox.thin() + self.outbox.thin_set_aside()
        if thinned:
            save_state(self._connection, [(THINNED_KEY, str(self._thinned + thinned))])
        return thinned

    def head(self) -> Committed:
        self.outbox.recount()
        head, is_news = self.outbox.head(), self._is_news
        self._is_news = False
        return Committed(head, self.outbox.waiting, self.outbox.following(), is_news)

    def counts(self) -> Counts:
        self.outbox.recount()
        self.tokens.recount()
        return Counts(
            waiting=self.outbox.waiting,
            set_aside=self.outbox.set_aside_count,
            thinned=self._thinned,
            tokens=self.tokens.count,
            token_bytes=self.tokens.bytes,
        )

    def close(self) -> None:
        self._connection.close()


class Store:
    """Made by `open_store`. Calls are carried out in the order they were made.

    Every method raises StoreFault when the disk or the database fails; a commit that raised
    changed nothing. Cancelling a call leaves it to be carried out, only its result is lost.
    """

    saved: dict[str, str]
    """The state table as it was at open."""
    notices: tuple[str, ...]
    """What the technician should know about the file: damage, what was taken over from it."""

    def __init__(self, path: str, thread: StoreThread | None) -> None:
        self._path = path
        self._thread = thread
        self._database: _Database | None = None
        self._counts = Counts()

    async def _open(self, max_rows: int, max_tokens: int) -> None:
        database = await self._in_thread(lambda: _Database(self._path, max_rows, max_tokens))
        self._database = database
        self.saved, self.notices = database.saved, database.notices
        self._counts = database.counts_at_open

    async def commit(self, batch: Batch) -> Committed:
        """Makes the whole batch durable, or raises and changes nothing; one sync."""
        return await self._run(lambda database: database.commit(batch))

    async def head(self) -> Committed:
        """The oldest waiting row."""
        return await self._run(lambda database: database.head())

    async def look_up(self, value_key: str, type: str) -> str | None:
        """The info_json of a token, or None."""
        return await self._run(lambda database: database.tokens.look_up(value_key, type))

    async def waiting_rows(self, after: int, limit: int) -> list[HeadRow]:
        """Waiting rows with an id above `after`, oldest first."""
        return await self._run(lambda database: database.outbox.rows(after, limit))

    async def holds(self, action: str, part: str) -> bool:
        """Whether a message of that action waits whose body contains `part`."""
        return await self._run(lambda database: database.outbox.holds(action, part))

    async def mentions(self, part: str, limit: int, *, set_aside: bool) -> list[HeadRow]:
        """Messages whose body contains `part` in any case of its letters, oldest first."""
        return await self._run(lambda database: database.outbox.mentions(part, limit, set_aside))

    async def set_aside_rows(self, after: int, limit: int) -> list[HeadRow]:
        """Rows that were refused to the end with an id above `after`, oldest first, with their
        reasons. Only Updated rows among them are bounded: the others are money to look after."""
        return await self._run(lambda database: database.outbox.set_aside_rows(after, limit))

    def counts(self) -> Counts:
        """Figures as of the last call; touches no disk."""
        return self._counts

    async def close(self) -> None:
        """Writes the log back into the file and lets go of it. Closing twice is no error."""
        database, self._database = self._database, None
        try:
            if database is not None:
                await self._in_thread(database.close)
        finally:
            self._stop_thread()

    def _stop_thread(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    async def _run(self, work: Callable[[_Database], _T]) -> _T:
        database = self._database
        if database is None:
            raise StoreFault(f"store {self._path} is closed; start the service again")

        def work_and_count() -> _T:
            result = database.carry_out(work)
            self._counts, self.notices = database.counts(), database.notices
            return result

        return await self._in_thread(work_and_count)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._thread is None:
            return self._guarded(work)
        return await self._thread.carry_out(partial(self._guarded, work))

    def _guarded(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            raise fault(self._path, error) from error


async def open_store(
    path: str, *, inline: bool = False, max_rows: int = 50_000, max_tokens: int = 2_000
) -> Store:
    """Opens or creates the database (file 0600). Raises StoreFault.

    `inline` does the work in the calling thread, for benches with virtual time; the path
    ":memory:" keeps nothing. Above `max_rows` Updated rows are thinned out.
    """
    store = Store(path, None if inline else StoreThread())
    try:
        await store._open(max_rows, max_tokens)
    except BaseException:
        store._stop_thread()
        raise
    return store
