"""The rows that the connection knows, against a store that hands out what it has at hand."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import OutboxRow
from agent.ocpp.front import Front
from tests.agent.ocpp.connection_bench import Driver


def row(row_id: int, attempts: int = 0) -> OutboxRow:
    return OutboxRow(row_id, f"m{row_id}", "TransactionEvent", "{}", "b", 0.0, False, attempts)


def head(*row_ids: int, waiting: int) -> ev.OutboxHead:
    first, *more = (row(row_id) for row_id in row_ids)
    return ev.OutboxHead(first, waiting, tuple(more))


def front(*row_ids: int, waiting: int) -> Front:
    made = Front(lambda variable, instance: 5.0)
    made.take(head(*row_ids, waiting=waiting))
    return made


def ids(some: Front) -> list[int]:
    """Row ids in the order in which they would leave, without asking the store."""
    found: list[int] = []
    while some.row is not None:
        found.append(some.row.row_id)
        some.leaves(some.row)
    return found


def test_the_rows_behind_the_oldest_follow_without_asking() -> None:
    some = front(1, 2, 4, waiting=3)
    assert some.leaves(row(1)) == []
    assert (some.row, some.waiting) == (row(2), 2)
    assert ids(some) == [2, 4]
    assert (some.waiting, some.fetch()) == (0, [])


def test_the_store_is_asked_once_when_none_is_known_any_more() -> None:
    some = front(1, 2, waiting=40)
    assert some.leaves(row(1)) == []
    assert some.leaves(row(2)) == [ef.FetchHead()]
    assert some.fetch() == []
    some.take(head(3, 4, waiting=38))
    assert ids(some) == [3, 4]


@pytest.mark.parametrize(
    ("looked", "waiting", "left"),
    [
        ((1, 2, 3), 3, [3]),
        ((1, 2, 3, 4), 4, [3, 4]),
        ((3, 4), 9, [3, 4]),
    ],
)
def test_rows_that_left_since_the_store_looked_are_passed_over(
    looked: tuple[int, ...], waiting: int, left: list[int]
) -> None:
    some = front(1, 2, 3, waiting=3)
    some.leaves(row(1))
    some.leaves(row(2))
    some.take(head(*looked, waiting=waiting))
    assert some.waiting == waiting - len(looked) + len(left)
    assert ids(some) == left


def test_a_head_that_is_all_stale_changes_nothing() -> None:
    some = front(1, 2, waiting=9)
    some.leaves(row(1))
    assert some.leaves(row(2)) == [ef.FetchHead()]
    some.take(head(1, 2, waiting=9))
    assert (some.row, some.waiting) == (None, 7)
    assert some.fetch() == [], "it was asked and has not answered"


def test_a_row_that_the_file_lost_under_way_takes_no_other_with_it() -> None:
    some = front(1, 2, 3, waiting=3)
    some.take(head(2, 3, waiting=2))
    some.leaves(row(1))
    assert some.waiting == 2
    assert ids(some) == [2, 3]


def test_a_refused_row_comes_again_from_the_store() -> None:
    some = front(1, 2, waiting=2)
    assert some.refused(row(1), "no", Driver().now) == [ef.CountAttempt(1, "no")]
    assert (some.row, some.fetch()) == (None, [])
    some.take(ev.OutboxHead(row(1, attempts=1), 2, (row(2),)))
    assert (some.row, some.deadline()) == (row(1, attempts=1), 5.0)


def test_a_new_link_asks_what_is_oldest() -> None:
    some = front(1, 2, waiting=2)
    assert some.forget() == [ef.FetchHead()]
    assert (some.row, some.fetch()) == (None, [])


def test_an_empty_outbox_is_not_asked_for() -> None:
    some = front(1, waiting=1)
    some.take(ev.OutboxHead(None, 0))
    assert (some.row, some.fetch()) == (None, [])
