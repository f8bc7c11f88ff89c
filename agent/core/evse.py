"""One EVSE: from plug and authorisation to a transaction, and back (E01 to E10).

Facts come in, then `_follow` draws the conclusions in a fixed order: does something end the
transaction, may one begin, what changed that must be told, is an ending complete.
"""

from msgspec.structs import replace

from agent.core.charging_state import charging_state, reaction_due_s
from agent.core.connector import Connector
from agent.core.effects import Announce, Log, MeterSample, Record, Show
from agent.core.ending import Ending
from agent.core.events import IdToken, Now, StopCause, TransactionStarted
from agent.core.evse_ending import EvseEnding
from agent.core.evse_facts import Grant, Opening
from agent.core.metering import phases_used
from agent.core.pilot import SUSPENDED_AT_MOST_S
from agent.core.points import ends_at_unplugging, ends_with_authorization, facts
from agent.core.policy import Policy
from agent.core.transaction import Transaction
from drivers.contract import MeterReading, PilotReading, Signing

RESTART_WAIT_S = 30.0
"""The same after a restart, when the devices have yet to be found."""

PRESENT_AGAIN = "No cable was plugged in; present the card again"
BEGIN_TRIGGERS = ("CablePluggedIn", "Authorized", "RemoteStart", "EVDetected")
"""News that can begin a session; they are told in its Started even if the meter took its time."""


class Evse(EvseEnding):
    """What follows from the facts of one EVSE. Methods return effects, in order."""

    # --- facts ----------------------------------------------------------------------------

    def pilot_changed(
        self, connector_id: int, reading: PilotReading, now: Now, policy: Policy
    ) -> list[object]:
        effects = self._lapse(now.at_s, now, policy)
        connector = self.connectors[connector_id]
        was_active = self.active
        moved = connector.see(reading)
        news: list[str] = []
        if moved and connector.plugged:
            if self.transaction is not None and self.transaction.connector_id is None:
                self.transaction.connector_id = connector_id
            if self.active is connector:
                self.has_charged = False
                news.append("CablePluggedIn")
        elif moved and was_active is connector:
            self._unplugged(connector, now, policy)
            news.append("EVCommunicationLost")
        return effects + self._follow(now, policy, *news)

    def meter_read(self, reading: MeterReading, now: Now, policy: Policy) -> list[object]:
        self.metering.take(reading)
        transaction, active = self.transaction, self.active
        if transaction is not None and active is not None and active.delivering:
            transaction.phases = phases_used(reading) or transaction.phases
        return self._follow(now, policy)

    def fault(
        self, connector_id: int, fault: str, standing: bool, now: Now, policy: Policy
    ) -> list[object]:
        for connector in self.connectors.values():
            if connector_id in (0, connector.connector_id):
                faults = connector.extra_faults
                connector.extra_faults = faults | {fault} if standing else faults - {fault}
                if standing and fault == "pilot_lost":
                    connector.lose_sight(now.mono_s)
        return self._follow(now, policy)

    def authorize(
        self, grant: Grant, now: Now, policy: Policy, *, by_plug: bool = False
    ) -> list[object]:
        """Takes an authorisation that was granted for this EVSE; `by_plug`: granted before, and
        brought here by the cable that was plugged in now."""
        self.grant = grant
        transaction, active = self.transaction, self.active
        for connector in (active,) if active is not None else self.connectors.values():
            connector.session_over = connector.tripped = False
        if transaction is not None:
            transaction.token, transaction.group = grant.token, grant.group
            transaction.told_token = transaction.stopped_reason = None
            transaction.remote_start_id = grant.remote_start_id
        news = "Authorized" if grant.remote_start_id is None else "RemoteStart"
        if by_plug and transaction is None and "Authorized" not in policy.tx_start_point:
            news = "CablePluggedIn"
        return self._follow(now, policy, news)

    def adopt(
        self, transaction: Transaction, grant: Grant, now: Now, policy: Policy
    ) -> list[object]:
        """Takes over a transaction that began before anybody knew where the cable would be plugged
        in; told with its begin value (E01.FR.16, FR.17)."""
        left, active = transaction.forget(), self.active
        transaction.evse_id = self.evse_id
        if active is not None:
            transaction.connector_id = active.connector_id
        self._take(transaction, grant)
        news = "CablePluggedIn" if self.connected else "EVDetected"
        self.opening = Opening(news, now.mono_s)
        started = TransactionStarted(
            self.evse_id, transaction.transaction_id, now.mono_s, transaction.remote_start_id
        )
        told = self._follow(now, policy)
        return [left, transaction.save(now), Announce(started), *told]

    def deauthorize(
        self, trigger: str, reason: str, token: IdToken | None, now: Now, policy: Policy
    ) -> list[object]:
        """Ends the authorisation: by card, by the CSMS, by timeout (E06, E07, F03)."""
        transaction = self.transaction
        if transaction is None:
            self._drop_grant()
            return self._follow(now, policy)
        self.grant = None
        if self.ending is not None:
            return self._follow(now, policy)
        is_awaited = self.bay_occupied and "ParkingBayOccupancy" in policy.tx_stop_point
        is_here = self.connected or is_awaited
        if ends_with_authorization(policy, is_here, transaction.started):
            self._begin_end(trigger, reason, token, now)
            return self._follow(now, policy)
        transaction.stopped_reason = reason
        return self._follow(now, policy, trigger, token=token)

    def end(self, trigger: str, reason: str, now: Now, policy: Policy) -> list[object]:
        """Ends the session whatever TxStopPoint says (B12.FR.04)."""
        self._drop_grant()
        if self.transaction is not None and self.ending is None:
            self._begin_end(trigger, reason, None, now)
        return self._follow(now, policy)

    def revoke(self, now: Now, policy: Policy) -> list[object]:
        """The CSMS does not accept the token of the running transaction (E05)."""
        if policy.stop_tx_on_invalid_id or "EnergyTransfer" in policy.tx_stop_point:
            return self.deauthorize("Deauthorized", "DeAuthorized", None, now, policy)
        last = self.metering.last
        if policy.max_energy_on_invalid_id_wh > 0 and last is not None and not self.revoked:
            if self.budget_to_wh is None:
                self.budget_to_wh = last.energy_wh + policy.max_energy_on_invalid_id_wh
            return self._follow(now, policy)
        self.revoked = True
        return self._follow(now, policy)

    def bay_changed(self, occupied: bool, now: Now, policy: Policy) -> list[object]:
        """E01.FR.01, E06.FR.01. With nobody there, nothing else could end an unauthorised one."""
        if occupied == self.bay_occupied:
            return []
        self.bay_occupied, self.bay_used = occupied, False
        transaction = self.transaction
        if occupied or transaction is None or self.ending is not None:
            return self._follow(now, policy, "EVDetected" if occupied else "EVDeparted")
        is_left = self.grant is None and not self.connected
        if "ParkingBayOccupancy" in policy.tx_stop_point or is_left:
            self._begin_end("EVDeparted", transaction.stopped_reason or "Local", None, now)
            return self._follow(now, policy)
        return self._follow(now, policy, "EVDeparted")

    def tick(self, now: Now, policy: Policy) -> list[object]:
        return self._lapse(now.mono_s, now, policy) or self._follow(now, policy)

    def _lapse(self, at_s: float, now: Now, policy: Policy) -> list[object]:
        """Nobody plugged in before `at_s`, be that heard late (E03.FR.05, FR.15)."""
        plug_in_by_s = self._plug_in_by_s()
        if plug_in_by_s is None or at_s < plug_in_by_s:
            return []
        show = Show(self.evse_id, PRESENT_AGAIN)
        return [show, *self.deauthorize("EVConnectTimeout", "Timeout", None, now, policy)]

    def resume(self, transaction: Transaction, cause: StopCause, now: Now) -> list[object]:
        """A transaction that was open when the last process stopped: it ends (E14 of the list)."""
        if transaction.connector_id not in self.connectors:
            transaction.connector_id = None
        self.transaction, self.bay_used = transaction, True
        self.ending = Ending(
            "AbnormalCondition", cause.value, None, now.mono_s, now.mono_s + RESTART_WAIT_S
        )
        return [Log(4, f"EVSE {self.evse_id}: open transaction found, ending it: {cause.value}")]

    def deadline(self, now: Now, policy: Policy) -> float | None:
        running = self.transaction is not None and self.ending is None
        times = [self._plug_in_by_s()]
        if self._awaits_reading(now, policy):
            times.append(self.metering.ask_again_s())
        if self.followed_s is not None and self.followed_s < now.mono_s:
            now = replace(now, mono_s=self.followed_s)  # others were seen to since
        if self.ending is not None:
            times.append(self._end_by_s(self.ending, policy))
        settles_s = self.settles_s()
        times.append(settles_s if settles_s is not None and settles_s > now.mono_s else None)
        if self.unseen_since_s is not None and (running or self.grant is not None):
            times.append(self.unseen_since_s + SUSPENDED_AT_MOST_S)
        if self.opening is not None and self.grant is not None and self.connected:
            times.append(self.opening.since_s + SUSPENDED_AT_MOST_S)
        times.append(self.sampling.deadline(now, policy, self._running() is not None))
        times.append(self._budget_due_s())
        if running and self.transaction is not None and self.transaction.started:
            before = self.transaction.charging_state
            times.append(reaction_due_s(self.active, before, now.mono_s) if self.grant else None)
        return min((t for t in times if t is not None), default=None)

    # --- conclusions ----------------------------------------------------------------------

    def _follow(
        self, now: Now, policy: Policy, *news: str, token: IdToken | None = None
    ) -> list[object]:
        self.followed_s = now.mono_s
        effects = [*self._judge_faults(now), *self._spend(now)]
        effects += self._open(now, policy, news)
        effects += self._tell(now, policy, news, token)
        was_ending = self.ending is not None
        effects += self._finish(now, policy)
        if was_ending and self.ending is None:
            effects += self._open(now, policy, ())
            effects += self._tell(now, policy, (), None)
        effects += [*self._sample(now, policy), *self._tell_asked(now)]
        if any(isinstance(e, Record) for e in effects) and self.transaction is not None:
            effects.append(self.transaction.save(now))
        return effects

    def _plug_in_by_s(self) -> float | None:
        """When the authorisation lapses if no EV is plugged in; a loose cable that is still locked
        in the socket waits for its driver (E10.FR.01, FR.02)."""
        if self.grant is None or self.connected:
            return None
        active = self.active
        return None if active is not None and active.holds_cable else self.grant.deadline_s

    def _unplugged(self, connector: Connector, now: Now, policy: Policy) -> None:
        transaction = self.transaction
        keeps_cable = connector.has_lock and not policy.unlock_on_ev_side_disconnect
        if keeps_cable and self.grant is not None and connector.holds_cable:
            connector.cable_owner = self.grant.token
        if transaction is None:
            self.grant = self.opening = None
        elif self.ending is None:
            granted = self.grant is not None and not policy.stop_tx_on_ev_side_disconnect
            if ends_at_unplugging(policy, granted, self.has_charged, self.bay_occupied):
                reason = transaction.stopped_reason or "EVDisconnected"
                self._begin_end("EVCommunicationLost", reason, None, now)
            elif not granted:
                self.grant = None
                transaction.stopped_reason = transaction.stopped_reason or "EVDisconnected"
            elif self.grant is not None:
                deadline_s = now.at_s + policy.ev_connection_timeout_s
                self.grant = replace(self.grant, deadline_s=deadline_s)

    def _open(self, now: Now, policy: Policy, news: tuple[str, ...]) -> list[object]:
        """Opens a session: from here on a saved row covers whatever flows."""
        connector = self.active or next(iter(self.connectors.values()))
        if self.transaction is not None:
            return self._begin_late(self.transaction, now, policy)
        is_taken = self.is_expected and self.grant is None
        if self.session_over or self.resetting or is_taken:
            return []
        grant = self.grant
        in_bay = self.bay_occupied and (not self.bay_used or grant is not None)
        found = facts(self.active, grant is not None, in_bay=in_bay)
        starts = bool(found & policy.tx_start_point)
        if not (starts or "PowerPathClosed" in found) or not self.is_operative(connector):
            self.opening = None
            return []
        if self.opening is None:
            plain = "CablePluggedIn" if self.connected else "EVDetected"
            plain = "Authorized" if grant is not None else plain
            trigger = next((n for n in news if n in BEGIN_TRIGGERS), plain)
            self.opening = Opening(trigger, now.mono_s)
        begin = self._begin_reading(self.opening, now, policy)
        if connector.faults:
            return []
        if begin is None:
            return self._ask_meter(now, policy.begin_signing)
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
        self._take(transaction, grant)
        self.opening = self.opening if starts else None
        started = TransactionStarted(
            self.evse_id, transaction.transaction_id, now.mono_s, transaction.remote_start_id
        )
        return [transaction.save(now), Announce(started)]

    def _take(self, transaction: Transaction, grant: Grant | None) -> None:
        self.transaction, self.grant = transaction, grant
        self.revoked = self.has_charged = self.starved = False
        self.budget_to_wh, self.bay_used = None, self.bay_occupied

    def _begin_reading(self, opening: Opening, now: Now, policy: Policy) -> MeterReading | None:
        """A meter that signs when asked begins its own session now: what it said before is none."""
        signing = policy.begin_signing
        is_new = signing is not Signing.NONE and self.metering.signs_when_asked
        since_s = opening.since_s if is_new else None
        return self._reading_for(signing, now, opening.since_s, since_s)

    def _begin_late(self, transaction: Transaction, now: Now, policy: Policy) -> list[object]:
        """The begin value of a transaction that began without an EVSE."""
        if transaction.begin is not None or self.opening is None:
            return []
        begin = self._begin_reading(self.opening, now, policy)
        transaction.begin = transaction.last = begin
        return self._ask_meter(now, policy.begin_signing) if begin is None else []

    def _tell(
        self, now: Now, policy: Policy, news: tuple[str, ...], token: IdToken | None
    ) -> list[object]:
        transaction = self.transaction
        if transaction is None or self.ending is not None or transaction.begin is None:
            return []
        before = transaction.charging_state
        transaction.charging_state = state = charging_state(
            self.active,
            before=before,
            granted=self.grant is not None,
            is_withheld=self.revoked or self.starved,
            has_charged=self.has_charged,
            now_s=now.mono_s,
        )
        self.has_charged = self.has_charged or state == "Charging"
        if not transaction.started:
            return self._start(transaction, now, policy)
        if self.opening is not None:
            return self._arrive(transaction, transaction.begin, now, policy)
        if (before, state) == ("Charging", "SuspendedEV") and (
            "EnergyTransfer" in policy.tx_stop_point
        ):
            self._begin_end("ChargingStateChanged", "StoppedByEV", None, now)
            return []
        reasons = list(news)
        if not reasons and state != before:
            reasons = ["ChargingStateChanged"]
        return [transaction.record("Updated", reason, now, token=token) for reason in reasons]

    def _arrive(
        self, transaction: Transaction, begin: MeterReading, now: Now, policy: Policy
    ) -> list[object]:
        """The first event that tells the EVSE of a transaction that began without one."""
        trigger = self.opening.trigger if self.opening is not None else "ChargingStateChanged"
        self.opening = None
        self.sampling.begin(now, policy)
        samples = (MeterSample("Transaction.Begin", begin),)
        return [transaction.record("Updated", trigger, now, samples=samples)]

    def _start(self, transaction: Transaction, now: Now, policy: Policy) -> list[object]:
        if transaction.begin is None:
            return []
        is_signed = transaction.begin.signature is not None
        found = facts(
            self.active, self.grant is not None, in_bay=self.bay_occupied, is_signed=is_signed
        )
        met = found & policy.tx_start_point
        if not met:
            return []
        transaction.started = True
        trigger = "SignedDataReceived" if met == {"DataSigned"} else "ChargingStateChanged"
        trigger = self.opening.trigger if self.opening is not None else trigger
        if transaction.remote_start_id is not None:
            trigger = "RemoteStart"
        self.opening = None
        self.sampling.begin(now, policy)
        sample = MeterSample("Transaction.Begin", transaction.begin)
        return [transaction.record("Started", trigger, now, samples=(sample,))]

    def rate_changed(self, now: Now, policy: Policy) -> list[object]:
        """A local limit made the running charge faster or slower (K11.FR.04, K13.FR.03)."""
        transaction = self.transaction
        if transaction is None or not transaction.started:
            return []
        return self._follow(now, policy, "ChargingRateChanged")

    # --- the meter ------------------------------------------------------------------------

    def tell_now(self, now: Now, policy: Policy) -> list[object]:
        """How the running transaction stands, because the CSMS asks (F06.FR.07); a value that is to
        be signed is asked for first."""
        transaction = self.transaction
        if transaction is None or not transaction.started or self.ending is not None:
            return []
        if policy.sampled_signed and self.metering.signs_when_asked:
            self.event_asked_s = now.mono_s if self.event_asked_s is None else self.event_asked_s
            return self._tell_asked(now)
        return self._told_event(transaction, self.metering.last, now)

    def _awaits_reading(self, now: Now, policy: Policy) -> bool:
        """Whether a conclusion waits for the meter; then the question is repeated."""
        has_begun = self.transaction is not None and self.transaction.begin is not None
        if self.opening is not None and not has_begun:
            connector = self.active or next(iter(self.connectors.values()))
            return not connector.faults
        if self.ending is not None:
            return self._end_reading(self.ending, now, policy) is None
        if self._asked_since_s() is not None:
            return True
        return self.sampling.due(now, policy, self._running() is not None) is not None
