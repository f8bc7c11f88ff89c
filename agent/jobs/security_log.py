"""The security log: a bounded file of one JSON object per line (A04.FR.02)."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from agent.core.effects import LogSecurity
from agent.core.events import SecurityNoted

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
"""Above this the older half goes."""


class SecurityLog:
    """Appends; only what writes it ever shortens it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0
        """What it had when it was written last."""

    def write(self, entry: LogSecurity) -> SecurityNoted | None:
        """A disk that takes nothing costs the line, and the journal says so. The answer tells that
        somebody else made the log shorter meanwhile."""
        was_cleared = self._size() < self._bytes
        self._bytes = 0
        time = datetime.fromtimestamp(entry.utc_s, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "type": entry.type}
        if entry.info:
            line["info"] = entry.info
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            self._shorten()
            with open(self._path, "a", encoding="utf-8", opener=_private) as file:
                file.write(text)
            self._bytes = self._size()
        except OSError as error:
            log.error(
                "%s cannot be written (%s): the event %s is not in it; check space (`df -h`)",
                self._path,
                error.strerror,
                entry.type,
            )
        if not was_cleared:
            return None
        return SecurityNoted("SecurityLogWasCleared", "it lost lines while the agent ran")

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _shorten(self) -> None:
        if self._size() < MOST_BYTES:
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        draft = self._path.with_suffix(".new")
        with open(draft, "wb", opener=_private) as file:
            file.writelines(lines[len(lines) // 2 :])
        draft.replace(self._path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
