"""Whether what a foreign CSMS kept is what the station sold and what the meters counted. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hil.parts.csms import Received
from hil.verdict import Delivered, Evidence, Wh, billed_wh, judge

Payload = dict[str, Any]


class Kept(Struct, frozen=True):
    """What the CSMS has afterwards."""

    events: Sequence[Payload]
    """TransactionEvent payloads as it stored or validated them, in its own order."""
    refused: Sequence[str] = ()
    """What it found wrong with frames of the station."""
    problems: Sequence[str] = ()
    """What is wrong in its own books, beside the events."""


class Sold(Struct, frozen=True):
    """What the bench saw happen."""

    calls: Sequence[Received]
    """What the station put on the wire."""
    refused: Sequence[str]
    """CALLERRORs on the wire."""
    meters_wh: Mapping[int, Wh]
    transactions: int
    waiting: int
    set_aside: int
    exit_code: int | None


class Result(Struct, frozen=True):
    """All is well only without `problems`."""

    line: str
    problems: tuple[str, ...]


def compare(name: str, sold: Sold, kept: Kept) -> Result:
    """The station's record is what its sequence numbers prove, plus what still waits."""
    verdict = judge(
        Evidence(
            calls=sold.calls,
            meters_wh=sold.meters_wh,
            transactions=sold.transactions,
            waiting=sold.waiting,
            set_aside=sold.set_aside,
            exit_code=sold.exit_code,
        )
    )
    stored = stored_wh(kept.events)
    refused = (*sold.refused, *kept.refused)
    places = {_place(event) for event in kept.events}
    sign = "=" if stored == verdict.metered_wh else "!="
    line = (
        f"interop: {name}: {len(places)} events stored of {verdict.recorded}, "
        f"energy {stored} {sign} {verdict.metered_wh} Wh, {len(refused)} refused"
    )
    energy = [] if sign == "=" else [f"it stored {stored} Wh, the meters {verdict.metered_wh} Wh"]
    problems = (
        *verdict.problems,
        *refused,
        *_differences(sold.calls, kept.events),
        *energy,
        *kept.problems,
    )
    return Result(line, problems)


def stored_wh(events: Sequence[Payload]) -> int:
    """Energy of all transactions by the registers in what was stored."""
    books: dict[str, dict[int, Delivered]] = {}
    for event in events:
        transaction_id, seq_no = _place(event)
        books.setdefault(transaction_id, {}).setdefault(seq_no, Delivered(0.0, "", event))
    in_order = {name: [book[n] for n in sorted(book)] for name, book in books.items()}
    return sum(billed_wh(in_order).values())


def _place(event: Payload) -> tuple[str, int]:
    return event["transactionInfo"]["transactionId"], event["seqNo"]


def _differences(calls: Sequence[Received], events: Sequence[Payload]) -> Iterator[str]:
    """Each event that was sent is stored as it was sent, as often as it was sent at most."""
    sent: dict[tuple[str, int], list[Payload]] = {}
    for call in calls:
        if call.action == "TransactionEvent":
            sent.setdefault(_place(call.payload), []).append(call.payload)
    stored = Counter(_place(event) for event in events)
    for place in sent.keys() - stored.keys():
        yield f"event {place} was sent and is not stored"
    for place in stored.keys() - sent.keys():
        yield f"event {place} is stored and was never sent"
    for place, count in stored.items():
        if count > len(sent.get(place, ())) > 0:
            yield f"event {place} was sent {len(sent[place])} times and is stored {count} times"
    for event in events:
        versions = sent.get(_place(event), ())
        if versions and event not in versions:
            yield f"event {_place(event)} is stored with another content: {event}"
