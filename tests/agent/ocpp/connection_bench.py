"""A connection driven as the router does it, with a clock of its own."""

import json
from collections.abc import Iterable
from typing import Any

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow
from agent.ocpp.connection import Connection, Slot
from drivers.contract import Permit

SLOTS = (Slot("ws://a/CP", "CP", 1), Slot("ws://b/CP", "CP", 1))
DEFAULTS = {
    "HeartbeatInterval": "300",
    "RetryBackOffWaitMinimum": "5",
    "RetryBackOffRandomRange": "0",
    "RetryBackOffRepeatTimes": "3",
    "WebSocketPingInterval": "30",
    "NetworkProfileConnectionAttempts": "3",
    "MessageTimeout": "30",
    "MessageAttempts": "3",
    "MessageAttemptInterval": "10",
}
BODY = '{"eventType":"Started","timestamp":"@1.000"}'


class Driver:
    """A connection, a clock, and what it sent."""

    def __init__(
        self,
        slots: tuple[Slot, ...] = SLOTS[:1],
        random: float = 0.5,
        saved: dict[str, str] | None = None,
        **variables: str,
    ) -> None:
        values = DEFAULTS | variables
        self.connection = Connection(slots, lambda component, name, instance: values[name], saved)
        self.connection.start({"reason": "PowerUp"})
        self.mono_s = 0.0
        self.random = random
        self.ids = iter(f"id-{n}" for n in range(10_000))
        self.sent: list[tuple[float, str, str, Any]] = []
        """(time, message id, action, payload)"""
        self.dials: list[tuple[float, int]] = []
        self.effects: list[object] = []

    @property
    def now(self) -> Now:
        return Now(
            self.mono_s, 1e9, True, "b1", Permit(0), lambda: self.random, lambda: next(self.ids)
        )

    def take(self, effects: Iterable[object]) -> list[object]:
        taken = [*effects, *self.connection.send_next(self.now)]
        for effect in taken:
            if isinstance(effect, ef.SendFrame):
                _, message_id, action, payload = json.loads(effect.text)
                self.sent.append((self.mono_s, message_id, action, payload))
            elif isinstance(effect, ef.Dial):
                self.dials.append((self.mono_s, effect.slot))
        self.effects += taken
        return taken

    def run(self, for_s: float) -> None:
        """Ticks at each deadline that comes within the time."""
        end_s = self.mono_s + for_s
        for _ in range(10_000):
            due_s = self.connection.deadline(self.now)
            if due_s is None or due_s > end_s:
                self.mono_s = end_s
                return
            self.mono_s = max(self.mono_s, due_s)
            self.take(self.connection.tick(self.now))
        raise AssertionError("the deadlines do not move on")

    def close(self) -> list[object]:
        return self.take(self.connection.closed("gone", self.now))

    def boot(self, status: str = "Accepted", interval_s: float = 300) -> list[object]:
        self.answer({})
        return self.take(self.connection.booted(status, interval_s, self.now))

    def online(self) -> None:
        self.dial_and_open()
        self.boot()
        self.head()

    def dial_and_open(self) -> None:
        if self.connection.link == "down":
            while self.connection.link != "dialling":
                self.mono_s = max(self.mono_s, self.connection.deadline(self.now) or 0.0)
                self.take(self.connection.tick(self.now))
        self.take(self.connection.opened(self.now))

    def answer(self, payload: Any, message_id: str | None = None) -> list[object]:
        self.connection.heard(self.now)
        message_id = message_id or self.sent[-1][1]
        return self.take(self.connection.response(message_id, payload, self.now))

    def refuse(self, code: str = "InternalError") -> list[object]:
        self.connection.heard(self.now)
        return self.take(self.connection.refused(self.sent[-1][1], code, self.now))

    def head(self, row: OutboxRow | None = None, waiting: int = 0) -> list[object]:
        self.connection.head(ev.OutboxHead(row, waiting or int(row is not None)))
        return self.take([])

    def actions(self) -> list[str]:
        return [action for _, _, action, _ in self.sent]


def row(row_id: int = 1, *, attempts: int = 0, created_s: float = 1e6, **more: Any) -> OutboxRow:
    values: dict[str, Any] = {
        "message_id": f"row-{row_id}",
        "action": "TransactionEvent",
        "body": BODY,
        "boot_id": "b1",
        "offline": False,
    }
    return OutboxRow(row_id=row_id, attempts=attempts, created_s=created_s, **values | more)
