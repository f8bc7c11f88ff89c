"""A time at which something is due, moved many times for each time it comes."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` once when the time has come. Moving it to a later time is free: the loop's timer
    stays where it is, and looks again when it fires."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, delay_s: float) -> None:
        """From now on; replaces what was set before."""
        loop = asyncio.get_running_loop()
        self._at_s = loop.time() + delay_s
        if self._timer is None or self._timer.when() > self._at_s:
            self.close()
            self._timer = loop.call_at(self._at_s, self._look)

    def stop(self) -> None:
        """It does not ring any more; the timer is left for the next time."""
        self._at_s = None

    def close(self) -> None:
        """Takes the timer away, too."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._timer is not None
        fired_s, self._timer = self._timer.when(), None
        if self._at_s is None:
            return
        if fired_s < self._at_s:
            self._timer = asyncio.get_running_loop().call_at(self._at_s, self._look)
            return
        self._at_s = None
        self._ring()
