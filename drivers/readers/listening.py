"""What readers that speak by themselves share: a port that is lost and found, and a pattern."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from drivers.bus.serial_port import FIRST_PAUSE_S, next_pause_s
from drivers.contract import DeviceFound, DeviceLost, DriverError, PortError, Report


class Port(Protocol):
    """An open port."""

    @property
    def lost(self) -> Awaitable[PortError]:
        """Why it is of no use any more."""

    def close(self) -> None: ...


async def listen(name: str, open_port: Callable[[], Port], report: Report) -> NoReturn:
    """Keeps a port open, and tells when the reader is lost and found again. Cancelling closes it.

    `open_port` raises PortError; it is tried again, later each time.
    """
    pause_s = FIRST_PAUSE_S
    is_lost = False
    while True:
        try:
            port = open_port()
            try:
                if is_lost:
                    report(DeviceFound(name))
                is_lost, pause_s = False, FIRST_PAUSE_S
                raise await port.lost
            finally:
                port.close()
        except PortError as error:
            if not is_lost:
                report(DeviceLost(name, str(error)))
            is_lost = True
        await asyncio.sleep(pause_s)
        pause_s = next_pause_s(pause_s)


def card_pattern(name: str, pattern: str, written: str) -> re.Pattern[str]:
    """A pattern whose first group is the card number; `written`: as it stands in charger.yaml.

    Raises DriverError.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DriverError(
            f"reader {name}: pattern {written!r} is no regular expression ({error}); correct it"
        ) from error
    if compiled.groups < 1:
        raise DriverError(
            f"reader {name}: pattern {written!r} has no group; "
            "put brackets around the part that is the card number"
        )
    return compiled


def first_group(line: str, pattern: re.Pattern[str]) -> str:
    """The card number in a line; empty when it is no card."""
    match = pattern.search(line)
    return (match.group(1) or "") if match else ""
