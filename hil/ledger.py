"""What the CSMS stored against what the world metered: the only judge of a bench."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

ENERGY = "Energy.Active.Import.Register"


class Ledger(Struct, frozen=True):
    """`problems` is empty when every event arrived, once and in order, and the energy agrees."""

    recorded: int
    """Events that the seqNos prove to exist, and those that still wait at the station."""
    delivered: int
    billed_wh: float
    metered_wh: float
    problems: tuple[str, ...]

    @property
    def lost(self) -> int:
        return self.recorded - self.delivered


def judge(
    transactions: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    metered_wh: float,
    still_waiting: int = 0,
    set_aside: int = 0,
    violations: Sequence[str] = (),
) -> Ledger:
    """`transactions`: TransactionEvents as received, by transaction, in order of arrival."""
    problems = list(violations)
    recorded, delivered, billed_wh = still_waiting + set_aside, 0, 0.0
    for transaction_id, events in transactions.items():
        numbers = [event["seqNo"] for event in events]
        recorded += max(numbers) + 1
        delivered += len(set(numbers))
        if numbers != list(range(len(numbers))):
            problems.append(f"{transaction_id}: seqNo {numbers}, not 0, 1, 2 in order")
        if events[0]["eventType"] != "Started" or events[-1]["eventType"] != "Ended":
            kinds = f"{events[0]['eventType']} to {events[-1]['eventType']}"
            problems.append(f"{transaction_id}: goes from {kinds}, not from Started to Ended")
        registers = [wh for event in events for wh in registers_of(event)]
        if registers != sorted(registers):
            problems.append(f"{transaction_id}: the register falls: {registers}")
        if registers:
            billed_wh += registers[-1] - registers[0]
        else:
            problems.append(f"{transaction_id}: no register value at all")
    if still_waiting or set_aside:
        problems.append(f"{still_waiting} events still wait, {set_aside} were set aside")
    if round(billed_wh) != round(metered_wh):
        problems.append(f"billed {billed_wh:.0f} Wh, metered {metered_wh:.0f} Wh")
    return Ledger(recorded, delivered, billed_wh, metered_wh, tuple(problems))


def registers_of(event: Mapping[str, Any]) -> list[float]:
    """Import register values of one TransactionEvent, in Wh, in their order."""
    return [
        float(sampled["value"])
        for value in event.get("meterValue", ())
        for sampled in value["sampledValue"]
        if sampled.get("measurand", ENERGY) == ENERGY
    ]
