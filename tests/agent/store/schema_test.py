"""Formats: files of every shipped one are taken up, with a copy kept; newer ones are refused."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from agent.store import Batch, NewRow, Store, StoreFault, TokenRow, open_store, schema

FORMATS = Path(__file__).parent / "formats"
"""A dump of a small database for every format that was ever shipped: `vN.sql`."""
VERSIONS = sorted(int(script.name[:4]) for script in schema.MIGRATIONS.glob("[0-9]*.sql"))
NEWEST = VERSIONS[-1]


def row(name: str) -> NewRow:
    return NewRow(name, "TransactionEvent", "{}", "b", False, "Started", 1.5)


async def names_waiting(store: Store) -> list[str]:
    return [kept.message_id for kept in await store.waiting_rows(0, 100)]


def file_of_format(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FORMATS / f"v{version}.sql").read_text())
        connection.execute(f"PRAGMA user_version={version}")


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_file_of_every_shipped_format_is_taken_up_with_all_it_holds(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "store.db"
    file_of_format(path, version)
    store = await open_store(str(path))
    assert store.notices == ()
    first, second = await store.waiting_rows(0, 10)
    assert (first.row_id, first.message_id, first.offline, first.attempts) == (3, "m3", True, 2)
    assert (first.body, first.reason, first.created_s) == ('{"seqNo":0,"n":"Ž"}', "timeout", 1.5)
    assert (second.message_id, second.event_type) == ("m4", "Updated")
    (refused,) = await store.set_aside_rows(0, 10)
    assert (refused.message_id, refused.reason, refused.attempts) == ("m2", "InternalError", 5)
    assert store.saved == {"transaction/1": '{"id":"t"}', "meta/boot_id": '"b"'}
    assert await store.look_up("04a1", "ISO14443") == '{"status":"Accepted"}'
    await store.commit(
        Batch(
            enqueue=(row("new"),),
            save=(("meta/boot_id", '"c"'),),
            save_tokens=(TokenRow("a", "b", "{}", 0.0, True),),
            freeze=((3, "{}"),),
            set_aside=((4, "x"),),
        )
    )
    assert [(kept.row_id, kept.message_id) for kept in await store.waiting_rows(0, 10)] == [
        (3, "m3"),
        (5, "new"),
    ]
    await store.close()
    assert version_of(path) == NEWEST
    copy = tmp_path / f"store.db.format-{version}"
    assert copy.exists() == (version < NEWEST)
    if version < NEWEST:
        assert version_of(copy) == version
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600


async def test_the_copy_made_before_the_update_is_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    file_of_format(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    await (await open_store(str(path))).close()
    with closing(sqlite3.connect(tmp_path / "store.db.format-1")) as connection:
        assert list(connection.iterdump()) == before


def test_there_is_a_file_of_every_format_and_the_newest_is_what_a_new_store_has(
    tmp_path: Path,
) -> None:
    assert list(range(1, NEWEST + 1)) == VERSIONS
    path, fresh = tmp_path / "kept.db", tmp_path / "fresh.db"
    file_of_format(path, NEWEST)
    with closing(sqlite3.connect(fresh)) as connection:
        schema.migrate(connection, None, str(fresh))
    tables = []
    for each in (path, fresh):
        with closing(sqlite3.connect(each)) as connection:
            names = [n for (n,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY 1")]
            tables.append(
                {
                    name: connection.execute(f"PRAGMA table_info({name})").fetchall()
                    for name in names
                }
            )
    assert tables[0] == tables[1], "dump a database of the new format into formats/"


async def test_a_newer_file_is_refused_with_the_way_back_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await open_store(str(path))).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(StoreFault, match=rf"format 99.*install the newer.*format-{NEWEST}"):
        await open_store(str(path))
    assert path.read_bytes() == before


def one_more_migration(directory: Path, script: str) -> Path:
    directory.mkdir()
    for shipped in schema.MIGRATIONS.glob("[0-9]*.sql"):
        (directory / shipped.name).write_text(shipped.read_text())
    (directory / f"{NEWEST + 1:04}_more.sql").write_text(script)
    return directory


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    store = await open_store(str(path))
    await store.commit(Batch(enqueue=(row("m1"),)))
    await store.close()
    scripts = one_more_migration(tmp_path / "sql", "DELETE FROM outbox; CREATE TABLE outbox (a);")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", scripts)
        with pytest.raises(StoreFault):
            await open_store(str(path))
    store = await open_store(str(path))
    assert await names_waiting(store) == ["m1"]
    await store.close()


async def test_no_room_for_the_copy_means_no_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    file_of_format(path, 1)
    (tmp_path / "store.db.format-1.part").mkdir()
    with pytest.raises(StoreFault):
        await open_store(str(path))
    assert version_of(path) == 1
