"""How soon the guard's stop leaves: from the byte on the serial line to the stop that comes back,
with the agent idle and under the worst load it can be put under.

The agent is its own process on the desk bench. In place of its two controllers stands one bare far
end (`parts/far_end`), in a process of its own, too: its relays close unasked.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
import tty
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from hil import figures_rows
from hil.desk import BenchError, DeskBench
from hil.desk_file import PILOTS
from hil.figures_calls import POWER_ON_S, with_pings
from hil.figures_lines import Figure
from hil.parts.bare_caller import BareCaller

STOPS = 40
"""Of each kind; for a p99.9 worth its name a thousand and more: --stops 1200, half an hour."""
IDLE_STOPS = 150
"""At most; the tail of an idle station is nobody's worry."""
MET_S = 9.0
"""A controller the guard has just met gets its time to open; stops before that do not count."""
NICE = -10
"""Of agent and far end, where that is allowed: the machine has other work, a charger has not."""
SECONDS_A_STOP = 1.3
"""Two relays take turns."""
ROWS_A_STOP = 1_000
"""Events that wait, so that the drain lasts as long as the stops."""
LEAST_ROWS = 10_000
LIMIT_S = 60.0
AIM_MS = 20.0
FRAME_CHARS = 261_000
"""Of text in a frame: nearly the largest that the station takes (256 KiB)."""
UPLOAD_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Stops(Struct, frozen=True):
    """Seconds from the byte to the stop, and the longest ping meanwhile."""

    took_s: list[float]
    bare_s: list[float]
    """Of a process that sends a byte back and does nothing else, in the same time."""
    stall_s: float


class Guarding(Struct, frozen=True):
    """All that was measured."""

    idle: Stops
    loaded: Stops
    drained: int
    """Events that left meanwhile."""
    reports: int
    uploads: int
    load_average: float
    """Of the whole machine, at the end."""


async def measure_guard(stops: int = STOPS, met_s: float = MET_S) -> Guarding:
    """Idle first, then loaded: the same agent on two databases. Raises BenchError."""
    async with _scene() as (desk, csms, far_end, uploads):
        await desk.start_agent()
        await _is_linked(desk, csms)
        idle = await _stops(csms, far_end, min(stops, IDLE_STOPS), met_s)
        await desk.kill_agent()
        csms.link = None
        rows = max(LEAST_ROWS, ROWS_A_STOP * stops)
        await figures_rows.fill(desk.directory / "data" / "chargepoint.db", rows)
        csms.forget()
        await desk.start_agent()
        await _is_linked(desk, csms)
        load = _Load(csms, uploads)
        working = [asyncio.create_task(work) for work in load.works()]
        try:
            loaded = await _stops(csms, far_end, stops, met_s)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        return Guarding(
            idle, loaded, load.drained(), load.reports, uploads.count, os.getloadavg()[0]
        )


async def _is_linked(desk: DeskBench, csms: BareCaller) -> None:
    await desk.wait_until(lambda: csms.link is not None, "the station's link")
    assert desk.pid is not None
    _prefer(desk.pid)


def _prefer(pid: int) -> None:
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)


async def _stops(
    csms: BareCaller, far_end: asyncio.subprocess.Process, count: int, met_s: float
) -> Stops:
    """The next `count` stops."""
    (took_s, bare_s), stall_s = await with_pings(
        csms, _told(far_end, count, time.monotonic() + met_s)
    )
    return Stops(took_s, bare_s, stall_s)


async def _told(
    far_end: asyncio.subprocess.Process, count: int, met_s: float
) -> tuple[list[float], list[float]]:
    assert far_end.stdout is not None
    took_s: list[float] = []
    bare_s: list[float] = []
    while len(took_s) < count:
        try:
            async with asyncio.timeout(LIMIT_S):
                line = await far_end.stdout.readline()
        except TimeoutError:
            raise BenchError(f"no stop within {LIMIT_S:g} s after {len(took_s)} of them") from None
        if not line:
            raise BenchError("the far end ended; run `python -m hil.parts.far_end` to see why")
        stop = json.loads(line)
        if stop["at_s"] > met_s:
            (took_s if stop["port"] else bare_s).append(stop["took_s"])
    return took_s, bare_s


# --- the load -------------------------------------------------------------------------------------


class _Uploads:
    """A server that takes every file."""

    def __init__(self) -> None:
        self.count = 0
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
            await reader.readexactly(int(length or 0))
            self.count += 1
            writer.write(UPLOAD_ANSWER)
            await writer.drain()
        writer.close()


class _Load:
    """All at once, again and again: inventory, largest frame, upload; the queue drains besides."""

    def __init__(self, csms: BareCaller, uploads: _Uploads) -> None:
        self.reports = 0
        self._csms = csms
        self._uploads = uploads
        self._drained = 0

    def works(self) -> list[Coroutine[Any, Any, None]]:
        return [self._report(), self._frames(), self._logs()]

    def drained(self) -> int:
        self._count()
        return self._drained

    def _count(self) -> None:
        frames = self._csms.frames
        self._drained += sum('"TransactionEvent"' in text[:60] for _, text in frames)
        self._csms.forget()

    async def _report(self) -> None:
        while True:
            self._count()
            number = self.reports + 1
            asked = {"requestId": number, "reportBase": "FullInventory"}
            await self._csms.call("GetBaseReport", asked)
            await self._csms.heard("NotifyReport", requestId=number, tbc=False)
            self.reports = number

    async def _frames(self) -> None:
        data = {"vendorId": "bench", "data": "x" * FRAME_CHARS}
        while True:
            await self._csms.call("DataTransfer", data)
            await asyncio.sleep(0.05)

    async def _logs(self) -> None:
        number = 0
        while True:
            number += 1
            where = {"remoteLocation": f"{self._uploads.url}{number}.log"}
            asked = {"logType": "DiagnosticsLog", "requestId": number, "log": where}
            await self._csms.call("GetLog", asked | {"retries": 0})
            await asyncio.sleep(2.0)


# --- the scene ------------------------------------------------------------------------------------


@asynccontextmanager
async def _scene() -> AsyncIterator[
    tuple[DeskBench, BareCaller, asyncio.subprocess.Process, _Uploads]
]:
    uploads = _Uploads()
    server = await asyncio.start_server(uploads.take, "127.0.0.1", 0)
    uploads.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, BareCaller() as csms, DeskBench() as desk:
        with _lines(desk) as masters:
            config = desk.config.read_text().replace(desk.server.url, csms.url)
            desk.config.write_text(config)
            await asyncio.sleep(POWER_ON_S)
            far_end = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hil.parts.far_end", *map(str, masters)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=masters,
            )
            _prefer(far_end.pid)
            try:
                yield desk, csms, far_end, uploads
            finally:
                await desk.stop_agent()
                far_end.terminate()
                await far_end.wait()


@contextlib.contextmanager
def _lines(desk: DeskBench) -> Any:
    """New serial lines where the controllers hung; their master ends."""
    opened: list[int] = []
    masters: list[int] = []
    text = desk.config.read_text()
    try:
        for name in PILOTS.values():
            master, slave = os.openpty()
            opened += [master, slave]
            masters.append(master)
            tty.setraw(slave)
            text = text.replace(str(Path(desk.directory, name)), os.ttyname(slave))
        desk.config.write_text(text)
        yield masters
    finally:
        for descriptor in opened:
            os.close(descriptor)


# --- as figures -----------------------------------------------------------------------------------


def guard_figures(found: Guarding) -> list[Figure]:
    """The distribution of both, and the longest stall of the loop."""
    load = (
        f"meanwhile {found.drained} events drained, {found.reports} inventories, "
        f"{found.uploads} uploads, frames of {FRAME_CHARS // 1000} kB; "
        f"the machine is shared: load average {found.load_average:.1f}"
    )
    figures = []
    for name, stops, note in (("idle", found.idle, ""), ("loaded", found.loaded, load)):
        p999, spread = _spread(stops.took_s, "stops")
        _, bare = _spread(stops.bare_s, "bytes")
        spread += f"; a bare process at the same time: {bare}"
        figures.append(Figure(f"stop after the byte, p99.9, {name}", p999, "ms", AIM_MS, spread))
        stall_ms = 1000 * stops.stall_s
        figures.append(Figure(f"longest stall of the loop, {name}", stall_ms, "ms", None, note))
    return figures


def _spread(took_s: list[float], of: str) -> tuple[float, str]:
    """(p99.9 in ms, all of the distribution in words)."""
    ordered = sorted(1000 * one_s for one_s in took_s)
    median, p99, p999 = (at_share(ordered, share) for share in (0.5, 0.99, 0.999))
    words = f"median {median:.1f}, p99 {p99:.1f}, p99.9 {p999:.1f}, max {ordered[-1]:.1f}"
    return p999, f"{len(ordered)} {of}, ms: {words}"


def at_share(ordered: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
