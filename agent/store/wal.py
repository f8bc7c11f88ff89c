"""SQLite's write-ahead log as bytes (sqlite.org/fileformat2.html, chapter 4).

SQLite ends its reading of the log at the first frame that is not as it was written, and drops all
commits from there on without a word. Here is what tells a damaged log from one that a power cut
left unfinished, and what brings back the commits behind the damage.
"""

import struct
from pathlib import Path

from msgspec import Struct

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES = 4096
"""SQLite's default, which the store leaves alone."""
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
_FRAME = struct.Struct(">IIII")


class Frame(Struct, frozen=True):
    """One page in the log."""

    page: int
    """Number of the page, from 1."""
    is_commit: bool
    """Last frame of a transaction."""
    salts: tuple[int, int]
    """Frames of one round through the file share them."""
    offset: int
    """Of the page's bytes in the file."""


def log_of(path: Path) -> Path:
    """The log beside a database."""
    return path.with_name(f"{path.name}-wal")


def read_frames(path: Path) -> list[Frame]:
    """Frames of the newest round up to its last commit, whether or not they are sound."""
    frames: list[Frame] = []
    try:
        log = path.open("rb", buffering=0)
    except FileNotFoundError:
        return frames
    with log:
        header = log.read(HEADER_BYTES)
        size = path.stat().st_size
        for offset in range(HEADER_BYTES, size - FRAME_BYTES + 1, FRAME_BYTES):
            log.seek(offset)
            page, commit, *salts = _FRAME.unpack(log.read(_FRAME.size))
            frames.append(
                Frame(page, commit != 0, (salts[0], salts[1]), offset + FRAME_HEADER_BYTES)
            )
    return _newest_round(frames, header)


def _newest_round(frames: list[Frame], header: bytes) -> list[Frame]:
    if not frames:
        return []
    salts = struct.unpack_from(">II", header, 16)
    if salts not in {frame.salts for frame in frames}:
        salts = frames[0].salts
    last = max((i for i, f in enumerate(frames) if f.salts == salts and f.is_commit), default=-1)
    return frames[: last + 1]


def commits_behind(frames: list[Frame], sound: int) -> int:
    """Commits in the log behind the first `sound` frames, which are all that SQLite took."""
    return sum(frame.is_commit for frame in frames[sound:])


def fold(database: Path, log: Path) -> None:
    """Writes the newest round's pages into the database, the damaged ones as they are."""
    frames = read_frames(log)
    if not frames:
        return
    salts = frames[-1].salts
    most = database.stat().st_size // PAGE_BYTES + len(frames)
    with log.open("rb") as source, database.open("r+b") as target:
        for frame in frames:
            if frame.salts != salts or not 0 < frame.page <= most:
                continue
            source.seek(frame.offset)
            target.seek((frame.page - 1) * PAGE_BYTES)
            target.write(source.read(PAGE_BYTES))
