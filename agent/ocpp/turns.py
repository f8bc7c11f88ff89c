"""CALLs that wait for their turn: what somebody waits for first, reports between rows."""

from heapq import heapify, heappop, heappush
from typing import NamedTuple

from agent.ocpp.calls import OutgoingCall, Stream

REPORTS = 9
"""Priority of what leaves in turns with the outbox; what is below leaves before it."""
MOST_REPORTS = 4
"""Long answers that wait; a CSMS that asks for more is told to come again (B07.FR.13)."""
MOST_CALLS = 100
"""CALLs that wait before another one of the CSMS that would add to them is refused."""


class Queued(NamedTuple):
    """A CALL that waits its turn; `precedes_boot`: the CSMS asked for it while Pending."""

    priority: int
    number: int
    item: OutgoingCall | Stream
    precedes_boot: bool


class Turns:
    """In memory only: what waits here is forgotten with the link."""

    def __init__(self) -> None:
        self._queue: list[Queued] = []
        self._queued = 0
        self._report_went = False

    def add(self, item: OutgoingCall | Stream, priority: int, *, precedes_boot: bool) -> None:
        self._queued += 1
        heappush(self._queue, Queued(priority, self._queued, item, precedes_boot))

    @property
    def takes_report(self) -> bool:
        """There is room for one more long answer."""
        return sum(isinstance(queued.item, Stream) for queued in self._queue) < MOST_REPORTS

    @property
    def is_crowded(self) -> bool:
        """The CSMS asks for more than it answers."""
        return len(self._queue) >= MOST_CALLS

    @property
    def has_report(self) -> bool:
        """Nothing waits but reports, and at least one of them."""
        return bool(self._queue) and self._queue[0].priority >= REPORTS

    def urgent(self) -> Queued | None:
        """Takes what leaves before the outbox."""
        if not self._queue or self.has_report:
            return None
        return heappop(self._queue)

    def report(self, *, row_waits: bool) -> Queued | None:
        """Takes a report, where one waits and it is not the turn of a row."""
        if not self.has_report or (row_waits and self._report_went):
            return None
        self._report_went = True
        return heappop(self._queue)

    def row_goes(self) -> None:
        """The next turn is a report's."""
        self._report_went = False

    def before_boot(self) -> Queued | None:
        """Takes what may leave before the boot is accepted (B02.FR.02)."""
        allowed = [queued for queued in self._queue if queued.precedes_boot]
        if not allowed:
            return None
        queued = min(allowed)
        self._queue.remove(queued)
        heapify(self._queue)
        return queued

    def give_up(self) -> list[OutgoingCall]:
        """Empties it; the CALLs that will never be answered, in their order."""
        given_up = [queued.item for queued in sorted(self._queue, key=lambda q: q[:2])]
        self._queue.clear()
        return [item for item in given_up if isinstance(item, OutgoingCall)]
