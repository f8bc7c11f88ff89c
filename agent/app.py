"""Builds the agent from its parts, runs it, and leaves power off behind it. Constructs, decides
nothing; the only room that knows all others. The process around it is `agent.daemon`."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.boot import WIRING, Boot, read_boot, save_wiring
from agent.clock import read_clock
from agent.console import Console, socket_path
from agent.core import effects as ef
from agent.core import events as ev
from agent.credentials import TAKEN_KEY, credentials_for
from agent.csms.link import Connect, Credentials, connect_websocket
from agent.csms.session import Session
from agent.devices import DeviceBook
from agent.errors import LinkError, SettingsError, StoreError
from agent.guard import Guard
from agent.health import Health
from agent.jobs import SECURITY_LOG
from agent.jobs.chores import KEYS, Chores
from agent.local_limit import limited
from agent.ocpp.certificates import CSMS
from agent.ocpp.router import Router
from agent.pure_rooms import pure_rooms
from agent.queue_export import answer_from
from agent.queue_summary import queue_summary
from agent.runtime import Runtime, Workroom
from agent.scarcity import file_bytes, watch_room
from agent.service import login, serviced
from agent.settings import Settings
from agent.slow_work import workroom
from agent.station_clock import ClockReading
from agent.status import kept, report, snapshot
from agent.store.db import Store, open_store
from agent.store.file import DATABASE
from agent.store.rows import Batch, StoreFault
from agent.wiring import Senses, Wiring
from drivers.contract import Device, Observation, Patient, Payer, Signing

if TYPE_CHECKING:
    from agent.frame_trace import FrameTrace
    from agent.line_trace import LineTrace

log = logging.getLogger(__name__)

LOG_KEPT_KEY = "meta/security_log"
"""State key that says: there is a security log."""
GREETED_WITHIN_S = 2.0
"""So long a driver that may wait does, where no CSMS can be greeted."""


class Agent:
    """One station. `open`, then `run` until cancelled or a restart is ordered."""

    def __init__(
        self,
        settings: Settings,
        wiring: Wiring,
        *,
        connect: Connect = connect_websocket,
        read_clock: Callable[[], ClockReading] = read_clock,
        inline_store: bool = False,
        random: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        watch: Callable[[object], None] = lambda effect: None,
        workshop: Callable[[Callable[[object], None]], Workroom] | None = None,
    ) -> None:
        """`workshop(post)` makes what carries out slow work; by default threads do."""
        self.settings = settings
        self.wiring = wiring
        self.store: Store
        self.runtime: Runtime
        self.guard: Guard
        self.stop_was_ordered = False
        """Set before cancelling `run`, so that the next start does not take it for a crash."""
        self._notices: tuple[str, ...] = ()
        self._first_saves: list[ef.Save] = []
        self._senses: Senses
        self._greeted = asyncio.Event()
        """A frame has left."""
        self._book = DeviceBook(settings, wiring.devices)
        self._session: Session
        self._jobs: Workroom
        self._chores: Chores
        self._connect = connect
        self._read_clock = read_clock
        self._inline_store = inline_store
        self._random = random
        self._new_id = new_id
        self._watch = watch
        self._workroom = workshop or self._make_workroom
        self._health = Health.from_environment()
        self._traces: tuple[FrameTrace, LineTrace] | None = None

    async def open(self) -> None:
        """Opens the store and builds the rooms; nothing is energised, nothing is told yet."""
        directory = Path(self.settings.data_directory)
        database = directory / DATABASE
        if not database.exists() and (directory / WIRING).exists():
            self._notices = (
                f"store {database} was gone and is begun anew: what waited in it is lost; if nobody"
                " removed it, check the storage (`dmesg`)",
            )
        try:
            self.store = await open_store(
                str(database), inline=self._inline_store, max_rows=self.settings.queue_rows
            )
        except StoreFault as fault:
            raise StoreError(str(fault)) from fault
        for notice in self.notices():
            log.warning("%s", notice)
        self._build()
        self._begin()
        save_wiring(self.settings)

    def notices(self) -> tuple[str, ...]:
        """What the technician should know about the database."""
        return (*self._notices, *self.store.notices)

    def _build(self) -> None:
        rooms = pure_rooms(self.settings, self.wiring, self.store, self._book)
        self.view, self._first_saves = rooms
        self.guard = Guard(
            self.wiring.pilots,
            {evse_id: meter.interval_s for evse_id, meter in self.wiring.meters.items()},
            lambda: self._read_clock().mono_s,
            lambda place, cause: self.runtime.post(ev.GuardStopped(*place, cause)),
        )
        self._session = Session(
            self._connect,
            self._credentials,
            lambda e: self.runtime.post(e),
            lambda: self.runtime.crowd(),
        )
        self._jobs = self._workroom(lambda event: self.runtime.post(event))
        self._chores = Chores(
            self._directory, lambda e: self.runtime.post(e), inline=self._inline_store
        )
        self.runtime = Runtime(
            station=self.view.station,
            router=Router(self.view),
            store=self.store,
            guard=self.guard,
            hardware=self,
            wire=self._session,
            jobs=self._jobs,
            chores=self._chores,
            read_clock=self._read_clock,
            random=self._random,
            new_id=self._new_id,
            watch=self._watched,
        )
        self._senses = Senses(self.wiring, self.guard, self.runtime.post)

    def _begin(self) -> None:
        """Why we start, told to the rooms; what must last of it is committed before anything."""
        now = self.runtime.now()
        boot: Boot = read_boot(self.store.saved, now)
        first = (*self.view.network.first_saves, *self.view.variables.first_saves)
        self._first_saves += [*(ef.Save(key, value) for key, value in boot.saves), *first]
        self.runtime.post(ev.Started(boot.cause, boot.reason))
        if LOG_KEPT_KEY not in self.store.saved:
            self._first_saves.append(ef.Save(LOG_KEPT_KEY, "1"))
        elif not file_bytes(self._directory / SECURITY_LOG):
            words = "the file was gone or empty"
            self.runtime.post(ev.SecurityNoted("SecurityLogWasCleared", words))
        if any(save.key == TAKEN_KEY for save in self._first_saves):
            words = "certificates of charger.yaml were taken over"
            self.runtime.post(ev.SecurityNoted("ReconfigurationOfSecurityParameters", words))
        if boot.is_looping:
            log.error("three crashes in ten minutes: not selling; send the journal to the maker")
            for evse_id in self.view.station.evse_ids:
                self.runtime.post(ev.FaultRaised(evse_id, 0, "restart_loop"))

    async def run(self) -> None:
        """Runs until a Restart is ordered; cancelling is safe and leaves power off."""
        console = Console(
            socket_path(self.settings.data_directory, self.settings.console_socket),
            {
                "status": lambda request: self.status(),
                "queue": answer_from(self.store),
                "probe": lambda request: self._probed(with_cards=request.get("cards") is True),
                "service": lambda request: serviced(self.view.station, self.runtime.post, request),
                "limit": lambda request: limited(self.view.station, self.runtime.post, request),
                "kept": lambda request: kept(self.view),
                "trace": lambda request: self._trace(is_of_devices=request.get("devices") is True),
            },
            lambda user, accepted: self.runtime.post(login(user, accepted)),
        )
        devices = [
            asyncio.create_task(self._run_device(device), name=name)
            for name, device in self.wiring.devices.items()
        ]
        others = [
            asyncio.create_task(self.guard.run(), name="guard"),
            asyncio.create_task(console.run(), name="console"),
            asyncio.create_task(watch_room(self._directory, self.runtime.post), name="room"),
            asyncio.create_task(self._health.run(self._moved, self._headline), name="health"),
        ]
        runtime = asyncio.create_task(self._live(), name="runtime")
        tasks = [runtime, *others, *devices]
        self._health.ready(self._headline())
        try:
            await _first_to_end(runtime, tasks)
        finally:
            await self._shut(tasks)

    async def _run_device(self, device: Device) -> None:
        """One with a large library to load would hold up the first frame."""
        if isinstance(device, Patient) and device.may_wait:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GREETED_WITHIN_S):
                    await self._greeted.wait()
        await device.run(self._report_of_driver)

    async def _live(self) -> None:
        """A disk that takes nothing holds up the first commit, not the console or the guard."""
        await self.runtime.perform(list(self._first_saves))
        await self.runtime.run()

    async def _shut(self, tasks: list[asyncio.Task[None]]) -> None:
        """Power off first, then the ports, the link and the store, in this order."""
        self._health.stopping()
        for pilot in self.wiring.pilots.values():
            pilot.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()
        await self._jobs.close()
        self._chores.close()
        try:
            if self.stop_was_ordered or self.runtime.restart is not None:
                await self.store.commit(Batch(save=(("meta/clean", "1"),)))
        except StoreFault as fault:
            log.error("%s; the next start will take this stop for a crash", fault)
        finally:
            await self.store.close()

    # --- what others ask ----------------------------------------------------------------------

    def _make_workroom(self, post: Callable[[object], None]) -> Workroom:
        return workroom(self.settings, post, self._report, self._roots)

    def _roots(self) -> list[str]:
        return [root.pem for root in self.view.certificates.roots(CSMS)]

    async def _report(self) -> dict[str, Any]:
        rows = self._book.rows(asyncio.get_running_loop().time())
        queue = await queue_summary(self.store, self.view.connection, self.runtime.now())
        queue["database_bytes"] = sum(file_bytes(p) for p in self._directory.glob(f"{DATABASE}*"))
        return report(self.status(), self.settings, self.store.saved, self.view, rows, queue)

    def _report_of_driver(self, observation: Observation) -> None:
        """The senses first, with the guard behind them; what people look at may wait."""
        self._senses.report(observation)
        self._book.see(observation, asyncio.get_running_loop().time())

    def _probed(self, *, with_cards: bool) -> dict[str, Any]:
        """What `chargepoint probe` judges, and what `chargepoint learn` waits for."""
        rows = self._book.rows(asyncio.get_running_loop().time(), with_cards=with_cards)
        return {"station": self.settings.station.identity, "devices": msgspec.to_builtins(rows)}

    def _trace(self, *, is_of_devices: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        """What `chargepoint trace` shows; its parts are made for the first who asks."""
        if self._traces is None:
            from agent.frame_trace import FrameTrace
            from agent.line_trace import LineTrace

            def utc_s() -> float:
                return self._read_clock().utc_s

            hide = self.runtime.router.tokens.hide
            self._traces = (
                FrameTrace(self._session, self.view, hide, utc_s),
                LineTrace(self.settings, self.wiring.devices, utc_s),
            )
        frames, lines = self._traces
        return lines.follow() if is_of_devices else frames.follow()

    def read_meter(self, evse_id: int, signing: Signing, payer: Payer | None) -> None:
        self.wiring.meters[evse_id].read_soon(signing, payer)

    def _watched(self, effect: object) -> None:
        """Each effect as it is carried out: lamps show what the CSMS is told."""
        if isinstance(effect, ef.SendFrame):
            self._greeted.set()
        elif isinstance(effect, ef.StatusChanged):
            self._senses.lamps.see_status((effect.evse_id, effect.connector_id), effect.status)
        self._watch(effect)

    def lock_plug(self, place: tuple[int, int], locked: bool) -> None:
        self.wiring.pilots[place].lock(locked)

    def status(self) -> dict[str, Any]:
        """What `chargepoint status` shows."""
        answer = snapshot(self.view, self._senses.pilots, self.store.counts(), self.runtime)
        answer["devices"] = self._book.summary()
        if self.notices():
            answer["store"] = list(self.notices())
        return answer

    def _moved(self) -> tuple[int, int]:
        return self.guard.moves, self.runtime.moves

    def _headline(self) -> str:
        waiting = self.store.counts().waiting
        link = "online" if self.view.connection.online else "offline"
        return f"{link}, {waiting} events waiting"

    def _credentials(self, slot: int) -> Credentials:
        """Raises LinkError: a file that cannot be read today may be mended before the next dial."""
        try:
            return credentials_for(self.view, self.settings, self._directory / KEYS, slot)
        except SettingsError as error:
            raise LinkError(str(error)) from error

    @property
    def _directory(self) -> Path:
        return Path(self.settings.data_directory)


async def _first_to_end(runtime: asyncio.Task[None], tasks: list[asyncio.Task[None]]) -> None:
    """Returns when the runtime ended by order; the error of any task that failed is raised."""
    pending = set(tasks)
    while not runtime.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
