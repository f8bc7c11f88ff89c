"""What goes through pseudo-terminals while virtual time wants to jump."""

import os


class BytesUnderWay:
    """Counts what was written to pseudo-terminals and not read yet: until it came, or is surely
    lost, virtual time must not jump."""

    LOST_S = 1.0

    def __init__(self) -> None:
        self._bytes = 0
        self._waited = False
        self._write, self._read = os.write, os.read

    def __enter__(self) -> "BytesUnderWay":
        def write(fd: int, data: bytes) -> int:
            written = self._write(fd, data)
            self._moved(fd, written)
            return written

        def read(fd: int, length: int) -> bytes:
            data = self._read(fd, length)
            self._moved(fd, -len(data))
            return data

        os.write, os.read = write, read  # type: ignore[assignment]
        return self

    def _moved(self, fd: int, count: int) -> None:
        if os.isatty(fd):
            if self._waited and count > 0:
                self._bytes = 0  # what was waited for in vain is lost
            self._bytes += count
            self._waited = False

    def __exit__(self, *_: object) -> None:
        os.write, os.read = self._write, self._read

    def grace_s(self) -> float:
        """Bytes that did not move during one grace are lost."""
        if self._waited:
            self._bytes = 0
        self._waited = self._bytes > 0
        return self.LOST_S if self._waited else 0.0
