"""The board's clocks, as the rooms are told them."""

import os
import time
from functools import cache, lru_cache
from pathlib import Path

from agent.station_clock import ClockReading

SYNCED = "/run/systemd/timesync/synchronized"


def read_clock() -> ClockReading:
    """The board's clocks; trusted once the time service says so."""
    mono_s = time.monotonic()
    return ClockReading(mono_s, time.time(), _is_synced(int(mono_s)), _boot_id())


@lru_cache(maxsize=1)
def _is_synced(second: int) -> bool:
    """Looked up once a second: the clock is read several times for each event."""
    return os.path.exists(SYNCED)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
