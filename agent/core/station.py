"""The charger as a whole: routes facts to its EVSEs, judges tokens, shares the supply.

`handle(event, now) -> effects` and `deadline(now)`; nothing here waits, reads or writes.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from agent.core import events as ev
from agent.core.authorization import (
    NEVER_CACHED,
    Authorization,
    Outcome,
    Question,
    Verdict,
    remember,
)
from agent.core.availability import AVAILABILITY_KEY, Availability
from agent.core.connector import Connector
from agent.core.effects import LockPlug, Log, Restart, Save, Show, StatusChanged, StopPower
from agent.core.ending import Ending, end_transaction
from agent.core.events import IdToken, Now, TokenInfo
from agent.core.evse import Evse
from agent.core.evse_facts import Grant
from agent.core.limits import Place
from agent.core.master_pass import CHOICE_S, CHOICE_TEXT, Choice, chosen, is_master
from agent.core.orders import Orders
from agent.core.policy import Policy
from agent.core.resets import Reset, restarted
from agent.core.site import Site
from agent.core.transaction import restore

PILOT_SAYS = "pilot state"
"""How the guard's cause begins when the EV let go or left."""

NO_TOKEN = IdToken("", "NoAuthorization")


class Floating(Struct, frozen=True):
    """A token accepted before it was clear at which EVSE the cable will be plugged in."""

    grant: Grant
    evse_ids: tuple[int, ...]


class Station:
    """All that a charger does even with no CSMS in the world."""

    def __init__(self, site: Site, policy: Policy, saved: Mapping[str, str]) -> None:
        self.site = site
        self.policy = policy
        self.online = False
        self.evses = {
            e.evse_id: Evse(
                e.evse_id,
                tuple(
                    Connector(e.evse_id, c.connector_id, c.fixed_cable, c.has_lock)
                    for c in e.connectors
                ),
            )
            for e in site.evses
        }
        self.availability = Availability(self.evses, saved.get(AVAILABILITY_KEY, "[]"))
        self.authorization = Authorization()
        self.floating: Floating | None = None
        self.choice: Choice | None = None
        """A master pass waits for the number of what it is to stop."""
        self.limits: dict[int, float | None] = {}
        self.resets: dict[int, Reset] = {}
        """Accepted and not yet carried out, by EVSE; 0: the station."""
        self._is_leaving = False
        self._orders = Orders(site)
        self._status: dict[Place, str] = {}
        self._saved = {k: v for k, v in saved.items() if k.startswith("transaction/")}

    # --- views for the OCPP side ------------------------------------------------------------

    @property
    def evse_ids(self) -> tuple[int, ...]:
        return tuple(self.evses)

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return tuple(self.evses[evse_id].connectors)

    def transaction_id(self, evse_id: int) -> str | None:
        """The running transaction; None also while only its session row exists."""
        transaction = self.evses[evse_id].transaction if evse_id in self.evses else None
        return transaction.transaction_id if transaction is not None else None

    def evse_of(self, transaction_id: str) -> Evse | None:
        """The EVSE a transaction runs on, until its Ended is recorded."""
        for evse in self.evses.values():
            running = evse.transaction
            if running is not None and running.transaction_id == transaction_id:
                return evse
        return None

    def hardware_limit_a(self, evse_id: int) -> float:
        """Most that any connector of the EVSE (0: the supply) can offer, A per phase."""
        if evse_id == 0:
            return self.site.supply_a
        connectors = self.evses[evse_id].connectors.values()
        ceilings = [self._orders.ceiling(connector).limit_a for connector in connectors]
        return min(max(ceilings), self.site.supply_a)

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
        if handler is not None and not self._knows_place_of(event):
            effects.append(Log(3, f"dropped, no such connector: {event}"))
        elif handler is not None:
            effects += handler(self, event, now)
        effects += self._adopt_floating(now)
        effects += self._give_away(now)
        self._mute()
        effects += self._orders.give(self.evses, self.limits, self.policy, now)
        return effects + self._statuses(now) + self._reset(now)

    def deadline(self, now: Now) -> float | None:
        times = [evse.deadline(now, self.policy) for evse in self.evses.values()]
        times.append(self._orders.deadline(now))
        for connector in self._connectors():
            if connector.hold_until_s > now.mono_s:
                times.append(connector.hold_until_s)
        times += [reset.deadline() for reset in self.resets.values()]
        if self.floating is not None:
            times.append(self.floating.grant.deadline_s)
        if self.choice is not None:
            times.append(self.choice.until_s)
        return min((t for t in times if t is not None), default=None)

    def _mute(self) -> None:
        """J01.FR.20: without an EVSE named, one transaction silences the station."""
        is_busy = any(evse.transaction is not None for evse in self.evses.values())
        for evse in self.evses.values():
            evse.is_muted = self.policy.aligned_only_idle and is_busy

    def _knows_place_of(self, event: object) -> bool:
        evse_id, connector_id = getattr(event, "evse_id", 0), getattr(event, "connector_id", 0)
        if evse_id == 0:
            return not isinstance(event, ev.PilotChanged | ev.MeterRead)
        evse = self.evses.get(evse_id)
        return evse is not None and (connector_id == 0 or connector_id in evse.connectors)

    def _started(self, event: ev.Started, now: Now) -> list[object]:
        effects: list[object] = [StopPower(*c.place) for c in self._connectors()]
        for key, text in self._saved.items():
            try:
                transaction = restore(text, now)
            except ValueError as exc:
                effects.append(Log(3, f"{key}: {exc}; it is kept under lost/{key}"))
                effects += [Save(f"lost/{key}", text), Save(key, None)]
                continue
            evse = self.evses.get(transaction.evse_id)
            if evse is not None:
                effects += evse.resume(transaction, event.cause, now)
                continue
            effects.append(Log(3, f"EVSE {transaction.evse_id} is gone: its transaction ends"))
            ending = Ending("AbnormalCondition", event.cause.value, None, now.mono_s, now.mono_s)
            effects += end_transaction(transaction, ending, None, False, now)
        return effects

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
        return evse.fault(event.connector_id, event.fault, False, now, self.policy)

    def _token(self, event: ev.TokenPresented, now: Now) -> list[object]:
        token = event.token
        if self.choice is not None and token.type == "KeyCode":
            return self._choose(self.choice, token.value, now)
        for evse in self._served(event.evse_ids):
            if evse.grant is not None and evse.ending is None and token.same_as(evse.grant.token):
                return self._stop_locally(evse, token, now)
            for connector in evse.connectors.values():
                if token.same_as(connector.cable_owner):
                    connector.cable_owner = None
                    return [Show(evse.evse_id, "Take your cable")]
        if self.floating is not None and token.same_as(self.floating.grant.token):
            self.floating = None
            return [Show(0, "Cancelled; present the card again to charge")]
        question = Question(token, event.evse_ids)
        if token.type == "NoAuthorization":
            return self._conclude(([], Verdict(question, True, TokenInfo("Accepted"))), now)
        if not self.policy.auth_enabled:
            return [Show(0, "No card is needed here; plug in the cable")]
        outcome = self.authorization.present(question, self.policy, self.online, now)
        return self._conclude(outcome, now)

    def _looked_up(self, event: ev.LookedUp, now: Now) -> list[object]:
        outcome = self.authorization.looked_up(
            event.token, event.info, self.policy, self.online, now
        )
        return self._conclude(outcome, now)

    def _answered(self, event: ev.TokenAnswered, now: Now) -> list[object]:
        outcome = self.authorization.answered(event.token, event.info, self.policy, now)
        return self._conclude(outcome, now)

    def _unanswered(self, event: ev.TokenUnanswered, now: Now) -> list[object]:
        return self._conclude(self.authorization.unanswered(event.token, self.policy, now), now)

    def _transaction_answered(self, event: ev.TransactionAnswered, now: Now) -> list[object]:
        """The CSMS judged the token once more: cache it, stop what it refuses (C10, E05)."""
        effects = remember(event.token, event.info, self.policy, now)
        evse = self.evse_of(event.transaction_id)
        if evse is None or evse.ending is not None or evse.grant is None:
            return effects
        if event.info.accepted or not event.token.same_as(evse.grant.token):
            return effects
        return effects + evse.revoke(now, self.policy)

    def _start_requested(self, event: ev.StartRequested, now: Now) -> list[object]:
        question = Question(event.token, (event.evse_id,), event.remote_start_id)
        asks = self.policy.auth_enabled and self.policy.authorize_remote_start
        if asks and event.token.type not in NEVER_CACHED:
            outcome = self.authorization.present(question, self.policy, self.online, now)
            return self._conclude(outcome, now)
        info = TokenInfo("Accepted", group=event.group)
        return self._conclude(([], Verdict(question, True, info)), now)

    def _stop_requested(self, event: ev.StopRequested, now: Now) -> list[object]:
        evse = self.evse_of(event.transaction_id)
        if evse is None:
            return []
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

    def _limited(self, event: ev.CurrentLimited, now: Now) -> list[object]:
        self.limits[event.evse_id] = event.limit_a
        return []

    def _reset_requested(self, event: ev.ResetRequested, now: Now) -> list[object]:
        """B12.FR.02, FR.04: at once means that every transaction is Ended and recorded first."""
        evses = self._reset_by(event.evse_id)
        waits = event.on_idle and any(evse.transaction is not None for evse in evses)
        reset = self.resets[event.evse_id] = Reset(event.evse_id, event.on_idle, waits)
        if event.on_idle:
            return []
        if event.evse_id == 0:
            self.floating = None
        return reset.begin(evses, now, self.policy)

    def _reset_by(self, evse_id: int) -> list[Evse]:
        return list(self.evses.values()) if evse_id == 0 else [self.evses[evse_id]]

    def _is_closing(self) -> bool:
        """The station restarts at once: no EVSE takes drivers any more."""
        reset = self.resets.get(0)
        return self._is_leaving or (reset is not None and not reset.on_idle)

    def _reset(self, now: Now) -> list[object]:
        """Carries out what was accepted as soon as it can be."""
        effects: list[object] = []
        for reset in tuple(self.resets.values()):
            found, is_done = reset.go_on(self._reset_by(reset.evse_id), self.policy, now)
            effects += found
            if not is_done:
                continue
            del self.resets[reset.evse_id]
            if reset.evse_id:
                effects += [] if self._is_closing() else restarted(self.evses[reset.evse_id])
            else:
                self.floating, self._is_leaving = None, True
                reason = reset.boot_reason
                effects += [Save("meta/restart", reason), Restart("process", reason)]
        return effects

    def _availability(self, event: ev.AvailabilityRequested, now: Now) -> list[object]:
        return [self.availability.change(event.evse_id, event.connector_id, event.operative)]

    def _lock_seen(self, event: ev.LockSeen, now: Now) -> list[object]:
        connector = self.evses[event.evse_id].connectors[event.connector_id]
        connector.see_lock(event.locked, event.at_s)
        evse = self.evses[event.evse_id]
        in_session = evse.transaction is not None and evse.active is connector
        if event.locked or not in_session or not connector.lock_ordered:
            return []
        text = f"EVSE {event.evse_id}: the plug lock does not close; nothing is sold without it"
        return [Log(4, text), Show(event.evse_id, "The plug is not locked; plug it in again")]

    def _unlock_requested(self, event: ev.UnlockRequested, now: Now) -> list[object]:
        """F05.FR.06: ordered again though it may stand open already."""
        connector = self.evses[event.evse_id].connectors[event.connector_id]
        if not connector.may_unlock:
            return [Log(4, f"EVSE {event.evse_id}: not unlocked, the power path is not seen open")]
        connector.lock_ordered, connector.cable_owner = False, None
        return [LockPlug(*connector.place, False)]

    def _message_triggered(self, event: ev.MessageTriggered, now: Now) -> list[object]:
        """F06.FR.07."""
        if event.message != "TransactionEvent":
            return []
        asked = self._served((event.evse_id,) if event.evse_id else ())
        return [effect for evse in asked for effect in evse.tell_now(now)]

    def _policy(self, event: ev.PolicyChanged, now: Now) -> list[object]:
        before = self.policy
        if isinstance(event.policy, Policy):
            self.policy = event.policy
        for evse in self.evses.values():
            evse.reschedule(before, self.policy, now)
        return []

    def _reached(self, event: ev.CsmsReached, now: Now) -> list[object]:
        self.online = True
        return []

    def _lost(self, event: ev.CsmsLost, now: Now) -> list[object]:
        self.online = False
        return []

    def _tick(self, event: ev.Tick, now: Now) -> list[object]:
        effects: list[object] = []
        for evse in self.evses.values():
            effects += evse.tick(now, self.policy)
        if self.floating is not None and now.mono_s >= self.floating.grant.deadline_s:
            self.floating = None
            effects.append(Show(0, "No cable was plugged in; present the card again"))
        if self.choice is not None and now.mono_s >= self.choice.until_s:
            self.choice = None
            effects.append(Show(0, "Master pass: nothing was chosen; present it again"))
        return effects

    # --- tokens -----------------------------------------------------------------------------

    def _served(self, evse_ids: tuple[int, ...]) -> list[Evse]:
        return [e for e in self.evses.values() if not evse_ids or e.evse_id in evse_ids]

    def _grant(
        self, token: IdToken, group: IdToken | None, remote_start_id: int | None, now: Now
    ) -> Grant:
        deadline_s = now.mono_s + self.policy.ev_connection_timeout_s
        return Grant(token, group, deadline_s, remote_start_id)

    def _conclude(self, outcome: Outcome, now: Now) -> list[object]:
        effects, verdict = outcome
        if verdict is None:
            return effects
        if not verdict.accepted:
            return [*effects, Show(0, verdict.text)]
        if all(evse.resetting for evse in self.evses.values()):
            return [*effects, Show(0, "Restarting; present the card again in a minute")]
        question, info = verdict.question, verdict.info
        if is_master(info.group, self.policy):
            return effects + self._master_pass(question, now)
        served = self._served(question.evse_ids)
        running = self._of_group(served, info.group) if question.remote_start_id is None else None
        if running is not None and not any(evse.awaits_card for evse in served):
            return effects + self._stop_locally(running, question.token, now)
        usable = [e for e in served if not info.evse_ids or e.evse_id in info.evse_ids]
        grant = self._grant(question.token, info.group, question.remote_start_id, now)
        takers = [e for e in usable if e.free or e.resumes(grant.token)]
        return effects + self._place(grant, takers, now)

    def _master_pass(self, question: Question, now: Now) -> list[object]:
        """C16: never starts anything; stops all transactions, or those that are chosen."""
        if question.remote_start_id is not None:
            return [Show(0, "A master pass starts nothing; use another card")]
        if self.site.has_keypad:
            self.choice = Choice(question.token, now.mono_s + CHOICE_S)
            return [Show(0, CHOICE_TEXT)]
        return self._stop_all(self.evse_ids, question.token, now)

    def _choose(self, choice: Choice, number: str, now: Now) -> list[object]:
        evse_ids = chosen(number, self.evse_ids)
        if evse_ids is None:
            return [Show(0, CHOICE_TEXT)]
        self.choice = None
        return self._stop_all(evse_ids, choice.token, now)

    def _stop_all(self, evse_ids: tuple[int, ...], token: IdToken, now: Now) -> list[object]:
        effects: list[object] = []
        for evse in self._served(evse_ids):
            if evse.transaction is not None and evse.ending is None:
                effects += evse.deauthorize("StopAuthorized", "MasterPass", token, now, self.policy)
        return effects or [Show(0, "Master pass: nothing to stop")]

    def _of_group(self, served: list[Evse], group: IdToken | None) -> Evse | None:
        """An EVSE that charges for this group: any of its cards may end that (C09.FR.07)."""
        for evse in served:
            running = evse.grant
            if running is not None and group is not None and group.same_as(running.group):
                return evse
        return None

    def _place(self, grant: Grant, free: list[Evse], now: Now) -> list[object]:
        """Gives the grant to the EVSE last plugged in, else the only one, else to whoever plugs
        in. An EV whose session is over is not charged at the expense of somebody who came later;
        its own driver's card starts it again."""
        waiting = [e for e in free if e.awaits_card]
        resumed = next((e for e in free if e.resumes(grant.token)), None)
        if resumed is not None:
            return resumed.authorize(grant, now, self.policy)
        again = [e for e in free if e.session_over and grant.token.same_as(e.finished_token)]
        if waiting:
            latest = max(waiting, key=lambda e: e.active.plugged_at_s if e.active else 0.0)
            return latest.authorize(grant, now, self.policy)
        in_bay = [e for e in free if e.awaits_in_bay]
        if len(in_bay) == 1 and not again:
            return in_bay[0].authorize(grant, now, self.policy)
        if len(free) == 1 or again:
            return (again or free)[0].authorize(grant, now, self.policy)
        if not free:
            return [Show(0, "No free connector; wait until one is free")]
        self.floating = Floating(grant, tuple(e.evse_id for e in free))
        return [Show(0, "Accepted; plug in the cable")]

    def _adopt_floating(self, now: Now) -> list[object]:
        if self.floating is None:
            return []
        for evse_id in self.floating.evse_ids:
            evse = self.evses[evse_id]
            if evse.awaits_card:
                grant, self.floating = self.floating.grant, None
                return evse.authorize(grant, now, self.policy, by_plug=True)
        return []

    def _give_away(self, now: Now) -> list[object]:
        """Without authorisation every EV that is plugged in may charge (C02)."""
        effects: list[object] = []
        for evse in self.evses.values():
            if not self.policy.auth_enabled and evse.awaits_card:
                grant = self._grant(NO_TOKEN, None, None, now)
                effects += evse.authorize(grant, now, self.policy)
        return effects

    def _stop_locally(self, evse: Evse, token: IdToken, now: Now) -> list[object]:
        """E07: the card that started, or one of its group, ends the authorisation."""
        return evse.deauthorize("StopAuthorized", "Local", token, now, self.policy)

    # --- connectors ---------------------------------------------------------------------------

    def _connectors(self) -> list[Connector]:
        return [c for e in self.evses.values() for c in e.connectors.values()]

    def _statuses(self, now: Now) -> list[object]:
        effects: list[object] = []
        for connector in self._connectors():
            status = self.status(connector.place)
            if self._status.get(connector.place) != status:
                self._status[connector.place] = status
                effects.append(StatusChanged(*connector.place, status, now.mono_s))
        return effects


_HANDLERS: dict[type, Callable[..., list[object]]] = {
    ev.Started: Station._started,
    ev.PilotChanged: Station._pilot,
    ev.MeterRead: Station._meter,
    ev.BayChanged: Station._bay_changed,
    ev.FaultRaised: Station._fault_raised,
    ev.FaultCleared: Station._fault_cleared,
    ev.TokenPresented: Station._token,
    ev.LookedUp: Station._looked_up,
    ev.TokenAnswered: Station._answered,
    ev.TokenUnanswered: Station._unanswered,
    ev.TransactionAnswered: Station._transaction_answered,
    ev.StartRequested: Station._start_requested,
    ev.StopRequested: Station._stop_requested,
    ev.GuardStopped: Station._guard_stopped,
    ev.OrderRefused: Station._order_refused,
    ev.CurrentLimited: Station._limited,
    ev.ResetRequested: Station._reset_requested,
    ev.AvailabilityRequested: Station._availability,
    ev.LockSeen: Station._lock_seen,
    ev.UnlockRequested: Station._unlock_requested,
    ev.MessageTriggered: Station._message_triggered,
    ev.PolicyChanged: Station._policy,
    ev.CsmsReached: Station._reached,
    ev.CsmsLost: Station._lost,
    ev.Tick: Station._tick,
}
"""One line per fact the core reacts to."""
