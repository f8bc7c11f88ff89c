"""A driver who is accepted and has yet to plug in, at an EVSE nobody knows yet (E03, F02).

Where TxStartPoint contains Authorized the transaction runs from the card on, without an EVSE; the
one where the cable is plugged in takes it over (`Evse.adopt`).
"""

from agent.core.events import IdToken, Now
from agent.core.evse_facts import Grant
from agent.core.policy import Policy
from agent.core.transaction import Transaction


class Floating:
    """An accepted token, the EVSEs where it may be used, and its transaction if that has begun."""

    def __init__(self, grant: Grant, evse_ids: tuple[int, ...]) -> None:
        self.grant = grant
        self.evse_ids = evse_ids
        self.transaction: Transaction | None = None
        self.is_refused = False
        """The CSMS does not accept the token, but StopTxOnInvalidId lets it stand (E05)."""

    def begin(self, now: Now) -> list[object]:
        """E01.FR.03: Started without an EVSE; its meter value is told when there is one
        (E03.FR.11)."""
        grant = self.grant
        transaction = self.transaction = Transaction(
            transaction_id=now.new_id(),
            evse_id=0,
            boot_id=now.boot_id,
            utc_offset_s=now.utc_offset_s,
            started=True,
            token=grant.token,
            group=grant.group,
            remote_start_id=grant.remote_start_id,
        )
        trigger = "Authorized" if grant.remote_start_id is None else "RemoteStart"
        return [transaction.record("Started", trigger, now), transaction.save(now)]

    def end(self, trigger: str, reason: str, token: IdToken | None, now: Now) -> list[object]:
        """Nobody plugged in: with no EV that could leave, nothing is waited for (E03.FR.05)."""
        if self.transaction is None:
            return []
        return end_unplaced(self.transaction, trigger, reason, now, token=token)

    def refuse(self, policy: Policy, now: Now) -> list[object]:
        """The CSMS does not accept the token (E05.FR.02, FR.10); empty: it stands for now."""
        if policy.stop_tx_on_invalid_id or "EnergyTransfer" in policy.tx_stop_point:
            return self.end("Deauthorized", "DeAuthorized", None, now)
        self.is_refused = True
        return []

    def tell_now(self, now: Now) -> list[object]:
        """How the transaction stands, because the CSMS asks (F06.FR.07)."""
        if self.transaction is None:
            return []
        return [self.transaction.record("Updated", "Trigger", now), self.transaction.save(now)]


def end_unplaced(
    transaction: Transaction, trigger: str, reason: str, now: Now, *, token: IdToken | None = None
) -> list[object]:
    """The Ended of a transaction that never had an EVSE, so no meter either; its row goes."""
    ended = transaction.record("Ended", trigger, now, stopped_reason=reason, token=token)
    return [ended, transaction.forget()]
