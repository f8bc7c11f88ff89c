"""A core played without a loop: events in, every effects list judged, time by deadlines."""

import itertools
import json
from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, Now, StopCause, TokenInfo
from agent.core.policy import Policy
from agent.core.site import ConnectorSite, EnergyManager, EvseSite, Safety, Site
from agent.core.station import Station
from drivers.contract import MeterReading, Permit, PilotReading, PilotState, PowerPath

START_S = 1000.0
UTC_OFFSET_S = 1_790_000_000.0
POWER_W = 11_040.0
TICKS_AT_ONE_TIME = 3
"""More Ticks than these at one and the same time mean that a deadline does not move on."""

Place = tuple[int, int]


def card(value: str) -> IdToken:
    return IdToken(value, "ISO14443")


class Ledger:
    """What must be true of every effects list, whatever happened before."""

    def __init__(self, play: "Play") -> None:
        self.play = play
        self.told: dict[str, list[ef.Record]] = {}
        self.allowed: dict[Place, float] = {}

    def judge(self, effects: list[object]) -> None:
        seen_tellable: set[int] = set()
        for effect in effects:
            match effect:
                case ef.Record():
                    self._record(effect, effects)
                    seen_tellable.add(effect.evse_id)
                case ef.Save(key, value):
                    self.play.saved.pop(key, None)
                    if value is not None:
                        self.play.saved[key] = value
                case ef.StopPower(evse_id, connector_id):
                    self.allowed.pop((evse_id, connector_id), None)
                case ef.WithdrawCurrent(evse_id, connector_id, limit_a):
                    assert limit_a < self.allowed[evse_id, connector_id]
                    self.allowed[evse_id, connector_id] = limit_a
                case ef.AllowPower():
                    self._allow(effect)
        self._standing()

    def _record(self, record: ef.Record, effects: list[object]) -> None:
        events = self.told.setdefault(record.transaction_id, [])
        assert record.seq_no == len(events), "seqNo has a gap"
        assert (record.event_type == "Started") == (not events), "Started once, and first"
        assert not events or events[-1].event_type != "Ended", "nothing after Ended"
        if record.token is not None and events and record.event_type == "Updated":
            tokens = [e.token for e in events]
            stops = ("StopAuthorized", "RemoteStop", "Deauthorized")
            assert record.token not in tokens or record.trigger_reason in stops, "token told once"
        if record.connector_id is not None and record.trigger_reason != "Trigger":
            assert all(e.connector_id is None for e in events), "place told once"
        if record.remote_start_id is not None:
            assert all(e.remote_start_id is None for e in events), "remoteStartId told once"
        assert (
            record.samples
            or record.event_type == "Updated"
            or record.stopped_reason is not None
            or not record.evse_id
        )
        events.append(record)
        saves = [e for e in effects if isinstance(e, ef.Save)]
        saves = [
            s for s in saves if s.key == f"transaction/{record.evse_id or record.transaction_id}"
        ]
        assert saves, "a Record goes with the transaction's state"
        if record.event_type == "Ended":
            assert any(s.value is None for s in saves)
            return
        state = next((json.loads(s.value) for s in reversed(saves) if s.value is not None), None)
        if state is not None and state["transaction_id"] == record.transaction_id:
            assert state["next_seq_no"] > record.seq_no
            assert state["started"]

    def _allow(self, order: ef.AllowPower) -> None:
        assert f"transaction/{order.evse_id}" in self.play.saved, "saved before it is energised"
        policy, evse = self.play.station.policy, self.play.station.evses[order.evse_id]
        if policy.tx_start_point & {"EVConnected", "Authorized", "PowerPathClosed"}:
            assert evse.transaction.transaction_id in self.told, "Started before power"
        assert order.permit == self.play.permit
        assert self.play.now_s >= evse.connectors[order.connector_id].hold_until_s
        self.allowed[order.evse_id, order.connector_id] = order.limit_a

    def _standing(self) -> None:
        """Power stands allowed only while everything says so."""
        station, play = self.play.station, self.play
        for place, limit_a in self.allowed.items():
            evse, reading = station.evses[place[0]], play.readings.get(place)
            assert reading is not None, place
            assert reading.state in (PilotState.B, PilotState.C), place
            assert not reading.faults | play.faults.get(place, set()), place
            assert evse.grant is not None
            assert evse.ending is None
            assert not evse.revoked
            assert evse.transaction is not None
            assert evse.active.place == place
            assert evse.connectors[place[1]].ordered_a == limit_a
            assert 6.0 <= limit_a <= self._most_a(place)
        for place, connector in self._connectors().items():
            assert (connector.ordered_a is not None) == (place in self.allowed), place
        assert sum(self.allowed.values()) <= play.supply_a() + 1e-6

    def _most_a(self, place: Place) -> float:
        site = next(
            c for e in self.play.station.site.evses if e.evse_id == place[0]
            for c in e.connectors if c.connector_id == place[1]
        )  # fmt: skip
        cable_a = self.play.readings[place].cable_a
        loose_a = cable_a if cable_a is not None and not site.fixed_cable else 1000.0
        profile_a = self.play.station.limits.get(place[0])
        local_a = self.play.station.local.in_force(self.play.now_s).get(place[0], 1000.0)
        profile_a = 1000.0 if profile_a is None else profile_a
        return min(site.controller_a, site.connector_a, loose_a, profile_a, local_a)

    def _connectors(self) -> dict[Place, object]:
        evses = self.play.station.evses.values()
        return {c.place: c for evse in evses for c in evse.connectors.values()}


class Play:
    """The station with a patient world around it: meter, cache and CSMS answer when they may."""

    def __init__(
        self,
        evses: Iterable[tuple[int, ...]] = ((1,),),
        *,
        supply_a: float = 63.0,
        fixed_cable: bool = True,
        online: bool = True,
        saved: dict[str, str] | None = None,
        safety: Safety = Safety(),
        energy_manager: EnergyManager | None = None,
        still_closes_s: float = 2.0,
        **policy: object,
    ) -> None:
        self.site = Site(
            tuple(
                EvseSite(
                    n,
                    tuple(
                        ConnectorSite(
                            c, 32.0, 32.0, 6.0, fixed_cable, still_closes_s=still_closes_s
                        )
                        for c in ids
                    ),
                )
                for n, ids in enumerate(evses, 1)
            ),
            supply_a,
            safety=safety,
            energy_manager=energy_manager,
        )
        self.policy = Policy(**policy)
        self.saved: dict[str, str] = dict(saved or {})
        self.now_s, self.utc_offset_s, self.boot_id = START_S, UTC_OFFSET_S, "boot-1"
        self.permit = Permit(0)
        self.happened_s: float | None = None
        """Set: what is told now waited since then."""
        self.energy_wh = {e.evse_id: 100_000.0 for e in self.site.evses}
        self._metered_s = self.now_s
        self.meter_serial = "M1"
        self.meter_answers = True
        self.cache: dict[str, TokenInfo] = {}
        self.csms: dict[str, TokenInfo] = {}
        """What Authorize is answered; a token not named here is accepted."""
        self.csms_answers = True
        self.readings: dict[Place, PilotReading] = {}
        self.faults: dict[Place, set[str]] = {}
        self.effects: list[object] = []
        self._ids = itertools.count(1)
        self._policy = self.policy
        self.start(online=online)

    # --- life ---------------------------------------------------------------------------------

    def start(self, *, online: bool = True, cause: StopCause = StopCause.POWER_LOSS) -> None:
        """A process begins on what was saved; nothing is seen yet."""
        self.station = Station(self.site, self._policy, dict(self.saved))
        told = self.ledger.told if hasattr(self, "ledger") else {}
        self.ledger = Ledger(self)
        self.ledger.told = told
        self.readings, self.faults = {}, {}
        self.do(ev.Started(cause, "PowerUp"))
        if online:
            self.do(ev.CsmsReached())

    def reboot(self, *, off_s: float = 60.0, online: bool = True) -> None:
        """Power off and on again: another boot, the loop clock starts anew, UTC goes on."""
        utc_s = self.now_s + self.utc_offset_s + off_s
        self.now_s = self._metered_s = 20.0
        self.utc_offset_s = utc_s - self.now_s
        self.boot_id = f"boot-{next(self._ids)}"
        self.start(online=online)

    def now(self) -> Now:
        return Now(
            mono_s=self.now_s,
            utc_offset_s=self.utc_offset_s,
            utc_known=True,
            boot_id=self.boot_id,
            permit=self.permit,
            random=lambda: 0.5,
            new_id=lambda: f"tx-{next(self._ids)}",
            happened_s=self.happened_s,
        )

    def do(self, event: object) -> list[object]:
        """One event and what the patient world answers; returns all effects that followed."""
        effects = self.station.handle(event, self.now())
        self.effects += effects
        self.ledger.judge(effects)
        found = list(effects)
        for effect in effects:
            found += self._answer(effect)
        return found

    def _answer(self, effect: object) -> list[object]:
        match effect:
            case ef.ReadMeter(evse_id) if self.meter_answers:
                return self.meter(evse_id)
            case ef.LookUp(token):
                return self.do(ev.LookedUp(token, self.cache.get(token.value)))
            case ef.AskCsms(token) if self.csms_answers:
                info = self.csms.get(token.value, TokenInfo("Accepted"))
                return self.do(ev.TokenAnswered(token, info))
            case ef.SaveToken(token, info):
                self.cache[token.value] = info
            case ef.Announce(event):
                return self.do(event)
        return []

    def wait(self, seconds: float, ticks_at_most: int = 400) -> list[object]:
        """Ticks at every deadline on the way; fails where one does not move on."""
        end_s, found, ticks, at_once = self.now_s + seconds, [], 0, 0
        while (due_s := self.station.deadline(self.now())) is not None and due_s <= end_s:
            at_once = at_once + 1 if due_s <= self.now_s else 0
            assert at_once <= TICKS_AT_ONE_TIME, f"the deadline stands still at {due_s}"
            ticks += 1
            assert ticks <= ticks_at_most, f"{ticks} ticks in {seconds} s"
            self._to(max(due_s, self.now_s))
            found += self.do(ev.Tick())
        self._to(end_s)
        return found

    def _to(self, at_s: float) -> None:
        hours = (at_s - self._metered_s) / 3600.0
        for (evse_id, _), reading in self.readings.items():
            if reading.power_path is PowerPath.CLOSED and reading.state is PilotState.C:
                self.energy_wh[evse_id] += POWER_W * hours
        self.now_s = self._metered_s = at_s

    def supply_a(self) -> float:
        profile_a = self.station.limits.get(0)
        local_a = self.station.local.in_force(self.now_s).get(0)
        known = (self.site.supply_a, profile_a, local_a)
        return min(limit_a for limit_a in known if limit_a is not None)

    # --- people, EVs and devices ----------------------------------------------------------------

    def pilot(
        self,
        state: str,
        place: Place = (1, 1),
        *,
        closed: bool | None = False,
        faults: Iterable[str] = (),
        cable_a: float | None = None,
        temperature_c: float | None = None,
        offered_a: float | None = None,
    ) -> list[object]:
        """A report of the controller; `closed` None: not known."""
        path = {True: PowerPath.CLOSED, False: PowerPath.OPEN, None: PowerPath.UNKNOWN}[closed]
        self.readings[place] = PilotReading(
            self.now_s,
            PilotState(state),
            path,
            faults=frozenset(faults),
            cable_a=cable_a,
            temperature_c=temperature_c,
            offered_a=offered_a,
        )
        return self.do(ev.PilotChanged(*place, self.readings[place]))

    def meter(self, evse_id: int = 1, **fields: object) -> list[object]:
        reading = MeterReading(
            self.now_s, self.energy_wh[evse_id], serial=self.meter_serial, current_a=(0.0,) * 3
        )
        return self.do(ev.MeterRead(evse_id, replace(reading, **fields)))

    def swipe(self, value: str = "CARD", evse_ids: tuple[int, ...] = ()) -> list[object]:
        return self.do(ev.TokenPresented(card(value), evse_ids))

    def raise_fault(self, fault: str, place: Place = (1, 1)) -> list[object]:
        self._each(place, lambda faults: faults.add(fault))
        if fault == "pilot_lost":
            for seen in self._places(place):
                self.readings.pop(seen, None)
        return self.do(ev.FaultRaised(*place, fault))

    def clear_fault(self, fault: str, place: Place = (1, 1)) -> list[object]:
        self._each(place, lambda faults: faults.discard(fault))
        return self.do(ev.FaultCleared(*place, fault))

    def guard_stops(self, cause: str, place: Place = (1, 1)) -> list[object]:
        self.permit = Permit(self.permit + 1)
        self.ledger.allowed.pop(place, None)
        return self.do(ev.GuardStopped(*place, cause))

    def _places(self, place: Place) -> list[Place]:
        evses = self.site.evses
        return [
            (e.evse_id, c.connector_id) for e in evses for c in e.connectors
            if e.evse_id == place[0] and place[1] in (0, c.connector_id)
        ]  # fmt: skip

    def _each(self, place: Place, change: Callable[[set[str]], None]) -> None:
        for seen in self._places(place):
            change(self.faults.setdefault(seen, set()))

    def charging(self, value: str = "CARD", place: Place = (1, 1)) -> str:
        """Plug, card, power, C: the transaction's id."""
        self.pilot("B", place)
        self.swipe(value, (place[0],))
        self.wait(6)
        assert place in self.ledger.allowed, "power was not allowed"
        self.pilot("C", place)
        self.pilot("C", place, closed=True)
        self.wait(30)
        transaction = self.station.evses[place[0]].transaction
        return transaction.transaction_id

    # --- what is seen ---------------------------------------------------------------------------

    @property
    def evse(self):
        return self.station.evses[1]

    def told(self, transaction_id: str | None = None) -> list[ef.Record]:
        """All records of a transaction, by default of the last one."""
        books = self.ledger.told
        if transaction_id is None:
            return list(books.values())[-1] if books else []
        return books[transaction_id]

    def story(self, transaction_id: str | None = None) -> list[tuple[str, str, str | None]]:
        """(event, trigger, charging state), without the periodic values."""
        return [
            (r.event_type, r.trigger_reason, r.charging_state)
            for r in self.told(transaction_id)
            if r.trigger_reason != "MeterValuePeriodic"
        ]

    def statuses(self, place: Place = (1, 1)) -> list[str]:
        found = [e for e in self.effects if isinstance(e, ef.StatusChanged)]
        return [e.status for e in found if (e.evse_id, e.connector_id) == place]


@pytest.fixture
def play() -> type[Play]:
    return Play
