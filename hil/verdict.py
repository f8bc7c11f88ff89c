"""Whether what the CSMS got is what happened: every event once, in order, to the last Wh.

Pure, and the only judge of all benches: compares the store of the bench CSMS with the world and
the network of the bench. The agent is believed in one thing only, and against itself: what it
says still waits.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from hil.parts.csms import Received

AROUND_BACK_S = 1.0
"""Around its return a station may rightly call an event the one or the other."""
ENERGY = "Energy.Active.Import.Register"
Wh = tuple[float, float]
"""Two readings of one register: before and after."""


class Outage(Struct, frozen=True):
    """The station was offline: loop time of the cut and of its next link (None: still)."""

    cut_s: float
    back_s: float | None = None


class Evidence(Struct, frozen=True):
    """What the bench saw. Times are the bench's loop times, energy is Wh."""

    calls: Sequence[Received]
    """Everything the CSMS got, as it came, resends too."""
    meters_wh: Mapping[int, Wh]
    """Register of each EVSE's meter before and after."""
    violations: Sequence[str] = ()
    """What the CSMS found wrong by itself."""
    transactions: int | None = None
    """How many the scene made; None: nobody counted."""
    outages: Sequence[Outage] | None = None
    """None: `offline` is not judged."""
    utc_offset_s: float = 0.0
    """UTC seconds since 1970 minus loop time; for `outages`."""
    waiting: int = 0
    set_aside: int = 0
    thinned: int = 0
    exit_code: int | None = 0
    """Of the agent, told to stop."""
    stored: Mapping[str, tuple[str, int]] = {}
    """Message id -> (transactionId, seqNo) of events that were seen on disk at some time."""
    given_away_wh: Mapping[int, Sequence[Wh]] = {}
    """Register ranges in which a controller gave power that no agent had allowed."""


class Verdict(Struct, frozen=True):
    """All is well only without `problems`; the figures are of TransactionEvents."""

    recorded: int
    """Those that the seqNos or the disk prove to exist, and those that still wait."""
    delivered: int
    lost: int
    doubled: int
    """Arrivals beyond the first, but for `resent`."""
    reordered: int
    resent: int
    """The one in flight when a link broke, sent again."""
    billed_wh: int
    given_away_wh: int
    """Flowed outside of every transaction, and is explained."""
    metered_wh: int
    problems: tuple[str, ...]

    @property
    def line(self) -> str:
        """The verdict in a line."""
        return (
            f"{self.recorded} events recorded, {self.delivered} delivered in order, "
            f"{self.lost} lost; "
            f"energy billed {self.billed_wh} Wh = energy metered {self.metered_wh} Wh"
        )


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
    def place(self) -> tuple[str, int]:
        return self.transaction_id, self.seq_no

    @property
    def kind(self) -> str:
        return str(self.payload["eventType"])

    @property
    def utc_s(self) -> float:
        return datetime.fromisoformat(self.payload["timestamp"]).timestamp()

    def __str__(self) -> str:
        return f"{self.kind} (seqNo {self.seq_no}) of transaction {self.transaction_id}"


Books = dict[str, list[Delivered]]
"""Events by transaction."""


def judge(evidence: Evidence) -> Verdict:
    """Counts, compares, and names everything that differs."""
    events = first_arrivals(evidence.calls)
    books: Books = {}
    for event in events:
        books.setdefault(event.transaction_id, []).append(event)
    delivered = {event.place for event in events}
    proven = {(name, n) for name, book in books.items() for n in range(_last_number(book) + 1)}
    recorded = len(proven | set(evidence.stored.values())) + evidence.waiting + evidence.set_aside
    repeats = list(_repeats(evidence.calls))
    reordered = list(_order_problems(events))
    billed, given = billed_wh(books), _given_away_wh(books, evidence)
    metered = {n: round(after - before) for n, (before, after) in evidence.meters_wh.items()}
    lost = recorded - len(delivered)
    problems = (
        *evidence.violations,
        *_count_problems(evidence, len(books), lost),
        *(problem for book in books.values() for problem in _book_problems(book)),
        *(problem for problem in repeats if problem),
        *reordered,
        *_offline_problems(events, evidence),
        *_energy_problems(billed, given, metered),
    )
    return Verdict(
        recorded=recorded,
        delivered=len(delivered),
        lost=lost,
        doubled=len(events) - len(delivered) + sum(bool(problem) for problem in repeats),
        reordered=len(reordered),
        resent=sum(not problem for problem in repeats),
        billed_wh=sum(billed.values()),
        given_away_wh=sum(given.values()),
        metered_wh=sum(metered.values()),
        problems=problems,
    )


def first_arrivals(calls: Sequence[Received]) -> list[Delivered]:
    """TransactionEvents in the order they came; the same message sent again counts once."""
    found: dict[str, Delivered] = {}
    for call in calls:
        if call.action == "TransactionEvent" and call.message_id not in found:
            found[call.message_id] = Delivered(call.at_s, call.message_id, call.payload)
    return list(found.values())


def _repeats(calls: Sequence[Received]) -> Iterator[str]:
    """For each message that came again what is wrong with that: empty where it may.

    It may when no later event had left: an answer is stored before the next one leaves.
    """
    first: dict[str, Received] = {}
    last_id = ""
    for call in calls:
        if call.action != "TransactionEvent":
            continue
        earlier = first.setdefault(call.message_id, call)
        if earlier is not call:
            event = Delivered(call.at_s, call.message_id, call.payload)
            if _bare(earlier) != _bare(call):
                yield f"{event} changed when it was sent again: {_bare(earlier)} {_bare(call)}"
            elif call.message_id != last_id:
                yield f"{event} was sent again although a later event had left"
            else:
                yield ""
        last_id = call.message_id


def _bare(call: Received) -> dict[str, Any]:
    return {key: value for key, value in call.payload.items() if key != "offline"}


def _last_number(book: Sequence[Delivered]) -> int:
    return max(event.seq_no for event in book)


def _count_problems(evidence: Evidence, transactions: int, lost: int) -> Iterator[str]:
    if evidence.transactions is not None and transactions != evidence.transactions:
        yield f"{evidence.transactions} charges took place, the CSMS knows {transactions}"
    if lost:
        yield f"{lost} recorded events never reached the CSMS"
    arrived = {call.message_id for call in evidence.calls}
    for message_id, (transaction_id, seq_no) in evidence.stored.items():
        if message_id not in arrived:
            yield f"seqNo {seq_no} of transaction {transaction_id} was on disk and never came"
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
    name = f"transaction {book[0].transaction_id}"
    numbers = [event.seq_no for event in book]
    if numbers != list(range(len(numbers))):
        yield f"{name} came with seqNo {numbers}"
    kinds = [event.kind for event in book]
    middle = ["Updated"] * (len(kinds) - 2)
    if kinds != ["Started", *middle, "Ended"]:
        yield f"{name} came as {', '.join(kinds)}"
    first = _first_with_evse(book)
    if first is None:
        return  # the driver never plugged in
    if register_wh(first, "Begin") is None and (first is book[0] or first is not book[-1]):
        yield f"{first} lacks the register at the begin"
    if register_wh(book[-1], "End") is None:
        yield f"{book[-1]} lacks the register at the end"
    values = [value for event in book for value in registers_wh(event).values()]
    if values != sorted(values):
        yield f"{name}: the register falls: {values}"


def _order_problems(events: Sequence[Delivered]) -> Iterator[str]:
    """Over all transactions: told in the order in which it happened."""
    newest: dict[str, int] = {}
    earlier: Delivered | None = None
    for event in events:
        before = newest.get(event.transaction_id, -1)
        if earlier is not None and event.utc_s < earlier.utc_s:
            yield f"{event} came after {earlier}, but happened before"
        elif event.seq_no < before:
            yield f"{event} came after seqNo {before}"
        newest[event.transaction_id] = max(before, event.seq_no)
        earlier = event


def _offline_problems(events: Sequence[Delivered], evidence: Evidence) -> Iterator[str]:
    """E04.FR.03: `offline` on what happened or waited without a network, and only on that."""
    if evidence.outages is None:
        return
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


# --- energy ---------------------------------------------------------------------------------------


def registers_wh(event: Delivered) -> dict[str, int]:
    """Import registers of an event by their context, in whole Wh as the bench's meters count.

    The desk's meters carry them as a float of kWh that is up to 0.25 Wh off, hence the rounding.
    """
    found: dict[str, int] = {}
    for meter_value in event.payload.get("meterValue", ()):
        for sample in meter_value["sampledValue"]:
            if sample.get("measurand", ENERGY) == ENERGY:
                unit = sample.get("unitOfMeasure", {})
                scale = 1000.0 if unit.get("unit") == "kWh" else 1.0
                wh = round(sample["value"] * scale * 10.0 ** unit.get("multiplier", 0))
                found.setdefault(sample.get("context", "Sample.Periodic"), wh)
    return found


def register_wh(event: Delivered, edge: str) -> int | None:
    """The register at a transaction's Begin or End."""
    return registers_wh(event).get(f"Transaction.{edge}")


def billed_wh(books: Mapping[str, Sequence[Delivered]]) -> dict[int, int]:
    """Sum of (end - begin) by EVSE; what lacks a register counts 0 and is a problem elsewhere."""
    billed: dict[int, int] = {}
    for evse_id, begin, end in _bills(books):
        billed[evse_id] = billed.get(evse_id, 0) + end - begin
    return billed


def _first_with_evse(book: Sequence[Delivered]) -> Delivered | None:
    """Where the begin value stands (E01.FR.09, FR.17)."""
    return next((event for event in book if "evse" in event.payload), None)


def _bills(books: Mapping[str, Sequence[Delivered]]) -> Iterator[tuple[int, int, int]]:
    """(evse_id, register at the begin, register at the end) of each transaction."""
    for book in books.values():
        first = _first_with_evse(book)
        if first is None:
            continue
        begin, end = register_wh(first, "Begin"), register_wh(book[-1], "End")
        if begin is not None and end is not None:
            yield int(first.payload["evse"]["id"]), begin, end


def _given_away_wh(books: Books, evidence: Evidence) -> dict[int, int]:
    """By EVSE: what flowed between two bills, as far as the controller gave it by itself."""
    given: dict[int, int] = {}
    for evse_id, ranges in evidence.given_away_wh.items():
        before, after = evidence.meters_wh[evse_id]
        bills = sorted((begin, end) for n, begin, end in _bills(books) if n == evse_id)
        edges = [round(before), *(wh for bill in bills for wh in bill), round(after)]
        gaps = [(edges[n], edges[n + 1]) for n in range(0, len(edges), 2)]
        total = sum(max(0.0, min(b, d) - max(a, c)) for a, b in gaps for c, d in ranges)
        given[evse_id] = round(total)
    return given


def _energy_problems(
    billed: Mapping[int, int], given: Mapping[int, int], metered: Mapping[int, int]
) -> Iterator[str]:
    for evse_id in sorted(billed.keys() | metered.keys()):
        sold, counted = billed.get(evse_id, 0), metered.get(evse_id, 0)
        if sold + given.get(evse_id, 0) != counted:
            free = f" and {given[evse_id]} Wh given away" if given.get(evse_id) else ""
            yield f"EVSE {evse_id}: {sold} Wh billed{free}, but its meter counted {counted} Wh"
