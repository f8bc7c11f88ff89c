"""One EVSE: from plug and authorisation to a transaction, and back (E01 to E10).

Facts come in, then `_follow` draws the conclusions in a fixed order: does something end the
transaction, may one begin, what changed that must be told, is an ending complete.
"""

from msgspec import Struct

from agent.core.connector import Connector
from agent.core.effects import Announce, Log, MeterSample, ReadMeter, Record, Show
from agent.core.ending import Ending, end_transaction
from agent.core.events import IdToken, Now, StopCause, TransactionStarted
from agent.core.metering import Metering, phases_used
from agent.core.pilot import SUSPENDED_AT_MOST_S, SUSPENDING_FAULTS, stopped_reason
from agent.core.policy import Policy
from agent.core.status import connector_status
from agent.core.transaction import Transaction
from drivers.contract import MeterReading, PilotReading

END_WAIT_S = 10.0
"""How long an ending waits for an open power path and a reading after it."""

RESTART_WAIT_S = 30.0
"""The same after a restart, when the devices have yet to be found."""

EV_REACTION_S = 15.0
"""An EV that was offered power and did not take it this long is suspending by itself."""


class Grant(Struct, frozen=True):
    """An authorisation in force. `deadline_s`: plug in before, or it lapses (C01.FR.26)."""

    token: IdToken
    group: IdToken | None
    deadline_s: float
    remote_start_id: int | None = None


class Evse:
    """Facts, authorisation and transaction of one EVSE. Methods return effects, in order."""

    def __init__(self, evse_id: int, connector_ids: tuple[int, ...]) -> None:
        self.evse_id = evse_id
        self.connectors = {c: Connector(evse_id, c) for c in connector_ids}
        self.metering = Metering()
        self.grant: Grant | None = None
        self.transaction: Transaction | None = None
        self.ending: Ending | None = None
        self.operative = True
        self.session_over = False
        """The last transaction ended with the cable still plugged: a new one needs a new grant."""
        self.opening: str | None = None
        """Trigger of a session that waits for its begin reading."""
        self.revoked = False
        """The CSMS refused the token but the transaction goes on without energy (E05.FR.02)."""
        self.starved = False
        """Wants power, but the limits leave less than the minimum."""
        self.has_charged = False
        self.lost_since_s: float | None = None
        self.offered_since_s: float | None = None

    # --- views ----------------------------------------------------------------------------

    @property
    def active(self) -> Connector | None:
        """The connector of the transaction, else the plugged one."""
        if self.transaction is not None and self.transaction.connector_id is not None:
            return self.connectors[self.transaction.connector_id]
        return next((c for c in self.connectors.values() if c.plugged), None)

    @property
    def connected(self) -> bool:
        active = self.active
        return active is not None and active.plugged

    @property
    def free(self) -> bool:
        """A new authorisation could be taken (C01.FR.23: nobody takes over a transaction)."""
        untaken = self.transaction is None or self.transaction.token is None
        usable = any(self._usable(c) for c in self.connectors.values())
        return self.grant is None and self.ending is None and untaken and usable

    def status(self, connector_id: int) -> str:
        connector = self.connectors[connector_id]
        busy = self.transaction is not None and connector is self.active
        return connector_status(
            faulted=bool(connector.faults),
            operative=(self.operative and connector.operative) or busy,
            reserved=False,
            occupied=connector.plugged or (busy and connector.plugged),
        )

    def _usable(self, connector: Connector) -> bool:
        return self.operative and connector.operative and not connector.faults

    def wants_power(self) -> Connector | None:
        """The connector that may be energised now as far as this EVSE alone can tell."""
        active = self.active
        if self.transaction is None or self.ending is not None or self.grant is None:
            return None
        if active is None or not active.plugged or active.faults or self.revoked:
            return None
        return active

    # --- facts ----------------------------------------------------------------------------

    def pilot_changed(
        self, connector_id: int, reading: PilotReading, now: Now, policy: Policy
    ) -> list[object]:
        connector = self.connectors[connector_id]
        was_active = self.active
        moved = connector.see(reading)
        news: list[str] = []
        effects: list[object] = []
        if moved and connector.plugged:
            news.append("CablePluggedIn")
            if self.transaction is not None and self.transaction.connector_id is None:
                self.transaction.connector_id = connector_id
        elif moved and (was_active is connector):
            effects += self._unplugged(now, policy)
            news.append("EVCommunicationLost")
        return effects + self._follow(now, policy, *news)

    def meter_read(self, reading: MeterReading, now: Now, policy: Policy) -> list[object]:
        self.metering.take(reading)
        transaction = self.transaction
        if transaction is not None:
            active = self.active
            if active is not None and active.delivering:
                transaction.phases = phases_used(reading) or transaction.phases
        return self._follow(now, policy)

    def fault(
        self, connector_id: int, fault: str, standing: bool, now: Now, policy: Policy
    ) -> list[object]:
        for connector in self.connectors.values():
            if connector_id in (0, connector.connector_id):
                faults = connector.extra_faults
                connector.extra_faults = faults | {fault} if standing else faults - {fault}
        return self._follow(now, policy)

    def authorize(self, grant: Grant, now: Now, policy: Policy) -> list[object]:
        """Takes an authorisation that was granted for this EVSE."""
        self.grant = grant
        self.session_over = False
        transaction = self.transaction
        if transaction is not None:
            transaction.token, transaction.group = grant.token, grant.group
            transaction.remote_start_id = grant.remote_start_id
        news = "Authorized" if grant.remote_start_id is None else "RemoteStart"
        return self._follow(now, policy, news)

    def deauthorize(
        self, trigger: str, reason: str, token: IdToken | None, now: Now, policy: Policy
    ) -> list[object]:
        """Ends the authorisation: by card, by the CSMS, by timeout (E06, E07, F03)."""
        self.grant = None
        if self.transaction is None or self.ending is not None:
            self.session_over, self.opening = self.connected, None
            return self._follow(now, policy)
        if policy.tx_stop_point & {"Authorized", "PowerPathClosed", "EnergyTransfer"}:
            effects = self._begin_end(trigger, reason, token, now)
            return effects + self._follow(now, policy)
        self.transaction.stopped_reason = reason
        return self._follow(now, policy, trigger, token=token)

    def revoke(self, now: Now, policy: Policy) -> list[object]:
        """The CSMS does not accept the token of the running transaction (E05)."""
        if policy.stop_tx_on_invalid_id:
            return self.deauthorize("Deauthorized", "DeAuthorized", None, now, policy)
        self.revoked = True
        return self._follow(now, policy, "Deauthorized")

    def tick(self, now: Now, policy: Policy) -> list[object]:
        grant = self.grant
        if grant is not None and not self.connected and now.mono_s >= grant.deadline_s:
            show = Show(self.evse_id, "No cable was plugged in; present the card again")
            return [show, *self.deauthorize("EVConnectTimeout", "Timeout", None, now, policy)]
        return self._follow(now, policy)

    def resume(self, transaction: Transaction, cause: StopCause, now: Now) -> list[object]:
        """A transaction that was open when the last process stopped: it ends (E14 of the list)."""
        self.transaction = transaction
        self.ending = Ending(
            "AbnormalCondition", cause.value, None, now.mono_s, now.mono_s + RESTART_WAIT_S
        )
        return [Log(4, f"EVSE {self.evse_id}: open transaction found, ending it: {cause.value}")]

    def deadline(self, now: Now) -> float | None:
        times: list[float | None] = [self.metering.ask_again_s() if self._needs_reading() else None]
        if self.grant is not None and not self.connected:
            times.append(self.grant.deadline_s)
        if self.ending is not None:
            times.append(self.ending.deadline_s)
        elif self.transaction is not None:
            due_s = self.metering.sample_due_s
            waiting = due_s is not None and due_s <= now.mono_s
            times.append(self.metering.ask_again_s() if waiting else due_s)
            if self.lost_since_s is not None:
                times.append(self.lost_since_s + SUSPENDED_AT_MOST_S)
            if self.offered_since_s is not None and not self.has_charged:
                reaction = self.offered_since_s + EV_REACTION_S
                times.append(reaction if reaction > now.mono_s else None)
        return min((t for t in times if t is not None), default=None)

    # --- conclusions ----------------------------------------------------------------------

    def _follow(
        self, now: Now, policy: Policy, *news: str, token: IdToken | None = None
    ) -> list[object]:
        effects = self._end_by_fault(now)
        effects += self._open(now, policy, news)
        effects += self._tell(now, policy, news, token)
        effects += self._finish(now)
        if any(isinstance(e, Record) for e in effects) and self.transaction is not None:
            effects.append(self.transaction.save(now))
        return effects

    def _unplugged(self, now: Now, policy: Policy) -> list[object]:
        self.session_over, self.opening = False, None
        transaction = self.transaction
        if transaction is None or self.ending is not None:
            if self.ending is None:
                self.grant = None
            return []
        stop = policy.tx_stop_point
        if policy.stop_tx_on_ev_side_disconnect:
            self.grant = None
        ends = stop & {"EVConnected", "PowerPathClosed"} or (
            "Authorized" in stop and self.grant is None
        )
        if not ends:
            return []
        self.grant = None
        reason = transaction.stopped_reason or "EVDisconnected"
        return self._begin_end("EVCommunicationLost", reason, None, now)

    def _end_by_fault(self, now: Now) -> list[object]:
        active = self.active
        faults = active.faults if active is not None else frozenset()
        hard = faults - SUSPENDING_FAULTS
        if not faults & SUSPENDING_FAULTS:
            self.lost_since_s = None
        elif self.lost_since_s is None:
            self.lost_since_s = now.mono_s
        if self.transaction is None or self.ending is not None:
            return []
        if hard:
            self.grant = None
            return self._begin_end("AbnormalCondition", stopped_reason(hard), None, now)
        if self.lost_since_s is not None and (
            now.mono_s - self.lost_since_s >= SUSPENDED_AT_MOST_S
        ):
            self.grant = None
            return self._begin_end("AbnormalCondition", "Other", None, now)
        return []

    def _facts(self) -> set[str]:
        """TxStartStopPointEnumType values that are true now (E01)."""
        facts = set()
        if self.connected:
            facts.add("EVConnected")
        if self.grant is not None:
            facts.add("Authorized")
        if len(facts) == 2:
            facts.add("PowerPathClosed")
        if self.active is not None and self.active.delivering and self.grant is not None:
            facts.add("EnergyTransfer")
        return facts

    def _open(self, now: Now, policy: Policy, news: tuple[str, ...]) -> list[object]:
        """Opens a session: from here on a saved row covers whatever flows."""
        facts = self._facts()
        wanted = bool(facts & policy.tx_start_point) or "PowerPathClosed" in facts
        connector = self.active or next(iter(self.connectors.values()))
        if self.transaction is not None or self.session_over or not self._usable(connector):
            return []
        if not wanted:
            self.opening = None
            return []
        self.opening = self.opening or (news[0] if news else "ChargingStateChanged")
        begin = self.metering.fresh(now.mono_s)
        if begin is None:
            return [ReadMeter(self.evse_id)] if self.metering.ask(now.mono_s) else []
        grant = self.grant
        transaction = Transaction(
            transaction_id=now.new_id(),
            evse_id=self.evse_id,
            boot_id=now.boot_id,
            utc_offset_s=now.utc_offset_s,
            connector_id=self.active.connector_id if self.active is not None else None,
            token=grant.token if grant else None,
            group=grant.group if grant else None,
            remote_start_id=grant.remote_start_id if grant else None,
            begin=begin,
            last=begin,
        )
        self.transaction = transaction
        self.revoked = self.has_charged = self.starved = False
        self.metering.schedule(now.mono_s, policy.tx_updated_interval_s)
        started = TransactionStarted(
            self.evse_id, transaction.transaction_id, now.mono_s, transaction.remote_start_id
        )
        return [transaction.save(now), Announce(started)]

    def _tell(
        self, now: Now, policy: Policy, news: tuple[str, ...], token: IdToken | None
    ) -> list[object]:
        transaction = self.transaction
        if transaction is None or self.ending is not None:
            return []
        before = transaction.charging_state
        transaction.charging_state = state = self._charging_state(now)
        if not transaction.started:
            return self._start(transaction, now, policy)
        effects: list[object] = []
        if before == "Charging" and state != "Charging" and self._stops_by_energy(policy):
            return self._begin_end("ChargingStateChanged", "StoppedByEV", None, now)
        reasons = list(news)
        if not reasons and state != before:
            reasons = ["ChargingStateChanged"]
        for reason in reasons:
            effects.append(transaction.record("Updated", reason, now, token=token))
        effects += self._sample(transaction, now, policy)
        return effects

    def _start(self, transaction: Transaction, now: Now, policy: Policy) -> list[object]:
        if not self._facts() & policy.tx_start_point or transaction.begin is None:
            return []
        transaction.started = True
        trigger = self.opening or "ChargingStateChanged"
        if transaction.remote_start_id is not None:
            trigger = "RemoteStart"
        self.opening = None
        sample = MeterSample("Transaction.Begin", transaction.begin)
        return [transaction.record("Started", trigger, now, samples=(sample,))]

    def _stops_by_energy(self, policy: Policy) -> bool:
        return "EnergyTransfer" in policy.tx_stop_point and not self.starved

    def _sample(self, transaction: Transaction, now: Now, policy: Policy) -> list[object]:
        """Periodic values (J02): due means ask; told when a reading of that time is here."""
        due_s = self.metering.sample_due_s
        if due_s is None or now.mono_s < due_s:
            return []
        reading = self.metering.fresh(now.mono_s, since_s=due_s - 1.0)
        if reading is None:
            return [ReadMeter(self.evse_id)] if self.metering.ask(now.mono_s) else []
        self.metering.take_due(now.mono_s, policy.tx_updated_interval_s)
        sample = MeterSample("Sample.Periodic", reading)
        return [transaction.record("Updated", "MeterValuePeriodic", now, samples=(sample,))]

    def _charging_state(self, now: Now) -> str:
        """ChargingStateEnumType from facts; EVConnected until the EV had time to react."""
        active = self.active
        if active is None or not active.plugged:
            return "Idle"
        if self.grant is None:
            return "EVConnected"
        if active.ordered_a is None or self.revoked:
            self.offered_since_s = None
        elif self.offered_since_s is None:
            self.offered_since_s = now.mono_s
        if active.delivering:
            self.has_charged = True
            return "Charging"
        if self.revoked or self.starved or active.faults:
            return "SuspendedEVSE"
        offered_s = now.mono_s - self.offered_since_s if self.offered_since_s is not None else 0.0
        return "SuspendedEV" if self.has_charged or offered_s >= EV_REACTION_S else "EVConnected"

    # --- ending ---------------------------------------------------------------------------

    def _begin_end(
        self, trigger: str, reason: str | None, token: IdToken | None, now: Now
    ) -> list[object]:
        self.ending = Ending(trigger, reason, token, now.mono_s, now.mono_s + END_WAIT_S)
        return []

    def _needs_reading(self) -> bool:
        return self.ending is not None or self.opening is not None or (
            self.metering.asked_at_s is not None
        )

    def _open_since_s(self) -> float | None:
        """When the last power path of this EVSE was seen open; None while one is not."""
        times = [c.open_since_s for c in self.connectors.values()]
        return None if any(t is None for t in times) else max(t for t in times if t is not None)

    def _finish(self, now: Now) -> list[object]:
        ending, transaction = self.ending, self.transaction
        if ending is None or transaction is None:
            return []
        opened_s = self._open_since_s()
        late = now.mono_s >= ending.deadline_s
        reading = None
        if opened_s is not None:
            reading = self.metering.fresh(now.mono_s, since_s=opened_s)
        if reading is None and not late:
            if opened_s is not None and self.metering.ask(now.mono_s):
                return [ReadMeter(self.evse_id)]
            return []
        return self._close(transaction, ending, reading, opened_s is None, now)

    def _close(
        self,
        transaction: Transaction,
        ending: Ending,
        reading: MeterReading | None,
        unconfirmed: bool,
        now: Now,
    ) -> list[object]:
        effects: list[object] = []
        if unconfirmed:
            text = "power path not confirmed open; sell nothing here until it was inspected"
            effects.append(Log(3, f"EVSE {self.evse_id}: {text}"))
        effects += end_transaction(transaction, ending, reading, self.connected, now)
        self.transaction = self.ending = self.grant = self.opening = None
        self.offered_since_s = self.metering.sample_due_s = None
        self.revoked = self.starved = self.has_charged = False
        self.session_over = self.connected
        return effects
