"""The outbox: strict order, attempts, setting aside, thinning, memory that agrees with disk."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store import Batch, NewRow, Store, StoreFault, open_store
from agent.store.outbox import AHEAD, SWEEP


def row(name: str, event_type: str = "Started", **other: Any) -> NewRow:
    values: dict[str, Any] = {"action": "A", "body": "{}", "boot_id": "b", "offline": False}
    return NewRow(message_id=name, event_type=event_type, created_s=0.0, **(values | other))


async def drain(store: Store) -> list[str]:
    order = []
    committed = await store.head()
    while committed.head is not None:
        order.append(committed.head.message_id)
        committed = await store.commit(Batch(settle=(committed.head.row_id,)))
    return order


async def test_rows_leave_in_the_order_recorded_even_far_beyond_what_is_in_memory() -> None:
    store = await open_store(":memory:", inline=True)
    names = [str(number) for number in range(5 * AHEAD + 3)]
    for name in names[:50]:
        await store.commit(Batch(enqueue=(row(name),)))
    await store.commit(Batch(enqueue=tuple(row(name) for name in names[50:])))
    assert await drain(store) == names
    assert store.counts().waiting == 0


async def test_what_follows_the_head_comes_with_it() -> None:
    store = await open_store(":memory:", inline=True)
    await store.commit(Batch(enqueue=tuple(row(str(number)) for number in range(AHEAD + 2))))
    committed = await store.head()
    assert committed.head is not None
    names = [committed.head.message_id, *(behind.message_id for behind in committed.following)]
    assert names == [str(number) for number in range(AHEAD)]
    committed = await store.commit(Batch(settle=(committed.head.row_id,)))
    assert [behind.message_id for behind in committed.following] == names[2:]


async def test_what_is_given_up_unordered_is_news_once() -> None:
    store = await open_store(":memory:", inline=True, max_rows=4)
    rows = tuple(row(str(number), "Updated") for number in range(4))
    assert not (await store.commit(Batch(enqueue=rows))).is_news
    committed = await store.commit(Batch(enqueue=(row("one too many"),)))
    assert committed.is_news
    assert store.counts().thinned > 0
    assert committed.head is not None
    assert not (await store.commit(Batch(settle=(committed.head.row_id,)))).is_news


async def test_an_answer_alone_makes_room_where_there_is_too_little() -> None:
    store = await open_store(":memory:", inline=True, max_rows=SWEEP)
    rows = tuple(row(str(number), "Updated") for number in range(3 * SWEEP))
    head = (await store.commit(Batch(enqueue=rows))).head
    thinned = store.counts().thinned
    assert head is not None
    assert (await store.commit(Batch(settle=(head.row_id,)))).is_news
    assert store.counts().thinned > thinned


async def test_ids_are_not_used_again_after_the_outbox_was_empty(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    first = (await store.commit(Batch(enqueue=(row("m1"),)))).head
    assert first is not None
    await store.commit(Batch(settle=(first.row_id,)))
    await store.close()
    store = await open_store(path)
    second = (await store.commit(Batch(enqueue=(row("m2"),)))).head
    assert second is not None
    assert second.row_id > first.row_id
    await store.close()


async def test_attempts_and_their_reason_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    head = (await store.commit(Batch(enqueue=(row("m1"), row("m2"))))).head
    assert head is not None
    await store.commit(Batch(attempts=((head.row_id, "timeout"),)))
    committed = await store.commit(Batch(attempts=((head.row_id, "InternalError"),)))
    assert committed.head is not None
    assert (committed.head.attempts, committed.head.reason) == (2, "InternalError")
    await store.close()
    store = await open_store(path)
    assert (await store.head()) == committed
    await store.close()


async def test_a_frozen_body_is_what_the_row_says_from_then_on(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    head = (await store.commit(Batch(enqueue=(row("m1", body="open"), row("m2"))))).head
    assert head is not None
    committed = await store.commit(Batch(freeze=((head.row_id, "final"), (77, "nothing"))))
    assert committed.head is not None
    assert (committed.head.message_id, committed.head.body) == ("m1", "final")
    assert committed.waiting == 2
    await store.close()
    store = await open_store(path)
    assert await store.head() == committed
    assert [kept.body for kept in await store.waiting_rows(0, 10)] == ["final", "{}"]
    await store.close()


async def test_a_row_frozen_and_set_aside_at_once_is_kept_with_its_final_body() -> None:
    store = await open_store(":memory:", inline=True)
    head = (await store.commit(Batch(enqueue=(row("m1", body="open"),)))).head
    assert head is not None
    await store.commit(
        Batch(freeze=((head.row_id, "final"),), set_aside=((head.row_id, "refused"),))
    )
    (kept,) = await store.set_aside_rows(0, 10)
    assert kept.body == "final"


async def test_a_freeze_in_a_failed_commit_is_forgotten() -> None:
    store = await open_store(":memory:", inline=True)
    head = (await store.commit(Batch(enqueue=(row("m1", body="open"),)))).head
    assert head is not None
    with pytest.raises(StoreFault):
        await store.commit(Batch(freeze=((head.row_id, "x"),), enqueue=(row("m", body=None),)))
    assert (await store.head()).head == head


async def test_a_row_set_aside_is_kept_with_its_reason_and_the_next_one_is_head(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    head = (await store.commit(Batch(enqueue=(row("m1", body="[1]"), row("m2"))))).head
    assert head is not None
    await store.commit(Batch(attempts=((head.row_id, "x"),)))
    committed = await store.commit(Batch(set_aside=((head.row_id, "refused: NotImplemented"),)))
    assert committed.head is not None
    assert (committed.head.message_id, committed.waiting) == ("m2", 1)
    await store.close()
    store = await open_store(path)
    (kept,) = await store.set_aside_rows(0, 10)
    assert (kept.message_id, kept.body, kept.reason, kept.attempts) == (
        "m1",
        "[1]",
        "refused: NotImplemented",
        1,
    )
    assert (store.counts().set_aside, store.counts().waiting) == (1, 1)
    await store.close()


async def test_settling_or_setting_aside_a_row_that_is_gone_is_no_error() -> None:
    store = await open_store(":memory:", inline=True)
    committed = await store.commit(Batch(enqueue=(row("m1"),)))
    same = await store.commit(Batch(settle=(77,), attempts=((78, "x"),), set_aside=((79, "x"),)))
    assert same == committed
    assert store.counts().set_aside == 0


async def test_waiting_rows_can_be_paged() -> None:
    store = await open_store(":memory:", inline=True)
    await store.commit(Batch(enqueue=tuple(row(str(number)) for number in range(7))))
    first = await store.waiting_rows(0, 4)
    second = await store.waiting_rows(first[-1].row_id, 4)
    assert [kept.message_id for kept in first + second] == list("0123456")


async def test_above_the_limit_every_second_updated_row_goes_and_nothing_else() -> None:
    """E04.FR.08."""
    store = await open_store(":memory:", inline=True, max_rows=8)
    types = ["Started", *["Updated"] * 3, "", *["Updated"] * 2, "Ended"]
    names = ["s", "u1", "u2", "u3", "security", "u4", "u5", "e"]
    rows = tuple(row(name, kind) for name, kind in zip(names, types, strict=True))
    assert (await store.commit(Batch(enqueue=rows))).waiting == 8
    committed = await store.commit(Batch(enqueue=(row("s2"),)))
    assert committed.waiting == 6
    assert store.counts().thinned == 3
    assert await drain(store) == ["s", "u2", "security", "u4", "e", "s2"]


def of_transaction(name: str, number: int) -> NewRow:
    body = f'{{"transactionInfo":{{"transactionId":"{name}"}},"n":{number}}}'
    return row(f"{name}{number}", "Updated", body=body)


async def test_the_1st_3rd_and_5th_go_of_each_transaction_however_they_are_mixed() -> None:
    store = await open_store(":memory:", inline=True, max_rows=12)
    mixed = [of_transaction(name, n) for n in range(6) for name in "ab"]
    await store.commit(Batch(enqueue=(row("start"), *mixed)))
    assert await drain(store) == ["start", "a1", "b1", "a3", "b3", "a5", "b5"]


async def test_a_long_outbox_is_thinned_a_stretch_at_a_time_from_the_oldest_on() -> None:
    """One commit must not take so long that the disk is held for broken."""
    store = await open_store(":memory:", inline=True, max_rows=400)
    rows = tuple(row(f"u{n}", "Updated") for n in range(400))
    await store.commit(Batch(enqueue=(row("start"), *rows)))
    assert store.counts().thinned == SWEEP // 2
    names = [kept.message_id for kept in await store.waiting_rows(0, 1000)]
    swept = [f"u{n}" for n in range(SWEEP)]
    assert names == ["start", *swept[1::2], *(f"u{n}" for n in range(SWEEP, 400))]
    late = tuple(row(f"v{n}", "Updated") for n in range(SWEEP // 2 + 1))
    await store.commit(Batch(enqueue=late))
    await store.commit(Batch(enqueue=(row("w", "Updated"),)))
    names = [kept.message_id for kept in await store.waiting_rows(0, 1000)]
    assert names[: SWEEP + 1] == ["start", *(f"u{n}" for n in range(1, 2 * SWEEP, 2))]


async def test_a_year_offline_stays_within_the_limit_and_keeps_every_start_and_end() -> None:
    store = await open_store(":memory:", inline=True, max_rows=300)
    for session in range(40):
        name = f"t{session}-"
        await store.commit(Batch(enqueue=(row(f"{name}start"),)))
        for number in range(50):
            await store.commit(Batch(enqueue=(of_transaction(name, number),)))
        await store.commit(Batch(enqueue=(row(f"{name}end", "Ended"),)))
        assert store.counts().waiting <= 310
    names = await drain(store)
    kept = {name for name in names if name.endswith(("start", "end"))}
    assert len(kept) == 80
    assert [name for name in names if name in kept] == [
        f"t{session}-{what}" for session in range(40) for what in ("start", "end")
    ]
    assert store.counts().thinned == 40 * 52 - len(names)


async def test_the_row_that_may_be_under_way_is_never_thinned() -> None:
    store = await open_store(":memory:", inline=True, max_rows=4)
    await store.commit(Batch(enqueue=tuple(row(f"u{n}", "Updated") for n in range(6))))
    assert await drain(store) == ["u0", "u2", "u4"]


async def test_started_and_ended_are_kept_however_many_there_are() -> None:
    store = await open_store(":memory:", inline=True, max_rows=3)
    for number in range(10):
        await store.commit(Batch(enqueue=(row(f"s{number}"), row(f"e{number}", "Ended"))))
    assert store.counts().waiting == 20
    assert store.counts().thinned == 0


async def test_what_was_thinned_is_counted_over_restarts(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    for thinned in (2, 6, 10):
        store = await open_store(path, max_rows=4)
        await store.commit(Batch(enqueue=tuple(row("u", "Updated") for _ in range(5))))
        assert store.counts().thinned == thinned
        assert "store/thinned" not in store.saved
        await store.close()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["enqueue", "settle", "attempt", "set_aside", "fail", "answer", "answer", "flood"]
        ),
        st.integers(0, 60),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_memory_and_disk_never_disagree(operations: list[tuple[str, int]]) -> None:
    asyncio.run(follow_model(operations))


async def follow_model(operations: list[tuple[str, int]]) -> None:
    store = await open_store(":memory:", inline=True)
    model: list[tuple[int, int]] = []
    """(row id, attempts) of the rows that wait."""
    last_id = 0
    for kind, number in operations:
        row_id = model[number % len(model)][0] if model else 0
        if kind in ("enqueue", "flood"):
            many = number % 4 if kind == "enqueue" else number
            await store.commit(Batch(enqueue=tuple(row("m", "") for _ in range(many))))
            model += [(last_id + n + 1, 0) for n in range(many)]
            last_id += many
        elif kind == "attempt":
            await store.commit(Batch(attempts=((row_id, "x"),)))
            model = [(i, n + 1 if i == row_id else n) for i, n in model]
        elif kind == "fail":
            settle = tuple(i for i, _ in model[: number % 5])
            with pytest.raises(StoreFault):
                await store.commit(
                    Batch(
                        settle=settle,
                        attempts=((row_id, "x"),),
                        enqueue=(row("m"), row("bad", body=None)),
                    )
                )
        else:
            gone = model[0][0] if kind == "answer" and model else row_id
            batch = (
                Batch(set_aside=((gone, "x"),)) if kind == "set_aside" else Batch(settle=(gone,))
            )
            await store.commit(batch)
            model = [entry for entry in model if entry[0] != gone]
        committed = await store.head()
        seen = committed.head and (committed.head.row_id, committed.head.attempts)
        assert (committed.waiting, seen) == (len(model), model[0] if model else None)
        assert store.counts().waiting == len(model)
    rows = await store.waiting_rows(0, 10_000)
    assert [(kept.row_id, kept.attempts) for kept in rows] == model
    await store.close()


async def test_refused_updated_rows_are_bounded_and_refused_money_is_not() -> None:
    store = await open_store(":memory:", inline=True, max_rows=200)
    for number in range(400):
        kind = "Updated" if number % 4 else "Ended"
        committed = await store.commit(Batch(enqueue=(row(str(number), kind),)))
        assert committed.head is not None
        await store.commit(Batch(set_aside=((committed.head.row_id, "no"),)))
    kept = await store.set_aside_rows(0, 1000)
    assert [r.message_id for r in kept if r.event_type == "Ended"] == [
        str(number) for number in range(0, 400, 4)
    ]
    assert store.counts().set_aside == len(kept) <= 206
    assert store.counts().thinned == 400 - len(kept)
    assert kept[-1].message_id == "399", "the latest stay"
