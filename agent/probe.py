"""`chargepoint probe`: every configured device read once, through the running service or directly;
what looks wrong is said with the next step."""

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from agent import screen
from agent.console import ConsoleError, NotRunning, ask, socket_path
from agent.devices import DeviceBook, DeviceSeen, registry_of, run_by_others
from agent.errors import ChargepointError, SettingsError
from agent.probe_judge import Complaint, judge
from agent.probe_text import text
from agent.probe_watch import plain, table
from agent.settings import Settings
from agent.settings_load import load
from drivers.contract import Device, PilotState

WATCH_S = 1.0
WAIT_S = 12.0
"""A device that neither answers nor is found lost within this is said to show nothing."""
SETTLE_S = 0.1
"""An open port is not reported: looked at so often."""
BY_SERVICE = "asked from the running service"
DIRECTLY = "read directly, the service does not run; all power is held off meanwhile"


def settings_of(config: str) -> Settings:
    """charger.yaml; raises SettingsError where it cannot be used."""
    settings = load(config).settings
    if settings is None:
        raise SettingsError(f"{config} cannot be used; run `chargepoint check {config}`")
    return settings


def probe(arguments: argparse.Namespace) -> int:
    """0: nothing looks wrong, 1: something does."""
    settings = settings_of(arguments.config)
    path = socket_path(settings.data_directory, settings.console_socket)
    try:
        if not arguments.watch:
            return _show(settings, BY_SERVICE, from_service(path), arguments)
        return _watch_service(settings, path, arguments)
    except NotRunning:
        return asyncio.run(_directly(settings, arguments))


def from_service(path: str, *, with_cards: bool = False) -> list[DeviceSeen]:
    """What the running service sees; raises NotRunning, ConsoleError."""
    answer = ask(path, {"cmd": "probe", "cards": with_cards})
    try:
        return msgspec.convert(answer.get("devices"), list[DeviceSeen])
    except msgspec.ValidationError as error:
        raise ChargepointError(
            f"the service answers in another way ({error}): it is of another version; restart it "
            "(systemctl restart chargepoint)"
        ) from None


def _watch_service(settings: Settings, path: str, arguments: argparse.Namespace) -> int:
    """For ever, over restarts of the service: its ports are never taken from it meanwhile."""
    rows, note = from_service(path), ""
    while True:
        _watched(settings, BY_SERVICE, rows, arguments, note)
        time.sleep(WATCH_S)
        try:
            rows, note = from_service(path), ""
        except ConsoleError as error:
            note = f"chargepoint: {error}"


async def _directly(settings: Settings, arguments: argparse.Namespace) -> int:
    """Opens the ports itself. A controller is told to offer nothing, at the begin and the end."""
    build = registry_of(settings).build
    below = run_by_others(settings)
    devices = {n: build(n, options) for n, options in settings.devices.items() if n not in below}
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    async with reading(settings, devices, news.set) as book:
        until_s = loop.time() + WAIT_S
        while loop.time() < until_s and not _is_settled(book.rows(loop.time())):
            news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await news.wait()
        if not arguments.watch:
            return _show(settings, DIRECTLY, book.rows(loop.time()), arguments)
        while True:
            _watched(settings, DIRECTLY, book.rows(loop.time()), arguments)
            await asyncio.sleep(WATCH_S)


@contextlib.asynccontextmanager
async def reading(
    settings: Settings,
    devices: Mapping[str, Device],
    seen: Callable[[], None] = lambda: None,
) -> AsyncIterator[DeviceBook]:
    """Runs the drivers and keeps what they report; `seen` is called after each report."""
    loop = asyncio.get_running_loop()
    # what it has to say of a port is told as the driver's own complaint
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    book = DeviceBook(settings, devices)

    def report(observation: Any) -> None:
        book.see(observation, loop.time())
        seen()

    tasks = [asyncio.create_task(device.run(report)) for device in devices.values()]
    try:
        yield book
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


def _is_settled(rows: list[DeviceSeen]) -> bool:
    """Each device has shown something or was found lost; an open port is all a reader can show. A
    controller that starts may not know its pilot yet."""
    return all(
        row.lost
        or (row.age_s is not None and not _is_starting(row))
        or ("reader" in row.roles and (row.counters is None or row.counters.opens))
        for row in rows
    )


def _is_starting(row: DeviceSeen) -> bool:
    return row.pilot is not None and row.pilot.state is PilotState.UNKNOWN


def _show(
    settings: Settings, source: str, rows: list[DeviceSeen], arguments: argparse.Namespace
) -> int:
    """Prints one look; 1 when something is wrong."""
    wrong = judge(rows)
    if arguments.json:
        shown = as_json(settings.station.identity, source, rows, wrong)
    else:
        shown = text(settings.station.identity, source, rows, wrong)
    print(shown, flush=True)
    return 1 if wrong else 0


def _watched(
    settings: Settings,
    source: str,
    rows: list[DeviceSeen],
    arguments: argparse.Namespace,
    note: str = "",
) -> None:
    """One look of many: a table in its place, or lines where nobody looks on. `note`: why `rows`
    are those of the look before."""
    at = datetime.now()
    if sys.stdout.isatty() and not arguments.json:
        wrong = judge(rows)
        screen.show(table(settings.station.identity, source, rows, wrong, at, note))
    elif note:
        print(note, file=sys.stderr, flush=True)
    elif arguments.json:
        _show(settings, source, rows, arguments)
    else:
        print(plain(rows, judge(rows), at), flush=True)


def as_json(station: str, source: str, rows: list[DeviceSeen], wrong: list[Complaint]) -> str:
    """One line: every device with its own complaints."""
    devices = []
    for row in rows:
        told: dict[str, Any] = msgspec.to_builtins(row)
        if row.counters is not None:
            told["counters"]["reconnects"] = row.counters.reconnects
        told["complaints"] = [one.text for one in wrong if one.device == row.name]
        devices.append(told)
    is_service = source == BY_SERVICE
    return json.dumps(
        {"station": station, "source": "service" if is_service else "direct", "devices": devices}
    )
