"""How long slow work holds up the loop: a firmware of 50 MB is fetched and its signature checked,
while a task in the loop tells how late it is woken.

The jobs are those of the daemon, in this process; the file server is a process of its own.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from msgspec import Struct
from msgspec.structs import replace

from agent.core.jobs import FetchFirmware, JobDone, JobMoved, VerifyFirmware
from agent.settings import CommandInstaller, Firmware
from agent.slow_work import workroom
from hil.desk import BenchError
from hil.figures_lines import Figure
from hil.parts.pki import certificate_of
from hil.sim import settings_of

MEGABYTES = 50
STEP_S = 0.002
IDLE_S = 2.0
STALL_MS = 50.0
"""Aim: far below the second after which a fault must have stopped power."""


class Stalls(Struct):
    """Seconds by which the loop woke its watcher too late, and how long the work took."""

    worst_s: float = 0.0
    turns: int = 0
    took_s: float = 0.0


class JobStalls(Struct, frozen=True):
    """Of the loop with nothing to do, during the download, and during the check."""

    idle: Stalls
    fetch: Stalls
    verify: Stalls
    megabytes: int


def job_figures(found: JobStalls) -> list[Figure]:
    size = f"{found.megabytes} MB"
    return [
        _figure("longest stall of the loop, idle", found.idle, None, "no job"),
        _figure("longest stall of the loop, download", found.fetch, STALL_MS, size),
        _figure("longest stall of the loop, signature", found.verify, STALL_MS, size),
    ]


def _figure(name: str, stalls: Stalls, aim: float | None, what: str) -> Figure:
    note = f"{what} in {stalls.took_s:.2f} s, {stalls.turns} turns"
    return Figure(name, stalls.worst_s * 1000, "ms", aim, note)


async def measure_jobs(megabytes: int = MEGABYTES, idle_s: float = IDLE_S) -> JobStalls:
    """Each job once, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        order = _signed(directory / "served", megabytes)
        posted: asyncio.Queue[object] = asyncio.Queue()
        installer = Firmware(CommandInstaller(("true",)))
        settings = replace(settings_of(f"{directory}/data"), firmware=installer)
        (directory / "data").mkdir()
        jobs = workroom(settings, posted.put_nowait, _nothing, list)
        async with _served(directory / "served") as url:
            async with _watched() as idle:
                await asyncio.sleep(idle_s)
            async with _watched() as fetch:
                jobs.start("fetch", FetchFirmware("u", f"{url}/firmware"))
                await _done(posted)
            async with _watched() as verify:
                jobs.start("verify", order)
                await _done(posted)
        await jobs.close()
    return JobStalls(idle, fetch, verify, megabytes)


async def _nothing() -> dict[str, Any]:
    """What this station says of itself."""
    return {}


def _signed(directory: Path, megabytes: int) -> VerifyFirmware:
    """Makes the file and the order that checks it."""
    key, digest = ec.generate_private_key(ec.SECP256R1()), hashlib.sha256()
    directory.mkdir()
    with open(directory / "firmware", "wb") as file:
        for _ in range(megabytes):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    signature = key.sign(digest.digest(), ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    return VerifyFirmware("u", certificate_of(key), base64.b64encode(signature).decode())


@contextlib.asynccontextmanager
async def _served(directory: Path) -> AsyncIterator[str]:
    """URL of a web server in a process of its own."""
    words = ("-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(directory))
    pipes: Any = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}
    process = await asyncio.create_subprocess_exec(sys.executable, *words, **pipes)
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield line.partition("(")[2].partition("/)")[0]
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _watched() -> AsyncIterator[Stalls]:
    """Filled when the block ends."""
    stalls = Stalls()
    began_s = time.monotonic()
    watcher = asyncio.create_task(_watch(stalls))
    try:
        yield stalls
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        stalls.took_s = time.monotonic() - began_s


async def _watch(stalls: Stalls) -> None:
    while True:
        due_s = time.monotonic() + STEP_S
        await asyncio.sleep(STEP_S)
        stalls.worst_s = max(stalls.worst_s, time.monotonic() - due_s)
        stalls.turns += 1


async def _done(posted: "asyncio.Queue[object]") -> None:
    event = await posted.get()
    while isinstance(event, JobMoved):
        event = await posted.get()
    if not isinstance(event, JobDone):
        raise BenchError(f"the job came to nothing: {event}")
