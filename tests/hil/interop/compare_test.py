"""The comparison of `make interop`: each thing that a foreign CSMS may get wrong is named."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from hil.interop.compare import Kept, Sold, compare
from hil.parts.csms import Received

Payload = dict[str, Any]


def event(seq_no: int, kind: str, wh: int | None = None, edge: str = "", **more: Any) -> Payload:
    payload: Payload = {
        "eventType": kind,
        "seqNo": seq_no,
        "timestamp": f"2026-11-22T10:00:0{seq_no}.000Z",
        "triggerReason": "Authorized",
        "transactionInfo": {"transactionId": "t1"},
        "evse": {"id": 1},
    } | more
    if wh is not None:
        sample = {"value": wh, "context": f"Transaction.{edge}"}
        payload["meterValue"] = [{"timestamp": payload["timestamp"], "sampledValue": [sample]}]
    return payload


EVENTS = [event(0, "Started", 1000, "Begin"), event(1, "Updated"), event(2, "Ended", 1107, "End")]
SOLD = Sold(
    calls=tuple(Received(n, "TransactionEvent", e, f"m{n}") for n, e in enumerate(EVENTS)),
    refused=(),
    meters_wh={1: (1000.0, 1107.0)},
    transactions=1,
    waiting=0,
    set_aside=0,
    exit_code=0,
)


def test_a_csms_that_kept_everything_has_no_problems() -> None:
    result = compare("x", SOLD, Kept(EVENTS))
    assert result.problems == ()
    assert result.line == "interop: x: 3 events stored of 3, energy 107 = 107 Wh, 0 refused"


def test_the_order_of_its_rows_does_not_matter_nor_a_resend_that_it_stored_twice() -> None:
    again = EVENTS[1] | {"offline": True}
    calls = (*SOLD.calls[:2], Received(1.5, "TransactionEvent", again, "m1"), SOLD.calls[2])
    result = compare("x", replace(SOLD, calls=calls), Kept([again, *EVENTS[::-1]]))
    assert result.problems == ()
    assert "3 events stored of 3" in result.line


def without_begin(events: list[Payload]) -> list[Payload]:
    return [event(0, "Started"), *events[1:]]


CHANGES: dict[str, tuple[Callable[[list[Payload]], list[Payload]], str]] = {
    "lost": (lambda events: events[:2], "('t1', 2) was sent and is not stored"),
    "doubled": (lambda events: [*events, events[0]], "sent 1 times and is stored 2 times"),
    "invented": (lambda events: [*events, event(3, "Updated")], "was never sent"),
    "changed": (without_begin, "stored with another content"),
    "without energy": (without_begin, "it stored 0 Wh, the meters 107 Wh"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_it_kept_wrong_is_named(name: str) -> None:
    change, words = CHANGES[name]
    result = compare("x", SOLD, Kept(change(EVENTS)))
    assert any(words in problem for problem in result.problems), result.problems


@pytest.mark.parametrize(
    ("sold", "words"),
    [
        (replace(SOLD, refused=("the CSMS refused Authorize: X",)), "refused Authorize"),
        (replace(SOLD, meters_wh={1: (1000.0, 1108.0)}), "meter counted 108 Wh"),
        (replace(SOLD, waiting=1), "still wait"),
        (replace(SOLD, set_aside=1), "set aside"),
        (replace(SOLD, transactions=2), "2 charges took place"),
        (replace(SOLD, exit_code=1), "exit code 1"),
    ],
)
def test_what_went_wrong_at_the_station_is_named(sold: Sold, words: str) -> None:
    result = compare("x", sold, Kept(EVENTS))
    assert any(words in problem for problem in result.problems), result.problems


def test_what_it_refused_and_what_its_books_lack_is_named_and_counted() -> None:
    result = compare("x", SOLD, Kept(EVENTS, refused=["bad frame"], problems=["t1 is active"]))
    assert set(result.problems) == {"bad frame", "t1 is active"}
    assert result.line.endswith("1 refused")
