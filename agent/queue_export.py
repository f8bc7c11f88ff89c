"""`chargepoint queue`: every message that waits or was set aside, a JSON object a line.

Asked of the running station page by page, or read from the file of one that does not run.
"""

import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from msgspec import structs

from agent.console import ConsoleError, NotRunning, ask
from agent.errors import StoreError
from agent.store.db import Store
from agent.store.file import DATABASE
from agent.store.rows import HeadRow, StoreFault

WAITING, SET_ASIDE = "waiting", "set_aside"
STATES = (WAITING, SET_ASIDE)
PAGE_ROWS = 200
PAGE_BYTES = 1_000_000
"""A page ends with the row that fills it."""


def answer_from(store: Store) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
    """The console's command `queue`: `{"cmd": "queue", "state": ..., "after": row id}`."""

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        state, after = request.get("state"), request.get("after", 0)
        if state not in STATES or not isinstance(after, int) or isinstance(after, bool):
            raise ConsoleError(
                f'send {{"cmd": "queue", "state": one of {", ".join(STATES)}, "after": a row id}}'
            )
        page = store.waiting_rows if state == WAITING else store.set_aside_rows
        try:
            rows = await page(after, PAGE_ROWS)
        except StoreFault as fault:
            raise StoreError(str(fault)) from fault
        told = _as_fits(rows)
        is_last = len(told) == len(rows) < PAGE_ROWS
        return {
            "rows": [as_told(row, state) for row in told],
            "next": None if is_last or not told else told[-1].row_id,
        }

    return answer


def _as_fits(rows: list[HeadRow]) -> list[HeadRow]:
    size = 0
    for number, row in enumerate(rows, 1):
        size += len(row.body)
        if size > PAGE_BYTES:
            return rows[:number]
    return rows


def as_told(row: HeadRow, state: str) -> dict[str, Any]:
    """One line; a body that is no JSON is told as text."""
    told = {"state": state, **structs.asdict(row)}
    with contextlib.suppress(ValueError):
        told["body"] = json.loads(row.body)
    return told


def lines(socket: str, data_directory: str, states: tuple[str, ...]) -> Iterator[str]:
    """All rows of the states, oldest first. Raises ConsoleError or StoreError."""
    for state in states:
        for row in _rows(socket, os.path.join(data_directory, DATABASE), state):
            yield json.dumps(row, ensure_ascii=False)


def _rows(socket: str, database: str, state: str) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        request = {"cmd": "queue", "state": state, "after": after}
        try:
            answer = ask(socket, request, timeout_s=30.0)
        except NotRunning:
            yield from _rows_of_file(database, state, after)
            return
        yield from answer["rows"]
        after = answer["next"]


def _rows_of_file(database: str, state: str, after: int) -> Iterator[dict[str, Any]]:
    from agent.store.reading import read_rows  # not in the daemon, which holds the file itself

    try:
        for row in read_rows(database, "outbox" if state == WAITING else SET_ASIDE, after):
            yield as_told(row, state)
    except StoreFault as fault:
        raise StoreError(str(fault)) from fault
