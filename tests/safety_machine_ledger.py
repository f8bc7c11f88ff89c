"""What the safety machine's store was told of transactions, judged as a bookkeeper would."""

from collections.abc import Sequence

import msgspec

from agent.core.effects import Record
from agent.store.rows import NewRow

ROUNDING_WH = 1.0


class Ledger:
    """Every committed transaction event, over all restarts; `wrong` is what cannot be."""

    def __init__(self, wrong: list[str]) -> None:
        self._wrong = wrong
        self._told: dict[str, list[Record]] = {}
        self._sold_to_wh: dict[int, float] = {}
        """Where the last transaction of an EVSE ended."""

    def commit(self, rows: Sequence[NewRow], metered_wh: dict[int, float]) -> None:
        """`metered_wh`: what the meter of each EVSE shows at this moment."""
        for row in rows:
            record = msgspec.json.decode(row.body, type=Record)
            self._take(record)
            shown_wh = [sample.reading.energy_wh for sample in record.samples]
            if record.evse_id and max(shown_wh, default=0.0) > metered_wh[record.evse_id]:
                self._say(f"energy: {record.transaction_id} tells more than was metered")

    def open_ones(self) -> list[str]:
        """Transactions that were Started and never Ended."""
        return [n for n, told in self._told.items() if told[-1].event_type != "Ended"]

    def _take(self, record: Record) -> None:
        told = self._told.setdefault(record.transaction_id, [])
        name = f"{record.transaction_id} {record.event_type} {record.seq_no}"
        if record.seq_no != len(told):
            self._say(f"ledger: {name} comes as number {len(told)}")
        if (record.event_type == "Started") != (not told):
            self._say(f"ledger: {name} is not where it belongs")
        if told and told[-1].event_type == "Ended":
            self._say(f"ledger: {name} comes after its end")
        self._count(record, [sample for event in told for sample in event.samples])
        told.append(record)

    def _count(self, record: Record, before: list[object]) -> None:
        """Energy never falls within a transaction, and nothing is sold twice."""
        last_wh = max((s.reading.energy_wh for s in before), default=None)  # type: ignore[attr-defined]
        contexts = ("Transaction.Begin", "Sample.Periodic", "Trigger", "Transaction.End")
        for sample in record.samples:
            energy_wh = sample.reading.energy_wh
            if sample.context == "Transaction.Begin":
                if energy_wh < self._sold_to_wh.get(record.evse_id, 0.0) - ROUNDING_WH:
                    self._say(f"energy: {record.transaction_id} sells once more what was sold")
            elif last_wh is not None and sample.context in contexts and energy_wh < last_wh:
                self._say(f"energy: {record.transaction_id} falls to {energy_wh:g} Wh")
            last_wh = energy_wh if last_wh is None else max(last_wh, energy_wh)
            if sample.context == "Transaction.End":
                self._sold_to_wh[record.evse_id] = energy_wh

    def _say(self, text: str) -> None:
        if text not in self._wrong:
            self._wrong.append(text)
