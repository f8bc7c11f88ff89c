"""State by key, and the bounded table of tokens."""

from pathlib import Path

from agent.store import Batch, NewRow, Store, TokenRow, open_store


def token(name: str, accepted: bool = True, info: str = "{}") -> TokenRow:
    return TokenRow(name, "ISO14443", info, 10.0, accepted)


async def known(store: Store, names: str) -> str:
    """Which of the one-letter tokens are there; asking does count as use, so ask last."""
    return "".join([name for name in names if await store.look_up(name, "ISO14443")])


async def test_a_key_can_be_replaced_and_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    await store.commit(Batch(save=(("a", "1"), ("b", "2"), ("c", "3"))))
    await store.commit(Batch(save=(("a", "4"), ("b", None), ("gone", None))))
    await store.close()
    store = await open_store(path)
    assert store.saved == {"a": "4", "c": "3"}
    await store.close()


async def test_a_token_is_found_by_value_and_type(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    await store.commit(Batch(save_tokens=(token("a", info='{"status":"Accepted"}'),)))
    await store.commit(Batch(save_tokens=(token("a", False, '{"status":"Blocked"}'),)))
    await store.close()
    store = await open_store(path)
    assert await store.look_up("a", "ISO14443") == '{"status":"Blocked"}'
    assert await store.look_up("a", "Central") is None
    assert store.counts().tokens == 1
    await store.close()


async def test_forgetting_empties_the_table_before_new_tokens_are_kept() -> None:
    store = await open_store(":memory:", inline=True)
    await store.commit(Batch(save_tokens=(token("a"), token("b"))))
    await store.commit(Batch(forget_tokens=True, save_tokens=(token("c"),)))
    assert store.counts().tokens == 1
    assert await known(store, "abc") == "c"


async def test_a_use_is_written_with_the_next_commit_also_where_that_is_one_answer(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path, max_tokens=2)
    row = NewRow("m", "A", "{}", "b", False, "Started", 0.0)
    kept = (token("a"), token("b"))
    head = (await store.commit(Batch(save_tokens=kept, enqueue=(row,)))).head
    assert head is not None
    assert await known(store, "a") == "a"
    await store.commit(Batch(settle=(head.row_id,)))
    await store.close()
    store = await open_store(path, max_tokens=2)
    await store.commit(Batch(save_tokens=(token("c"),)))
    assert await known(store, "abc") == "ac"
    await store.close()


async def test_the_bytes_of_all_tokens_are_counted() -> None:
    store = await open_store(":memory:", inline=True, max_tokens=2)
    one = len("a" + "ISO14443" + "{}")
    await store.commit(Batch(save_tokens=(token("a"), token("\u00fc"))))
    assert store.counts().token_bytes == 2 * one + 1
    await store.commit(Batch(save_tokens=(token("b", info="[1,2,3]"), token("c"))))
    assert store.counts().token_bytes == 2 * one + len("[1,2,3]") - len("{}")
    await store.commit(Batch(forget_tokens=True))
    assert store.counts().token_bytes == 0


async def test_not_accepted_tokens_go_first_then_the_least_recently_used() -> None:
    """C10.FR.07."""
    store = await open_store(":memory:", inline=True, max_tokens=3)
    await store.commit(Batch(save_tokens=(token("a"), token("b"), token("x", accepted=False))))
    await store.look_up("x", "ISO14443")
    await store.commit(Batch(save_tokens=(token("c"),)))
    assert store.counts().tokens == 3
    await store.look_up("a", "ISO14443")
    await store.commit(Batch(save_tokens=(token("d"),)))
    assert await known(store, "abcdx") == "acd"


async def test_the_use_of_a_token_is_remembered_over_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path, max_tokens=2)
    await store.commit(Batch(save_tokens=(token("a"), token("b"))))
    await store.look_up("a", "ISO14443")
    await store.commit(Batch(save=(("k", "1"),)))
    await store.close()
    store = await open_store(path, max_tokens=2)
    await store.commit(Batch(save_tokens=(token("c"),)))
    assert await known(store, "abc") == "ac"
    await store.close()
