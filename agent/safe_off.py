"""`chargepoint safe-off`: power off without the agent, after a crash or a broken edit."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.boot import WIRING
from agent.console import ConsoleError, NotRunning, ask, socket_path
from agent.devices import registry_of
from agent.settings import Settings
from agent.settings_load import load
from drivers.contract import Device, DriverError, Observation, PilotController, PowerPath

DEFAULT_DIRECTORY = "/var/lib/chargepoint"
WAIT_S = 8.0
ASK_S = 2.0
STEP_S = 0.1

BuildFrom = Callable[[Settings], Callable[[str, Any], Device]]


def registered(settings: Settings) -> Callable[[str, Any], Device]:
    """How the devices of charger.yaml are built."""
    return registry_of(settings).build


def open_all(
    config: str | None, wiring_name: str = WIRING, build_from: BuildFrom = registered
) -> int:
    """Opens every power path of the last good wiring, and says for each connector whether it was
    seen open; 1 when one was not."""
    settings = _last_good(config, wiring_name)
    if settings is None:
        print(
            "safe-off: no wiring of an earlier start is stored, so no contactor is known; "
            "switch the supply off by hand if in doubt"
        )
        return 1
    code = asyncio.run(_open_all(settings, build_from(settings)))
    if code and _service_runs(settings):
        print(
            "safe-off: the service runs and holds its ports; `systemctl stop chargepoint` opens "
            "the contactors by itself"
        )
    return code


def _service_runs(settings: Settings) -> bool:
    """Whether the agent answers, or at least listens, on its console."""
    try:
        ask(socket_path(settings.data_directory, settings.console_socket), {"cmd": "status"}, ASK_S)
    except NotRunning:
        return False
    except ConsoleError:
        return True
    return True


def _last_good(config: str | None, wiring_name: str) -> Settings | None:
    """The wiring of the last good start; without one, the file as it stands now."""
    loaded = load(config).settings if config is not None else None
    fallback = os.environ.get("STATE_DIRECTORY", DEFAULT_DIRECTORY)
    directory = loaded.data_directory if loaded is not None else fallback
    try:
        return msgspec.json.decode(Path(directory, wiring_name).read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError):
        return loaded


async def _open_all(settings: Settings, build: Callable[[str, Any], Device]) -> int:
    results = await asyncio.gather(
        *(
            _open(f"EVSE {evse.id} connector {connector.id}", connector.pilot, settings, build)
            for evse in settings.evses
            for connector in evse.connectors
        )
    )
    return 0 if all(results) else 1


async def _open(
    place: str, name: str, settings: Settings, build: Callable[[str, Any], Device]
) -> bool:
    try:
        pilot: PilotController = build(name, settings.devices[name])  # type: ignore[assignment]
    except DriverError as error:
        print(f"safe-off: {place}: {error}")
        return False
    troubles: list[str] = []

    def report(observation: Observation) -> None:
        reason = getattr(observation, "reason", "")
        if reason:
            troubles.append(reason)

    pilot.emergency_stop()
    running = asyncio.create_task(pilot.run(report))
    for _ in range(int(WAIT_S / STEP_S)):
        if pilot.power_path() is PowerPath.OPEN or running.done():
            break
        await asyncio.sleep(STEP_S)
    is_open = pilot.power_path() is PowerPath.OPEN
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(ended, Exception):
        troubles.append(str(ended))
    if is_open:
        print(f"safe-off: {place}: power path open")
    else:
        why = f" ({troubles[-1]})" if troubles else ""
        print(f"safe-off: {place}: not seen open{why}; switch the supply off by hand")
    return is_open
