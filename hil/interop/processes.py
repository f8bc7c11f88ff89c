"""Foreign programs: where they are installed, how they run, and that they end."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hil.interop.versions import ARTHEXIS, STRICT

Say = Callable[[str], None]

ENDS_WITHIN_S = 10.0
HOST = "127.0.0.1"


class InteropError(Exception):
    """Something foreign is missing or did not start; the text ends with the next step."""


async def run(say: Say, words: Sequence[str], step: str, **more: object) -> str:
    """Runs to the end and returns its output. Raises InteropError with `step` when it fails."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **more,  # type: ignore[arg-type]
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        await end(process)
        raise
    if process.returncode != 0:
        for line in errors.decode(errors="replace").splitlines()[-6:]:
            say(f"    {line}")
        raise InteropError(f"`{' '.join(words[:4])} ...` failed; {step}")
    return out.decode()


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL; returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def listens(port: int, process: asyncio.subprocess.Process, what: str, log: Path) -> None:
    """Waits until something accepts connections there. Raises InteropError."""
    for _ in range(300):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise InteropError(f"{what} does not listen on port {port}; read {log}")


def without_ours(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a foreign program: no paths of this one's packages."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME", "NODE_PATH", "NODE_OPTIONS")
    return {k: v for k, v in os.environ.items() if k not in hidden} | dict(more)


async def arthexis_python(root: Path, say: Say) -> Path:
    """Python of arthexis' own environment, installed when it is not there. Raises InteropError."""
    place = root / "arthexis"
    python = place / "bin" / "python"
    if not _is_installed(place, ARTHEXIS):
        say(f"interop: installing {', '.join(ARTHEXIS)} from PyPI into {place} (about a minute)")
        await run(
            say,
            [sys.executable, "-m", "venv", "--clear", str(place)],
            "install the Debian package python3-venv and run make interop again",
        )
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        await run(
            say,
            [*pip, *ARTHEXIS],
            "check the network and the package registry of pip, then run make interop again",
            env=without_ours({}),
        )
        _mark(place, ARTHEXIS)
    return python


async def strict_place(root: Path, say: Say) -> Path:
    """Directory with the node packages, installed when they are not there. Raises InteropError."""
    place = root / "strict"
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise InteropError(
            "node and npm are missing; on Debian: apt-get install nodejs npm, "
            "then run make interop again"
        )
    if not _is_installed(place, STRICT):
        say(f"interop: installing {', '.join(STRICT)} from npm into {place}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text('{"private": true}\n')
        await run(
            say,
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), *STRICT],
            "check the network and the package registry of npm, then run make interop again",
            cwd=place,
            env=without_ours({}),
        )
        _mark(place, STRICT)
    return place


def redis_program() -> str:
    """Raises InteropError where Redis is not installed."""
    found = shutil.which("redis-server") or shutil.which("redis-server", path="/usr/sbin:/usr/bin")
    if found is None:
        raise InteropError(
            "redis-server is missing; on Debian, as root: apt-get install redis-server, "
            "then run make interop again"
        )
    return found


def _is_installed(place: Path, packages: Sequence[str]) -> bool:
    mark = place / ".installed"
    return mark.exists() and mark.read_text().split() == list(packages)


def _mark(place: Path, packages: Sequence[str]) -> None:
    (place / ".installed").write_text("\n".join(packages) + "\n")
