"""What the values of an EVSE's meter are used for: samples, and energy that is left to give."""

from agent.core.effects import Log, Metered, MeterSample, ReadMeter
from agent.core.events import Now
from agent.core.evse_facts import EvseFacts
from agent.core.metering import SIGN_WAIT_S
from agent.core.policy import Policy
from agent.core.sampling import Due
from agent.core.transaction import Transaction
from drivers.contract import MeterReading, Payer, Signing

UNNAMED = ("KeyCode", "NoAuthorization")
"""Token types that no meter is told of."""
LEAST_LOOK_S = 1.0
"""A budget of energy is looked at this seldom, however little is left."""


class EvseMeter(EvseFacts):
    """Facts of an EVSE, and what follows from its meter. Methods return effects, in order."""

    def _ask_meter(self, now: Now, signing: Signing = Signing.NONE) -> list[object]:
        if not self.metering.ask(now.mono_s, signing=signing):
            return []
        is_session = signing in (Signing.BEGIN, Signing.END)
        return [ReadMeter(self.evse_id, signing, self._payer() if is_session else None)]

    def _payer(self) -> Payer | None:
        """Who is known to charge; what a driver typed stays here (C04.FR.04)."""
        token = self.transaction.token if self.transaction is not None else None
        if token is None and self.grant is not None:
            token = self.grant.token
        if token is None or token.type in UNNAMED:
            return None
        return Payer(token.value, token.type)

    def _reading_for(
        self, signing: Signing, now: Now, waiting_since_s: float, since_s: float | None
    ) -> MeterReading | None:
        """The answer to `signing`; a plain one once that was waited for long enough."""
        if now.mono_s >= waiting_since_s + SIGN_WAIT_S:
            signed = self.metering.fresh(now.mono_s, since_s=since_s, signing=signing)
            return signed or self.metering.fresh(now.mono_s, since_s=since_s)
        return self.metering.fresh(now.mono_s, since_s=since_s, signing=signing)

    def _running(self) -> Transaction | None:
        """The transaction that was told, has its begin value and is not ending."""
        transaction = self.transaction
        if transaction is None or not transaction.started or transaction.begin is None:
            return None
        return transaction if self.ending is None else None

    def _sample(self, now: Now, policy: Policy) -> list[object]:
        """Due means ask (J01, J02); told when a reading of that time is here."""
        transaction = self._running()
        due = self.sampling.due(now, policy, transaction is not None)
        if due is None or (transaction is None and self.ending is not None):
            return []
        signing = _signing(due, policy)
        reading = self._reading_for(signing, now, due.since_s, due.since_s)
        if reading is None:
            return self._ask_meter(now, signing)
        self.sampling.take(now, policy)
        effects: list[object] = []
        clock = MeterSample("Sample.Clock", reading)
        sampled = MeterSample("Sample.Periodic", reading)
        if transaction is None:
            return [Metered(self.evse_id, clock)] if due.clock and not self.is_muted else []
        if due.ended:
            transaction.keep(sampled)
        if due.clock_ended:
            transaction.keep(clock)
        if due.updated:
            effects.append(
                transaction.record("Updated", "MeterValuePeriodic", now, samples=(sampled,))
            )
        if due.clock and not self.is_muted:
            effects.append(transaction.record("Updated", "MeterValueClock", now, samples=(clock,)))
        if not effects:
            effects.append(transaction.save(now))
        return effects

    def reschedule(self, before: Policy, policy: Policy, now: Now) -> None:
        """Variables have new values."""
        self.sampling.reschedule(before, policy, now, self._running() is not None)

    def sign_values(self, now: Now) -> list[object]:
        """The CSMS asks for values, and a meter that signs when asked is to sign them."""
        if not self.metering.signs_when_asked:
            return []
        if self.values_asked_s is None:
            self.values_asked_s = now.mono_s
        return self._tell_asked(now)

    def _tell_asked(self, now: Now) -> list[object]:
        """What was promised is told, without a signature where there is none to be had."""
        asked_s = self._asked_since_s()
        if asked_s is None:
            return []
        reading = self._reading_for(Signing.VALUE, now, asked_s, asked_s)
        if reading is None and now.mono_s >= asked_s + SIGN_WAIT_S:
            reading = self.metering.last
        if reading is None:
            return self._ask_meter(now, Signing.VALUE)
        effects: list[object] = []
        if self.values_asked_s is not None:
            effects.append(Metered(self.evse_id, MeterSample("Trigger", reading)))
        transaction = self._running()
        if self.event_asked_s is not None and transaction is not None:
            effects += self._told_event(transaction, reading, now)
        self.values_asked_s = self.event_asked_s = None
        return effects

    def _asked_since_s(self) -> float | None:
        """When the first question was put that waits for a signature."""
        asked_s = (self.values_asked_s, self.event_asked_s)
        return min((at_s for at_s in asked_s if at_s is not None), default=None)

    def _told_event(
        self, transaction: Transaction, reading: MeterReading | None, now: Now
    ) -> list[object]:
        samples = (MeterSample("Trigger", reading),) if reading is not None else ()
        told = transaction.record("Updated", "Trigger", now, samples=samples)
        return [told, transaction.save(now)]

    # --- energy after the CSMS refused the token (E05.FR.03) -----------------------------------

    def _spend(self, now: Now) -> list[object]:
        """Revokes once the budget is used up; asks the meter when it may be."""
        last = self.metering.last
        if self.budget_to_wh is None or last is None:
            return []
        if last.energy_wh >= self.budget_to_wh:
            self.revoked, self.budget_to_wh = True, None
            return [Log(5, f"EVSE {self.evse_id}: MaxEnergyOnInvalidId is used up")]
        due_s = self._budget_due_s()
        return self._ask_meter(now) if due_s is not None and now.mono_s >= due_s else []

    def _budget_due_s(self) -> float | None:
        """When the energy that is left will be gone at the power seen last; a meter that was asked
        is given the time to answer."""
        last = self.metering.last
        if self.budget_to_wh is None or last is None or not last.power_w:
            return None
        left_s = (self.budget_to_wh - last.energy_wh) / last.power_w * 3600.0
        return max(last.at_s + max(LEAST_LOOK_S, left_s), self.metering.ask_again_s() or 0.0)


def _signing(due: Due, policy: Policy) -> Signing:
    """Whether any of the values that are due is to be signed (J01.FR.21, J02.FR.21)."""
    is_sampled, is_clock = due.updated or due.ended, due.clock or due.clock_ended
    is_signed = (is_sampled and policy.sampled_signed) or (is_clock and policy.aligned_signed)
    return Signing.VALUE if is_signed else Signing.NONE
