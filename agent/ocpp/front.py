"""The oldest row of the outbox, as far as the connection knows it: what is sent next, and when."""

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow


class Front:
    """One row at a time: it stays until it is answered or set aside (E13)."""

    def __init__(self) -> None:
        self.row: OutboxRow | None = None
        self.waiting = 0
        """Rows in the outbox."""
        self.first_sent_s = 0.0
        """When the row that was sent last was sent for the first time."""
        self._sent_row_id = 0
        self._is_asked = False
        self._gone_row_id = 0
        """Newest row that was settled or set aside; a head that is not newer is stale."""
        self._retry_at_s = 0.0

    def take(self, event: ev.OutboxHead) -> None:
        """The oldest waiting row; one that left since the store looked is passed over."""
        if event.row is not None and event.row.row_id <= self._gone_row_id:
            return
        self.row, self.waiting, self._is_asked = event.row, event.waiting, False

    def due(self, now: Now) -> OutboxRow | None:
        """The row, unless it must wait after a refusal."""
        return self.row if now.mono_s >= self._retry_at_s else None

    def deadline(self) -> float | None:
        return self._retry_at_s if self.row is not None else None

    def fetch(self) -> list[ef.FetchHead]:
        """Asks the store once where the row is not known."""
        if self.row is not None or self.waiting == 0 or self._is_asked:
            return []
        return [self._ask()]

    def forget(self) -> list[ef.FetchHead]:
        """The store is asked what is oldest now."""
        self.row = None
        return [self._ask()]

    def sends(self, row: OutboxRow, now: Now) -> None:
        if row.row_id != self._sent_row_id:
            self._sent_row_id, self.first_sent_s = row.row_id, now.mono_s

    def leaves(self, row: OutboxRow) -> None:
        """It was answered or is set aside; the commit of that brings the next."""
        self.row, self._is_asked, self._retry_at_s = None, True, 0.0
        self._gone_row_id = row.row_id

    def retry(self, at_s: float) -> None:
        """Refused: the commit that counts it brings the row again."""
        self.row, self._is_asked, self._retry_at_s = None, True, at_s

    def _ask(self) -> ef.FetchHead:
        self._is_asked = True
        return ef.FetchHead()
