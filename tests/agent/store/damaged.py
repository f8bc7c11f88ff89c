"""A store with rows in every kind of page, and the files that damage or a power cut makes of it."""

from pathlib import Path

from agent.store import Batch, HeadRow, NewRow, Store, open_store, wal

PAGE = wal.PAGE_BYTES
ROWS = 260
LONG = 9_000
"""A body that needs overflow pages."""


def body(number: int) -> str:
    text = f'{{"seqNo":{number},"value":{number * 17}}}'
    return text + " " * (LONG if number % 40 == 3 else 300)


def row(number: int) -> NewRow:
    return NewRow(f"m{number}", "TransactionEvent", body(number), "boot", False, "Started", 1.5)


STATE = {f"key/{number}": f'"{number}' + "v" * 200 + '"' for number in range(60)}


async def fill(path: Path) -> None:
    """Waiting rows in several levels of pages, free pages, rows set aside, values."""
    store = await open_store(str(path))
    for first in range(0, ROWS, 20):
        await store.commit(Batch(enqueue=tuple(row(n) for n in range(first, first + 20))))
    await store.commit(Batch(save=tuple(STATE.items())))
    await store.commit(Batch(settle=tuple(range(1, 61))))
    await store.commit(Batch(set_aside=tuple((n, "InternalError") for n in range(61, 71))))
    await store.close()


def content_of(path: Path) -> bytearray:
    return bytearray(path.read_bytes())


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


WAITING = {number + 1: f"m{number}" for number in range(70, ROWS)}
REFUSED = {number + 1: f"m{number}" for number in range(60, 70)}


async def all_rows(store: Store) -> tuple[list[HeadRow], list[HeadRow]]:
    return await store.waiting_rows(0, 10_000), await store.set_aside_rows(0, 10_000)


def damaged_file(directory: Path, content: bytes, log: bytes = b"") -> Path:
    directory.mkdir()
    path = directory / "store.db"
    path.write_bytes(content)
    if log:
        wal.log_of(path).write_bytes(log)
    return path
