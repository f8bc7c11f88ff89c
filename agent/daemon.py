"""The daemon: one agent from its first to its last moment, and how the process ends."""

import asyncio
import gc
import logging
import signal

from agent.app import Agent
from agent.core.effects import Restart
from agent.devices import registry_of
from agent.settings import Settings
from agent.wiring import wire

log = logging.getLogger(__name__)

RESTART_EXIT_CODE = 0
REBOOT_EXIT_CODE = 150
"""Asks the service manager for a restart of the board; the first code that is left to services."""


def run(settings: Settings) -> int:
    """The daemon: returns the exit code once it was told to stop or to restart."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    agent = Agent(settings, wire(settings, registry_of(settings).build))
    loop = asyncio.get_running_loop()
    ordered: list[int] = []
    stop = asyncio.Event()

    def order(number: int) -> None:
        ordered.append(number)
        agent.stop_was_ordered = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, order, number)
    await agent.open()
    gc.freeze()  # what stands now stays: no collection looks at it again
    gc.enable()
    # a task that is cancelled before its first step would leave the store open
    running = asyncio.create_task(agent.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    (running if stop.is_set() else stopping).cancel()
    try:
        await running
    except asyncio.CancelledError:
        if not ordered:
            raise
        log.info("stopped by signal %s; power is off", ordered[0])
    return exit_code(agent.runtime.restart)


def exit_code(restart: Restart | None) -> int:
    """How the process ends, for the service manager (systemd/chargepoint.service)."""
    if restart is None or restart.scope != "board":
        return RESTART_EXIT_CODE
    log.info("the board is to start anew: %s", restart.reason)
    return REBOOT_EXIT_CODE
