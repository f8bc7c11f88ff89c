"""Two bare OpenEVSE controllers that close their contactor unasked, in a process of their own: the
time from the byte that says so to the stop that comes back, without a bench in between.

Run as `python -m hil.parts.far_end FD FD ...` with the master ends of raw pseudo-terminals. Prints
a JSON line {"port", "took_s", "at_s"} for each stop: the time it took, and when the byte was
written (CLOCK_MONOTONIC seconds).
"""

import contextlib
import json
import os
import random
import select
import sys
import time
import tty

from hil.parts.openevse_wire import Command, LineBuffer, frame, parse

FIRST_S = 5.0
AGAIN_S = 2.2
"""The guard cuts the same path again after 2 s at the earliest."""
SPREAD_S = 0.6
ECHO_S = 0.25
SLEEPING, DISABLED = "fe", "ff"
CONNECTED, CLOSED = 0x0100, 0x0140
ANSWERS = {
    "GC": ("6", "32", "16", "32"),
    "GP": ("250", "-2560", "-2560"),
    "GV": ("8.2.3", "5.2.1"),
    "SC": ("16",),
}


class FarEnd:
    """One controller; its relay closes by itself now and then, and opens at $FD."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._line = LineBuffer()
        self._state = SLEEPING
        self._closed_s: float | None = None
        self._due_s = time.monotonic() + FIRST_S + random.random() * AGAIN_S

    def due_s(self) -> float:
        """Seconds until the relay closes next; while it is closed there is no hurry."""
        return 1.0 if self._closed_s is not None else max(0.0, self._due_s - time.monotonic())

    def closes(self) -> None:
        """The relay closes unasked when its time has come; this is the byte that counts."""
        if self._closed_s is not None or time.monotonic() < self._due_s:
            return
        text = frame(("AT", self._state, "02", "16", f"{CLOSED:04x}"))
        self._closed_s = time.monotonic()
        os.write(self.descriptor, text)

    def hears(self) -> None:
        at_s = time.monotonic()
        for byte in os.read(self.descriptor, 4096):
            line = self._line.feed(byte)
            command = parse(line) if line is not None else None
            if command is not None:
                self._obeys(command, at_s)

    def _obeys(self, command: Command, at_s: float) -> None:
        if command.name == "FD":
            self._state = DISABLED
            if self._closed_s is not None:
                tell(self.descriptor, self._closed_s, at_s)
                self._closed_s = None
                self._due_s = at_s + AGAIN_S + random.random() * SPREAD_S
        elif command.name == "FS":
            self._state = SLEEPING
        words = ANSWERS.get(command.name, ())
        if command.name == "GS":
            flags = CONNECTED if self._closed_s is None else CLOSED
            words = (self._state, "0", "02", f"{flags:04x}")
        os.write(self.descriptor, frame(("OK", *words), command.sequence))


class Echo:
    """A line to a process that does nothing but send each byte back: what the machine itself takes.

    Told with port 0.
    """

    def __init__(self) -> None:
        self.descriptor, slave = os.openpty()
        tty.setraw(slave)
        self._asked_s: float | None = None
        self._due_s = 0.0
        if os.fork() == 0:
            os.close(self.descriptor)
            with contextlib.suppress(OSError):  # the far end is gone
                while byte := os.read(slave, 1):
                    os.write(slave, byte)
            os._exit(0)
        os.close(slave)

    def due_s(self) -> float:
        return 1.0 if self._asked_s is not None else max(0.0, self._due_s - time.monotonic())

    def closes(self) -> None:
        if self._asked_s is None and time.monotonic() >= self._due_s:
            self._asked_s = time.monotonic()
            os.write(self.descriptor, b"?")

    def hears(self) -> None:
        at_s = time.monotonic()
        os.read(self.descriptor, 1)
        if self._asked_s is not None:
            tell(0, self._asked_s, at_s)
        self._asked_s, self._due_s = None, at_s + ECHO_S * (0.5 + random.random())


def tell(port: int, began_s: float, at_s: float) -> None:
    print(json.dumps({"port": port, "at_s": began_s, "took_s": at_s - began_s}), flush=True)


def main(descriptors: list[int]) -> None:
    ends: list[FarEnd | Echo] = [FarEnd(descriptor) for descriptor in descriptors]
    ends.append(Echo())
    watched = [end.descriptor for end in ends]
    while True:
        ready, _, _ = select.select(watched, [], [], min(end.due_s() for end in ends))
        for end in ends:
            if end.descriptor in ready:
                end.hears()
            end.closes()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
