"""The charger as a whole: routes facts to its EVSEs, shares the supply.

`handle(event, now) -> effects` and `deadline(now)`; nothing here waits, reads or writes.
"""

from collections.abc import Callable, Mapping
from functools import partial

from agent.core import events as ev
from agent.core.asked_values import tell_asked
from agent.core.authorization import remember
from agent.core.availability import AVAILABILITY_KEY, Availability
from agent.core.connector import Connector
from agent.core.effects import (
    LockPlug,
    LockProblem,
    Log,
    Show,
    StatusChanged,
    StopPower,
)
from agent.core.events import Now
from agent.core.evse import Evse
from agent.core.granting import Granting
from agent.core.latches import Latches
from agent.core.limits import Place
from agent.core.local_limit import LimitTold
from agent.core.main_meter import STATION, MainMeter, Measured
from agent.core.orders import Orders
from agent.core.policy import Policy
from agent.core.resets import Resets
from agent.core.site import Site
from agent.core.starting import take_up
from agent.core.transaction import Transaction

PILOT_SAYS = "pilot state"
"""How the guard's cause begins when the EV let go or left."""


class Station:
    """All that a charger does even with no CSMS in the world."""

    def __init__(self, site: Site, policy: Policy, saved: Mapping[str, str]) -> None:
        self.site = site
        self.policy = policy
        self.evses = {
            e.evse_id: Evse(
                e.evse_id,
                tuple(
                    Connector(
                        e.evse_id, c.connector_id, c.fixed_cable, c.has_lock, c.still_closes_s
                    )
                    for c in e.connectors
                ),
            )
            for e in site.evses
        }
        self.availability = Availability(self.evses, saved.get(AVAILABILITY_KEY, "[]"))
        self.granting = Granting(self.evses, has_keypad=site.has_keypad)
        interval_s = site.main_meter_interval_s
        self.main_meter = MainMeter(interval_s) if interval_s is not None else None
        self.limits: dict[int, float | None] = {}
        self._resets = Resets(self.evses, self.granting, site.reset_scope)
        self._orders = Orders(site)
        self.local = self._orders.local
        needs_service = site.safety.rcd_needs_service
        self._latches = Latches(self._connectors(), needs_service, saved)
        self._status: dict[Place, str] = {}
        self._failed_locks: set[Place] = set()
        self._saved = {k: v for k, v in saved.items() if k.startswith("transaction/")}

    # --- views for the OCPP side ------------------------------------------------------------

    @property
    def evse_ids(self) -> tuple[int, ...]:
        return tuple(self.evses)

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return tuple(self.evses[evse_id].connectors)

    def transaction_id(self, evse_id: int) -> str | None:
        """Of the session at the EVSE, whether anybody was told of it yet or not; None: none."""
        transaction = self.evses[evse_id].transaction if evse_id in self.evses else None
        return transaction.transaction_id if transaction is not None else None

    def runs(self, evse_id: int = 0) -> bool:
        """A transaction goes on at the EVSE; 0: at any, or waits to know at which."""
        if evse_id == 0 and self.granting.unplaced() is not None:
            return True
        evses = self.evses.values()
        return any(e.transaction is not None for e in evses if evse_id in (0, e.evse_id))

    def running(self, transaction_id: str) -> Transaction | None:
        """The transaction of that id, until its Ended is recorded; also while it has no EVSE."""
        evse, unplaced = self.evse_of(transaction_id), self.granting.unplaced(transaction_id)
        if evse is not None:
            return evse.transaction
        return unplaced.transaction if unplaced is not None else None

    @property
    def transactions(self) -> list[Transaction]:
        """All that run; those without an EVSE last."""
        found = [evse.transaction for evse in self.evses.values()]
        found += [floating.transaction for floating in self.granting.floating]
        return [transaction for transaction in found if transaction is not None]

    def evse_of(self, transaction_id: str) -> Evse | None:
        """The EVSE a transaction runs on, until its Ended is recorded."""
        for evse in self.evses.values():
            running = evse.transaction
            if running is not None and running.transaction_id == transaction_id:
                return evse
        return None

    def hardware_limit_a(self, evse_id: int) -> float:
        """Most that any connector of the EVSE (0: the supply) can offer, A per phase."""
        return self._orders.hardware_limit_a(self.evses.get(evse_id))

    def is_operative(self, evse_id: int, connector_id: int = 0) -> bool:
        """What ChangeAvailability last said of this level (0: the one above)."""
        return self.availability.of(evse_id, connector_id)

    def is_busy(self, place: Place) -> bool:
        """A transaction runs at the connector, or on its EVSE with no cable plugged in yet."""
        evse = self.evses[place[0]]
        if evse.transaction is None:
            return False
        return evse.active is None or evse.active.place == place

    def status(self, place: Place) -> str:
        return self.evses[place[0]].status(place[1])

    # --- events -----------------------------------------------------------------------------

    def handle(self, event: object, now: Now) -> list[object]:
        """Effects of one fact, orders to the hardware last."""
        handler = _HANDLERS.get(type(event))
        effects: list[object] = []
        if isinstance(event, Measured) and event.evse_id == STATION and self.main_meter is not None:
            self.main_meter.see(event)
        elif handler is not None and not self._knows_place_of(event):
            effects.append(Log(3, f"dropped, no such connector: {event}"))
        elif handler is not None:
            effects += handler(self, event, now)
        effects += self._latches.follow()
        effects += self.granting.settle(self.policy, now)
        self._resets.hold_idle()
        effects += self._mute(now)
        effects += self._orders.give(self.evses, self.policy, now)
        effects += self._statuses(now)
        return effects + self._resets.go_on(self.runs, self.policy, now)

    def deadline(self, now: Now) -> float | None:
        times = [evse.deadline(now, self.policy) for evse in self.evses.values()]
        times += [self._orders.deadline(self.evses, now), self.granting.deadline()]
        if self.main_meter is not None:
            times.append(self.main_meter.deadline(now, self.policy))
        for connector in self._connectors():
            if connector.hold_until_s > now.mono_s:
                times.append(connector.hold_until_s)
        times += self._resets.deadlines()
        return min((t for t in times if t is not None), default=None)

    def _mute(self, now: Now) -> list[object]:
        """J01.FR.19, FR.20: set for an EVSE, its own transaction silences it; set for the station,
        any transaction silences all EVSEs and the main meter."""
        busy = {evse_id for evse_id, evse in self.evses.items() if evse.transaction is not None}
        all_are_muted = self.policy.aligned_only_idle and self.runs()
        for evse_id, evse in self.evses.items():
            own = evse_id in self.policy.aligned_only_idle_evses
            evse.is_muted = all_are_muted or (own and evse_id in busy)
        if self.main_meter is None:
            return []
        return self.main_meter.follow(now, self.policy, is_muted=all_are_muted)

    def _knows_place_of(self, event: object) -> bool:
        evse_id, connector_id = getattr(event, "evse_id", 0), getattr(event, "connector_id", 0)
        if evse_id == 0:
            return not isinstance(event, ev.PilotChanged | Measured)
        evse = self.evses.get(evse_id)
        return evse is not None and (connector_id == 0 or connector_id in evse.connectors)

    def _started(self, event: ev.Started, now: Now) -> list[object]:
        effects = [connector.begin(now.mono_s) for connector in self._connectors()]
        effects += self._orders.caps.started(event.cause, now)
        return effects + take_up(self._saved, self.evses, event.cause, now)

    def _pilot(self, event: ev.PilotChanged, now: Now) -> list[object]:
        evse = self.evses[event.evse_id]
        return evse.pilot_changed(event.connector_id, event.reading, now, self.policy)

    def _meter(self, event: ev.MeterRead, now: Now) -> list[object]:
        return self.evses[event.evse_id].meter_read(event.reading, now, self.policy)

    def _bay_changed(self, event: ev.BayChanged, now: Now) -> list[object]:
        return self.evses[event.evse_id].bay_changed(event.occupied, now, self.policy)

    def _fault_raised(self, event: ev.FaultRaised, now: Now) -> list[object]:
        evse = self.evses[event.evse_id]
        return evse.fault(event.connector_id, event.fault, True, now, self.policy)

    def _fault_cleared(self, event: ev.FaultCleared, now: Now) -> list[object]:
        evse = self.evses[event.evse_id]
        told = self._orders.caps.cleared(event.evse_id, event.fault, now)
        return told + evse.fault(event.connector_id, event.fault, False, now, self.policy)

    def _presented(self, event: ev.TokenPresented, now: Now) -> list[object]:
        hurried = self.granting.hurry(event, partial(self._orders.caps.mains_are_young, now=now))
        return hurried or self.granting.presented(event, self.policy, now)

    def _looked_up(self, event: ev.LookedUp, now: Now) -> list[object]:
        return self.granting.looked_up(event, self.policy, now)

    def _answered(self, event: ev.TokenAnswered, now: Now) -> list[object]:
        return self.granting.answered(event, self.policy, now)

    def _unanswered(self, event: ev.TokenUnanswered, now: Now) -> list[object]:
        return self.granting.unanswered(event, self.policy, now)

    def _start_requested(self, event: ev.StartRequested, now: Now) -> list[object]:
        return self.granting.start_requested(event, self.policy, now)

    def _transaction_answered(self, event: ev.TransactionAnswered, now: Now) -> list[object]:
        """The CSMS judged the token once more: cache it, stop what it refuses (C10, E05)."""
        effects = remember(event.token, event.info, self.policy, now)
        evse, unplaced = self.evse_of(event.transaction_id), None
        if not event.info.accepted:
            unplaced = self.granting.unplaced(event.transaction_id)
        if unplaced is not None and event.token.same_as(unplaced.grant.token):
            return effects + self.granting.refuse(unplaced, self.policy, now)
        if evse is None or evse.ending is not None or evse.grant is None:
            return effects
        if event.info.accepted or not event.token.same_as(evse.grant.token):
            return effects
        return effects + evse.revoke(now, self.policy)

    def _stop_requested(self, event: ev.StopRequested, now: Now) -> list[object]:
        evse, unplaced = self.evse_of(event.transaction_id), None
        if evse is None:
            unplaced = self.granting.unplaced(event.transaction_id)
            return self.granting.stop(unplaced, now) if unplaced is not None else []
        return evse.deauthorize("RemoteStop", "Remote", None, now, self.policy)

    def _guard_stopped(self, event: ev.GuardStopped, now: Now) -> list[object]:
        evse = self.evses[event.evse_id]
        evse.connectors[event.connector_id].guard_stopped(event.cause, now.mono_s)
        told = Log(4, f"EVSE {event.evse_id}: power stopped at once: {event.cause}")
        if event.cause.startswith(PILOT_SAYS):
            return [told]  # the view that made the guard stop follows, and says what is told
        return [told, *evse.tick(now, self.policy)]

    def _order_refused(self, event: ev.OrderRefused, now: Now) -> list[object]:
        """What was allowed before, at a lower limit perhaps, is taken back as well."""
        connector = self.evses[event.evse_id].connectors[event.connector_id]
        connector.hold(now.mono_s)
        text = f"EVSE {event.evse_id}: order to energise not passed on: {event.cause}"
        return [StopPower(*connector.place, emergency=bool(connector.faults)), Log(5, text)]

    def _serviced(self, event: ev.Serviced, now: Now) -> list[object]:
        evse = self.evses[event.evse_id]
        effects = self._latches.clear(evse.connectors[event.connector_id])
        return [*effects, *evse.tick(now, self.policy)]

    def _limited(self, event: ev.CurrentLimited, now: Now) -> list[object]:
        self.limits[event.evse_id] = event.limit_a
        is_running = self.runs(event.evse_id)
        self._orders.caps.limited(event.evse_id, event.limit_a, is_running, now)
        return []

    def _reset_requested(self, event: ev.ResetRequested, now: Now) -> list[object]:
        is_running = self.runs(event.evse_id)
        return self._resets.request(event, is_running, self.policy, now)

    def _availability(self, event: ev.AvailabilityRequested, now: Now) -> list[object]:
        return [self.availability.change(event.evse_id, event.connector_id, event.operative)]

    def _update_pending(self, event: ev.UpdatePending, now: Now) -> list[object]:
        for evse in self.evses.values():
            evse.update_pending = event.pending
        return []

    def _lock_seen(self, event: ev.LockSeen, now: Now) -> list[object]:
        connector = self.evses[event.evse_id].connectors[event.connector_id]
        connector.see_lock(event.locked, event.at_s)
        evse = self.evses[event.evse_id]
        in_session = evse.transaction is not None and evse.active is connector
        if event.locked or not in_session or not connector.lock_ordered:
            return []
        connector.lock_failed = True
        text = f"EVSE {event.evse_id}: the plug lock does not close; nothing is sold without it"
        return [Log(4, text), Show(event.evse_id, "The plug is not locked; plug it in again")]

    def _unlock_requested(self, event: ev.UnlockRequested, now: Now) -> list[object]:
        """F05.FR.06: ordered again though it may stand open already."""
        connector = self.evses[event.evse_id].connectors[event.connector_id]
        if not (connector.has_lock and connector.may_unlock(now.mono_s)):
            return [Log(4, f"EVSE {event.evse_id}: not unlocked, the power path is not seen open")]
        connector.order_lock(False)
        connector.cable_owner = None
        return [LockPlug(*connector.place, False)]

    def _message_triggered(self, event: ev.MessageTriggered, now: Now) -> list[object]:
        """F06.FR.06, FR.07."""
        evses = self.evses.values()
        return tell_asked(event, evses, self.granting, self.main_meter, self.policy, now)

    def _policy(self, event: ev.PolicyChanged, now: Now) -> list[object]:
        before = self.policy
        if isinstance(event.policy, Policy):
            self.policy = event.policy
        for evse in self.evses.values():
            evse.reschedule(before, self.policy, now)
        if self.main_meter is not None:
            self.main_meter.reschedule(before, self.policy)
        return []

    def _reached(self, event: ev.CsmsReached, now: Now) -> list[object]:
        self.granting.online = True
        self._orders.caps.reached()
        return []

    def _lost(self, event: ev.CsmsLost, now: Now) -> list[object]:
        self.granting.online = False
        self._orders.caps.lost(now)
        return []

    def _tick(self, event: ev.Tick, now: Now) -> list[object]:
        effects: list[object] = []
        for evse in self.evses.values():
            effects += evse.tick(now, self.policy)
        return effects + self.granting.tick(now)

    # --- connectors ---------------------------------------------------------------------------

    def _connectors(self) -> list[Connector]:
        return [c for e in self.evses.values() for c in e.connectors.values()]

    def _statuses(self, now: Now) -> list[object]:
        effects: list[object] = []
        for connector in self._connectors():
            status = self.status(connector.place)
            if self._status.get(connector.place) != status:
                self._status[connector.place] = status
                effects.append(StatusChanged(*connector.place, status, now.at_s))
            if connector.lock_failed != (connector.place in self._failed_locks):
                self._failed_locks ^= {connector.place}
                effects.append(LockProblem(*connector.place, connector.lock_failed, now.at_s))
        return effects


_HANDLERS: dict[type, Callable[..., list[object]]] = {
    ev.Started: Station._started,
    ev.PilotChanged: Station._pilot,
    ev.MeterRead: Station._meter,
    ev.BayChanged: Station._bay_changed,
    ev.FaultRaised: Station._fault_raised,
    ev.FaultCleared: Station._fault_cleared,
    ev.TokenPresented: Station._presented,
    ev.LookedUp: Station._looked_up,
    ev.TokenAnswered: Station._answered,
    ev.TokenUnanswered: Station._unanswered,
    ev.TransactionAnswered: Station._transaction_answered,
    ev.StartRequested: Station._start_requested,
    ev.StopRequested: Station._stop_requested,
    ev.GuardStopped: Station._guard_stopped,
    ev.OrderRefused: Station._order_refused,
    ev.Serviced: Station._serviced,
    ev.CurrentLimited: Station._limited,
    LimitTold: lambda station, event, now: station.local.take(event, now),
    ev.ResetRequested: Station._reset_requested,
    ev.AvailabilityRequested: Station._availability,
    ev.UpdatePending: Station._update_pending,
    ev.LockSeen: Station._lock_seen,
    ev.UnlockRequested: Station._unlock_requested,
    ev.MessageTriggered: Station._message_triggered,
    ev.PolicyChanged: Station._policy,
    ev.CsmsReached: Station._reached,
    ev.CsmsLost: Station._lost,
    ev.Tick: Station._tick,
}
"""One line per fact the core reacts to."""
