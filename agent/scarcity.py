"""What is left of disk and memory: MemoryExhaustion is told while there is some (A04)."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from agent.core.events import SecurityNoted

LOOK_S = 60.0
LEAST_DISK_BYTES = 32 * 1024 * 1024
"""Half of what a download must leave free: something else fills the disk."""
LEAST_MEMORY_BYTES = 16 * 1024 * 1024
MEMINFO = Path("/proc/meminfo")


class Scarcity:
    """Told once, and again after there was twice as much."""

    def __init__(self, what: str, least_bytes: int) -> None:
        self._what = what
        self._least_bytes = least_bytes
        self._is_told = False

    def look(self, left_bytes: int) -> SecurityNoted | None:
        if left_bytes >= 2 * self._least_bytes:
            self._is_told = False
        if self._is_told or left_bytes >= self._least_bytes:
            return None
        self._is_told = True
        return SecurityNoted("MemoryExhaustion", f"{left_bytes // 1024} kB of {self._what} left")


async def watch_room(directory: Path, post: Callable[[object], None]) -> None:
    """Looks for ever; cancelling is safe."""
    disk = Scarcity("the disk", LEAST_DISK_BYTES)
    memory = Scarcity("memory", LEAST_MEMORY_BYTES)
    while True:
        for kind, left in ((disk, disk_left(directory)), (memory, memory_left())):
            event = kind.look(left) if left is not None else None
            if event is not None:
                post(event)
        await asyncio.sleep(LOOK_S)


def disk_left(directory: Path) -> int | None:
    """Bytes that the agent may still write; None where nobody knows."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def memory_left() -> int | None:
    """Bytes that programs may still take without swapping; None where the kernel does not tell."""
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def file_bytes(path: Path) -> int:
    """Length of a file; one that is not there has none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
