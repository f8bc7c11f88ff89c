"""Outbox rows from pages to which no sound page points any more (fileformat2.html, chapter 1.6).

Only rows whose checksum fits are believed, and free pages are passed over: what lies there was
answered.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.store.checksum import checksum
from agent.store.wal import PAGE_BYTES

LEAF = 0x0D
COLUMNS = 11
"""row_id, message_id, action, boot_id, offline, event_type, created_s, attempts, reason, body,
checksum: in the order of the file."""
_MOST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_REAL, _ZERO, _ONE, _TEXT = 7, 8, 9, 13


class _Broken(Exception):
    """These bytes are no row."""


def carve(file: Path, first_free: int) -> Iterator[tuple[Any, ...]]:
    """(row_id and the other columns) of every believable row of the outbox, in no order.

    `first_free`: where the list of free pages begins, as the header had it.
    """
    content = file.read_bytes()
    pages = [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]
    free = _free_pages(pages, first_free)
    for number, page in enumerate(pages[1:], 2):
        if number in free or len(page) < PAGE_BYTES or page[0] != LEAF:
            continue
        (count,) = struct.unpack_from(">H", page, 3)
        for cell in range(min(count, (PAGE_BYTES - 8) // 2)):
            (at,) = struct.unpack_from(">H", page, 8 + 2 * cell)
            try:
                yield _row(page, at, pages)
            except (_Broken, IndexError, struct.error, UnicodeDecodeError):
                continue


def first_free_page(file: Path) -> int:
    """As the header says."""
    with file.open("rb") as opened:
        header = opened.read(36)
    return int.from_bytes(header[32:36], "big")


def _free_pages(pages: list[bytes], trunk: int) -> set[int]:
    """As far as the list of them can be followed."""
    free: set[int] = set()
    while 0 < trunk <= len(pages) and trunk not in free:
        free.add(trunk)
        page = pages[trunk - 1]
        (count,) = struct.unpack_from(">I", page, 4)
        for leaf in range(min(count, (PAGE_BYTES - 8) // 4)):
            free |= {*struct.unpack_from(">I", page, 8 + 4 * leaf)}
        (trunk,) = struct.unpack_from(">I", page, 0)
    return free


def _row(page: bytes, at: int, pages: list[bytes]) -> tuple[Any, ...]:
    length, at = _varint(page, at)
    row_id, at = _varint(page, at)
    if not 0 < row_id < 1 << 62 or length > len(pages) * PAGE_BYTES:
        raise _Broken
    values = _record(_payload(page, at, length, pages))
    if len(values) != COLUMNS or values[0] is not None:
        raise _Broken
    _, message_id, action, boot_id, offline, event_type, created_s, _, _, body, kept = values
    if kept != checksum(message_id, action, boot_id, offline, event_type, float(created_s), body):
        raise _Broken
    return row_id, *values[1:]


def _payload(page: bytes, at: int, length: int, pages: list[bytes]) -> bytes:
    if length <= _MOST_LOCAL:
        return page[at : at + length]
    local = _LEAST_LOCAL + (length - _LEAST_LOCAL) % (PAGE_BYTES - 4)
    if local > _MOST_LOCAL:
        local = _LEAST_LOCAL
    parts = [page[at : at + local]]
    (follower,) = struct.unpack_from(">I", page, at + local)
    left = length - local
    while left > 0:
        if not 0 < follower <= len(pages):
            raise _Broken
        part = pages[follower - 1]
        (follower,) = struct.unpack_from(">I", part, 0)
        parts.append(part[4 : 4 + left])
        left -= PAGE_BYTES - 4
    return b"".join(parts)


def _record(payload: bytes) -> list[Any]:
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    if len(types) != COLUMNS:
        raise _Broken
    values = []
    for kind in types:
        value, at = _value(payload, at, kind)
        values.append(value)
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in (_ZERO, _ONE):
        return kind - _ZERO, at
    if kind == _REAL:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind >= _TEXT and kind % 2:
        end = at + (kind - _TEXT) // 2
        if end > len(payload):
            raise _Broken
        return payload[at:end].decode(), end
    raise _Broken


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9
