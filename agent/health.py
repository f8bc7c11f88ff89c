"""Tells systemd how the process does; feeds its watchdog only while guard and loop both move."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

STATUS_INTERVAL_S = 10.0
STATUS_BYTES = 512


class Health:
    """The service manager's end of the process (sd_notify); silent when there is none."""

    def __init__(self, notify_socket: str | None, watchdog_usec: int | None) -> None:
        """`notify_socket`: a path or @abstract name; `watchdog_usec`: None when none is set."""
        self._address = _address(notify_socket)
        self._watchdog_s = watchdog_usec / 1e6 if watchdog_usec else None
        self._complained = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Health":
        """As systemd set it up: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID (sd_notify(3))."""
        usec = environ.get("WATCHDOG_USEC", "")
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(usec) if usec.isdecimal() and meant_for_us else None
        return cls(environ.get("NOTIFY_SOCKET"), watchdog)

    def ready(self, status: str = "") -> None:
        """The hardware is in its safe state and the inbox is being read."""
        self._send("READY=1", _status(status))

    def stopping(self) -> None:
        """Power is being stopped; the process will end."""
        self._send("STOPPING=1")

    async def run(self, moved: Callable[[], tuple[int, int]], status: Callable[[], str]) -> None:
        """Feeds the watchdog at half its interval while both counts of `moved` (guard, loop) grow.

        Cancelling is safe. Returns at once when no service manager listens.
        """
        if self._address is None:
            return
        interval_s = self._watchdog_s / 2 if self._watchdog_s else STATUS_INTERVAL_S
        fed_at = moved()
        told = ""
        while True:
            await asyncio.sleep(interval_s)
            counts = moved()
            lines: list[str] = []
            if counts[0] != fed_at[0] and counts[1] != fed_at[1]:
                fed_at = counts
                lines.append("WATCHDOG=1")
            else:
                _complain(counts, fed_at, watched=self._watchdog_s is not None)
            text = _status(status())
            if text != told:
                told = text
                lines.append(text)
            self._send(*lines)

    def _send(self, *lines: str) -> None:
        """One datagram; a manager that cannot be reached is logged once, never an error."""
        message = "\n".join(line for line in lines if line)
        if self._address is None or not message:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                logger.warning(
                    "systemd cannot be told of the service's health (%s); check NotifyAccess= "
                    "and $NOTIFY_SOCKET",
                    error,
                )


def _complain(counts: tuple[int, int], fed_at: tuple[int, int], *, watched: bool) -> None:
    still = [
        name
        for name, now, then in zip(("guard", "loop"), counts, fed_at, strict=True)
        if now == then
    ]
    if watched:
        logger.error(
            "watchdog not fed: %s stands still; systemd will restart the service",
            " and ".join(still),
        )


def _address(notify_socket: str | None) -> str | None:
    if not notify_socket:
        return None
    return "\0" + notify_socket[1:] if notify_socket.startswith("@") else notify_socket


def _status(text: str) -> str:
    """A STATUS= line: one line, bounded."""
    text = " ".join(text.split()).encode()[:STATUS_BYTES].decode(errors="ignore")
    return f"STATUS={text}" if text else ""
