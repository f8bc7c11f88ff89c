"""A runtime whose parts only note what it does with them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now
from agent.core.policy import Policy
from agent.runtime import Runtime
from agent.station_clock import ClockReading
from agent.store.rows import Batch, Committed, StoreFault
from drivers.contract import Payer, Permit, Signing
from hil.virtual_time import run_virtual

ALLOW = ef.AllowPower(1, 1, 16.0, Permit(0))
SAVE = ef.Save("k", "1")
SEND = ef.SendFrame("x")


class Station:
    """A pure room that answers each event with what the test planned."""

    def __init__(self) -> None:
        self.plan: dict[object, list[object]] = {}
        self.seen: list[object] = []
        self.nows: list[Now] = []
        self.due_s: float | None = None
        self.policy = Policy()

    def handle(self, event: object, now: Now) -> list[object]:
        self.seen.append(event)
        self.nows.append(now)
        if event == "bug":
            raise RuntimeError("a bug in the core")
        return self.plan.get(event, []) if isinstance(event, str) else []

    def deadline(self, now: Now) -> float | None:
        return self.due_s


class Router:
    """Nothing of OCPP."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def handle(self, event: object, now: Now) -> tuple[list[object], list[object]]:
        self.seen.append(event)
        return [], []

    def translate(self, effect: object, now: Now) -> list[object]:
        return [effect]

    def deadline(self, now: Now) -> float | None:
        return None

    def sent_late(self, by_s: float) -> None:
        pass


class Bench:
    """The parts around a runtime; `log` is what happened, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.batches: list[Batch] = []
        self.faults = 0
        self.delay_s = self.read_delay_s = 0.0
        self.committed = Committed(None, 0)
        self.permit = Permit(0)
        self.moves = 0
        self.is_synced = False
        self.station = Station()
        self.router = Router()
        self.runtime = Runtime(
            station=self.station,  # type: ignore[arg-type]
            router=self.router,  # type: ignore[arg-type]
            store=self,  # type: ignore[arg-type]
            guard=self,  # type: ignore[arg-type]
            hardware=self,
            wire=self,
            jobs=self,
            chores=self,
            read_clock=lambda: ClockReading(self.now_s, 1e9 + self.now_s, self.is_synced, "b"),
            random=lambda: 0.5,
            new_id=lambda: "id",
            watch=lambda effect: None,
        )

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # the store

    async def commit(self, batch: Batch) -> Committed:
        self.batches.append(batch)
        self.log.append("commit")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.faults:
            self.faults -= 1
            self.log.append("fault")
            raise StoreFault("the disk is full; free space")
        return self.committed

    # the workroom

    def start(self, job_id: str, order: object) -> None:
        self.log.append(f"job {job_id}: {order}")

    def cancel(self, job_id: str) -> None:
        self.log.append(f"cancel {job_id}")

    async def close(self) -> None:
        self.log.append("close")

    # the store, read

    async def look_up(self, value_key: str, type: str) -> str | None:
        self.log.append(f"look up {value_key}")
        if self.read_delay_s:
            await asyncio.sleep(self.read_delay_s)
        return None

    # the guard

    def stop(self, place: tuple[int, int], *, emergency: bool) -> None:
        self.log.append("stop")

    def withdraw(self, place: tuple[int, int], limit_a: float) -> None:
        self.log.append(f"withdraw {limit_a:g}")

    def allow(self, place: tuple[int, int], limit_a: float, permit: Permit) -> str | None:
        if permit < self.permit:
            self.log.append("refused")
            return "void"
        self.log.append(f"allow {limit_a:g}")
        return None

    def stop_all(self, cause: str) -> None:
        self.log.append("stop all")

    # wire and hardware

    def do(self, order: ef.Chore) -> None:
        self.log.append(f"chore {type(order).__name__}")

    def dial(self, effect: ef.Dial) -> None:
        self.log.append("dial")

    def hangup(self, reason: str) -> None:
        self.log.append("hangup")

    def send(self, text: str) -> None:
        self.log.append(f"send {text}")

    def read_meter(self, evse_id: int, signing: Signing, payer: Payer | None) -> None:
        self.log.append("read meter")

    def lock_plug(self, place: tuple[int, int], locked: bool) -> None:
        self.log.append("lock" if locked else "unlock")

    def refusals(self) -> list[ev.OrderRefused]:
        return [event for event in self.station.seen if isinstance(event, ev.OrderRefused)]


def bench(test: Callable[[Bench], Coroutine[Any, Any, None]], for_s: float = 100.0) -> Bench:
    """Runs the runtime around the test."""
    parts: list[Bench] = []

    async def scene() -> None:
        parts.append(Bench())
        running = asyncio.create_task(parts[0].runtime.run())
        try:
            await test(parts[0])
        finally:
            if not running.done():
                running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(scene())
    return parts[0]
