"""Bytes flipped anywhere in the file: nothing wrong is believed, what can be read is kept, the
damaged file stays, and somebody is told."""

import asyncio
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.store import Batch, StoreFault, damage, open_store, outbox, salvage
from agent.store.salvage import DAMAGED
from tests.agent.store.damaged import (
    PAGE,
    REFUSED,
    ROWS,
    STATE,
    WAITING,
    all_rows,
    body,
    content_of,
    damaged_file,
    fill,
    row,
)


async def judge(path: Path, what: str) -> tuple[set[int], bool]:
    """Opens and uses a damaged store; (waiting rows that are gone, whether somebody was told)."""
    content = content_of(path)
    store = await open_store(str(path))
    kept = path.with_name("store.db.corrupt-1")
    assert kept.exists() == bool(store.notices), what
    assert not kept.exists() or kept.read_bytes() == content, what
    await store.commit(Batch(save=(("after", '"1"'),)))
    try:
        waiting, refused = await all_rows(store)
    except StoreFault:  # seen only now: the next call begins with a sound file
        await store.commit(Batch(save=(("after", '"2"'),)))
        waiting, refused = await all_rows(store)
    ids = [kept.row_id for kept in waiting]
    assert ids == sorted(ids), what
    for kept in waiting:
        assert (kept.message_id, kept.body) == (WAITING[kept.row_id], body(kept.row_id - 1)), what
    damaged = {kept.row_id for kept in refused if kept.reason == DAMAGED}
    assert not damaged & set(ids), what
    gone = set(WAITING) - set(ids) - damaged
    for key, value in store.saved.items():
        assert STATE.get(key, value) == value, what
    lacking = set(STATE) - set(store.saved)
    is_told = bool(store.notices)
    assert is_told or not (gone or damaged or lacking), f"{what}: {gone} {lacking} and no word"
    last = await store.commit(Batch(enqueue=(row(9999),)))
    assert last.waiting == len(waiting) + 1, what
    (newest,) = (await store.waiting_rows(max([ROWS, *ids]), 10)) or [None]
    assert newest is not None, f"{what}: a new row does not come last"
    await store.close()
    return gone, is_told


def page_kinds(path: Path) -> dict[int, str]:
    """What each page of a database is, by its number from 1."""
    names = {2: "interior of an index", 5: "interior", 10: "leaf without rowid", 13: "leaf"}
    kinds: dict[int, str] = {}
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    trunk = int.from_bytes(content[32:36], "big")
    while trunk:
        at = (trunk - 1) * PAGE
        kinds[trunk] = "freelist trunk"
        count = int.from_bytes(content[at + 4 : at + 8], "big")
        for n in range(count):
            leaf = int.from_bytes(content[at + 8 + 4 * n : at + 12 + 4 * n], "big")
            kinds[leaf] = "free"
        trunk = int.from_bytes(content[at : at + 4], "big")
    assert len(kinds) == free
    for number in range(1, len(content) // PAGE + 1):
        first = content[(number - 1) * PAGE + (100 if number == 1 else 0)]
        kinds.setdefault(number, names.get(first, "overflow"))
    kinds[1] = "header and list of tables"
    return kinds


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "store.db"
    asyncio.run(fill(path))
    return path


def flips(kinds: dict[int, str], seed: int) -> list[tuple[int, int, str]]:
    """(offset, length, what) of damage in every kind of page."""
    dice = random.Random(seed)
    by_kind: dict[str, list[int]] = {}
    for number, kind in kinds.items():
        by_kind.setdefault(kind, []).append(number)
    found = []
    for kind, numbers in by_kind.items():
        for _ in range(9):
            number = dice.choice(numbers)
            inside = dice.choice([dice.randrange(0, 120), dice.randrange(0, PAGE)])
            length = min(dice.choice([1, 1, 4, 200, PAGE]), PAGE - inside)
            what = f"{kind}, page {number}, {length} bytes at {inside}"
            found.append(((number - 1) * PAGE + inside, length, what))
    return found


async def test_bytes_flipped_in_every_kind_of_page(whole: Path, tmp_path: Path) -> None:
    kinds = page_kinds(whole)
    assert set(kinds.values()) == {
        "header and list of tables",
        "interior",
        "leaf",
        "leaf without rowid",
        "interior of an index",
        "overflow",
        "freelist trunk",
        "free",
    }
    told = 0
    for number, (offset, length, what) in enumerate(flips(kinds, 7)):
        content = content_of(whole)
        for at in range(offset, offset + length):
            content[at] ^= 0xFF
        path = damaged_file(tmp_path / str(number), content)
        gone, is_told = await judge(path, what)
        assert (path.parent / "store.db.corrupt-1").exists() == is_told, what
        assert len(gone) <= 10, f"{what}: more is lost than the rows of one page"
        told += is_told
        shutil.rmtree(path.parent)
    assert told > 30


@pytest.mark.parametrize("mask", [0x01, 0xFF])
async def test_every_byte_of_the_header(whole: Path, tmp_path: Path, mask: int) -> None:
    for at in range(100):
        content = content_of(whole)
        content[at] ^= mask
        path = damaged_file(tmp_path / str(at), content)
        if at == 63 and mask == 0x01:  # format 3: what a newer program would have written
            with pytest.raises(StoreFault, match="install the newer"):
                await open_store(str(path))
            continue
        gone, _ = await judge(path, f"header byte {at}")
        assert gone == set(), f"header byte {at}"
        shutil.rmtree(path.parent)


async def test_a_value_that_reads_well_but_is_not_what_was_written_is_dropped(
    whole: Path, tmp_path: Path
) -> None:
    content = content_of(whole)
    content[content.index(b'"7vvvv') + 1] = ord("8")
    store = await open_store(str(damaged_file(tmp_path / "data", content)))
    assert "up to 1 could not be read" in store.notices[0]
    assert store.saved == {key: value for key, value in STATE.items() if key != "key/7"}
    await store.close()


async def test_without_the_root_of_the_outbox_all_that_waited_is_found_and_nothing_else(
    whole: Path, tmp_path: Path
) -> None:
    """What was answered may still lie in a free page."""
    path = tmp_path / "store.db"
    store = await open_store(str(path))
    await store.commit(Batch(enqueue=tuple(row(number) for number in range(ROWS))))
    await store.close()
    page = content_of(path).index(b'"seqNo":11,') // PAGE
    answered = content_of(path)[page * PAGE : (page + 1) * PAGE]
    content = content_of(whole)
    free = next(n for n, kind in page_kinds(whole).items() if kind == "free")
    content[(free - 1) * PAGE : free * PAGE] = answered
    content[PAGE : 2 * PAGE] = bytes(PAGE)
    store = await open_store(str(damaged_file(tmp_path / "data", content)))
    waiting, refused = await all_rows(store)
    assert {kept.row_id: kept.message_id for kept in waiting} == WAITING
    assert {kept.row_id: kept.message_id for kept in refused} == REFUSED
    await store.close()


async def test_rows_without_checksums_are_read_around_the_damaged_page(
    whole: Path, tmp_path: Path
) -> None:
    """Rows that an older program wrote."""
    path = damaged_file(tmp_path / "data", content_of(whole))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE outbox SET checksum = NULL")
        connection.commit()
    content = content_of(path)
    page = content.index(b'"seqNo":150,') // PAGE
    content[page * PAGE : page * PAGE + 8] = b"\xff" * 8
    path.write_bytes(content)
    store = await open_store(str(path))
    ids = [kept.row_id for kept in (await all_rows(store))[0]]
    assert 0 < len(WAITING) - len(ids) <= 10
    assert (ids[0], ids[-1]) == (71, ROWS)
    await store.close()


async def test_rows_lost_from_the_middle_do_not_make_the_count_wrong(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "COUNTED", 0)
    content = content_of(whole)
    page = content.index(b'"seqNo":150,') // PAGE
    content[page * PAGE : (page + 1) * PAGE] = b"\xff" * PAGE
    path = damaged_file(tmp_path / "data", content)
    for _ in range(2):
        store = await open_store(str(path))
        waiting, _ = await all_rows(store)
        assert len(waiting) < len(WAITING)
        assert store.counts().waiting == len(waiting)
        await store.close()


async def test_a_name_of_a_column_that_was_spoilt_is_noticed(whole: Path, tmp_path: Path) -> None:
    content = content_of(whole)
    at = content.rindex(b"boot_id", 0, PAGE)
    content[at : at + 7] = b"boot_ie"
    path = damaged_file(tmp_path / "data", content)
    assert await judge(path, "name of a column") == (set(), True)


# --- the swap -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["set_aside", "sync_directory", "unlink"])
async def test_a_power_cut_in_the_middle_of_the_swap_is_made_good(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    content = content_of(whole)
    content[PAGE + 12 : PAGE + 42] = b"\xff" * 30
    path = damaged_file(tmp_path / "data", content)

    class Cut(Exception):
        pass

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        if step == "unlink":
            real = damage.set_aside
            patch.setattr(damage, "set_aside", lambda path: (real(path), cut()))
        else:
            patch.setattr(damage, step, cut)
        with pytest.raises(Cut):
            await open_store(str(path))
    _, is_told = await judge_after_cut(path)
    assert is_told
    assert (path.parent / "store.db.corrupt-1").read_bytes() == content


async def judge_after_cut(path: Path) -> tuple[int, bool]:
    store = await open_store(str(path))
    names = [kept.message_id for kept in await store.waiting_rows(0, 1000)]
    await store.close()
    assert names == [WAITING[key] for key in sorted(WAITING)]
    assert not path.with_name("store.db.sound").exists()
    return 0, bool(store.notices)


async def test_without_room_for_a_sound_file_the_damaged_one_stays_in_its_place(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(whole)
    content[PAGE + 12 : PAGE + 42] = b"\xff" * 30
    path = damaged_file(tmp_path / "data", content)

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(salvage.shutil, "copyfile", no_room)
        with pytest.raises(StoreFault, match="No space left on device; check space"):
            await open_store(str(path))
    assert path.read_bytes() == content
    gone, is_told = await judge(path, "after room was made")
    assert (gone, is_told) == (set(), True)


async def test_a_read_only_place_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    await (await open_store(str(path))).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreFault, match=r"is read-only; mount it writable"):
        await open_store(str(path))
