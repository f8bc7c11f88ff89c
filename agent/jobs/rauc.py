"""RAUC bundles over D-Bus (interface de.pengutronix.rauc.Installer)."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from agent.core.jobs import Installed
from agent.jobs.threads import Canceled, JobError, Task

NAME, PATH = "de.pengutronix.rauc", "/"
INTERFACE = "de.pengutronix.rauc.Installer"
POLL_S = 0.25
CALL_S = 30.0
"""For each answer: the bus waits for ever for a service that hangs."""
REFUSED = ("signature", "verif", "certificate", "compatible", "manifest", "bundle")
"""Words of RAUC's last error that mean: the bundle itself is no good."""


class RaucInstaller:
    """Each step has a loop and a connection of its own, in the job's thread. Needs `dbus-fast`."""

    def __init__(self, bus: str, timeout_s: float) -> None:
        self._bus = bus
        self._timeout_s = timeout_s

    def install(self, path: Path, task: Task) -> Installed:
        """The proof is the slot that is to boot next. Raises JobError."""
        step = self._run(lambda rauc: self._install(rauc, path, task))
        installed: Installed = asyncio.run(step)
        return installed

    def confirm(self, proof: str, task: Task) -> None:
        """The slot that was written runs: it is marked good. Raises JobError."""
        asyncio.run(self._run(lambda rauc: self._confirm(rauc, proof)))

    async def _run(self, step: Any) -> Any:
        try:
            from dbus_fast import BusType, DBusError
            from dbus_fast.aio import MessageBus
        except ImportError as error:
            text = "the package dbus-fast is missing; install the agent with the extra `rauc`"
            raise JobError("InstallationFailed", text) from error
        bus = None
        try:
            address = self._bus or None
            bus = await MessageBus(address, bus_type=BusType.SYSTEM).connect()
            about = await _soon(bus.introspect(NAME, PATH))
            rauc = bus.get_proxy_object(NAME, PATH, about).get_interface(INTERFACE)
            return await step(rauc)
        except (DBusError, OSError, TimeoutError) as error:
            said = str(error) or f"not within {CALL_S:.0f} s"
            text = f"RAUC does not answer ({said}); see `systemctl status rauc`"
            raise JobError("InstallationFailed", text) from error
        finally:
            if bus is not None:
                bus.disconnect()

    async def _install(self, rauc: Any, path: Path, task: Task) -> Installed:
        """An installation that runs cannot be stopped: it is waited for."""
        completed = asyncio.Event()
        rauc.on_completed(lambda result: completed.set())
        await _soon(rauc.call_install_bundle(str(path), {}))
        end_s = time.monotonic() + self._timeout_s
        while not completed.is_set():
            percent, step, _ = await _soon(rauc.get_progress())
            try:
                task.moved(str(step) or "installing", int(percent))
            except Canceled:
                pass
            if time.monotonic() > end_s:
                raise JobError("InstallationFailed", "RAUC did not end in time")
            try:
                await asyncio.wait_for(completed.wait(), POLL_S)
            except TimeoutError:
                pass
        error = str(await _soon(rauc.get_last_error()))
        if error:
            is_bundle = any(word in error.lower() for word in REFUSED)
            cause = "InstallVerificationFailed" if is_bundle else "InstallationFailed"
            raise JobError(cause, f"RAUC: {error}")
        return Installed("board", str(await _soon(rauc.call_get_primary())))

    async def _confirm(self, rauc: Any, proof: str) -> None:
        booted = str(await _soon(rauc.get_boot_slot()))
        slots = await _soon(rauc.call_get_slot_status())
        running = [
            name for name, status in slots if booted in (name, _text(status.get("bootname")))
        ]
        if proof and proof not in (booted, *running):
            text = f"slot {booted} runs instead of {proof}: the board fell back to the old firmware"
            raise JobError("InstallationFailed", text)
        await _soon(rauc.call_mark("good", "booted"))


async def _soon(answer: Awaitable[Any]) -> Any:
    """Raises TimeoutError after CALL_S."""
    return await asyncio.wait_for(answer, CALL_S)


def _text(variant: Any) -> str:
    return "" if variant is None else str(variant.value)
