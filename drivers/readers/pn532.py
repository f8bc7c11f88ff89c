"""A PN532 on a serial port: woken up, asked for cards again and again, opened anew when lost."""

import asyncio
from functools import partial

from drivers.bus.serial_port import FIRST_PAUSE_S, SerialPort, next_pause_s
from drivers.contract import (
    Counters,
    DeviceFound,
    DeviceLost,
    DriverError,
    NoAnswer,
    Pn532Options,
    ProtocolError,
    Report,
    SerialLine,
)
from drivers.readers.pn532_frames import ACK, WAKE_UP, Answer, Splitter, frame, uid_of
from drivers.readers.presenting import Presenting
from drivers.readers.uid import check_fixed

TOKEN_TYPE = "ISO14443"
GET_FIRMWARE_VERSION = 0x02
SAM_CONFIGURATION = 0x14
RF_CONFIGURATION = 0x32
IN_LIST_PASSIVE_TARGET = 0x4A

SET_UP = (
    (SAM_CONFIGURATION, bytes((0x01, 0x14, 0x01))),  # normal mode
    (GET_FIRMWARE_VERSION, b""),
    (RF_CONFIGURATION, bytes((0x05, 0x00, 0x01, 0x02))),  # a look for a card ends by itself
)
ONE_TYPE_A = bytes((0x01, 0x00))
ANSWERS_WITHIN_S = 1.0
FAILURES_UNTIL_LOST = 3


class Pn532Reader:
    """Implements contract.Device; reports CardSeen."""

    def __init__(self, name: str, options: Pn532Options) -> None:
        self.name = name
        self.counters = Counters()
        self._line = SerialLine(port=options.port, baud=options.baud)
        self._poll_s = options.poll_s
        self._presenting = Presenting(name, TOKEN_TYPE)
        self._is_lost = False
        self._pause_s = FIRST_PAUSE_S

    async def run(self, report: Report) -> None:
        """See contract. Cancelling closes the port."""
        while True:
            try:
                await self._session(report)
            except DriverError as error:
                if not self._is_lost:
                    self._is_lost = True
                    report(DeviceLost(self.name, str(error)))
            await asyncio.sleep(self._pause_s)
            self._pause_s = next_pause_s(self._pause_s)

    async def _session(self, report: Report) -> None:
        """Works on one open port until it or the reader fails; raises DriverError."""
        link = Link(self.name, self._line, self.counters)
        try:
            link.wake_up()
            for command, data in SET_UP:
                await link.ask(command, data)
            if self._is_lost:
                report(DeviceFound(self.name))
            self._is_lost, self._pause_s = False, FIRST_PAUSE_S
            failures = 0
            while True:
                try:
                    answer = await link.ask(IN_LIST_PASSIVE_TARGET, ONE_TYPE_A)
                    failures = 0
                    self._look_at(answer, report)
                except NoAnswer:
                    failures += 1
                    if failures >= FAILURES_UNTIL_LOST:
                        raise
                    link.wake_up()
                await asyncio.sleep(self._poll_s)
        finally:
            link.close()

    def _look_at(self, answer: Answer, report: Report) -> None:
        uid = uid_of(answer.data)
        if uid is not None:
            number = uid.hex().upper()
            self._presenting.present(number, partial(_checked, uid), report)


def _checked(uid: bytes) -> str:
    check_fixed(uid, TOKEN_TYPE)
    return uid.hex().upper()


class Link:
    """One open port; one command at a time."""

    def __init__(self, name: str, line: SerialLine, counters: Counters) -> None:
        """Raises PortError."""
        self._name = name
        self._counters = counters
        self._splitter = Splitter()
        self._waits_for = -1
        self._answer: asyncio.Future[Answer] | None = None
        self._port = SerialPort(line, self._heard, counters)

    def wake_up(self) -> None:
        """Ends its sleep, and whatever it was at."""
        self._port.write(WAKE_UP + ACK)

    async def ask(self, command: int, data: bytes = b"") -> Answer:
        """Raises PortError, NoAnswer or ProtocolError."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._waits_for = command + 1
        self._counters.requests += 1
        self._port.write(frame(command, data))
        waits = (answer, self._port.lost)
        await asyncio.wait(waits, timeout=ANSWERS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        self._answer = None
        if self._port.lost.done():
            raise self._port.lost.result()
        if not answer.done():
            self._counters.timeouts += 1
            raise NoAnswer(
                f"reader {self._name}: the PN532 does not answer; check its supply, RX and TX, and "
                "that its switches choose HSU"
            )
        self._counters.answered(loop.time() - began_s)
        got = answer.result()
        if got.refused:
            self._counters.exceptions += 1
            raise ProtocolError(
                f"reader {self._name}: refused command {command:02X}; check that it is a PN532"
            )
        return got

    def close(self) -> None:
        self._port.close()

    def _heard(self, data: bytes) -> None:
        for answer in self._splitter.feed(data):
            fits = answer.refused or answer.code == self._waits_for
            if self._answer is not None and not self._answer.done() and fits:
                self._answer.set_result(answer)
        self._counters.unusable += self._splitter.damaged
        self._splitter.damaged = 0
