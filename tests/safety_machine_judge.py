"""The judge of the safety machine: trusts neither core nor guard nor runtime.

It sees what reaches the devices, what the devices said, what lies in the store, and the contactors
themselves. What it finds wrong stands in `wrong`, each beginning with the promise that was broken.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar

from agent.core import events as ev
from agent.core.events import Now
from agent.core.local_limit import LimitTold
from agent.core.policy import Policy
from agent.core.site import ConnectorSite
from agent.core.station import Station
from agent.guard import TICK_S, Guard
from agent.runtime import Runtime
from agent.settings import Safety, Settings
from drivers.contract import PilotReading, PilotState
from drivers.sim.board import SimBoard
from drivers.sim.parts import SimPilot
from drivers.sim.world import WELDED
from tests.safety_machine_parts import GOOD_CARDS, MemoryStore

Place = tuple[int, int]

REPORT_S = 5.0
"""Devices report on every change, and otherwise this seldom."""
OPENS_WITHIN_S = 6.6
"""The simulated controller opens 6 s after a stop at the latest, its contacts a moment later."""
PACE_S = 5.0
CHANCE = 0.5
"""The station's random source always says this."""
BLIND_S = 30.0
"""For this long after reports got lost the core cannot know what still flows."""


class Judge:
    """What was seen, and what must be true of it."""

    loop: asyncio.AbstractEventLoop
    settings: Settings
    safety: Safety
    policy: Policy
    station: Station
    runtime: Runtime
    guard: Guard
    board: SimBoard
    store: MemoryStore
    site: dict[Place, ConnectorSite]
    socket: bool
    boards: ClassVar[dict[str, set[int]]] = {"board1": {1}, "board2": {2}, "common": {1, 2}}
    """Boards with inputs, and the EVSEs that they stop."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.heard: dict[Place, PilotReading] = {}
        self.metered_s: dict[int, float] = {}
        self.troubled_s: dict[Place, float] = {}
        """When trouble was last seen at a place: orders decided before may not pass after it."""
        self.handled: dict[str, Any] = {}
        """What the core was told last: limits by EVSE, and faults, under their event's name."""
        self.standing: dict[Place, float] = {}
        self.stopped_s: dict[Place, float] = {}
        self.changed_s: dict[Place, float] = {}
        """When an offer that stands was given or changed last."""
        self.excused: dict[Place, float] = {}
        """Until when a contactor may be closed against all orders: welded, or out of reach."""
        self.blind: dict[Place, float] = {}
        """Until when nobody can know what flows: reports got lost, or the path is excused."""
        self.inputs: dict[tuple[str, str], bool] = {}
        """(board, input) -> level; all of them speak against power, but `mains`."""
        self.lost_boards: set[str] = set()
        self.deaf: set[str] = set()
        """Devices whose reports get lost, without anybody saying so."""
        self.welded: set[Place] = set()
        """Seen welded by anybody, and nobody was there since."""
        self.words: dict[int, tuple[float | None, float]] = {}
        """What the energy manager said last, by EVSE (0: all), and when that runs out."""
        self.manager_heard_s = -inf
        """When it said anything."""
        self.tripped: set[Place] = set()
        """A residual current ended the charge there, and nobody has asked for another one since."""
        self.unstored: set[tuple[str, Place]] = set()
        """What was seen while the disk worked on something older: a cut loses it, as it must."""
        self.unlocked_s: dict[Place, float] = {}
        self.places: dict[Place, SimPilot] = {}

    # --- what the core was told -------------------------------------------------------------------

    def note(self, event: object, now: Now) -> None:
        """An event is handled by the core now."""
        now_s = now.mono_s
        match event:
            case LimitTold(evse_id, limit_a, lifetime_s):
                lasts_s = inf if lifetime_s is None or limit_a is None else lifetime_s
                self.manager_heard_s = now_s if now.happened_s is None else now.happened_s
                self.words[evse_id] = limit_a, self.manager_heard_s + lasts_s
            case ev.CurrentLimited(evse_id, limit_a):
                self.handled[f"limit {evse_id}"] = limit_a
            case ev.Serviced(evse_id, connector_id):
                self.welded.discard((evse_id, connector_id))
                self.tripped.discard((evse_id, connector_id))
            case ev.TokenPresented() | ev.StartRequested() if not self.safety.rcd_needs_service:
                self.tripped.clear()
            case ev.FaultRaised(evse_id, connector_id, fault):
                self.handled.setdefault(f"faults {(evse_id, connector_id)}", set()).add(fault)
            case ev.FaultCleared(evse_id, connector_id, fault):
                self.handled.setdefault(f"faults {(evse_id, connector_id)}", set()).discard(fault)
                if fault == "no_mains":
                    until_s = now_s + CHANCE * self.safety.random_delay_s
                    self.handled[f"mains {evse_id}"] = until_s
            case ev.PilotChanged(evse_id, connector_id, reading):
                has_left = reading.state is PilotState.A and not self.safety.rcd_needs_service
                self.tripped -= {(evse_id, connector_id)} if has_left else set()
                if reading.temperature_c is not None:
                    self.handled[f"heat {(evse_id, connector_id)}"] = reading.temperature_c
            case ev.CsmsLost():
                self.handled.setdefault("silent", now_s)
            case ev.CsmsReached():
                self.handled.pop("silent", None)

    def trip(self, place: Place) -> None:
        """A residual current was seen there."""
        if place in self.standing or self.safety.rcd_needs_service:
            if place not in self.tripped:
                self.unstored.add(("rcd", place))
            self.tripped.add(place)

    def weld(self, place: Place) -> None:
        """Contacts were seen welded there."""
        if place not in self.welded:
            self.unstored.add((WELDED, place))
        self.welded.add(place)

    def cut(self) -> None:
        """The process ends at once: no disk can know what the station had no time to store."""
        self._note_stored()
        for seen, of_kind in ((self.tripped, "rcd"), (self.welded, WELDED)):
            seen -= {place for kind, place in self.unstored if kind == of_kind}
        self.unstored.clear()

    def _note_stored(self) -> None:
        if self._core_knows:
            self.unstored.clear()

    @property
    def _core_knows(self) -> bool:
        """It has handled all that was told."""
        return not (self.store.busy or self.store.refuses or self.runtime._inbox)

    @property
    def _is_at_rest(self) -> bool:
        """It waits for news: nothing is left of what it decided, either."""
        woken = self.runtime._woken
        return woken is not None and not woken.done() and not self.runtime._inbox

    def inputs_against(self, evse_id: int) -> list[str]:
        """Inputs of the boards that speak against power there."""
        found = sorted(name for name in self.lost_boards if self.boards[name] & {evse_id})
        for (board, name), level in self.inputs.items():
            if evse_id in self.boards[board] and level is (name != "mains"):
                found.append(name)
        return found

    # --- orders that reach a device -----------------------------------------------------------

    def spy(self, place: Place) -> None:
        pilot = self.places[place]
        allow, stop, cut = pilot.allow_power, pilot.stop, pilot.emergency_stop

        def allow_power(limit_a: float) -> None:
            self._judge_order(place, limit_a)
            if self.standing.get(place) != limit_a:
                self.changed_s[place] = self.loop.time()
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
        if place in self.tripped:
            self.wrong.append(f"reclosed: power allowed at {place} after a residual current")
        if f"transaction/{place[0]}" not in self.store.saved:
            self.wrong.append(f"row: power allowed at {place}, no session row is on disk")
        lasted_s = self.loop.time() - self.changed_s.get(place, -PACE_S)
        if before_a is not None and limit_a > before_a and lasted_s < PACE_S - 1e-6:
            self.wrong.append(f"pace: {limit_a:g} A at {place} {lasted_s:.2f} s after {before_a:g}")

    def _judge_limit(self, place: Place, limit_a: float, others_a: float, at_s: float) -> None:
        """`at_s`: when it was decided."""
        site, heard = self.site[place], self.heard.get(place)
        cable_a = heard.cable_a if heard is not None and self.socket else None
        ceilings = {
            "hardware": site.controller_a,
            "file": site.connector_a,
            "cable": cable_a,
            "profile": self.handled.get(f"limit {place[0]}"),
            "supply": self.settings.supply.current_a - others_a,
            "energy manager": self._local_a(place[0], at_s),
            "failsafe": self._failsafe_a(at_s),
        }
        hardware_a = min(a for a in (site.controller_a, site.connector_a, cable_a) if a is not None)
        ceilings["heat"] = self._cool_a(place, hardware_a)
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
        heard_s = self.manager_heard_s
        silent_from_s = min([heard_s + manager.silent_s, *(s for _, s in self.words.values())])
        if evse_id == 0 and at_s - TICK_S >= silent_from_s:
            found.append(manager.failsafe_a)
        return min(found, default=None)

    def _failsafe_a(self, at_s: float) -> float | None:
        silent_s = self.handled.get("silent")
        if silent_s is None or not self.safety.csms_silent_s:
            return None
        is_due = at_s - TICK_S >= silent_s + self.safety.csms_silent_s
        return self.safety.failsafe_a if is_due else None

    def _cool_a(self, place: Place, limit_a: float) -> float | None:
        temperature_c, safety = self.handled.get(f"heat {place}"), self.safety
        if temperature_c is None or safety.derate_from_c is None:
            return None
        if temperature_c >= safety.stop_at_c:
            return 0.0
        span_c = safety.stop_at_c - safety.derate_from_c
        part = min(1.0, (safety.stop_at_c - temperature_c) / span_c)
        return 6.0 + part * max(0.0, limit_a - 6.0)

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
        if against := self.inputs_against(place[0]):
            self.wrong.append(f"fault: power stands allowed at {place} against {against}")
        metered_s = self.metered_s.get(place[0])
        meter_age_s = 3 * max(REPORT_S, self.board.meters[f"meter{place[0]}"].interval_s)
        if metered_s is None or now_s - metered_s > meter_age_s + slack_s:
            self.wrong.append(f"fresh: power stands allowed at {place} without a fresh meter")
        if self._core_knows:
            self._judge_decision(place)

    def _judge_decision(self, place: Place) -> None:
        for where in (place, (place[0], 0)):
            if self.handled.get(f"faults {where}"):
                self.wrong.append(f"fault: power stands allowed at {place}, a fault stands there")
        evse = self.station.evses[place[0]]
        grant, active = evse.grant, evse.active
        is_good = grant is not None and (
            not self.policy.auth_enabled or grant.token.value in GOOD_CARDS
        )
        if not is_good:
            self.wrong.append(f"authorised: power stands allowed at {place} without a good card")
        if active is None or active.place != place:
            self.wrong.append(f"authorised: power stands allowed at {place}, sold is another one")
        until_s = max(self.handled.get(f"mains {n}", 0.0) for n in (0, place[0]))
        if self.loop.time() < until_s - 1e-6 and grant is not None and not grant.in_person:
            self.wrong.append(f"mains: power stands allowed at {place} just after their return")

    # --- what is looked at --------------------------------------------------------------------

    def look_at_all(self) -> None:
        self.board.live.world.advance(max(self.loop.time(), self.board.world.now_s))
        for place, limit_a in self.standing.items():
            others_a = sum(a for other, a in self.standing.items() if other != place)
            if not (self.store.busy or self.runtime._inbox):
                self._judge_limit(place, limit_a, others_a, self.loop.time())
            self._judge_conditions(place, TICK_S)
        if self._is_at_rest:
            self._judge_agreement()
        self._note_stored()
        self.look_at_contactors()

    def _judge_agreement(self) -> None:
        """With nothing left to do, core, guard and device mean the same order."""
        for place in self.places:
            ordered_a = self.station.evses[place[0]].connectors[place[1]].ordered_a
            allowed_a, told_a = self.guard._places[place].allowed_a, self.standing.get(place)
            if not ordered_a == allowed_a == told_a:
                said = f"core {ordered_a}, guard {allowed_a}, device {told_a}"
                self.wrong.append(f"permit: not the same order everywhere at {place}: {said}")

    def look_at_contactors(self) -> None:
        """Called at every change in the world and at every commit."""
        now_s = self.board.world.now_s
        for place, pilot in self.places.items():
            connector = self.board.world.connectors[place]
            if connector.welded or "pilot_lost" in connector.faults:
                self.excused[place] = now_s + OPENS_WITHIN_S
                self.blind[place] = now_s + BLIND_S
            if {pilot.name, f"meter{place[0]}"} & self.deaf or "meter_lost" in connector.faults:
                self.blind[place] = now_s + BLIND_S
            if pilot.locked or not self.socket:
                self.unlocked_s.pop(place, None)
            else:
                self.unlocked_s.setdefault(place, now_s)
            opens = connector.contactor_moves_s is not None and not connector.ordered_closed
            if connector.closed and now_s >= self.excused.get(place, -1.0) and not opens:
                self._judge_power(place, now_s)
        self._judge_supply(now_s)

    def _judge_supply(self, now_s: float) -> None:
        """What really flows, of all whose reports arrive."""
        if any(now_s < until_s for until_s in self.blind.values()) or not self._core_knows:
            return
        flows_a = sum(self.board.world.connectors[place].drawn_a for place in self.places)
        if flows_a > self.settings.supply.current_a + 1e-6:
            self.wrong.append(f"supply: {flows_a:g} A flow of {self.settings.supply.current_a:g}")

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
        if unlocked_s is None:
            return
        if now_s - unlocked_s > OPENS_WITHIN_S + TICK_S:
            self.wrong.append(f"lock: {place} is closed, its plug is not locked")
        if place in self.standing and now_s - unlocked_s > TICK_S:
            self.wrong.append(f"lock: power stands allowed at {place}, its plug is not locked")
