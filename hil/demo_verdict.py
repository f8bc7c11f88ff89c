"""Whether what the CSMS got is what happened: every event once, in order, to the last Wh.

Pure: compares the store of the bench CSMS with the world and the network of the bench. The agent
is believed in one thing only, and against itself: what it says still waits.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from msgspec import Struct

from hil.desk import Outage
from hil.parts.csms import Received

AROUND_BACK_S = 1.0
"""Around its return a station may rightly call an event the one or the other."""
ENERGY = "Energy.Active.Import.Register"


class Evidence(Struct, frozen=True):
    """What the bench saw. Times are the bench's loop times, energy is Wh."""

    calls: Sequence[Received]
    """Everything the CSMS got, as it came, resends too."""
    violations: Sequence[str]
    """What the CSMS found wrong by itself."""
    transactions: int
    """How many the scene made."""
    meters_wh: Mapping[int, tuple[float, float]]
    """Register of each EVSE's meter before and after."""
    outages: Sequence[Outage]
    utc_offset_s: float
    """UTC seconds since 1970 minus loop time."""
    waiting: int = 0
    set_aside: int = 0
    thinned: int = 0
    exit_code: int | None = 0
    """Of the agent, told to stop."""


class Verdict(Struct, frozen=True):
    """`line` sums up; all is well only without `problems`."""

    line: str
    problems: tuple[str, ...]


class Delivered(Struct, frozen=True):
    """A TransactionEvent as it came for the first time."""

    at_s: float
    message_id: str
    payload: dict[str, Any]

    @property
    def transaction_id(self) -> str:
        return str(self.payload["transactionInfo"]["transactionId"])

    @property
    def seq_no(self) -> int:
        return int(self.payload["seqNo"])

    @property
    def kind(self) -> str:
        return str(self.payload["eventType"])

    @property
    def utc_s(self) -> float:
        return datetime.fromisoformat(self.payload["timestamp"]).timestamp()

    def __str__(self) -> str:
        return f"{self.kind} (seqNo {self.seq_no}) of transaction {self.transaction_id}"


def judge(evidence: Evidence) -> Verdict:
    """Counts, compares, and names everything that differs."""
    events = first_arrivals(evidence.calls)
    books: dict[str, list[Delivered]] = {}
    for event in events:
        books.setdefault(event.transaction_id, []).append(event)
    delivered = len({(event.transaction_id, event.seq_no) for event in events})
    told = sum(max(event.seq_no for event in book) + 1 for book in books.values())
    recorded = told + evidence.waiting + evidence.set_aside
    billed = billed_wh(books)
    meters = evidence.meters_wh.items()
    metered = {evse_id: round(after - before) for evse_id, (before, after) in meters}
    problems = [
        *evidence.violations,
        *_count_problems(evidence, len(books), recorded - delivered),
        *(problem for book in books.values() for problem in _book_problems(book)),
        *_order_problems(events),
        *_offline_problems(events, evidence),
        *_energy_problems(billed, metered),
    ]
    line = (
        f"{recorded} events recorded, {delivered} delivered in order, {recorded - delivered} lost; "
        f"energy billed {sum(billed.values())} Wh = energy metered {sum(metered.values())} Wh"
    )
    return Verdict(line, tuple(problems))


def first_arrivals(calls: Sequence[Received]) -> list[Delivered]:
    """TransactionEvents in the order they came; the same message sent again counts once."""
    found: dict[str, Delivered] = {}
    for call in calls:
        if call.action == "TransactionEvent" and call.message_id not in found:
            found[call.message_id] = Delivered(call.at_s, call.message_id, call.payload)
    return list(found.values())


def billed_wh(books: Mapping[str, Sequence[Delivered]]) -> dict[int, int]:
    """Sum of (end - begin) by EVSE; what lacks a register counts 0 and is a problem elsewhere."""
    billed: dict[int, int] = {}
    for book in books.values():
        evse_id = next((e.payload["evse"]["id"] for e in book if "evse" in e.payload), 0)
        begin, end = register_wh(book[0], "Begin"), register_wh(book[-1], "End")
        used = end - begin if begin is not None and end is not None else 0
        billed[evse_id] = billed.get(evse_id, 0) + used
    return billed


def register_wh(event: Delivered, edge: str) -> int | None:
    """The register at a transaction's Begin or End, in whole Wh as the bench's meters count.

    Their protocol carries it as a float of kWh that is up to 0.25 Wh off, hence the rounding.
    """
    for meter_value in event.payload.get("meterValue", ()):
        for sample in meter_value["sampledValue"]:
            is_energy = sample.get("measurand", ENERGY) == ENERGY
            if is_energy and sample.get("context") == f"Transaction.{edge}":
                unit = sample.get("unitOfMeasure", {})
                scale = 1000.0 if unit.get("unit") == "kWh" else 1.0
                return round(sample["value"] * scale * 10.0 ** unit.get("multiplier", 0))
    return None


def _count_problems(evidence: Evidence, transactions: int, lost: int) -> Iterator[str]:
    if transactions != evidence.transactions:
        yield f"{evidence.transactions} charges took place, the CSMS knows {transactions}"
    if lost:
        yield f"{lost} recorded events never reached the CSMS"
    if evidence.waiting:
        yield f"{evidence.waiting} events still wait in the outbox"
    if evidence.set_aside:
        yield f"{evidence.set_aside} events were set aside as refused"
    if evidence.thinned:
        yield f"{evidence.thinned} events were thinned out"
    if evidence.exit_code != 0:
        yield f"the agent ended with exit code {evidence.exit_code} when told to stop"


def _book_problems(book: Sequence[Delivered]) -> Iterator[str]:
    """One transaction: Started, Updated, Ended; numbered from 0 without gaps or repetition."""
    numbers = [event.seq_no for event in book]
    if numbers != list(range(len(numbers))):
        yield f"transaction {book[0].transaction_id} came with seqNo {numbers}"
    kinds = [event.kind for event in book]
    middle = ["Updated"] * (len(kinds) - 2)
    if kinds != ["Started", *middle, "Ended"]:
        yield f"transaction {book[0].transaction_id} came as {', '.join(kinds)}"
    if register_wh(book[0], "Begin") is None:
        yield f"{book[0]} lacks the register at the begin"
    if register_wh(book[-1], "End") is None:
        yield f"{book[-1]} lacks the register at the end"


def _order_problems(events: Sequence[Delivered]) -> Iterator[str]:
    """Over all transactions: told in the order in which it happened."""
    for earlier, later in pairwise(events):
        if later.utc_s < earlier.utc_s:
            yield f"{later} came after {earlier}, but happened before"


def _offline_problems(events: Sequence[Delivered], evidence: Evidence) -> Iterator[str]:
    """E04.FR.03: `offline` on what happened or waited without a network, and only on that."""
    for event in events:
        happened_s = event.utc_s - evidence.utc_offset_s
        touched = [o for o in evidence.outages if event.at_s > o.cut_s]
        must = any(happened_s < _back_s(o) - AROUND_BACK_S for o in touched)
        may = any(happened_s <= _back_s(o) + AROUND_BACK_S for o in touched)
        flag = event.payload.get("offline", False)
        if must and not flag:
            yield f"{event} waited while offline and does not say so"
        elif flag and not may:
            yield f"{event} says it happened offline, but the network was there"


def _back_s(outage: Outage) -> float:
    return float("inf") if outage.back_s is None else outage.back_s


def _energy_problems(billed: Mapping[int, int], metered: Mapping[int, int]) -> Iterator[str]:
    for evse_id in sorted(billed.keys() | metered.keys()):
        sold, counted = billed.get(evse_id, 0), metered.get(evse_id, 0)
        if sold != counted:
            yield f"EVSE {evse_id}: {sold} Wh billed, but its meter counted {counted} Wh"
