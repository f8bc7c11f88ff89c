"""Cuts a byte stream into lines, whatever the stream holds."""

TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n"


def garbled(data: bytes) -> int:
    """Bytes that are no text: noise, or a device at another baud."""
    return len(data.translate(None, TEXT))


class LineSplitter:
    """Collects bytes and hands out finished lines without their ends; empty lines are skipped.

    A line longer than `max_bytes` is dropped whole, up to its end.
    """

    def __init__(self, ends: bytes = b"\r\n", max_bytes: int = 256) -> None:
        self._ends = ends
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """Lines that `data` finishes, in order. Never raises."""
        lines: list[bytes] = []
        for byte in data:
            if byte in self._ends:
                if self._line and not self._too_long:
                    lines.append(bytes(self._line))
                self._line.clear()
                self._too_long = False
            elif len(self._line) >= self._max_bytes:
                self._too_long = True
            else:
                self._line.append(byte)
        return lines
