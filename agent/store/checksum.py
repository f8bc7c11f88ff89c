"""SQLite notices damage to its own structures, not to what stands in them; this does."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


class Damaged(sqlite3.DatabaseError):
    """The file, or a row of it, is not what was written."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


def checksum(*values: object) -> int:
    """CRC-32 of the values in their order; a boolean counts as SQLite keeps it."""
    texts = (str(int(v)) if isinstance(v, bool) else str(v) for v in values)
    return zlib.crc32("\x1f".join(texts).encode(errors="surrogatepass"))


@contextmanager
def no_text_is_damage() -> Iterator[None]:
    """The driver stumbles over bytes that are no UTF-8, even in SQLite's own error texts."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise Damaged("bytes that are no text") from error
