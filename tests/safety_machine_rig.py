"""Core, guard and runtime over the simulated world; the judge of tests/safety_machine_judge.py
looks on. What it finds wrong stands in `Rig.wrong`."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from math import inf
from typing import Any

from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, StopCause
from agent.core.policy import Policy
from agent.core.station import Station
from agent.guard import Guard
from agent.runtime import Runtime
from agent.settings import EnergyManager, Safety, Settings
from agent.station_clock import ClockReading
from agent.station_inputs import Watched
from agent.wiring import Senses, site_of, wire
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    InputSeen,
    MeterSeen,
    Observation,
    Payer,
    PilotSeen,
    PilotState,
    Signing,
    SimMeterOptions,
)
from drivers.sim.board import SimBoard, plan_of
from drivers.sim.world import WELDED
from hil.sim import START_UTC_S, settings_of
from hil.virtual_time import VirtualTimeLoop
from tests.safety_machine_judge import CHANCE, REPORT_S, Judge, Place
from tests.safety_machine_ledger import Ledger
from tests.safety_machine_parts import MemoryStore, Office

FILE_A = {1: 32.0, 2: 25.0}
CONTROLLERS_A = {"pilot1": 25.0, "pilot2": 32.0}
SETTLED_S = 150.0
"""A card waits 60 s for its cable, a lost view ends a transaction after 60 s."""
INPUTS = {"emergency_stop": False, "rcd": False, "mains": True}
"""Of every board, and how they stand while all is well."""


def _unequal(settings: Settings) -> Settings:
    """Ratings of file and controller differ, once this way and once the other."""
    evses = tuple(
        replace(e, connectors=tuple(replace(c, current_a=FILE_A[e.id]) for c in e.connectors))
        for e in settings.evses
    )
    devices = {
        name: replace(it, interval_s=REPORT_S) if isinstance(it, SimMeterOptions) else it
        for name, it in settings.devices.items()
    }
    return replace(settings, evses=evses, devices=devices)


class Rig(Judge):
    """One station and its judge, in a loop of their own. Actions at once, `wait` lets time pass."""

    forgives = "nothing"
    """What the judge keeps to itself, so that another verdict can be heard."""

    def __init__(
        self,
        *,
        socket: bool,
        supply_a: float,
        policy: Policy,
        safety: Safety = Safety(),
        energy_manager: EnergyManager | None = None,
        connectors: int = 1,
    ) -> None:
        logging.disable(logging.CRITICAL)
        super().__init__()
        self.loop = VirtualTimeLoop()
        plain = settings_of(
            "", evse_count=2, supply_a=supply_a, socket=socket, connector_count=connectors
        )
        self.settings = replace(_unequal(plain), safety=safety, energy_manager=energy_manager)
        self.safety = safety
        self.board = SimBoard(plan_of(self.settings), report_interval_s=REPORT_S)
        for name, most_a in CONTROLLERS_A.items():
            pilot = self.board.pilots[name]
            pilot.capabilities = replace(pilot.capabilities, max_a=most_a)
        self.store = MemoryStore()
        self.store.on_commit = self.look_at_contactors
        self.ledger = Ledger(self.wrong)
        self.store.on_rows = lambda rows: self.ledger.commit(rows, self._metered_wh())
        self.socket, self.policy = socket, policy
        self.utc_error_s, self.is_synced = 0.0, True
        self.inputs = {(b, name): level for b in self.boards for name, level in INPUTS.items()}
        self.is_broken = False
        """Something wrong was raised."""
        self.heat_c: dict[Place, float] = {}
        """What the sensors of the controllers show."""
        self._ids = itertools.count(1)
        self._boots = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self.places = {
            (e.id, c.id): self.board.pilots[c.pilot]
            for e in self.settings.evses
            for c in e.connectors
        }
        for place in self.places:
            self.spy(place)
        self.board.world.listeners.append(self.look_at_contactors)
        self.run(self._start(StopCause.POWER_LOSS))

    # --- time and life ------------------------------------------------------------------------

    def run(self, coro: Any) -> Any:
        return self.loop.run_until_complete(coro)

    def wait(self, seconds: float) -> None:
        """Time passes; then everything is looked at, and what is wrong is raised."""
        self.run(asyncio.sleep(seconds))
        if self.runtime_task.done():
            self.runtime_task.result()
            self.restart(cold=False)
        self.look_at_all()
        told = [text for text in self.wrong if not text.startswith(self.forgives)]
        self.is_broken = bool(told)
        assert not told, "; ".join(told[:3])

    def do(self, action: Callable[..., None], *arguments: Any) -> None:
        """Something happens at once, inside the loop."""

        async def happen() -> None:
            action(*arguments)

        self.run(happen())

    def restart(self, *, cold: bool) -> None:
        """The process ends where it stands and starts anew; `cold`: after a power cut."""
        self.cut()
        if cold:
            self.do(self.board.power_cut)
        self.run(self._end())
        self.run(self._start(StopCause.POWER_LOSS if cold else StopCause.REBOOT))

    def close(self) -> None:
        self.run(self._end())
        self.loop.close()
        logging.disable(logging.NOTSET)

    async def _start(self, cause: StopCause) -> None:
        wiring = wire(self.settings, self.board.build)
        watched = {n: Watched(frozenset(INPUTS), tuple(ids)) for n, ids in self.boards.items()}
        wiring = replace(wiring, boards=watched)
        site = site_of(self.settings, wiring)
        self.site = {(e.evse_id, c.connector_id): c for e in site.evses for c in e.connectors}
        self.station = Station(site, self.policy, dict(self.store.saved))
        self._boot_id = f"boot-{next(self._boots)}"
        self.guard = Guard(
            wiring.pilots,
            {evse_id: meter.interval_s for evse_id, meter in wiring.meters.items()},
            lambda: self._clock().mono_s,
            self._guard_stops,
        )
        self.office = Office(lambda event: self.post(event), self._ids)
        self._hook_core()
        self.runtime = Runtime(
            station=self.station,
            router=self.office,  # type: ignore[arg-type]
            store=self.store,  # type: ignore[arg-type]
            guard=self.guard,
            hardware=self,
            wire=self,  # type: ignore[arg-type]
            jobs=self,  # type: ignore[arg-type]
            chores=self,  # type: ignore[arg-type]
            read_clock=self._clock,
            random=lambda: CHANCE,
            new_id=lambda: f"id-{next(self._ids)}",
            watch=lambda effect: None,
        )
        self.senses = Senses(wiring, self.guard, self.runtime.post)
        self.heard.clear()
        self.metered_s.clear()
        self.handled.clear()
        self.words.clear()
        self.manager_heard_s = -inf
        if cause is StopCause.POWER_LOSS:
            self.handled["mains 0"] = self.loop.time() + CHANCE * self.safety.random_delay_s
        self.post(ev.Started(cause, "PowerUp"))
        self.post(ev.CsmsReached())
        devices = [asyncio.create_task(d.run(self.report)) for d in wiring.devices.values()]
        self.runtime_task = asyncio.create_task(self.runtime.run())
        for name in self.boards:
            if name in self.lost_boards:
                self.senses.report(DeviceLost(name, "lost"))
            else:
                self._tell_inputs(name)
        self._tasks = [*devices, self.runtime_task, asyncio.create_task(self.guard.run())]

    async def _end(self) -> None:
        for pilot in self.places.values():
            pilot.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _clock(self) -> ClockReading:
        mono_s = self.loop.time()
        utc_s = START_UTC_S + mono_s + self.utc_error_s
        return ClockReading(mono_s, utc_s, self.is_synced, self._boot_id)

    def post(self, event: object) -> None:
        self.runtime.post(event)

    def read_meter(self, evse_id: int, signing: Signing, payer: Payer | None) -> None:
        self.board.meters[f"meter{evse_id}"].read_soon(signing, payer)

    def lock_plug(self, place: Place, locked: bool) -> None:
        self.places[place].lock(locked)

    # --- what the judge hears -----------------------------------------------------------------

    def report(self, seen: Observation) -> None:
        """Between the devices and the agent."""
        if seen.device in self.deaf:
            return
        now_s = self.loop.time()
        match seen:
            case PilotSeen(device, reading):
                place = self._place(device)
                if place in self.heat_c:
                    reading = replace(reading, temperature_c=self.heat_c[place])
                    seen = PilotSeen(device, reading)
                self.heard[place] = reading
                if WELDED in reading.faults:
                    self.weld(place)
                if "rcd" in reading.faults:
                    self.trip(place)
                if reading.faults or reading.state not in (PilotState.B, PilotState.C):
                    self.troubled_s[place] = now_s
            case MeterSeen(device, reading):
                self.metered_s[int(device.removeprefix("meter"))] = reading.at_s
            case DeviceLost(device) if device.startswith("pilot"):
                self.heard.pop(self._place(device), None)
                self.troubled_s[self._place(device)] = now_s
            case DeviceLost(device) if device.startswith("meter"):
                evse_id = int(device.removeprefix("meter"))
                self.metered_s.pop(evse_id, None)
                self._trouble(evse_id)
        self.senses.report(seen)

    def hear(self, *devices: str) -> None:
        """Reports arrive again. A driver compares the lock with what it told last at every look."""
        self.deaf -= set(devices)
        for pilot in self.places.values():
            if pilot.name in devices:
                pilot._lock_told = None
                self.do(pilot._tell, False)

    def again(self, place: Place) -> None:
        """A frozen controller: the last report once more, with the time it had."""
        reading = self.heard.get(place)
        if reading is not None:
            self.report(PilotSeen(self.places[place].name, reading))

    def glitch(self, place: Place, state: PilotState) -> None:
        """One report with another letter than the world has."""
        reading = self.heard.get(place)
        if reading is not None:
            odd = replace(reading, state=state, at_s=self.loop.time())
            self.report(PilotSeen(self.places[place].name, odd))

    def press(self, evse_id: int, is_pressed: bool) -> None:
        """The emergency stop of one EVSE."""
        self.turn(f"board{evse_id}", "emergency_stop", is_pressed)

    def turn(self, board: str, name: str, active: bool) -> None:
        """An input of a board changes its level; nobody hears it while the board is lost."""
        self.inputs[board, name] = active
        if board in self.lost_boards:
            return
        if active is (name != "mains"):
            for evse_id in self.boards[board]:
                self._trouble(evse_id)
                for place in self.places if name == "rcd" else ():
                    if place[0] == evse_id:
                        self.trip(place)
        self.senses.report(InputSeen(board, name, active, self.loop.time()))

    def lose_board(self, board: str) -> None:
        self.lost_boards.add(board)
        for evse_id in self.boards[board]:
            self._trouble(evse_id)
        self.senses.report(DeviceLost(board, "lost"))

    def find_board(self, board: str) -> None:
        if board in self.lost_boards:
            self.lost_boards.discard(board)
            self.senses.report(DeviceFound(board))
            self._tell_inputs(board)

    def _tell_inputs(self, board: str) -> None:
        for (where, name), level in self.inputs.items():
            if where == board:
                self.turn(board, name, level)

    def _trouble(self, evse_id: int) -> None:
        for place in self.places:
            if place[0] == evse_id:
                self.troubled_s[place] = self.loop.time()

    def heat(self, place: Place, temperature_c: float) -> None:
        """The sensor of the controller shows this from now on."""
        self.heat_c[place] = temperature_c
        self.board.live.catch_up()
        pilot = self.places[place]
        if pilot._wire.open:
            self.report(PilotSeen(pilot.name, pilot._controller.reading()))

    def at(self, place: Place) -> Place:
        """That place, or the first connector of the EVSE where it has no other one."""
        return place if place in self.places else (place[0], 1)

    def device(self, kind: str, place: Place) -> str:
        """Name of the "pilot" or "meter" of a place."""
        return self.places[place].name if kind == "pilot" else f"meter{place[0]}"

    def _metered_wh(self) -> dict[int, float]:
        self.board.live.catch_up()
        return {e.id: self.board.world.energy_wh(e.id) + 1.0 for e in self.settings.evses}

    def settle(self) -> None:
        """Everybody leaves, all is mended: after a while no transaction is open."""
        self.store.delay_s, self.store.refuses = 0.0, False
        self.hear(*self.deaf)
        for board in self.boards:
            self.do(self.find_board, board)
            for name, level in INPUTS.items():
                self.do(self.turn, board, name, level)
        for place in self.places:
            for fault in ("rcd", "ground", "pilot_lost", "meter_lost", "welded_contactor"):
                self.do(self.board.clear_fault, *place, fault)
            self.do(self.board.plug_out, *place)
        self.wait(SETTLED_S)
        for name in self.ledger.open_ones():
            self.wrong.append(f"ledger: {name} never ends")
        for key in self.store.saved:
            if key.startswith("transaction/"):
                self.wrong.append(f"ledger: {key} stays on disk")
        self.wait(0.0)

    def lock_moves(self, place: Place, locked: bool) -> None:
        """By itself, against all orders; never while nobody could hear of it: a silent controller
        is stopped for its silence, later than a lock that tells."""
        pilot = self.places[place]
        is_heard = pilot._wire.open and pilot.name not in self.deaf
        if pilot.capabilities.has_lock and is_heard:
            pilot.locked = locked
            pilot._tell_lock(self.loop.time())
            self.look_at_contactors()

    def _place(self, device: str) -> Place:
        return next(place for place, pilot in self.places.items() if pilot.name == device)

    def _guard_stops(self, place: Place, cause: str) -> None:
        self.troubled_s[place] = self.loop.time()
        if cause.startswith(WELDED):
            self.weld(place)
        self.post(ev.GuardStopped(*place, cause))

    def _hook_core(self) -> None:
        handle = self.station.handle

        def hooked(event: object, now: Now) -> list[object]:
            self.note(event, now)
            effects = handle(event, now)
            for effect in effects:
                if isinstance(effect, ef.AllowPower):
                    place = (effect.evse_id, effect.connector_id)
                    happened_s = now.mono_s if now.happened_s is None else now.happened_s
                    self.handled[f"decided {place}"] = happened_s
            return effects

        self.station.handle = hooked  # type: ignore[method-assign]
