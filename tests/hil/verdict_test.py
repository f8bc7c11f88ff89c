"""What the one verdict concludes, on made-up stores."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from hil.parts.csms import Received
from hil.verdict import Evidence, Outage, judge

UTC_OFFSET_S = 1_790_000_000.0


def event(
    at_s: float,
    kind: str,
    transaction: str,
    seq_no: int,
    *,
    register_wh: float | None = None,
    arrives_s: float | None = None,
    offline: bool = False,
    evse_id: int | None = None,
    context: str = "",
) -> Received:
    """A TransactionEvent that happened at `at_s` and came at once, unless told otherwise."""
    stamp = datetime.fromtimestamp(UTC_OFFSET_S + at_s, UTC).isoformat(timespec="milliseconds")
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": stamp.replace("+00:00", "Z"),
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": transaction},
    }
    if evse_id is not None:
        payload["evse"] = {"id": evse_id, "connectorId": 1}
    if offline:
        payload["offline"] = True
    if register_wh is not None:
        context = context or {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(
            kind, ""
        )
        sample = {"value": register_wh} | ({"context": context} if context else {})
        payload["meterValue"] = [{"timestamp": stamp, "sampledValue": [sample]}]
    came_s = at_s + 0.01 if arrives_s is None else arrives_s
    return Received(came_s, "TransactionEvent", payload, f"{transaction}/{seq_no}")


def good() -> Evidence:
    """Two transactions, a network that is away from 30 to 50 s."""
    calls = [
        Received(0.1, "BootNotification", {}, "boot"),
        event(10, "Started", "a", 0, register_wh=1000.0, evse_id=1),
        event(20, "Updated", "a", 1, register_wh=1020.0),
        event(35, "Ended", "a", 2, register_wh=1040.0, arrives_s=50.1, offline=True),
        event(40, "Started", "b", 0, register_wh=500.1, evse_id=2, arrives_s=50.2, offline=True),
        event(60, "Ended", "b", 1, register_wh=507.9),
    ]
    return Evidence(
        calls=calls,
        violations=(),
        transactions=2,
        meters_wh={1: (1000.0, 1040.0), 2: (500.0, 508.0)},
        outages=(Outage(30.0, 50.0),),
        utc_offset_s=UTC_OFFSET_S,
    )


def without(index: int) -> Evidence:
    calls = list(good().calls)
    del calls[index]
    return replace(good(), calls=calls)


def put(index: int, call: Received) -> Evidence:
    calls = list(good().calls)
    calls[index] = call
    return replace(good(), calls=calls)


def swapped(first: int, second: int) -> Evidence:
    calls = list(good().calls)
    calls[first], calls[second] = calls[second], calls[first]
    return replace(good(), calls=calls)


def flagged(index: int, offline: bool) -> Evidence:
    call = good().calls[index]
    payload = {k: v for k, v in call.payload.items() if k != "offline"}
    return put(index, call._replace(payload=payload | ({"offline": True} if offline else {})))


def added(call: Received) -> Evidence:
    return replace(good(), calls=[*good().calls, call])


def test_a_complete_store_has_no_problems_and_the_line_counts_and_compares() -> None:
    verdict = judge(good())
    assert verdict.problems == ()
    assert verdict.line == (
        "5 events recorded, 5 delivered in order, 0 lost; "
        "energy billed 48 Wh = energy metered 48 Wh"
    )


def test_the_begin_value_may_come_with_the_evse() -> None:
    started = event(10, "Started", "a", 0)
    arrived = event(
        20, "Updated", "a", 1, evse_id=1, register_wh=1000.0, context="Transaction.Begin"
    )
    calls = [good().calls[0], started, arrived, *good().calls[3:]]
    assert judge(replace(good(), calls=calls)).problems == ()


WRONG: dict[str, tuple[Callable[[], Evidence], str]] = {
    "an Updated is missing": (lambda: without(2), "never reached the CSMS"),
    "a Started is missing": (lambda: without(1), "never reached the CSMS"),
    "an Ended is missing": (lambda: without(3), "came as Started, Updated"),
    "a whole transaction is missing": (
        lambda: replace(good(), calls=good().calls[:4]),
        "the CSMS knows 1",
    ),
    "events of one transaction came in the wrong order": (
        lambda: swapped(1, 2),
        "came with seqNo [1, 0, 2]",
    ),
    "a transaction came before an earlier one": (lambda: swapped(3, 4), "but happened before"),
    "an event was sent twice as two messages": (
        lambda: added(event(20, "Updated", "a", 1)._replace(message_id="other")),
        "came with seqNo",
    ),
    "more was billed than metered": (
        lambda: put(5, event(60, "Ended", "b", 1, register_wh=509.0)),
        "EVSE 2: 9 Wh billed, but its meter counted 8 Wh",
    ),
    "energy flowed outside of any transaction": (
        lambda: replace(good(), meters_wh={1: (1000.0, 1041.0), 2: (500.0, 508.0)}),
        "EVSE 1: 40 Wh billed, but its meter counted 41 Wh",
    ),
    "one EVSE's energy went on the other's bill": (
        lambda: replace(good(), meters_wh={1: (1000.0, 1039.0), 2: (500.0, 509.0)}),
        "EVSE 1: 40 Wh billed, but its meter counted 39 Wh",
    ),
    "the end has no register": (lambda: put(5, event(60, "Ended", "b", 1)), "lacks the register"),
    "the begin has no register": (
        lambda: put(1, event(10, "Started", "a", 0, evse_id=1)),
        "Started (seqNo 0) of transaction a lacks the register",
    ),
    "the event that names the EVSE has no register": (
        lambda: replace(
            good(),
            calls=[
                *good().calls[:1],
                event(10, "Started", "a", 0),
                event(20, "Updated", "a", 1, evse_id=1),
                *good().calls[3:],
            ],
        ),
        "Updated (seqNo 1) of transaction a lacks the register",
    ),
    "an offline event does not say so": (lambda: flagged(3, False), "does not say so"),
    "an online event claims to be offline": (lambda: flagged(2, True), "the network was there"),
    "an event before the cut claims to be offline": (
        lambda: flagged(1, True),
        "the network was there",
    ),
    "an event after the return claims to be offline": (
        lambda: flagged(5, True),
        "the network was there",
    ),
    "events still wait": (lambda: replace(good(), waiting=2), "2 events still wait"),
    "an event was set aside": (lambda: replace(good(), set_aside=1), "set aside"),
    "events were thinned": (lambda: replace(good(), thinned=3), "thinned"),
    "the CSMS found a violation": (
        lambda: replace(good(), violations=("seqNo is not a number",)),
        "seqNo is not a number",
    ),
    "the agent ended badly": (lambda: replace(good(), exit_code=-9), "exit code -9"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_store_that_differs_is_found_out(name: str) -> None:
    make, text = WRONG[name]
    problems = judge(make()).problems
    assert any(text in problem for problem in problems), problems


def test_what_waited_before_the_cut_counts_as_offline() -> None:
    evidence = put(2, event(29, "Updated", "a", 1, arrives_s=50.05))
    assert any("does not say so" in problem for problem in judge(evidence).problems)


def test_a_resend_of_the_same_message_is_no_duplicate() -> None:
    calls = list(good().calls)
    again = calls[2]._replace(at_s=50.05, payload=calls[2].payload | {"offline": True})
    calls.insert(3, again)
    assert judge(replace(good(), calls=calls)).problems == ()


def test_a_lost_event_shows_in_the_line() -> None:
    assert judge(without(2)).line.startswith("5 events recorded, 4 delivered in order, 1 lost;")


def test_what_waits_or_was_set_aside_counts_as_recorded_and_lost() -> None:
    verdict = judge(replace(good(), waiting=2, set_aside=1))
    assert verdict.line.startswith("8 events recorded, 5 delivered in order, 3 lost;")


def test_a_register_in_kwh_is_understood() -> None:
    call = event(60, "Ended", "b", 1, register_wh=0.508)
    call.payload["meterValue"][0]["sampledValue"][0]["unitOfMeasure"] = {"unit": "kWh"}
    assert judge(put(5, call)).problems == ()


def again(call: Received, at_s: float, **changes: Any) -> Received:
    return call._replace(at_s=at_s, payload=call.payload | changes)


def test_what_is_in_flight_may_come_again_and_is_counted() -> None:
    calls = [*good().calls, again(good().calls[5], 61.0, offline=True)]
    verdict = judge(replace(good(), calls=calls))
    assert (verdict.resent, verdict.doubled, verdict.problems) == (1, 0, ())


def test_an_event_that_comes_again_after_a_later_one_was_not_stored_as_answered() -> None:
    calls = [*good().calls, again(good().calls[4], 61.0)]
    verdict = judge(replace(good(), calls=calls))
    assert (verdict.resent, verdict.doubled) == (0, 1)
    assert "again although a later event had left" in verdict.problems[0]


def test_an_event_that_changed_when_it_was_sent_again_is_another_one() -> None:
    calls = [*good().calls, again(good().calls[5], 61.0, timestamp="2026-01-01T00:00:00.000Z")]
    verdict = judge(replace(good(), calls=calls))
    assert (verdict.resent, verdict.doubled) == (0, 1)
    assert "changed when it was sent again" in verdict.problems[0]


def test_two_messages_for_one_event_are_doubled() -> None:
    assert judge(added(event(20, "Updated", "a", 1)._replace(message_id="other"))).doubled == 1


def test_what_was_on_disk_and_never_came_is_lost_also_without_a_gap() -> None:
    verdict = judge(replace(good(), stored={"b/1": ("b", 1), "c/0": ("c", 0)}))
    assert (verdict.recorded, verdict.lost) == (6, 1)
    assert "seqNo 0 of transaction c was on disk and never came" in verdict.problems


def test_a_swap_of_two_events_is_one_reordered() -> None:
    assert judge(swapped(3, 4)).reordered == 1


def test_a_register_that_falls_is_found_out() -> None:
    problems = judge(put(2, event(20, "Updated", "a", 1, register_wh=1050.0))).problems
    assert any("the register falls: [1000, 1050, 1040]" in problem for problem in problems)


def test_without_outages_offline_is_not_judged() -> None:
    evidence = flagged(2, True)
    assert judge(replace(evidence, outages=None)).problems == ()


def given_away(*ranges: tuple[float, float]) -> Evidence:
    """EVSE 2 counted 6 Wh more, from 508 to 514, than its transaction."""
    meters_wh = {1: (1000.0, 1040.0), 2: (500.0, 514.0)}
    return replace(good(), meters_wh=meters_wh, given_away_wh={2: ranges})


def test_what_a_controller_gave_away_is_named_and_accounts_for_the_difference() -> None:
    verdict = judge(given_away((508.0, 510.0), (510.0, 514.0)))
    assert verdict.problems == ()
    assert (verdict.billed_wh, verdict.given_away_wh, verdict.metered_wh) == (48, 6, 54)


@pytest.mark.parametrize("range_wh", [(508.0, 513.0), (500.0, 508.0), (515.0, 521.0)])
def test_only_what_flowed_while_nobody_allowed_it_was_given_away(
    range_wh: tuple[float, float],
) -> None:
    (problem,) = judge(given_away(range_wh)).problems
    assert problem.startswith("EVSE 2: 8 Wh billed")
