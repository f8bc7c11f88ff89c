"""A small OpenEVSE behind a pty, and the driver before it."""

import asyncio
import itertools
import re

from drivers.contract import OpenEvseOptions, PilotSeen, PilotState, PowerPath
from drivers.pilots.openevse import OpenEvse


def framed(text: str) -> bytes:
    total = 0
    for byte in text.encode():
        total ^= byte
    return f"{text}^{total:02X}\r".encode()


def orders(commands: list[str]) -> list[str]:
    """What was ordered, each once: on a busy machine an order may be repeated before its view."""
    asked = ("GS", "GC", "SY", "GP", "GF")
    return [word for word, _ in itertools.groupby(c for c in commands if c not in asked)]


class Controller:
    """A small OpenEVSE: the commands the driver needs, enabled after a restart as the real one."""

    def __init__(self, far_end) -> None:
        self._far_end = far_end
        self.state, self.pilot, self.flags, self.amps, self.ceiling_a = 0x01, 1, 0, 32, 32
        self.commands: list[str] = []
        self.deaf = False
        self.reply_delay_s = 0.0
        self.mangle = lambda reply: reply
        self.in_flight = 0
        self.most_in_flight = 0
        self.heartbeat: tuple[int, int, int] = (0, 0, 0)
        self._buffer = b""
        far_end.on_bytes = self._heard

    def plug(self, pilot: int) -> None:
        """The EV's side: 1 gone, 2 there, 3 wants power."""
        self.pilot = pilot
        self._settle()
        self.tell()

    def _settle(self) -> None:
        if self.state in (0x01, 0x02, 0x03):
            self.state = self.pilot
        closed = self.state == 0x03
        self.flags = (0x0040 if closed else 0) | (0x0100 if self.pilot > 1 else 0)

    def tell(self) -> None:
        words = f"$AT {self.state:02x} {self.pilot:02x} {self.amps} {self.flags:04x}"
        self.send(framed(words))

    def send(self, data: bytes) -> None:
        self._far_end.send(data)

    def restart(self) -> None:
        self.state, self.amps, self.heartbeat = self.pilot, self.ceiling_a, (0, 0, 0)
        self._settle()
        self.send(b"relayCloseMs: 100\r\n" + framed("$AB 00 8.2.3.EU"))

    def _heard(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r")
        for line in lines:
            match = re.fullmatch(r"\$(.+) :([0-9A-F]{2})\^[0-9A-F]{2}", line.decode())
            assert match, f"the driver sent {line!r}"
            assert framed(line.decode().rpartition("^")[0]) == line + b"\r"
            self.commands.append(match[1])
            if self.deaf:
                continue
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            asyncio.get_running_loop().call_later(
                self.reply_delay_s, self._obey, match[1], match[2]
            )

    def _obey(self, command: str, sequence: str) -> None:
        self.in_flight -= 1
        good, words = True, command.split(" ")
        answer = ""
        if words[0] == "GS":
            answer = f" {self.state:02x} 0 {self.pilot:02x} {self.flags:04x}"
        elif words[0] == "GC":
            answer = f" 6 80 {self.amps} {self.ceiling_a}"
        elif words[0] == "SC":
            assert words[2:] == ["V"], "a current without V wears the EEPROM out"
            good = 6 <= int(words[1]) <= self.ceiling_a
            self.amps = max(6, min(int(words[1]), self.ceiling_a))
            answer = f" {self.amps}"
        elif words[0] in ("FS", "FD"):
            self.state = 0xFE if words[0] == "FS" else 0xFF
        elif words[0] == "FE":
            self.state = self.pilot if self.state in (0xFE, 0xFF) else self.state
        elif words[0] == "GF":
            answer = " 0 0 0"
        elif words[0] == "SY":
            if len(words) == 3:
                self.heartbeat = (int(words[1]), int(words[2]), 0)
            answer = " {} {} {}".format(*self.heartbeat)
        before = self.flags
        self._settle()
        reply = framed(f"${'OK' if good else 'NK'}{answer} :{sequence}")
        self.send(self.mangle(reply))
        if self.flags != before:
            self.tell()


class Bench:
    def __init__(self, far_end, eventually) -> None:
        self.controller = Controller(far_end)
        self.evse = OpenEvse("p", OpenEvseOptions(port=far_end.path, poll_s=0.05, fallback_a=10))
        self.observations: list[object] = []
        self.eventually = eventually
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.evse.run(self.observations.append))

    @property
    def reading(self):
        seen = [o.reading for o in self.observations if isinstance(o, PilotSeen)]
        return seen[-1] if seen else None

    async def shows(self, state: PilotState, path: PowerPath, offered_a: float | None) -> None:
        def agrees() -> bool:
            r = self.reading
            return r is not None and (r.state, r.power_path, r.offered_a) == (
                state,
                path,
                offered_a,
            )

        await self.eventually(agrees, f"{state} {path} {offered_a}, but {self.reading}")

    async def orders_begin(self, first: str, second: str, sent: int = 0) -> None:
        """These come first, the second soon: what is shown may be told before it was sent."""

        def begin() -> list[str]:
            return orders(self.controller.commands[sent:])[:2]

        await self.eventually(lambda: len(begin()) == 2)
        assert begin() == [first, second]

    async def polls(self, times: int = 2) -> None:
        """Waits for some more whole polls."""
        asked = self.controller.commands.count("GS")
        await self.eventually(lambda: self.controller.commands.count("GS") >= asked + times)

    def count(self, kind) -> int:
        return sum(isinstance(o, kind) for o in self.observations)
