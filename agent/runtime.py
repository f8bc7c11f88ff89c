"""One inbox, one consumer: what happened goes in, what follows is carried out in a fixed order.

`Runtime.perform` is the only place where effects touch the world, always in this order:
safe, durable, energise, tell.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from agent.alarm import Alarm
from agent.asking import ask_store
from agent.batches import (
    MOST_FRAMES,
    Posted,
    moves_outbox,
    outbox_head,
    standing_orders,
    thinned,
    to_batch,
)
from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now
from agent.core.jobs import CancelJob, StartJob
from agent.core.station import Station
from agent.guard import Guard
from agent.ocpp.router import Router
from agent.station_clock import ClockReading, StationClock
from agent.store.db import Store
from agent.store.rows import Batch, Committed, StoreFault
from drivers.contract import Payer, Signing

log = logging.getLogger(__name__)

_T = TypeVar("_T")

EVENTS_PER_BATCH = 32
"""Fewer than the session takes frames at once: each event may be a CALL with its answer."""
TURNS_AT_ONCE = 2
"""An answer is one turn, what the commit of it brings to be sent is the next."""
TICK_FLOOR_S = 0.02
"""Two ticks are at least this far apart, so that no mistake in a deadline can spin the loop."""
BUSY_TICK_S = 1.0
"""An inbox that does not run empty for so long hides no deadline: there is a Tick in between."""
IDLE_S = 3.0
"""The loop turns at least this often, to show the watchdog that it can."""
SLOW_COMMIT_S = 2.0
"""A commit that takes longer is a disk fault: nothing new is energised until a fast one."""
HUNG_COMMIT_S = 10.0
"""A commit, or a question to the store, that takes longer keeps the core blind: power stops."""
HELD_UP_S = 1.0
"""A commit that takes longer is given to those who wait for an answer meanwhile."""
COMMIT_RETRY_S = 1.0
TELL_AGAIN_S = 600.0
"""The same fault of the disk stands in the journal at most this often."""
DISK_PROBE = "meta/disk_probe"
"""Written in every turn during a disk fault, so that its end is seen."""
CORE_ASKED_S = 1.0
"""So often, at least, the core is asked for its deadline: the board's clock may have been set."""


class Hardware(Protocol):
    """What `tell` and `energise` reach beside the guard."""

    def read_meter(self, evse_id: int, signing: Signing, payer: Payer | None) -> None: ...

    def lock_plug(self, place: tuple[int, int], locked: bool) -> None: ...


class Workroom(Protocol):
    """Slow work beside the loop; it posts what comes of it."""

    def start(self, job_id: str, order: object) -> None: ...

    def cancel(self, job_id: str) -> None: ...

    async def close(self) -> None: ...


class Wire(Protocol):
    """The session with the CSMS: sync orders."""

    def dial(self, effect: ef.Dial) -> None: ...

    def hangup(self, reason: str) -> None: ...

    def send(self, text: str) -> None: ...


class Choreroom(Protocol):
    """Short work beside the loop, in the sequence ordered: answered by events."""

    def do(self, order: ef.Chore) -> None: ...


SAFE = (ef.StopPower, ef.WithdrawCurrent)
ENERGISE = (ef.AllowPower, ef.LockPlug)
DURABLE = (
    ef.Enqueue,
    ef.Save,
    ef.SaveToken,
    ef.ForgetToken,
    ef.ForgetTokens,
    ef.SettleRow,
    ef.CountAttempt,
    ef.SetAside,
    ef.FreezeBody,
    ef.FetchHead,
)

BEFORE_TELLING = SAFE + DURABLE + ENERGISE

WIRE_ONLY = (ev.FrameReceived, ev.OutboxHead, ev.LinkHeard)
"""Facts that mean nothing to the core; a queue that drains makes hundreds of them a second."""

LEVELS = {3: logging.ERROR, 4: logging.WARNING, 5: logging.INFO, 6: logging.DEBUG}

NOTHING = Batch()


class Runtime:
    """The one writer of the store and the one caller of the pure rooms."""

    def __init__(
        self,
        *,
        station: Station,
        router: Router,
        store: Store,
        guard: Guard,
        hardware: Hardware,
        wire: Wire,
        jobs: Workroom,
        chores: Choreroom,
        read_clock: Callable[[], ClockReading],
        random: Callable[[], float],
        new_id: Callable[[], str],
        watch: Callable[[object], None],
    ) -> None:
        self.station = station
        self.router = router
        self.store = store
        self.guard = guard
        self.moves = 0
        self.disk_fault: str | None = None
        self._disk_told_s = 0.0
        self.restart: ef.Restart | None = None
        self._hardware = hardware
        self._wire = wire
        self._jobs = jobs
        self._chores = chores
        self._read_clock = read_clock
        self._clock = StationClock(read_clock, random, new_id)
        self._watch = watch
        self._inbox: deque[Posted] = deque()
        self._woken: asyncio.Future[None] | None = None
        self._has_room: asyncio.Future[None] | None = None
        """What the link waits for."""
        self._due = Alarm(self._wake)
        self._hung = Alarm(self._disk_hangs)
        self._turns = 0
        """Made since others had theirs."""
        self._core_deadline: tuple[float | None, float] | None = None
        """The core's next deadline and when it was asked; None: it has handled something since."""
        self._core_heard_s = self._router_heard_s = float("inf")
        """Up to when they have seen to what was due."""
        self._last_tick_s = float("-inf")
        self._empty_s = 0.0
        """When the inbox was empty last, or had a Tick in between."""
        self._orders_void: str | None = None
        """Why nothing of the batch being performed may be energised."""

    def post(self, event: object) -> None:
        """A fact happened: it is handled after those before it, with today's permits."""
        self._inbox.append(Posted(event, self.guard.permit, self._read_clock().mono_s))
        self._wake()

    def crowd(self) -> asyncio.Future[None] | None:
        """None, or what is done once the inbox has room for frames again. Cancelling is safe."""
        if len(self._inbox) < MOST_FRAMES:
            return None
        if self._has_room is None or self._has_room.done():
            self._has_room = asyncio.get_running_loop().create_future()
        return self._has_room

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def run(self) -> None:
        """Consumes the inbox until a Restart is ordered; cancelling leaves power to `app`."""
        self._empty_s = self._read_clock().mono_s
        try:
            while self.restart is None:
                await self._wait()
                self.moves += 1
                await self.perform(self._turn())
        finally:
            self._due.close()
            self._hung.close()

    # --- thinking ---------------------------------------------------------------------------

    def now(self, posted: Posted | None = None) -> Now:
        """This moment, with the permit and the time of what was posted."""
        sources = self.station.policy.time_source
        if posted is None:
            return self._clock.now(sources, self.guard.permit)
        return self._clock.now(sources, posted.permit, posted.at_s)

    def deadline(self, now: Now) -> float | None:
        """What fell due while the disk was busy is due at once."""
        heard = replace(now, mono_s=min(self._router_heard_s, now.mono_s))
        times = (self._core_due(now), self.router.deadline(heard))
        return min((t for t in times if t is not None), default=None)

    def _core_due(self, now: Now) -> float | None:
        """A queue that drains makes hundreds of turns a second that the core hears nothing of."""
        asked = self._core_deadline
        if asked is None or now.mono_s - asked[1] >= CORE_ASKED_S:
            heard = replace(now, mono_s=min(self._core_heard_s, now.mono_s))
            asked = self._core_deadline = (self.station.deadline(heard), now.mono_s)
        return asked[0]

    async def _wait(self) -> None:
        if self._inbox:
            self._turns += 1
            if (now_s := self._read_clock().mono_s) >= self._empty_s + BUSY_TICK_S:
                self._empty_s = now_s
                self.post(ev.Tick())
            if self._turns >= TURNS_AT_ONCE:  # a full inbox must not keep the link from sending
                self._turns = 0
                await asyncio.sleep(0)
            return
        self._turns = 0
        now = self.now()
        deadline_s = self.deadline(now)
        idle_s = now.mono_s + IDLE_S
        due_s = idle_s if deadline_s is None else max(deadline_s, self._last_tick_s + TICK_FLOOR_S)
        self._woken = asyncio.get_running_loop().create_future()
        self._due.set(max(0.0, min(due_s, idle_s) - now.mono_s))
        try:
            await self._woken
        finally:
            self._due.stop()
            self._woken = None
            self._empty_s = self._read_clock().mono_s
        if not self._inbox and deadline_s is not None and due_s <= idle_s:
            self._last_tick_s = self.now().mono_s
            self.post(ev.Tick())

    def _turn(self) -> list[object]:
        """Effects of what waits in the inbox: one batch, so that several EVSEs share a commit."""
        effects: list[object] = []
        for _ in range(min(len(self._inbox), EVENTS_PER_BATCH)):
            effects += self._think(self._inbox.popleft())
        if self._has_room is not None and len(self._inbox) < MOST_FRAMES:
            if not self._has_room.done():
                self._has_room.set_result(None)
            self._has_room = None
        return effects

    def _think(self, posted: Posted) -> list[object]:
        """One fact and all that follows from it in the pure rooms."""
        effects: list[object] = []
        queue = deque([posted.event])
        while queue:
            fact = queue.popleft()
            if isinstance(fact, ev.ClockSet):
                self._clock.set(fact)
            now = self.now(posted)
            self._router_heard_s = now.mono_s
            for effect in self._decide(fact, now):
                for order in self.router.translate(effect, now):
                    if isinstance(order, ef.Announce):
                        queue.append(order.event)
                    else:
                        effects.append(order)
            events, found = self.router.handle(fact, now)
            queue.extend(events)
            effects += found
        return effects

    def _decide(self, fact: object, now: Now) -> list[object]:
        if isinstance(fact, WIRE_ONLY):
            return []
        self._core_deadline, self._core_heard_s = None, now.mono_s
        return self.station.handle(fact, now)

    # --- doing ------------------------------------------------------------------------------

    async def perform(self, effects: list[object]) -> None:
        """Safe, durable, energise, tell; nothing later happens where something earlier failed."""
        for effect in effects:
            if isinstance(effect, SAFE):
                self._make_safe(effect)
                self._watch(effect)
        durable = [effect for effect in effects if isinstance(effect, DURABLE)]
        committed = None
        self._orders_void = None
        if durable or self.disk_fault is not None:
            began_s = self._read_clock().mono_s
            committed = await self._commit(durable)
            held_up_s = self._read_clock().mono_s - began_s
            if held_up_s > HELD_UP_S:
                self.router.sent_late(held_up_s)
            for effect in durable:
                self._watch(effect)
        for effect in standing_orders(effects):
            self._energise(effect)
            self._watch(effect)
        for effect in effects:
            if not isinstance(effect, BEFORE_TELLING):
                await self._tell(effect)
                self._watch(effect)
        if committed is not None and moves_outbox(durable, committed):
            self.post(outbox_head(committed))

    def _make_safe(self, effect: object) -> None:
        match effect:
            case ef.StopPower(evse_id, connector_id, emergency):
                self.guard.stop((evse_id, connector_id), emergency=emergency)
            case ef.WithdrawCurrent(evse_id, connector_id, limit_a):
                self.guard.withdraw((evse_id, connector_id), limit_a)

    async def _commit(self, effects: Sequence[object]) -> Committed:
        """One commit; while the disk refuses, power is off and nothing that follows happens.

        Cancelling leaves it to the store whether the batch is kept.
        """
        if self.disk_fault is not None:
            effects = [*effects, ef.Save(DISK_PROBE, msgspec.json.encode(self.disk_fault).decode())]
        batch = to_batch(effects, self._read_clock())
        while True:
            try:
                return await self._try_commit(batch)
            except StoreFault as fault:
                self._disk_fails(str(fault))
                self.guard.stop_all("events cannot be stored")
            await asyncio.sleep(COMMIT_RETRY_S)
            self.moves += 1
            self._inbox = thinned(self._inbox)

    async def _try_commit(self, batch: Batch) -> Committed:
        began_s = self._read_clock().mono_s
        committed = await self._of_disk(self.store.commit(batch))
        took_s = self._read_clock().mono_s - began_s
        if took_s > SLOW_COMMIT_S:
            self._disk_fails(f"the disk took {took_s:.1f} s; check or replace the card")
        elif batch != NOTHING:
            self._disk_works()
        return committed

    async def _of_disk(self, work: Awaitable[_T]) -> _T:
        """The core hears nothing meanwhile: work that hangs stops power. Cancelling is as safe as
        it is for the work."""
        self._hung.set(HUNG_COMMIT_S)
        try:
            return await work
        finally:
            self._hung.stop()

    def _disk_hangs(self) -> None:
        self._disk_fails("the disk does not answer; check or replace the card")
        self.guard.stop_all("events cannot be stored in time")

    def _disk_fails(self, fault: str) -> None:
        """What this batch wanted energised is decided anew: too much may have happened since."""
        now_s = self._read_clock().mono_s
        if self.disk_fault != fault or now_s - self._disk_told_s >= TELL_AGAIN_S:
            self._disk_told_s = now_s
            log.error("%s", fault)
        self.disk_fault = self._orders_void = fault

    def _disk_works(self) -> None:
        if self.disk_fault is not None:
            log.warning("events are stored again")
        self.disk_fault = None

    def _energise(self, effect: object) -> None:
        match effect:
            case ef.AllowPower(evse_id, connector_id, limit_a, permit):
                place = (evse_id, connector_id)
                refusal = self.disk_fault or self._orders_void
                refusal = refusal or self.guard.allow(place, limit_a, permit)
                if refusal is not None:
                    self.post(ev.OrderRefused(evse_id, connector_id, refusal))
            case ef.LockPlug(evse_id, connector_id, locked):
                self._hardware.lock_plug((evse_id, connector_id), locked)

    async def _tell(self, effect: object) -> None:
        match effect:
            case ef.SendFrame(text):
                self._wire.send(text)
            case ef.ReadMeter(evse_id, signing, payer):
                self._hardware.read_meter(evse_id, signing, payer)
            case ef.LookUp() | ef.FindRows() | ef.FindMessages():
                fact = await self._of_disk(ask_store(self.store, effect))
                if fact is not None:
                    self.post(fact)
            case ef.Dial():
                self._wire.dial(effect)
            case ef.Hangup(reason):
                self._wire.hangup(reason)
            case ef.Chore():
                self._chores.do(effect)
            case ef.Log(level, text):
                log.log(LEVELS[level], "%s", text)
            case ef.Show(evse_id, text):
                log.info("EVSE %s display: %s", evse_id or "all", text)
            case ef.StatusChanged(evse_id, connector_id, status):
                log.info("EVSE %s connector %s: %s", evse_id, connector_id, status)
            case StartJob(job_id, order):
                self._jobs.start(job_id, order)
            case CancelJob(job_id):
                self._jobs.cancel(job_id)
            case ef.Restart():
                self.restart = effect
            case _:
                raise TypeError(f"no room carries out {type(effect).__name__}")
