"""A card reader that plays a USB keyboard; it is grabbed, so nobody else hears what it types."""

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable
from functools import partial

from drivers.contract import (
    Counters,
    KeyboardReaderOptions,
    PortError,
    Report,
)
from drivers.readers.keys import Typing
from drivers.readers.listening import card_pattern, first_group, listen
from drivers.readers.presenting import Presenting
from drivers.readers.uid import converted

EVIOCGRAB = 0x40044590
"""_IOW('E', 0x90, int) of linux/input.h."""


class KeyboardReader:
    """Implements contract.Device; reports CardSeen."""

    def __init__(self, name: str, options: KeyboardReaderOptions) -> None:
        """Raises DriverError when the pattern cannot be used."""
        self.name = name
        self.counters = Counters()
        self._options = options
        self._presenting = Presenting(name, options.token_type)
        self._pattern = card_pattern(name, options.pattern, options.pattern)

    async def run(self, report: Report) -> None:
        """See contract. Cancelling gives the keyboard back."""

        def grab() -> Keyboard:
            keyboard = Keyboard(self._options.port, partial(self._typed, report))
            self.counters.opens += 1
            return keyboard

        await listen(self.name, grab, report)

    def _typed(self, report: Report, line: str) -> None:
        number = first_group(line, self._pattern)
        if not number:
            self.counters.unusable += 1
            return
        self._presenting.present(number, partial(converted, number, self._options), report)


class Keyboard:
    """One open input device, grabbed; `typed` is called with each line."""

    def __init__(self, port: str, typed: Callable[[str], None]) -> None:
        """Opens at once; raises PortError."""
        self._port = port
        self._typed = typed
        self._typing = Typing()
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[PortError] = self._loop.create_future()
        """Done, with the reason, once the device is gone."""
        self._fd = _open(port)
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """The kernel ends the grab with the descriptor."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self._lose("the other side is gone")
        for line in self._typing.feed(data):
            self._typed(line)

    def _lose(self, reason: object) -> None:
        self._loop.remove_reader(self._fd)
        if not self.lost.done():
            self.lost.set_result(
                PortError(f"{self._port}: reader lost ({reason}); check the plug and the cable")
            )


def _open(port: str) -> int:
    """A descriptor that hears the device alone; a pipe of a bench cannot be grabbed."""
    try:
        fd = os.open(port, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PortError(
            f"{port}: cannot be opened ({error.strerror}); check the plug, the name "
            "(ls -l /dev/input/by-id) and that the service's user is in the group input"
        ) from error
    if not stat.S_ISCHR(os.fstat(fd).st_mode):
        return fd
    try:
        fcntl.ioctl(fd, EVIOCGRAB, 1)
    except OSError as error:
        os.close(fd)
        raise PortError(
            f"{port}: cannot be had alone ({error.strerror}); end the other program that grabs it, "
            "or name an input device (ls -l /dev/input/by-id)"
        ) from error
    return fd
