"""What ends a session of an EVSE by itself, and how it is closed: path open, meter read (E06)."""

from agent.core.effects import Log, MeterSample, Record, Show
from agent.core.ending import Ending, end_transaction, plausible_end
from agent.core.events import IdToken, Now
from agent.core.evse_meter import EvseMeter
from agent.core.metering import SIGN_WAIT_S
from agent.core.pilot import (
    GROUND_FAULTS,
    SUSPENDED_AT_MOST_S,
    SUSPENDING_FAULTS,
    stopped_reason,
)
from agent.core.policy import Policy
from agent.core.transaction import Transaction
from drivers.contract import MeterReading, PowerPath, Signing

END_WAIT_S = 10.0
"""How long an ending waits for an open power path and a reading after it."""


class EvseEnding(EvseMeter):
    """Facts and meter of an EVSE, and how its sessions end. Methods return effects, in order."""

    # --- trouble --------------------------------------------------------------------------

    def _judge_faults(self, now: Now) -> list[object]:
        """Faults end at once what they must not let go on, lost views after a while."""
        active = self.active
        if active is None or not active.is_unseen:
            self.unseen_since_s = None
        elif self.unseen_since_s is None:
            self.unseen_since_s = now.mono_s
        hard = active.faults - SUSPENDING_FAULTS if active is not None else frozenset[str]()
        lasting = (
            self.unseen_since_s is not None
            and now.mono_s >= self.unseen_since_s + SUSPENDED_AT_MOST_S
        )
        if self.transaction is None:
            return self._judge_waiting(bool(hard) or lasting, now)
        if active is not None and active.plugged and hard & GROUND_FAULTS:
            active.tripped = active.session_over = True  # whatever else ends it
            active.tripped_s = now.at_s
        too_long = self.transaction.begin is None and self._opens_too_long(now)
        if self.ending is not None:
            return []
        if hard or lasting or too_long:
            self._begin_end("AbnormalCondition", stopped_reason(hard), None, now)
        elif self._has_other_meter(self.transaction):
            self._begin_end("AbnormalCondition", "Other", None, now)
            text = "its counter fell or its serial number changed; the transaction ends"
            return [Log(3, f"EVSE {self.evse_id}: another meter counts now: {text}")]
        return []

    def _has_other_meter(self, transaction: Transaction) -> bool:
        """What it counted before cannot be billed by what is counted now."""
        before, last = transaction.last, self.metering.last
        if before is None or last is None or last.at_s <= before.at_s:
            return False
        return not plausible_end(transaction, last)

    def _judge_waiting(self, has_trouble: bool, now: Now) -> list[object]:
        """An accepted card whose EV cannot be served now does not start a charge much later."""
        active = self.active
        if self.grant is None or active is None:
            return []
        if not has_trouble and not self._opens_too_long(now) and self.is_operative(active):
            return []
        self._drop_grant()
        return [Show(self.evse_id, "Charging is not possible here now; use another connector")]

    def _opens_too_long(self, now: Now) -> bool:
        opening = self.opening
        return opening is not None and now.mono_s >= opening.since_s + SUSPENDED_AT_MOST_S

    def _drop_grant(self) -> None:
        """Ends an authorisation that has no transaction yet; the plugged EV needs a new one."""
        self.grant = self.opening = None
        if self.active is not None:
            self.active.session_over = self.active.plugged

    # --- the end --------------------------------------------------------------------------

    def _begin_end(self, trigger: str, reason: str, token: IdToken | None, now: Now) -> None:
        self.grant = self.opening = None
        active = self.active
        if active is not None and active.plugged:  # until it leaves, also unheard in between
            active.session_over = True
        self.ending = Ending(trigger, reason, token, now.mono_s, now.mono_s + END_WAIT_S)

    def _end_reading(self, ending: Ending, now: Now, policy: Policy) -> MeterReading | None:
        """A value after the path opened, signed where that is wanted and the meter does it in time;
        while the path is not open, the latest since the end began."""
        opened_s, last = self.open_since_s(now.mono_s), self.metering.last
        if opened_s is not None:
            since_s = max(opened_s, ending.since_s) if self._ends_signed(policy) else opened_s
            return self._reading_for(policy.end_signing, now, ending.since_s, since_s)
        return last if last is not None and last.at_s >= ending.since_s else None

    def _ends_signed(self, policy: Policy) -> bool:
        return policy.end_signing is not Signing.NONE and self.metering.signs_when_asked

    def _end_by_s(self, ending: Ending, policy: Policy) -> float:
        """When an ending goes on with what there is; a signature has its own time."""
        waits_s = SIGN_WAIT_S if self._ends_signed(policy) else 0.0
        return max(ending.deadline_s, ending.since_s + waits_s)

    def _finish(self, now: Now, policy: Policy) -> list[object]:
        ending, transaction = self.ending, self.transaction
        if ending is None or transaction is None:
            return []
        opened_s = self.open_since_s(now.mono_s)
        late = now.mono_s >= self._end_by_s(ending, policy)
        reading = self._end_reading(ending, now, policy)
        if not late and (reading is None or opened_s is None):
            signing = policy.end_signing if opened_s is not None else Signing.NONE
            return self._ask_meter(now, signing) if reading is None else []
        effects = self._close(transaction, ending, reading, now)
        told = [effect.samples for effect in effects if isinstance(effect, Record)]
        if self._ends_signed(policy) and told and not _is_signed(told[-1]):
            text = "the end value is not signed; the meter's own lines in the journal say why"
            effects.append(Log(4, f"EVSE {self.evse_id}: {text}"))
        return effects

    def _close(
        self, transaction: Transaction, ending: Ending, reading: MeterReading | None, now: Now
    ) -> list[object]:
        effects: list[object] = []
        for connector in self.connectors.values():
            if connector.reading.power_path is not PowerPath.OPEN:
                connector.judged_faults |= {"open_unconfirmed"}
                text = "power path not seen open; nothing is sold here until it is: inspect it"
                effects.append(Log(3, f"connector {connector.place}: {text}"))
        active = self.active
        plugged = active is not None and active.plugged
        effects += end_transaction(transaction, ending, reading, plugged, now)
        self.transaction = self.ending = self.grant = self.opening = None
        self.sampling.end()
        self.revoked = self.starved = self.has_charged = False
        self.budget_to_wh = None
        self.finished_token = transaction.token
        return effects


def _is_signed(samples: tuple[MeterSample, ...]) -> bool:
    """The last one is."""
    return bool(samples) and samples[-1].reading.signature is not None
