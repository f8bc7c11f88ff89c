"""How a transaction ends: what is told last, and with which value (E06, E07)."""

from msgspec import Struct

from agent.core.effects import Announce, Log, MeterSample
from agent.core.events import IdToken, Now, TransactionEnded
from agent.core.transaction import Transaction
from drivers.contract import MeterReading


class Ending(Struct, frozen=True):
    """A transaction that is to end as soon as the power path is open and the meter was read."""

    trigger: str
    stopped_reason: str | None
    token: IdToken | None
    since_s: float
    deadline_s: float


def end_transaction(
    transaction: Transaction,
    ending: Ending,
    reading: MeterReading | None,
    plugged: bool,
    now: Now,
) -> list[object]:
    """The last records of a transaction, then its row goes. Without a plausible `reading` the
    last stored value is the end value. A session that never met TxStartPoint and took no energy
    leaves no trace; one that did take energy is told from Started on."""
    effects: list[object] = []
    end = reading if reading is not None and plausible_end(transaction, reading) else None
    if end is None:
        end = transaction.last
        text = f"EVSE {transaction.evse_id}: end value is the last stored reading"
        if end is not None and reading is not None:
            text += f" {end.energy_wh:.0f} Wh; the meter shows {reading.energy_wh:.0f} Wh"
        effects.append(Log(4, text))
    if not transaction.started and _energy_wh(transaction, end) > 0:
        transaction.started = True
        begin = (MeterSample("Transaction.Begin", transaction.begin),) if transaction.begin else ()
        effects.append(transaction.record("Started", "ChargingStateChanged", now, samples=begin))
    transaction.charging_state = "EVConnected" if plugged else "Idle"
    last = (MeterSample("Transaction.End", end),) if end is not None else ()
    if transaction.started:
        effects.append(
            transaction.record(
                "Ended",
                ending.trigger,
                now,
                samples=(*transaction.samples, *last),
                stopped_reason=ending.stopped_reason,
                token=ending.token,
            )
        )
    ended = TransactionEnded(transaction.evse_id, transaction.transaction_id)
    return [*effects, transaction.forget(), Announce(ended)]


def plausible_end(transaction: Transaction, reading: MeterReading) -> bool:
    """Same meter, and the register did not fall since the last stored value."""
    last = transaction.last
    if last is None:
        return True
    same_meter = not last.serial or not reading.serial or last.serial == reading.serial
    return same_meter and reading.energy_wh >= last.energy_wh


def _energy_wh(transaction: Transaction, end: MeterReading | None) -> float:
    if transaction.begin is None or end is None:
        return 0.0
    return end.energy_wh - transaction.begin.energy_wh
