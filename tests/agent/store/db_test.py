"""Opening, committing, closing: what survives what."""

import asyncio
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.store import Batch, NewRow, Store, StoreFault, open_store


def row(name: str, event_type: str = "Started", **other: object) -> NewRow:
    values = {
        "action": "TransactionEvent",
        "body": "{}",
        "boot_id": "b",
        "offline": False,
        "created_s": 1.5,
    }
    return NewRow(message_id=name, event_type=event_type, **(values | other))


async def names_waiting(store: Store) -> list[str]:
    return [kept.message_id for kept in await store.waiting_rows(0, 100)]


async def test_everything_in_a_batch_is_there_after_reopening(tmp_path: Path) -> None:
    path = str(tmp_path / "data" / "store.db")
    store = await open_store(path)
    assert (store.saved, store.notices) == ({}, ())
    body = '{"seqNo":0,"name":"Žluťoučký"}'
    committed = await store.commit(
        Batch(enqueue=(row("m1", body=body, offline=True),), save=(("var/a", '"1"'),))
    )
    assert committed.waiting == 1
    await store.close()
    store = await open_store(path)
    assert store.saved == {"var/a": '"1"'}
    head = (await store.head()).head
    assert head is not None
    assert (head.message_id, head.body, head.offline, head.event_type, head.created_s) == (
        "m1",
        body,
        True,
        "Started",
        1.5,
    )
    assert (head.attempts, head.boot_id, head.action) == (0, "b", "TransactionEvent")
    await store.close()


async def test_file_and_directory_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "store.db"
    old_mask = os.umask(0)
    try:
        store = await open_store(str(path))
        await store.commit(Batch(save=(("k", "1"),)))
    finally:
        os.umask(old_mask)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    await store.close()
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(mode=0o644)
    await (await open_store(str(path))).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_failed_commit_changes_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "store.db"))
    await store.commit(Batch(enqueue=(row("m1"),), save=(("k", "1"),)))
    first = (await store.head()).head
    assert first is not None
    broken = row("m3", body=None)
    with pytest.raises(StoreFault):
        await store.commit(
            Batch(settle=(first.row_id,), save=(("k", "2"),), enqueue=(row("m2"), broken))
        )
    assert (await store.head()).head == first
    assert store.counts().waiting == 1
    committed = await store.commit(Batch(settle=(first.row_id,), enqueue=(row("m4"),)))
    assert committed.head is not None
    assert committed.head.message_id == "m4"
    await store.close()
    store = await open_store(str(tmp_path / "store.db"))
    assert store.saved == {"k": "1"}
    await store.close()


async def test_a_full_disk_is_a_fault_with_a_next_step_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path))
    await store.commit(Batch(enqueue=(row("m1"),)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "store.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
    try:
        with pytest.raises(StoreFault, match=r"store\.db.*; "):
            await store.commit(Batch(enqueue=(row("big", body="x" * 50_000),)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await names_waiting(store) == ["m1"]
    await store.commit(Batch(enqueue=(row("m2"),)))
    assert await names_waiting(store) == ["m1", "m2"]
    await store.close()


async def test_a_second_agent_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    program = (
        "import asyncio, sys, sqlite3\n"
        "from agent.store import open_store, StoreFault, file\n"
        "connect = sqlite3.connect\n"
        "file.sqlite3.connect = lambda p, **k: connect(p, **(k | {'timeout': 0.1}))\n"
        "try: asyncio.run(open_store(sys.argv[1]))\n"
        "except StoreFault as error: print(error)\n"
    )
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, path], capture_output=True, text=True
    )
    assert "another chargepoint process holds it: stop that one first" in second.stdout
    await store.close()


async def test_a_cancelled_commit_is_still_carried_out(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "store.db"))
    task = asyncio.create_task(store.commit(Batch(enqueue=(row("m1"),))))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await names_waiting(store) == ["m1"]
    await store.close()


async def test_commits_under_way_are_carried_out_before_close(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = await open_store(path)
    commits = [asyncio.create_task(store.commit(Batch(enqueue=(row(str(n)),)))) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*commits)
    store = await open_store(path)
    assert await names_waiting(store) == [str(n) for n in range(20)]
    await store.close()


async def test_a_closed_store_says_so_and_closing_twice_is_no_error(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "store.db"))
    await store.close()
    await store.close()
    with pytest.raises(StoreFault, match="closed"):
        await store.commit(Batch())


async def test_inline_works_without_a_thread_and_in_memory() -> None:
    store = await open_store(":memory:", inline=True)
    committed = await store.commit(Batch(enqueue=(row("m1"),)))
    assert committed.waiting == 1
    assert (await store.head()) == committed
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"no database at all" * 400, id="overwritten"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut off"),
        pytest.param(
            lambda content: content[:8192] + b"\xff" * 4096 + content[12288:], id="one page gone"
        ),
    ],
)
async def test_a_damaged_file_is_set_aside_whole_and_a_new_one_begun(
    tmp_path: Path, damage: object
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path))
    for number in range(40):
        await store.commit(Batch(enqueue=(row(str(number), body="x" * 1000),)))
    await store.close()
    damaged = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(damaged)
    (tmp_path / "store.db.corrupt-1").write_bytes(b"an older one")
    store = await open_store(str(path))
    assert (tmp_path / "store.db.corrupt-2").read_bytes() == damaged
    assert (tmp_path / "store.db.corrupt-1").read_bytes() == b"an older one"
    notice, before = store.notices
    assert "store.db.corrupt-2, send it to the manufacturer" in notice
    assert "damaged before: store.db.corrupt-1" in before
    await store.commit(Batch(save=(("k", "1"),)))
    await store.close()


WRITER = """
import asyncio, sys
from agent.store import Batch, NewRow, open_store
async def main():
    store = await open_store(sys.argv[1])
    done = int(store.saved.get("number", "0"))
    committed = await store.head()
    while True:
        done += 1
        new = NewRow(str(done), "TransactionEvent", "x" * 900, "b", False, "Started", 0.0)
        committed = await store.commit(Batch(enqueue=(new,), save=(("number", str(done)),),
            settle=(committed.head.row_id,) if done % 3 == 0 else ()))
        print(done, flush=True)
asyncio.run(main())
"""


def test_a_process_that_fails_before_the_store_is_closed_ends(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from agent.store import open_store
async def main():
    await open_store(sys.argv[1])
    raise RuntimeError("by an error")
asyncio.run(main())
"""
    words = [sys.executable, "-c", program, str(tmp_path / "store.db")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "by an error" in ended.stderr


def write_until_killed(path: str) -> int:
    """The last number the writer told before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(60):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")[:-1]
    return int(rest[-1]) if rest else told


async def test_what_was_committed_outlives_being_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    for _ in range(3):
        told = await asyncio.to_thread(write_until_killed, path)
        store = await open_store(path)
        number = int(store.saved["number"])
        assert number in (told, told + 1)
        names = [int(kept.message_id) for kept in await store.waiting_rows(0, 100_000)]
        assert names == list(range(number // 3 + 1, number + 1))
        assert store.notices == ()
        await store.close()
