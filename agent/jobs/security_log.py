"""The security log: a bounded file of one JSON object per line (A04.FR.02)."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from agent.core.effects import LogSecurity

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
"""Above this the older half goes."""


class SecurityLog:
    """Appends; only what writes it ever shortens it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, entry: LogSecurity) -> None:
        """A disk that takes nothing costs the line, and the journal says so."""
        time = datetime.fromtimestamp(entry.utc_s, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "type": entry.type}
        if entry.info:
            line["info"] = entry.info
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            self._shorten()
            with open(self._path, "a", encoding="utf-8", opener=_private) as file:
                file.write(text)
        except OSError as error:
            log.error(
                "%s cannot be written (%s): the event %s is not in it; check space (`df -h`)",
                self._path,
                error.strerror,
                entry.type,
            )

    def _shorten(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < MOST_BYTES:
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        draft = self._path.with_suffix(".new")
        with open(draft, "wb", opener=_private) as file:
            file.writelines(lines[len(lines) // 2 :])
        draft.replace(self._path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
