"""What the last process left open: transactions found at the start end there."""

from collections.abc import Mapping

from agent.core.effects import Log, Save
from agent.core.ending import Ending, end_transaction
from agent.core.events import Now, StopCause
from agent.core.evse import Evse
from agent.core.floating import end_unplaced
from agent.core.transaction import Transaction, restore


def take_up(
    saved: Mapping[str, str], evses: Mapping[int, Evse], cause: StopCause, now: Now
) -> list[object]:
    """Ends each transaction of `saved` (key -> JSON); one that cannot be read is kept as lost."""
    effects: list[object] = []
    for key, text in saved.items():
        try:
            transaction = restore(text, now)
        except ValueError as exc:
            effects.append(Log(3, f"{key}: {exc}; it is kept under lost/{key}"))
            effects += [Save(f"lost/{key}", text), Save(key, None)]
            continue
        evse = evses.get(transaction.evse_id)
        if evse is not None:
            effects += evse.resume(transaction, cause, now)
        else:
            effects += _end_without_evse(transaction, cause, now)
    return effects


def _end_without_evse(transaction: Transaction, cause: StopCause, now: Now) -> list[object]:
    trigger, reason = "AbnormalCondition", cause.value
    if transaction.evse_id == 0:
        told = Log(4, f"open transaction before any plug found: {reason}")
        return [told, *end_unplaced(transaction, trigger, reason, now)]
    told = Log(3, f"EVSE {transaction.evse_id} is gone: its transaction ends")
    ending = Ending(trigger, reason, None, now.mono_s, now.mono_s)
    return [told, *end_transaction(transaction, ending, None, False, now)]
