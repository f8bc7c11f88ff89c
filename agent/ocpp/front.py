"""The oldest rows of the outbox, as far as the connection knows them: what is sent next, when, and
what becomes of a row that is refused (E13)."""

from collections import deque
from collections.abc import Callable

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow


class Front:
    """One row at a time: it stays until it is answered or set aside, then the one behind it is
    next, without asking the store as long as some are known."""

    def __init__(self, seconds: Callable[[str, str], float]) -> None:
        """`seconds(variable, instance)`: a number of OCPPCommCtrlr."""
        self.waiting = 0
        """Rows in the outbox."""
        self._rows: deque[OutboxRow] = deque()
        self._seconds = seconds
        self._sent_row_id = 0
        self._first_sent_s = 0.0
        """When the row that was sent last was sent for the first time."""
        self._is_asked = False
        self._gone_row_id = 0
        """Newest row that was settled or set aside; one that is not newer is stale."""
        self._retry_at_s = 0.0

    @property
    def row(self) -> OutboxRow | None:
        """The oldest one."""
        return self._rows[0] if self._rows else None

    def take(self, event: ev.OutboxHead) -> None:
        """The oldest waiting rows; those that left since the store looked are passed over."""
        if event.row is None:
            self._rows, self.waiting, self._is_asked = deque(), event.waiting, False
            return
        rows = (event.row, *event.following)
        known = deque(row for row in rows if row.row_id > self._gone_row_id)
        if known:
            self._rows, self._is_asked = known, False
            self.waiting = event.waiting - len(rows) + len(known)

    def due(self, now: Now) -> OutboxRow | None:
        """The row, unless it must wait after a refusal."""
        return self.row if now.mono_s >= self._retry_at_s else None

    def deadline(self) -> float | None:
        return self._retry_at_s if self._rows else None

    def fetch(self) -> list[ef.FetchHead]:
        """Asks the store once where the row is not known."""
        if self._rows or self.waiting == 0 or self._is_asked:
            return []
        return [self._ask()]

    def forget(self) -> list[ef.FetchHead]:
        """The store is asked what is oldest now."""
        self._rows.clear()
        return [self._ask()]

    def sends(self, row: OutboxRow, now: Now) -> None:
        if row.row_id != self._sent_row_id:
            self._sent_row_id, self._first_sent_s = row.row_id, now.mono_s

    def answered(self, row: OutboxRow) -> list[object]:
        """The CSMS has it."""
        return [ef.SettleRow(row.row_id), *self.leaves(row)]

    def refused(self, row: OutboxRow, reason: str, now: Now) -> list[object]:
        """E13.FR.02 to FR.04: a row is tried MessageAttempts times, then set aside."""
        counted = ef.CountAttempt(row.row_id, reason)
        attempts = row.attempts + 1
        if self._is_last(row):
            found = self.leaves(row)
            text = (
                f"CSMS: {row.action} refused {attempts} times ({reason}), set aside;"
                " `chargepoint queue --set-aside` shows it"
            )
            return [counted, ef.SetAside(row.row_id, reason), *found, ef.Log(3, text)]
        wait_s = self._seconds("MessageAttemptInterval", "TransactionEvent") * attempts
        # the commit that counts it brings the row again
        self._rows.clear()
        self._is_asked, self._retry_at_s = True, now.mono_s + wait_s
        return [counted]

    def is_on_trial(self, row: OutboxRow | None, answered_s: float) -> bool:
        """It is the row's last attempt, and the CSMS, which answered last at `answered_s`, has
        answered nothing since its first."""
        return row is not None and self._is_last(row) and answered_s <= self._first_sent_s

    def _is_last(self, row: OutboxRow) -> bool:
        return row.attempts + 1 >= self._seconds("MessageAttempts", "TransactionEvent")

    def leaves(self, row: OutboxRow) -> list[ef.FetchHead]:
        """It was answered or is set aside; where none is known behind it, the commit of that
        brings the next."""
        self._retry_at_s, self._gone_row_id = 0.0, row.row_id
        while self._rows and self._rows[0].row_id <= row.row_id:
            self._rows.popleft()
            self.waiting -= 1
        return self.fetch()

    def _ask(self) -> ef.FetchHead:
        self._is_asked = True
        return ef.FetchHead()
