"""The jobs of this station: which function carries out which order, with what in its hands."""

import asyncio
import concurrent.futures
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.core.jobs import (
    ConfirmFirmware,
    DropFirmware,
    FetchFirmware,
    InstallFirmware,
    UploadLog,
    VerifyFirmware,
)
from agent.jobs import Jobs, Work
from agent.jobs.firmware import CommandInstaller, FirmwareFiles, Installer
from agent.jobs.logs import Logs
from agent.jobs.transfer import trusting
from agent.settings import CommandInstaller as CommandOptions
from agent.settings import Firmware, Settings

ASK_S = 10.0


def workroom(
    settings: Settings,
    post: Callable[[object], None],
    report: Callable[[], dict[str, Any]],
    roots: Callable[[], list[str]],
) -> Jobs:
    """`report` and `roots` (PEM of who vouches for servers) are asked in the loop."""
    loop = asyncio.get_running_loop()

    def context() -> ssl.SSLContext:
        return trusting(_in_loop(loop, roots))

    directory = Path(settings.data_directory)
    logs = Logs(directory, lambda: _in_loop(loop, report), context)
    logs.clear()
    works: dict[type, Work] = {UploadLog: logs.upload}
    if settings.firmware is not None:
        largest = settings.firmware.largest_mb * 1024 * 1024
        files = FirmwareFiles(directory, _installer(settings.firmware), context, largest)
        works |= {
            FetchFirmware: files.fetch,
            VerifyFirmware: files.verify,
            InstallFirmware: files.install,
            ConfirmFirmware: files.confirm,
            DropFirmware: files.drop,
        }
    return Jobs(works, post)


def _installer(firmware: Firmware) -> Installer:
    options = firmware.installer
    if isinstance(options, CommandOptions):
        return CommandInstaller(
            options.command, options.confirm, options.restart, options.timeout_s
        )
    from agent.jobs.rauc import RaucInstaller

    return RaucInstaller(options.bus, options.timeout_s)


def _in_loop(loop: asyncio.AbstractEventLoop, ask: Callable[[], Any]) -> Any:
    """The answer of something that belongs to the loop, for a job's thread."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    loop.call_soon_threadsafe(lambda: future.set_result(ask()))
    return future.result(ASK_S)
