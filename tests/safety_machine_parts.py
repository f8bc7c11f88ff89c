"""Around the station of the safety machine: a store without a disk, and who judges cards."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, Now, TokenInfo
from agent.store.rows import Batch, Committed, NewRow, StoreFault

ANSWER_S = 0.1
GOOD_CARDS = frozenset({"04AAAAAA", "04BBBBBB"})
BAD_CARD = "04CCCCCC"
TOLD = (
    ef.ReadMeter,
    ef.LookUp,
    ef.Announce,
    ef.StopPower,
    ef.WithdrawCurrent,
    ef.AllowPower,
    ef.LockPlug,
    ef.Save,
    ef.SaveToken,
    ef.Restart,
)


class MemoryStore:
    """The store's promises without a disk: what is in `saved` would outlive a power cut."""

    def __init__(self) -> None:
        self.saved: dict[str, str] = {}
        self.delay_s = 0.0
        self.refuses = False
        self.busy = 0
        self.on_commit: Callable[[], None] = lambda: None
        self.on_rows: Callable[[Sequence[NewRow]], None] = lambda rows: None

    async def commit(self, batch: Batch) -> Committed:
        self.busy += 1
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.refuses:
                raise StoreFault("the disk is full; free space")
            for key, value in batch.save:
                self.saved.pop(key, None)
                if value is not None:
                    self.saved[key] = value
            self.on_rows([row for row in batch.enqueue if row.action == "TransactionEvent"])
            self.on_commit()
        finally:
            self.busy -= 1
        return Committed(None, 0)

    async def look_up(self, value_key: str, type: str) -> str | None:
        return None

    async def holds(self, action: str, part: str) -> bool:
        return False


class Office:
    """In place of OCPP: events become rows, cards are judged."""

    def __init__(self, post: Callable[[object], None], ids: "itertools.count[int]") -> None:
        self._post = post
        self._ids = ids
        self.online = True

    def handle(self, event: object, now: Now) -> tuple[list[object], list[object]]:
        return [], []

    def translate(self, effect: object, now: Now) -> list[object]:
        if isinstance(effect, ef.Record):
            number = f"m-{next(self._ids)}"
            body = msgspec.json.encode(effect).decode()
            return [ef.Enqueue(number, "TransactionEvent", body, False, effect.event_type)]
        if isinstance(effect, ef.AskCsms):
            asyncio.get_running_loop().call_later(ANSWER_S, self._answer, effect.token)
        return [effect] if isinstance(effect, TOLD) else []

    def _answer(self, token: IdToken) -> None:
        if not self.online:
            self._post(ev.TokenUnanswered(token))
            return
        status = "Accepted" if token.value in GOOD_CARDS else "Invalid"
        self._post(ev.TokenAnswered(token, TokenInfo(status)))

    def deadline(self, now: Now) -> float | None:
        return None

    def sent_late(self, by_s: float) -> None:
        """Nobody waits for an answer here."""
