"""A restart waits until the CSMS has heard what it ended (B12.FR.04), but not for ever (FR.05)."""

from agent.core.effects import Restart
from agent.core.events import Now, OutboxHead
from agent.ocpp.connection import Connection

LEAVE_WAIT_S = 40.0
"""Longer than one answer may take; what is still unanswered then is sent after the restart."""


class Leaving:
    """Holds a Restart back while rows wait and somebody is there to hear them."""

    def __init__(self) -> None:
        self._restart: Restart | None = None
        self._until_s = 0.0
        self._is_counted = False

    def hold(self, restart: Restart, now: Now) -> None:
        """What was recorded in the same turn is counted with the next OutboxHead. Ordered again
        it waits no longer."""
        if self._restart is None:
            self._until_s = now.mono_s + LEAVE_WAIT_S
        self._restart, self._is_counted = restart, False

    def deadline(self) -> float | None:
        return None if self._restart is None else self._until_s

    def after(self, event: object, connection: Connection, now: Now) -> list[Restart]:
        """The Restart, once nothing holds it any more."""
        restart = self._restart
        if restart is None:
            return []
        self._is_counted = self._is_counted or isinstance(event, OutboxHead)
        told = connection.waiting == 0 and connection.in_flight is None
        is_due = self._is_counted and (told or not connection.online)
        if not is_due and now.mono_s < self._until_s:
            return []
        self._restart = None
        return [restart]
