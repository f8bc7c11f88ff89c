"""Core, guard and runtime over the simulated world, and a judge who trusts none of them.

The judge sees what reaches the devices, what the devices said, what lies in the store, and the
contactors themselves. What it finds wrong stands in `Rig.wrong`.
"""

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
from agent.core.local_limit import LimitTold
from agent.core.policy import Policy
from agent.core.station import Station
from agent.guard import TICK_S, Guard
from agent.runtime import ClockReading, Runtime
from agent.settings import EnergyManager, Safety, Settings
from agent.wiring import Senses, site_of, wire
from drivers.contract import (
    DeviceLost,
    MeterSeen,
    Observation,
    Payer,
    PilotReading,
    PilotSeen,
    PilotState,
    Signing,
    SimMeterOptions,
)
from drivers.sim.board import SimBoard, plan_of
from drivers.sim.world import WELDED
from hil.sim import START_UTC_S, settings_of
from hil.virtual_time import VirtualTimeLoop
from tests.safety_machine_parts import GOOD_CARDS, MemoryStore, Office

Place = tuple[int, int]

REPORT_S = 5.0
"""Devices report on every change, and otherwise this seldom."""
FILE_A = {1: 32.0, 2: 25.0}
CONTROLLERS_A = {"pilot1": 25.0, "pilot2": 32.0}
OPENS_WITHIN_S = 6.6
"""The simulated controller opens 6 s after a stop at the latest, its contacts a moment later."""


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


class Rig:
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
    ) -> None:
        logging.disable(logging.CRITICAL)
        self.wrong: list[str] = []
        self.loop = VirtualTimeLoop()
        plain = settings_of("", evse_count=2, supply_a=supply_a, socket=socket)
        self.settings = replace(_unequal(plain), safety=safety, energy_manager=energy_manager)
        self.board = SimBoard(plan_of(self.settings), report_interval_s=REPORT_S)
        for name, most_a in CONTROLLERS_A.items():
            pilot = self.board.pilots[name]
            pilot.capabilities = replace(pilot.capabilities, max_a=most_a)
        self.store = MemoryStore()
        self.store.on_commit = self._look_at_contactors
        self.socket, self.policy = socket, policy
        self.utc_error_s, self.is_synced = 0.0, True
        self.deaf: set[str] = set()
        """Devices whose reports get lost, without anybody saying so."""
        self.heard: dict[Place, PilotReading] = {}
        self.metered_s: dict[int, float] = {}
        self.troubled_s: dict[Place, float] = {}
        """When trouble was last seen at a place: orders decided before may not pass after it."""
        self.handled: dict[str, Any] = {}
        """What the core was told last: limits by EVSE, and faults, under their event's name."""
        self.words: dict[int, tuple[float | None, float]] = {}
        """What the energy manager said last, by EVSE (0: all), and when that runs out."""
        self.heard_s = -inf
        """When it said anything."""
        self.standing: dict[Place, float] = {}
        self.stopped_s: dict[Place, float] = {}
        self.excused: dict[Place, float] = {}
        """Until when a contactor may be closed against all orders: welded, or out of reach."""
        self.pressed: set[int] = set()
        """EVSEs with their emergency stop pressed."""
        self.welded: set[Place] = set()
        """Seen welded by anybody, and nobody was there since."""
        self.unlocked_s: dict[Place, float] = {}
        self._decided_s = 0.0
        self._ids = itertools.count(1)
        self._boots = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._places = {
            (e.id, c.id): self.board.pilots[c.pilot]
            for e in self.settings.evses
            for c in e.connectors
        }
        for place in self._places:
            self._spy(place)
        self.board.world.listeners.append(self._look_at_contactors)
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
        self._look_at_all()
        told = [text for text in self.wrong if not text.startswith(self.forgives)]
        assert not told, "; ".join(told[:3])

    def do(self, action: Callable[..., None], *arguments: Any) -> None:
        """Something happens at once, inside the loop."""

        async def happen() -> None:
            action(*arguments)

        self.run(happen())

    def restart(self, *, cold: bool) -> None:
        """The process ends where it stands and starts anew; `cold`: after a power cut."""
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
            random=lambda: 0.5,
            new_id=lambda: f"id-{next(self._ids)}",
            watch=lambda effect: None,
        )
        self.senses = Senses(wiring, self.guard, self.runtime.post)
        self.heard.clear()
        self.metered_s.clear()
        self.handled.clear()
        self.words.clear()
        self.heard_s = -inf
        self.pressed.clear()
        self.post(ev.Started(cause, "PowerUp"))
        self.post(ev.CsmsReached())
        devices = [asyncio.create_task(d.run(self.report)) for d in wiring.devices.values()]
        self.runtime_task = asyncio.create_task(self.runtime.run())
        self._tasks = [*devices, self.runtime_task, asyncio.create_task(self.guard.run())]

    async def _end(self) -> None:
        for pilot in self._places.values():
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
        self._places[place].lock(locked)

    # --- what the judge hears -----------------------------------------------------------------

    def report(self, seen: Observation) -> None:
        """Between the devices and the agent."""
        if seen.device in self.deaf:
            return
        now_s = self.loop.time()
        match seen:
            case PilotSeen(device, reading):
                place = self._place(device)
                self.heard[place] = reading
                if WELDED in reading.faults:
                    self.welded.add(place)
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
                self.troubled_s[evse_id, 1] = now_s
        self.senses.report(seen)

    def again(self, place: Place) -> None:
        """A frozen controller: the last report once more, with the time it had."""
        reading = self.heard.get(place)
        if reading is not None:
            self.report(PilotSeen(self._places[place].name, reading))

    def glitch(self, place: Place, state: PilotState) -> None:
        """One report with another letter than the world has."""
        reading = self.heard.get(place)
        if reading is not None:
            odd = replace(reading, state=state, at_s=self.loop.time())
            self.report(PilotSeen(self._places[place].name, odd))

    def press(self, evse_id: int, is_pressed: bool) -> None:
        """The emergency stop on an input of the board."""
        self.guard.see_input(evse_id, "board", "emergency_stop", is_pressed)
        kind = ev.FaultRaised if is_pressed else ev.FaultCleared
        self.post(kind(evse_id, 0, "emergency_stop"))
        if is_pressed:
            self.pressed.add(evse_id)
            self.troubled_s[evse_id, 1] = self.loop.time()
        else:
            self.pressed.discard(evse_id)

    def lock_moves(self, place: Place, locked: bool) -> None:
        """By itself, against all orders."""
        pilot = self._places[place]
        if pilot.capabilities.has_lock:
            pilot.locked = locked
            pilot._tell_lock()
            self._look_at_contactors()

    def _place(self, device: str) -> Place:
        return next(place for place, pilot in self._places.items() if pilot.name == device)

    def _guard_stops(self, place: Place, cause: str) -> None:
        self.troubled_s[place] = self.loop.time()
        if cause.startswith(WELDED):
            self.welded.add(place)
        self.post(ev.GuardStopped(*place, cause))

    def _hook_core(self) -> None:
        handle = self.station.handle

        def hooked(event: object, now: Now) -> list[object]:
            match event:
                case ev.CurrentLimited(evse_id, limit_a):
                    self.handled[f"limit {evse_id}"] = limit_a
                case LimitTold(evse_id, limit_a, lifetime_s):
                    lasts_s = inf if lifetime_s is None or limit_a is None else lifetime_s
                    self.heard_s = now.mono_s if now.happened_s is None else now.happened_s
                    self.words[evse_id] = limit_a, self.heard_s + lasts_s
                case ev.Serviced(evse_id, connector_id):
                    self.welded.discard((evse_id, connector_id))
                case ev.FaultRaised(evse_id, _, fault):
                    self.handled.setdefault(f"faults {evse_id}", set()).add(fault)
                case ev.FaultCleared(evse_id, _, fault):
                    self.handled.setdefault(f"faults {evse_id}", set()).discard(fault)
            effects = handle(event, now)
            for effect in effects:
                if isinstance(effect, ef.AllowPower):
                    place = (effect.evse_id, effect.connector_id)
                    happened_s = now.mono_s if now.happened_s is None else now.happened_s
                    self.handled[f"decided {place}"] = happened_s
            return effects

        self.station.handle = hooked  # type: ignore[method-assign]

    # --- orders that reach a device -----------------------------------------------------------

    def _spy(self, place: Place) -> None:
        pilot = self._places[place]
        allow, stop, cut = pilot.allow_power, pilot.stop, pilot.emergency_stop

        def allow_power(limit_a: float) -> None:
            self._judge_order(place, limit_a)
            self.standing[place] = limit_a
            allow(limit_a)

        def taken_back(order: Callable[[], None]) -> None:
            if self.standing.pop(place, None) is not None:
                self.stopped_s[place] = self.loop.time()
            order()

        pilot.allow_power = allow_power  # type: ignore[method-assign]
        pilot.stop = lambda: taken_back(stop)  # type: ignore[method-assign]
        pilot.emergency_stop = lambda: taken_back(cut)  # type: ignore[method-assign]

    def _judge_order(self, place: Place, limit_a: float) -> None:
        before_a = self.standing.get(place)
        others_a = sum(a for other, a in self.standing.items() if other != place)
        if before_a is not None and limit_a < before_a:
            return  # less than before; whether it is little enough is seen when all are lowered
        self._judge_limit(place, limit_a, others_a, self.handled.get(f"decided {place}", 0.0))
        self._judge_conditions(place, TICK_S if before_a is not None else 0.0)
        if self.handled.get(f"decided {place}", 0.0) < self.troubled_s.get(place, -1.0):
            self.wrong.append(f"permit: order at {place} was decided before trouble was seen there")
        if place in self.welded:
            self.wrong.append(f"welded: power allowed at {place}, nobody looked at the contacts")
        if f"transaction/{place[0]}" not in self.store.saved:
            self.wrong.append(f"row: power allowed at {place}, no session row is on disk")

    def _judge_limit(self, place: Place, limit_a: float, others_a: float, at_s: float) -> None:
        """`at_s`: when it was decided."""
        site, heard = self.site[place], self.heard.get(place)
        cable_a = heard.cable_a if heard is not None and self.socket else None
        ceilings = {
            "hardware": site.controller_a,
            "file": site.connector_a,
            "cable": cable_a,
            "profile": self.handled.get(f"limit {place[0]}"),
            "energy manager": self._local_a(place[0], at_s),
            "supply": self.settings.supply.current_a - others_a,
        }
        for name, most_a in ceilings.items():
            if most_a is not None and limit_a > most_a + 1e-6:
                self.wrong.append(f"limit: {limit_a:g} A at {place}, {name} allows {most_a:g}")
        of_all = {"profile": self.handled.get("limit 0"), "energy manager": self._local_a(0, at_s)}
        for name, station_a in of_all.items():
            if station_a is not None and limit_a + others_a > station_a + 1e-6:
                self.wrong.append(f"limit: {limit_a + others_a:g} A in all, {name} {station_a:g}")

    def _local_a(self, evse_id: int, at_s: float) -> float | None:
        """What the energy manager allows, or its silence; a moment passes until that is noticed."""
        manager = self.settings.energy_manager
        if manager is None:
            return None
        said_a, until_s = self.words.get(evse_id, (None, inf))
        found = [said_a] if said_a is not None and self.loop.time() < until_s else []
        silent_from_s = min([self.heard_s + manager.silent_s, *(s for _, s in self.words.values())])
        if evse_id == 0 and at_s - TICK_S >= silent_from_s:
            found.append(manager.failsafe_a)
        return min(found, default=None)

    def _judge_conditions(self, place: Place, slack_s: float) -> None:
        """C or D (or B, where the controller waits), fresh, faultless, authorised."""
        heard, now_s = self.heard.get(place), self.loop.time()
        if heard is None or now_s - heard.at_s > 3 * REPORT_S + slack_s:
            self.wrong.append(f"fresh: power stands allowed at {place} without a fresh pilot")
            return
        if heard.state not in (PilotState.B, PilotState.C):
            self.wrong.append(f"state: power stands allowed at {place} in {heard.state}")
        if heard.faults:
            self.wrong.append(f"fault: power stands allowed at {place} with {sorted(heard.faults)}")
        if place[0] in self.pressed:
            self.wrong.append(f"fault: power stands allowed at {place}, the emergency stop is on")
        metered_s = self.metered_s.get(place[0])
        meter_age_s = 3 * max(REPORT_S, self.board.meters[f"meter{place[0]}"].interval_s)
        if metered_s is None or now_s - metered_s > meter_age_s + slack_s:
            self.wrong.append(f"fresh: power stands allowed at {place} without a fresh meter")
        if self.store.busy or self.store.refuses or self.runtime._inbox:
            return  # the core has not heard yet
        if self.handled.get(f"faults {place[0]}"):
            self.wrong.append(f"fault: power stands allowed at {place} with a fault at the EVSE")
        grant = self.station.evses[place[0]].grant
        if grant is None or grant.token.value not in GOOD_CARDS:
            self.wrong.append(f"authorised: power stands allowed at {place} without a good card")

    # --- what is looked at --------------------------------------------------------------------

    def _look_at_all(self) -> None:
        self.board.live.world.advance(max(self.loop.time(), self.board.world.now_s))
        for place, limit_a in self.standing.items():
            others_a = sum(a for other, a in self.standing.items() if other != place)
            if not (self.store.busy or self.runtime._inbox):
                self._judge_limit(place, limit_a, others_a, self.loop.time())
            self._judge_conditions(place, TICK_S)
        self._look_at_contactors()

    def _look_at_contactors(self) -> None:
        """Called at every change in the world and at every commit."""
        now_s = self.board.world.now_s
        for place, pilot in self._places.items():
            connector = self.board.world.connectors[place]
            if connector.welded or "pilot_lost" in connector.faults:
                self.excused[place] = now_s + OPENS_WITHIN_S
            if pilot.locked or not self.socket:
                self.unlocked_s.pop(place, None)
            else:
                self.unlocked_s.setdefault(place, now_s)
            opens = connector.contactor_moves_s is not None and not connector.ordered_closed
            if connector.closed and now_s >= self.excused.get(place, -1.0) and not opens:
                self._judge_power(place, now_s)

    def _judge_power(self, place: Place, now_s: float) -> None:
        connector = self.board.world.connectors[place]
        stopped_s = self.stopped_s.get(place, -1000.0)
        if place not in self.standing and now_s - stopped_s > OPENS_WITHIN_S:
            self.wrong.append(f"power: {place} is closed, nothing allows it")
        if self.board.world.pilot_state(place) is not PilotState.C:
            self.wrong.append(f"state: {place} is closed in {connector.ev_state}")
        if f"transaction/{place[0]}" not in self.store.saved:
            self.wrong.append(f"row: {place} is closed, no session row is on disk")
        unlocked_s = self.unlocked_s.get(place)
        if unlocked_s is not None and now_s - unlocked_s > OPENS_WITHIN_S + TICK_S:
            self.wrong.append(f"lock: {place} is closed, its plug is not locked")
        knows = place in self.standing and not (self.store.busy or self.store.refuses)
        if knows and unlocked_s is not None and now_s - unlocked_s > TICK_S:
            self.wrong.append(f"lock: power stands allowed at {place}, its plug is not locked")
