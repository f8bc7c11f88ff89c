"""What the station and a CSMS said to each other, read off the bytes between them."""

import asyncio
import json
from collections.abc import Generator
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from hil.parts.csms import Received

MAX_LINE = 8192
UPGRADED = b"101"


class Wire:
    """Takes bytes of many connections, keeps the OCPP frames in them; times are loop times."""

    def __init__(self) -> None:
        self.calls: list[Received] = []
        """CALLs of the station."""
        self.refused: list[str] = []
        """What either side answered with a CALLERROR."""
        self.handshakes: list[str] = []
        """First line of each answer to an upgrade."""
        self._readers: dict[tuple[int, str], _Reader] = {}
        self._actions: dict[str, str] = {}

    def carried(self, connection: int, way: str, data: bytes) -> None:
        """Bytes that went by; `way` is "<" from the station or ">" to it."""
        place = (connection, way)
        if place not in self._readers:
            self._readers[place] = _Reader(is_masked=way == "<")
        reader = self._readers[place]
        knew_start = bool(reader.start)
        for text in reader.feed(data):
            self._take(way, text)
        if way == ">" and reader.start and not knew_start:
            self.handshakes.append(reader.start.decode("latin-1").strip())

    def refused_upgrades(self) -> list[str]:
        """Handshakes that led to no websocket."""
        answers = [line for line in self.handshakes if UPGRADED.decode() not in line]
        return [f"the CSMS answered an upgrade with {line}" for line in answers]

    def _take(self, way: str, text: str) -> None:
        frame = json.loads(text)
        if frame[0] == 2:
            self._actions[frame[1]] = frame[2]
            if way == "<":
                now_s = asyncio.get_running_loop().time()
                self.calls.append(Received(now_s, frame[2], frame[3], frame[1]))
        elif frame[0] == 4:
            action = self._actions.get(frame[1], "an unknown message")
            who = "the station" if way == "<" else "the CSMS"
            self.refused.append(f"{who} refused {action}: {frame[2]} {frame[3]}".strip())


class _Reader:
    """One direction of one connection: the head of the handshake, then websocket frames."""

    def __init__(self, is_masked: bool) -> None:
        self.start = b""
        self._is_masked = is_masked
        self._stream = StreamReader()
        self._texts: list[str] = []
        self._parser = self._parse()

    def feed(self, data: bytes) -> list[str]:
        """Whole text messages that these bytes complete."""
        self._stream.feed_data(data)
        next(self._parser)
        texts, self._texts = self._texts, []
        return texts

    def _parse(self) -> Generator[None, None, None]:
        self.start = bytes((yield from self._stream.read_line(MAX_LINE)))
        line = self.start
        while line.strip():
            line = bytes((yield from self._stream.read_line(MAX_LINE)))
        if self.start.startswith(b"HTTP") and UPGRADED not in self.start:
            while True:
                yield
        parts: list[bytes] = []
        while True:
            frame: Any = yield from Frame.parse(self._stream.read_exact, mask=self._is_masked)
            if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                parts.append(bytes(frame.data))
                if frame.fin:
                    self._texts.append(b"".join(parts).decode())
                    parts.clear()
