"""A PN532 on a serial line: answers as its user manual says, with a card in its field or none."""

from hil.parts.pty_port import PtyPort

ACK = bytes.fromhex("0000ff00ff00")
SYNTAX_ERROR = bytes.fromhex("0000ff01ff7f8100")
FIRMWARE = bytes.fromhex("32010607")


class Pn532:
    """Deaf until it is woken up; one card at most."""

    def __init__(self, port: PtyPort) -> None:
        self._port = port
        self._port.on_bytes = self._heard
        self._data = b""
        self.is_awake = False
        self.is_silent = False
        """Hears, but says nothing."""
        self.refuses = False
        self.uid = b""
        """UID of the card in the field; empty: none."""
        self.spoil: bytes | None = None
        """What is sent instead of the next answer."""
        self.commands: list[int] = []

    def _heard(self, data: bytes) -> None:
        self._data += data
        if not self.is_awake and b"\x55\x55" in self._data:
            self.is_awake = True
        while (at := self._data.find(b"\x00\x00\xff")) >= 0:
            rest = self._data[at + 3 :]
            if rest[:2] == b"\x00\xff":
                self._data = rest[3:]
                continue
            if len(rest) < 2 or len(rest) < rest[0] + 4:
                return
            body, self._data = rest[2 : 2 + rest[0]], rest[rest[0] + 4 :]
            good = (rest[0] + rest[1]) % 256 == 0 and (sum(body) + rest[2 + rest[0]]) % 256 == 0
            if good and body[0] == 0xD4 and self.is_awake and not self.is_silent:
                self._obey(body[1], body[2:])

    def _obey(self, command: int, data: bytes) -> None:
        self.commands.append(command)
        self._port.write(ACK)
        if self.refuses:
            self._port.write(SYNTAX_ERROR)
        elif command == 0x02:
            self._answer(command, FIRMWARE)
        elif command in (0x14, 0x32):
            self._answer(command, b"")
        elif command == 0x4A and self.uid:
            selected = bytes((1, 1, 0x00, 0x44, 0x00, len(self.uid))) + self.uid
            self._answer(command, selected)
        elif command == 0x4A:
            self._answer(command, b"\x00")

    def _answer(self, command: int, data: bytes) -> None:
        if self.spoil is not None:
            spoiled, self.spoil = self.spoil, None
            self._port.write(spoiled)
            return
        body = bytes((0xD5, command + 1)) + data
        head = bytes((len(body), -len(body) % 256))
        self._port.write(b"\x00\x00\xff" + head + body + bytes((-sum(body) % 256, 0)))
