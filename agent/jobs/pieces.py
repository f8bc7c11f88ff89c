"""What all file transfers have in common: pieces of a file to the disk, and from it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from agent.jobs.threads import JobError, Task

CHUNK = 64 * 1024
TIMEOUT_S = 30.0
"""A server that says nothing for so long has failed."""
RESERVE_BYTES = 64 * 1024 * 1024
"""Left free on the disk: what was sold must always find room."""
LONGEST_MARK = 256
"""Characters of what marks a file as still the same."""


# --- downloading ----------------------------------------------------------------------------------


def mark_of(path: Path) -> str:
    """What told which file the part at `path` is of; "" where there is no part, or a power cut
    left nonsense in its place."""
    try:
        found = path.with_suffix(".mark").read_text()
    except (OSError, UnicodeDecodeError):
        return ""
    return found if path.exists() and _is_mark(found) else ""


def part_of(path: Path, same: str) -> int:
    """Bytes that are there of the file that `same` marks."""
    return path.stat().st_size if same and mark_of(path) == same else 0


def mark(path: Path, same: str, have: int) -> None:
    """What tells later whether the file is still the same, "" where nothing can; never beside a
    part of another one."""
    beside = path.with_suffix(".mark")
    if not have:
        path.unlink(missing_ok=True)
    if _is_mark(same):
        beside.write_text(same)
    else:
        beside.unlink(missing_ok=True)


def _is_mark(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text) <= LONGEST_MARK


def receive(
    read: Callable[[int], bytes],
    path: Path,
    have: int,
    total: int | None,
    task: Task,
    largest_bytes: int,
) -> None:
    """From the answer to the disk, within what may be and what there is room for. Raises JobError
    where bytes are missing."""
    _check_room(path, (total or have) - have, total, largest_bytes)
    with open(path, "ab" if have else "wb") as file:
        while chunk := read(CHUNK):
            task.moved("downloading", 100 * have // total if total else -1)
            have += len(chunk)
            if have > largest_bytes:
                raise _too_large(largest_bytes)
            if total is not None and have > total:
                text = f"more than the {total} bytes that it should have; look into the server"
                raise JobError("DownloadFailed", text)
            _check_room(path, CHUNK, None, largest_bytes)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)
    if total is not None and have != total:
        text = f"the connection ended at {have} of {total} bytes; another try goes on from there"
        raise JobError("DownloadFailed", text)


def _too_large(largest_bytes: int) -> JobError:
    text = f"the file is larger than {largest_bytes} bytes; see firmware.largest_mb in charger.yaml"
    return JobError("DownloadFailed", text)


def _sync_directory(directory: Path) -> None:
    """A file is on the disk once its name is."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _check_room(path: Path, more: int, total: int | None, largest_bytes: int) -> None:
    if total is not None and total > largest_bytes:
        raise _too_large(largest_bytes)
    if shutil.disk_usage(path.parent).free - RESERVE_BYTES < more:
        raise JobError("DownloadFailed", f"no room for {more} bytes; free space in {path.parent}")


# --- uploading ------------------------------------------------------------------------------------


def pieces(file: BinaryIO, total: int, task: Task) -> Iterator[bytes]:
    """Of an open file of `total` bytes, telling how far it is."""
    sent = 0
    while chunk := file.read(CHUNK):
        task.moved("uploading", 100 * sent // total)
        sent += len(chunk)
        yield chunk
