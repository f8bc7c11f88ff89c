"""One open RAPI port: at most one command in flight, answers matched by sequence id."""

import asyncio
from collections.abc import Callable

from drivers.bus.serial_port import SerialPort
from drivers.contract import Counters, NoAnswer, PortError, SerialLine
from drivers.pilots.rapi import Frame, FrameSplitter, encode

REPLY_TIMEOUT_S = 2.0
"""The self test of the residual current sensor holds answers back for up to 1.1 s."""
HURRY_S = 0.3
"""A stop waits no longer than this for the answer to another command."""


class RapiLink:
    """Asks the controller; `unasked` gets the frames it sends by itself."""

    def __init__(
        self, line: SerialLine, unasked: Callable[[Frame], None], counters: Counters
    ) -> None:
        """Opens the port; raises PortError."""
        self._unasked = unasked
        self._counters = counters
        self._splitter = FrameSplitter()
        self._sequence = 0
        self._reply: asyncio.Future[Frame] | None = None
        self._timeout: asyncio.Timeout | None = None
        self.asking = ""
        """Command in flight; empty when none is."""
        self.hurried = False
        """The last command was not given its full time."""
        self._port = SerialPort(line, self._heard, counters)
        self.lost = self._port.lost
        self.lost.add_done_callback(self._fail)

    async def ask(self, command: str) -> Frame:
        """The answer, $OK or $NK; raises NoAnswer, PortError. Cancelling is safe."""
        if self.lost.done():
            raise self.lost.result()
        loop = asyncio.get_running_loop()
        self._reply = loop.create_future()
        self.asking = command
        self.hurried = False
        self._counters.requests += 1
        began_s, garbled = loop.time(), self._splitter.garbled
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S) as self._timeout:
                self.send(command)
                reply = await self._reply
                self._counters.answered(loop.time() - began_s)
                self._counters.exceptions += reply.word == "NK"
                return reply
        except TimeoutError:
            self._counters.timeouts += not self.hurried
            raise NoAnswer(_silence(command, self._splitter.garbled - garbled)) from None
        finally:
            self.asking = ""
            self._reply = None
            self._timeout = None

    def send(self, command: str) -> None:
        """Puts a command on the wire without waiting for anything."""
        self._sequence = self._sequence % 255 + 1
        self._port.write(encode(command, self._sequence))

    def hurry(self, within_s: float = HURRY_S) -> None:
        """Lets the command in flight wait no longer than `within_s` from now."""
        when_s = self._timeout.when() if self._timeout else None
        if self._timeout and when_s is not None and not self._timeout.expired():
            soon_s = asyncio.get_running_loop().time() + within_s
            self._timeout.reschedule(min(when_s, soon_s))
            self.hurried = True

    def close(self) -> None:
        self._port.close()

    def _heard(self, data: bytes) -> None:
        damaged, garbled = self._splitter.damaged, self._splitter.garbled
        frames = self._splitter.feed(data)
        self._counters.unusable += self._splitter.damaged - damaged
        self._counters.garbled += self._splitter.garbled - garbled
        for frame in frames:
            if not frame.is_reply:
                self._unasked(frame)
            elif self._is_answer(frame) and self._reply and not self._reply.done():
                self._reply.set_result(frame)

    def _is_answer(self, frame: Frame) -> bool:
        """A command that arrived damaged is refused without its sequence id."""
        return frame.sequence == self._sequence or (frame.sequence is None and frame.word == "NK")

    def _fail(self, lost: "asyncio.Future[PortError]") -> None:
        if self._reply and not self._reply.done() and not lost.cancelled():
            self._reply.set_exception(lost.result())


def _silence(command: str, garbled: int) -> str:
    """Why there is no answer, by what came in its place."""
    if garbled:
        return (
            f"only garble in answer to ${command} ({garbled} bytes that are no text); check `baud` "
            "against the controller's own, then its wires (TX and RX, or A/B of a converter) and "
            "that both boards have the same ground"
        )
    return (
        f"no answer to ${command}; check that the controller has power, that `port` and `baud` are "
        "its own, and that TX and RX are not swapped"
    )
