"""Damage that is seen in the middle of the work: it costs a try, and no value."""

from pathlib import Path

import pytest

from agent.store import Batch, Store, StoreFault, open_store
from agent.store.salvage import DAMAGED
from tests.agent.store.damaged import PAGE, STATE, content_of, overwrite, row


async def harm_open_file(store: Store, path: Path, marker: bytes) -> None:
    """Spoils the body of a row under the running store, past its memory of the oldest rows."""
    database = store._database
    assert database is not None
    database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    database._connection.execute("PRAGMA shrink_memory")
    database._connection.execute("PRAGMA cache_size=0")
    overwrite(path, content_of(path).index(marker), b"#")
    database.outbox.forget()


async def test_damage_seen_while_running_costs_a_try_and_no_value(tmp_path: Path) -> None:
    """What is under way goes on; values come from memory, even those the file has lost."""
    path = tmp_path / "store.db"
    store = await open_store(str(path), inline=True)
    for number in range(100):
        await store.commit(Batch(enqueue=(row(number),)))
    await store.commit(Batch(save=(*STATE.items(), ("transaction/1", '{"register":1234}'))))
    await harm_open_file(store, path, b'"seqNo":3,')
    await harm_open_file(store, path, b"1234}")
    batch = Batch(enqueue=(row(100),), save=(("transaction/2", '{"register":1300}'),))
    committed = await store.commit(batch)
    assert committed.waiting == 101
    assert committed.head is None, "the commit lasts, the head is not believed"
    committed = await store.commit(Batch())
    assert committed.head is not None
    assert (committed.head.message_id, committed.waiting) == ("m0", 100)
    (notice,) = store.notices
    assert "100 waiting messages, 1 set aside" in notice
    (refused,) = await store.set_aside_rows(0, 10)
    assert (refused.message_id, refused.reason) == ("m3", DAMAGED)
    await store.close()
    store = await open_store(str(path))
    transactions = {"transaction/1": '{"register":1234}', "transaction/2": '{"register":1300}'}
    assert store.saved == STATE | transactions
    assert "was damaged before" in store.notices[0]
    await store.close()


async def test_damage_that_makes_a_commit_fail_is_mended_before_the_next_try(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path), inline=True)
    await store.commit(Batch(enqueue=tuple(row(number) for number in range(100))))
    await harm_open_file(store, path, b'"seqNo":0,')
    batch = Batch(settle=(1,), enqueue=(row(100),))
    overwrite(path, PAGE, b"\xff" * PAGE)  # the root of the outbox
    with pytest.raises(StoreFault, match="sets the damaged file aside by itself"):
        await store.commit(batch)
    committed = await store.commit(batch)
    assert committed.waiting == 100, "one was spoilt and is gone, one came"
    assert committed.head is not None
    assert committed.head.message_id == "m1"
    await store.close()
