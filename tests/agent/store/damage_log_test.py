"""A damaged log: commits behind the damage are found again; a power cut is not taken for it."""

import asyncio
import shutil
from pathlib import Path

import pytest

from agent.store import Batch, open_store, wal
from tests.agent.store.damaged import damaged_file, row

COMMITS = 12


async def fill_log(path: Path) -> tuple[bytes, bytes]:
    """A file with its log as a power cut leaves them: COMMITS rows, one commit each."""
    store = await open_store(str(path))
    for number in range(COMMITS):
        await store.commit(Batch(enqueue=(row(number),)))
    left = await asyncio.to_thread(lambda: (path.read_bytes(), wal.log_of(path).read_bytes()))
    await store.close()
    return left


async def waiting_after(path: Path) -> tuple[list[str], tuple[str, ...]]:
    store = await open_store(str(path))
    names = [kept.message_id for kept in await store.waiting_rows(0, 100)]
    await store.commit(Batch(enqueue=(row(500),)))
    await store.close()
    return names, store.notices


ALL = [f"m{number}" for number in range(COMMITS)]


async def test_a_sound_log_is_taken_up_without_a_word(tmp_path: Path) -> None:
    file, log = await fill_log(tmp_path / "store.db")
    assert await waiting_after(damaged_file(tmp_path / "again", file, log)) == (ALL, ())


async def test_a_log_cut_off_in_its_last_commit_is_what_a_power_cut_leaves(tmp_path: Path) -> None:
    file, log = await fill_log(tmp_path / "store.db")
    cut = log[: -wal.PAGE_BYTES // 2]
    assert await waiting_after(damaged_file(tmp_path / "short", file, cut)) == (ALL[:-1], ())
    torn = log[:-100] + bytes(100)
    names, (notice,) = await waiting_after(damaged_file(tmp_path / "torn", file, torn))
    assert names == ALL[:-1]
    assert "the last commit was cut off" in notice


async def test_commits_behind_a_damaged_place_in_the_log_are_found_again(tmp_path: Path) -> None:
    file, log = await fill_log(tmp_path / "store.db")
    frames = wal.read_frames(wal.log_of(damaged_file(tmp_path / "first", file, log)))
    assert sum(frame.is_commit for frame in frames) >= COMMITS
    places = [8, 17, 25]  # in the header of the log
    places += [frame.offset + 2000 for frame in frames[2:-3]]
    places += [frame.offset - wal.FRAME_HEADER_BYTES + 17 for frame in frames[2:-3]]
    for place in places:
        harmed = bytearray(log)
        harmed[place] ^= 0xFF
        path = damaged_file(tmp_path / str(place), file, harmed)
        names, (notice, *_) = await waiting_after(path)
        assert "commits too early" in notice, place
        assert names == sorted(names, key=lambda name: int(name[1:])), place
        store = await open_store(str(path))
        spoilt = [kept.message_id for kept in await store.set_aside_rows(0, 10)]
        await store.close()
        assert sorted(names + spoilt) == sorted(ALL), place
        assert len(spoilt) <= 1, place
        assert wal.log_of(path.parent / "store.db.corrupt-1").read_bytes() == harmed
        shutil.rmtree(path.parent)


async def test_a_log_whose_file_is_gone_is_read(tmp_path: Path) -> None:
    _, log = await fill_log(tmp_path / "store.db")
    path = damaged_file(tmp_path / "again", b"", log)
    path.unlink()
    names, (notice,) = await waiting_after(path)
    assert "the file is gone, its log is there" in notice
    assert names == ALL
    assert wal.log_of(path.parent / "store.db.corrupt-1").read_bytes() == log


async def test_what_a_failed_commit_leaves_in_the_log_is_not_taken_for_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path))
    await store.commit(Batch(enqueue=(row(0),)))
    database = store._database
    assert database is not None
    database._is_log_doubtful = True
    before = wal.read_frames(wal.log_of(path))[-1].salts
    await store.commit(Batch(enqueue=(row(1),)))
    await store.commit(Batch(enqueue=(row(2),)))
    assert wal.read_frames(wal.log_of(path))[-1].salts != before
    await store.close()


async def test_a_sound_file_that_stands_ready_is_taken_even_where_the_old_one_looks_well(
    tmp_path: Path,
) -> None:
    """Damage in the log alone, and the power went when that was gone and nothing swapped yet."""
    file, log = await fill_log(tmp_path / "store.db")
    path = damaged_file(tmp_path / "data", file)
    ready = damaged_file(tmp_path / "ready", file, log)
    await (await open_store(str(ready))).close()
    ready.rename(path.with_name("store.db.sound"))
    names, notices = await waiting_after(path)
    assert names == ALL
    assert "damaged before: store.db.corrupt-1" in notices[0]
