"""What a process costs, as the kernel counts it."""

import os
from pathlib import Path

from msgspec import Struct


class Cost(Struct, frozen=True):
    """What a process has used since its start."""

    cpu_s: float
    """Of all its threads."""
    read_bytes: int
    """By its reads, from the disk or not: files, sockets, ports."""
    written_bytes: int
    """Handed to the disk: whole pages, logs and copies included."""


class Memory(Struct, frozen=True):
    """Of one process, kB as the kernel counts (1024 bytes)."""

    rss_kb: int
    pss_kb: int | None
    """Its share where pages are shared; None where the kernel does not tell."""


def cost_of(pid: int) -> Cost:
    """Read now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    counts = Path(f"/proc/{pid}/io").read_text()
    read, written = _number(counts, "rchar"), _number(counts, "write_bytes")
    return Cost(ticks / os.sysconf("SC_CLK_TCK"), read or 0, written or 0)


def memory_of(pid: int) -> Memory:
    """Read now."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        rollup = ""
    rss_kb = _number(Path(f"/proc/{pid}/status").read_text(), "VmRSS")
    assert rss_kb is not None, "a running process has VmRSS"
    return Memory(rss_kb, _number(rollup, "Pss"))


def _number(text: str, name: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return None
