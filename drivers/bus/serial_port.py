"""A serial port on the running event loop: pyserial for the settings, add_reader for the bytes."""

import asyncio
import os
import termios
from collections.abc import Callable
from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    EISDIR,
    ENODEV,
    ENOENT,
    ENOTTY,
    ENXIO,
    EPERM,
)

import serial

from drivers.bus.tap import TAP
from drivers.contract import Counters, PortError, SerialLine

MAX_UNSENT_BYTES = 4096
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


def is_pty(port: str) -> bool:
    """True for a pseudo terminal: it has no parity and no modem lines, and refuses them."""
    return os.path.realpath(port).startswith("/dev/pts/")


def next_pause_s(pause_s: float) -> float:
    """Bounded back-off between two attempts to open a port."""
    return min(2 * pause_s, LONGEST_PAUSE_S)


WHY_CLOSED = {
    ENOENT: "there is no such port; plug the adapter in, or take a name that `ls -l "
    "/dev/serial/by-id` shows",
    EACCES: "this user may not; use sudo, or for the service add its user to the group that owns "
    "the port, which `ls -lL {port}` shows (dialout: `usermod -aG dialout chargepoint`), and "
    "restart it",
    EPERM: "the service's unit does not let it open this kind of port; `systemctl edit "
    "chargepoint`, write [Service] and below it DeviceAllow={port} rw, and restart it",
    EBUSY: "another program holds it; `fuser -v {port}` names it, stop that program",
    ENOTTY: "it is no serial port; take a path that `ls -l /dev/serial/by-id` shows",
}
"""Reason and next step by the number of the error."""
SAME = {ENODEV: ENOENT, ENXIO: ENOENT, EAGAIN: EBUSY, EINVAL: ENOTTY, EISDIR: ENOTTY}


def cannot_open(port: str, error: Exception) -> PortError:
    """The one text for a port that does not open."""
    number = _number(error)
    words = os.strerror(number) if number else str(error)
    why = f"{words}; check the adapter, its cable and the path"
    if number is not None:
        why = WHY_CLOSED.get(SAME.get(number, number), why)
    return PortError(f"{port}: cannot be opened: {why.replace('{port}', port)}")


def _number(error: BaseException | None) -> int | None:
    """Of the error, or of the one before it, where pyserial wraps that of the ioctl."""
    if isinstance(error, termios.error):
        return int(error.args[0])
    number: int | None = getattr(error, "errno", None)
    if number is None and isinstance(error, serial.SerialException):
        return _number(error.__context__)
    return number


class SerialPort:
    """One open port, held exclusively. `heard` is called with whatever bytes come in."""

    def __init__(
        self,
        line: SerialLine,
        heard: Callable[[bytes], None],
        counters: Counters | None = None,
    ) -> None:
        """Opens at once; raises PortError."""
        self._name = line.port
        self._heard = heard
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[PortError] = self._loop.create_future()
        """Done, with the reason, once the port is gone."""
        try:
            self._serial = serial.Serial(
                line.port,
                line.baud,
                parity="N" if is_pty(line.port) else line.parity,
                stopbits=line.stop_bits,
                timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError, termios.error) as error:
            raise cannot_open(line.port, error) from error
        if counters is not None:
            counters.opens += 1
        self._fd: int = self._serial.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def write(self, data: bytes) -> None:
        """Sends as soon as the port takes it; a port that takes nothing any more is lost."""
        if self.lost.done():
            return
        if len(self._unsent) + len(data) > MAX_UNSENT_BYTES:
            self._lose("it takes no more data")
            return
        if TAP.seen is not None:
            TAP.seen(self._name, True, data)
        self._unsent += data
        self._writable()

    def close(self) -> None:
        """Gives the port back; what was written before still leaves. May be called twice."""
        if not self._serial.is_open:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._serial.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            if TAP.seen is not None:
                TAP.seen(self._name, False, data)
            self._heard(data)
        else:
            self._lose("the other side hung up")

    def _writable(self) -> None:
        try:
            del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)
            return
        if self._unsent:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _lose(self, reason: object) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._unsent.clear()
        if not self.lost.done():
            self.lost.set_result(
                PortError(f"{self._name}: port lost ({reason}); check the plug and the cable")
            )
