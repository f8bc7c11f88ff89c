"""BootNotification: when it is sent, and whether the CSMS took the station (B01 to B03)."""

from agent.core.effects import Log
from agent.core.events import Now
from agent.ocpp.calls import Payload

BOOT_AGAIN_S = 60.0
"""Until the next BootNotification where the CSMS names no interval (B02.FR.07, B03.FR.05)."""


class Booting:
    """The next BootNotification, and what the last one was answered with."""

    def __init__(self) -> None:
        self.status = ""
        """Of the last answer; empty before the first."""
        self.is_fresh = False
        """Online by a BootNotification, not by a plain reconnect (B01.FR.05)."""
        self.at_s: float | None = None
        """Loop time of the next one; None: none is due."""
        self._not_before_s = 0.0
        self._slot = 0
        """Whose CSMS has answered."""
        self._payload: Payload = {}
        self._is_asked = False
        """The next one answers a TriggerMessage."""

    @property
    def is_accepted(self) -> bool:
        return self.status == "Accepted"

    def start(self, payload: Payload) -> None:
        """What every first connection begins with."""
        self._payload = payload

    def opened(self, slot: int, now: Now) -> None:
        """A plain reconnect goes on as before; another slot is another CSMS (B10.FR.10)."""
        if slot != self._slot:
            self.status, self._not_before_s = "", now.mono_s
        if self.is_accepted:
            self.is_fresh = False
        else:
            self.at_s = max(now.mono_s, self._not_before_s)

    def soon(self, now: Now) -> None:
        """The CSMS asks for one before the interval it named is over."""
        self.at_s = self._not_before_s = now.mono_s
        self._is_asked = True

    def due(self, now: Now) -> Payload | None:
        """The one that leaves now."""
        if self.at_s is None or now.mono_s < self.at_s:
            return None
        self.at_s = None
        reason = {"reason": "Triggered"} if self._is_asked else {}
        self._is_asked = False
        return self._payload | reason

    def answered(self, status: str, interval_s: float, slot: int, now: Now) -> Log:
        """B01.FR.04, B02, B03."""
        self.status, self._slot = status, slot
        if self.is_accepted:
            self.at_s, self.is_fresh = None, True
            return Log(5, f"CSMS: boot accepted, heartbeat every {interval_s:.0f} s")
        wait_s = interval_s if interval_s > 0 else BOOT_AGAIN_S
        self.at_s = self._not_before_s = now.mono_s + wait_s
        return Log(5, f"CSMS: boot {status}; asking again in {wait_s:.0f} s")

    def failed(self, now: Now) -> None:
        """It was refused by a CALLERROR, or not answered."""
        self.at_s = self._not_before_s = now.mono_s + BOOT_AGAIN_S
