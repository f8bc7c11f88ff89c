"""Frames of the PN532 on its serial port (HSU), as its user manual has them in 6.2.1; pure."""

from msgspec import Struct

WAKE_UP = bytes.fromhex("5555000000000000000000000000000000")
ACK = bytes.fromhex("0000ff00ff00")
START = b"\x00\xff"
TO_DEVICE, TO_HOST = 0xD4, 0xD5
ERROR = 0x7F
"""What stands instead of TO_HOST in the frame of a command that the device does not know."""
MAX_UNREAD = 600


class Answer(Struct, frozen=True):
    """What followed a command: its code + 1 and the data, or a refusal."""

    code: int
    data: bytes = b""
    refused: bool = False


def frame(command: int, data: bytes = b"") -> bytes:
    """A command as bytes on the line; at most 253 bytes of data."""
    body = bytes((TO_DEVICE, command)) + data
    length = len(body)
    checks = (-length & 0xFF, -sum(body) & 0xFF)
    return b"\x00" + START + bytes((length, checks[0])) + body + bytes((checks[1], 0))


class Splitter:
    """Finds answers in a stream of bytes; what is damaged is skipped and counted."""

    def __init__(self) -> None:
        self.damaged = 0
        self._data = b""

    def feed(self, data: bytes) -> list[Answer]:
        """Answers that `data` completes; acknowledgements are left out. Never raises."""
        self._data = (self._data + data)[-MAX_UNREAD:]
        found = []
        while (at := self._data.find(START)) >= 0:
            head = self._data[at + 2 : at + 4]
            if len(head) < 2:
                break
            length = head[0]
            if head in (b"\x00\xff", b"\xff\x00"):  # acknowledged, or not
                self._data = self._data[at + 4 :]
                continue
            if not _adds_up(head):
                self._skip(at)
                continue
            end = at + 4 + length + 1
            if len(self._data) < end:
                break
            body = self._data[at + 4 : end - 1]
            if not _adds_up(self._data[at + 4 : end]):
                self._skip(at)
                continue
            self._data = self._data[end:]
            found += _answer(body)
        return found

    def _skip(self, at: int) -> None:
        self.damaged += 1
        self._data = self._data[at + 2 :]


def _adds_up(checked: bytes) -> bool:
    """Bytes and their check, which makes the sum zero."""
    return not sum(checked) & 0xFF


def _answer(body: bytes) -> list[Answer]:
    if body[:1] == bytes((ERROR,)):
        return [Answer(0, refused=True)]
    if len(body) >= 2 and body[0] == TO_HOST:
        return [Answer(body[1], body[2:])]
    return []


def uid_of(data: bytes) -> bytes | None:
    """UID in the answer to InListPassiveTarget at 106 kbit/s type A; None: no card (7.3.5)."""
    if len(data) < 6 or data[0] == 0:
        return None
    length = data[5]
    uid = data[6 : 6 + length]
    return uid if len(uid) == length and length in (4, 7, 10) else None
