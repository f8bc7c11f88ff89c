"""The jobs of this station: which function carries out which order, with what in its hands.

What a job needs is imported in its thread, the first time it runs: neither the start nor the loop
waits for it.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.jobs import (
    ConfirmFirmware,
    DropFirmware,
    FetchFirmware,
    InstallFirmware,
    UploadLog,
    VerifyFirmware,
)
from agent.csms.tls import hold_to_build_date
from agent.jobs import UPLOADS, JobError, Jobs, Work
from agent.settings import CommandInstaller as CommandOptions
from agent.settings import Firmware, Settings

if TYPE_CHECKING:
    from agent.jobs.firmware import FirmwareFiles, Installer
    from agent.jobs.logs import Logs

ASK_S = 10.0


def workroom(
    settings: Settings,
    post: Callable[[object], None],
    report: Callable[[], Awaitable[dict[str, Any]]],
    roots: Callable[[], list[str]],
) -> Jobs:
    """`report` and `roots` (PEM of who vouches for servers) are asked in the loop."""
    loop = asyncio.get_running_loop()

    def context() -> ssl.SSLContext:
        from agent.jobs.transfer import trusting

        made = trusting(_in_loop(loop, roots))
        hold_to_build_date(made)
        return made

    known_hosts = settings.security.known_hosts_file
    directory = Path(settings.data_directory)
    if (directory / UPLOADS).exists():
        import shutil  # brings archives along, and there hardly ever is a leftover

        shutil.rmtree(directory / UPLOADS, ignore_errors=True)

    @cache
    def logs() -> "Logs":
        from agent.jobs.logs import Logs

        return Logs(directory, lambda: _in_loop(loop, report), context, known_hosts=known_hosts)

    works: dict[type, Work] = {UploadLog: lambda order, task: logs().upload(order, task)}
    if settings.firmware is not None:
        works |= _firmware_works(directory, settings.firmware, context, known_hosts)
    return Jobs(works, post)


def _firmware_works(
    directory: Path,
    options: Firmware,
    context: Callable[[], ssl.SSLContext],
    known_hosts: str | None,
) -> dict[type, Work]:
    @cache
    def files() -> "FirmwareFiles":
        from agent.jobs.firmware import FirmwareFiles

        largest = options.largest_mb * 1024 * 1024
        return FirmwareFiles(directory, _installer(options), context, largest, known_hosts)

    return {
        FetchFirmware: lambda order, task: files().fetch(order, task),
        VerifyFirmware: lambda order, task: files().verify(order, task),
        InstallFirmware: lambda order, task: files().install(order, task),
        ConfirmFirmware: lambda order, task: files().confirm(order, task),
        DropFirmware: lambda order, task: files().drop(order, task),
    }


def _installer(firmware: Firmware) -> "Installer":
    options = firmware.installer
    if isinstance(options, CommandOptions):
        from agent.jobs.firmware import CommandInstaller

        return CommandInstaller(
            options.command, options.confirm, options.restart, options.timeout_s
        )
    from agent.jobs.rauc import RaucInstaller

    return RaucInstaller(options.bus, options.timeout_s)


def _in_loop(loop: asyncio.AbstractEventLoop, ask: Callable[[], Any]) -> Any:
    """The answer of something that belongs to the loop, for a job's thread. Raises JobError."""

    async def answer() -> Any:
        found = ask()
        return await found if isawaitable(found) else found

    try:
        return asyncio.run_coroutine_threadsafe(answer(), loop).result(ASK_S)
    except TimeoutError as error:
        text = f"the station had no time for it within {ASK_S:.0f} s; it is tried again"
        raise JobError("InternalError", text) from error
