"""`chargepoint bench`: the real agent on simulated devices, with a socket to play driver and EV.

Real time, the real link to the CSMS of the configuration; all that lasts lies in its data
directory, so SIGKILL is a power cut and the same command goes on from there.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.errors import ChargepointError, StoreError
from agent.settings import Settings
from drivers.contract import (
    CardSeen,
    DeviceOptions,
    DriverError,
    Report,
    SimMeterOptions,
    SimPilotOptions,
)
from drivers.sim.board import SimBoard, plan_of
from drivers.sim.connector import Ev
from hil import control
from hil.control import VERSION, Command, ControlError, ControlServer, parse_address

if TYPE_CHECKING:
    from agent.app import Agent
    from agent.station_clock import ClockReading

log = logging.getLogger(__name__)

WORLD = "world.json"
READER = "bench reader"
FOLLOW_S = 0.1
STATION = {"evse": 0, "connector": 0}
"""Where an event happened that concerns the whole station."""

Place = tuple[int, int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench until SIGTERM or SIGINT; the exit code (78: CONFIG cannot be used)."""
    from agent.settings_load import load

    arguments = _parser().parse_args(argv)
    try:
        address = parse_address(arguments.control, allow_remote=arguments.allow_remote)
        loaded = load(arguments.config)
        if loaded.settings is None:
            return _check(arguments.config)
        _set_up_log(arguments.log_level)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        asyncio.run(_run(loaded.settings, address))
    except (ChargepointError, DriverError) as error:
        print(f"chargepoint bench: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chargepoint bench",
        description="the agent on simulated devices, with a socket to play driver and EV",
    )
    parser.add_argument("config", metavar="CONFIG", help="charger.yaml; its devices are simulated")
    parser.add_argument(
        "--control",
        metavar="SOCKET",
        required=True,
        help="unix:/PATH or tcp:127.0.0.1:PORT (port 0: any free one)",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let tcp listen on other than loopback addresses; there is no password",
    )
    parser.add_argument("--log-level", help="DEBUG, INFO, WARNING or ERROR; else $CHARGEPOINT_LOG")
    return parser


def _check(config: str) -> int:
    """Names the mistakes as `chargepoint check` does."""
    from agent import cli

    return cli.main(["check", config])


def _set_up_log(level: str | None) -> None:
    from agent import log as journal

    journal.set_up(level)


async def _run(settings: Settings, address: control.Address) -> None:
    bench = Bench(settings, address)
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    ordered: list[int] = []

    def stop(number: int) -> None:
        ordered.append(number)
        if len(ordered) == 1:
            bench.order_stop()
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await bench.open()
        print(f"control: {bench.server.address}", flush=True)
        await bench.run()
    except asyncio.CancelledError:
        if not ordered:
            raise
        log.info("stopped by signal %s; power is off", ordered[0])
    finally:
        await bench.server.close()


def simulated(settings: Settings) -> Settings:
    """The same station with simulated pilots and meters; `BenchReader` plays every reader."""
    devices: dict[str, DeviceOptions] = {}
    meters = [evse.meter for evse in settings.evses]
    if settings.main_meter is not None:
        meters.append(settings.main_meter)
    for name in meters:
        devices[name] = SimMeterOptions(getattr(settings.devices[name], "interval_s", 1.0))
    for evse in settings.evses:
        for connector in evse.connectors:
            devices[connector.pilot] = SimPilotOptions()
    return replace(settings, devices=devices)


class BenchReader:
    """The reader of the bench, which serves other EVSEs with each token.

    A card that comes before the agent runs is held there until it does.
    """

    def __init__(self) -> None:
        self.name = READER
        self.evses: dict[str, tuple[int, ...]] = {}
        """Which EVSEs are meant by the device names in its reports (Wiring.reader_evses)."""
        self._report: Report | None = None
        self._held: list[CardSeen] = []

    async def run(self, report: Report) -> None:
        """Presents what is held, then waits for `swipe`. Safe to cancel."""
        self._report = report
        held, self._held = self._held, []
        for card in held:
            report(card)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._report = None

    def swipe(self, id_token: str, token_type: str, evses: tuple[int, ...]) -> None:
        """Presents a token for these EVSEs (none: all)."""
        name = " ".join((self.name, *map(str, evses)))
        self.evses[name] = evses
        card = CardSeen(name, id_token, token_type)
        if self._report is None:
            self._held.append(card)
        else:
            self._report(card)


class Seen(Struct, frozen=True):
    """What the clients were told of a connector; the power path and A per phase are the truth."""

    state: str | None = None
    power_path: str = "open"
    amps: float = 0.0


class Bench:
    """The agent, its simulated board, and the control server."""

    def __init__(self, settings: Settings, address: control.Address) -> None:
        self.server = ControlServer(address, self.execute)
        self.board: SimBoard
        self._settings = simulated(settings)
        self._reader = BenchReader()
        self._agent: Agent | None = None
        self._boot_id = str(uuid.uuid4())
        self._link: str | None = None
        self._seen: dict[Place, Seen] = {}

    async def open(self) -> None:
        """Builds the world and opens the control socket. Raises ChargepointError."""
        self.board = _board(self._settings)
        self._seen = dict.fromkeys(self.board.world.connectors, Seen())
        self._look()
        await self.server.open()
        self.board.world.listeners.append(self._look)

    async def run(self) -> None:
        """Runs the agent, anew after each restart it orders; cancelling leaves power off."""
        agent_type = await asyncio.to_thread(_load_agent)
        while True:
            restart = await self._run_agent(agent_type)
            log.info("restart of the %s was ordered: %s", restart.scope, restart.reason)
            self.server.tell({"event": "restart", **STATION, "scope": restart.scope})
            if restart.scope == "board":
                self._boot_id = str(uuid.uuid4())
                self.board.power_cut()

    async def _run_agent(self, agent_type: "type[Agent]") -> Any:
        from agent.wiring import wire

        wiring = wire(self._settings, self.board.build)
        agent = agent_type(
            self._settings,
            replace(
                wiring,
                devices={**wiring.devices, READER: self._reader},
                reader_evses=self._reader.evses,
            ),
            read_clock=self._read_clock,
            watch=lambda effect: self._look_at_agent(),
        )
        await agent.open()
        self._agent = agent
        follower = asyncio.create_task(self._follow(), name="follower")
        try:
            await agent.run()
        finally:
            follower.cancel()
        return agent.runtime.restart

    def order_stop(self) -> None:
        """Tells the agent that its end is wanted; then cancel `run`."""
        if self._agent is not None:
            self._agent.stop_was_ordered = True

    def _read_clock(self) -> "ClockReading":
        """A board without a time service, freshly powered: the time comes from the CSMS."""
        from agent.station_clock import ClockReading

        return ClockReading(time.monotonic(), time.time(), False, self._boot_id)

    # --- events -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Sees a little later what changes without any effect, such as a state while offline."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            self._look_at_agent()

    def _look_at_agent(self) -> None:
        if self._agent is None:
            return
        status = self._agent.status()
        if status["link"] != self._link:
            self._link = status["link"]
            self.server.tell({"event": "link", **STATION, "state": self._link})
        for row in status["connectors"]:
            place = (row["evse_id"], row["connector_id"])
            if "pilot" in row:  # before its first report the agent cannot know
                self._note(place, replace(self._seen[place], state=row["status"]))

    def _look(self) -> None:
        """Called by the world after each of its changes."""
        for place, connector in self.board.world.connectors.items():
            path = "closed" if connector.closed else "open"
            amps = round(connector.drawn_a, 2)
            self._note(place, replace(self._seen[place], power_path=path, amps=amps))

    def _note(self, place: Place, seen: Seen) -> None:
        before, self._seen[place] = self._seen[place], seen
        where = {"evse": place[0], "connector": place[1]}
        if seen.state != before.state:
            self.server.tell({"event": "connector_state", **where, "state": seen.state})
        if seen.power_path != before.power_path:
            self.server.tell({"event": "power_path", **where, "state": seen.power_path})
        if seen.amps != before.amps:
            self.server.tell({"event": "current", **where, "amps": seen.amps})

    # --- commands -----------------------------------------------------------------------------

    def execute(self, command: Command) -> Mapping[str, Any]:
        """Carries out a command at once; its effect may follow. Raises ControlError."""
        match command:
            case control.Hello():
                return self._greeting()
            case control.PlugIn():
                self._plug_in(command)
            case control.PlugOut(evse, connector):
                self._plugged((evse, connector))
                self.board.plug_out(evse, connector)
            case control.Swipe(id_token, token_type, evses):
                self._known_evses(evses or ())
                self._reader.swipe(id_token, token_type or "ISO14443", evses or ())
            case control.RaiseFault(evse, connector, fault):
                self._known((evse, connector))
                self.board.raise_fault(evse, connector, fault)
            case control.ClearFault(evse, connector, fault):
                self._known((evse, connector))
                self.board.clear_fault(evse, connector, fault)
            case control.EvState(evse, connector, state):
                self._plugged((evse, connector))
                self.board.ev_state(evse, connector, state)
            case control.Press(button):
                self.board.press(button)
        return {}

    def _greeting(self) -> Mapping[str, Any]:
        connectors = [
            {
                "evse": evse_id,
                "connector": connector_id,
                "plugged": self.board.connector(evse_id, connector_id).ev is not None,
                **msgspec.to_builtins(seen),
            }
            for (evse_id, connector_id), seen in self._seen.items()
        ]
        return {
            "version": VERSION,
            "station": self._settings.station.identity,
            "link": self._link,
            "connectors": connectors,
        }

    def _plug_in(self, command: control.PlugIn) -> None:
        place = (command.evse, command.connector)
        self._known(place)
        if self.board.connector(*place).ev is not None:
            raise ControlError(
                f"an EV is plugged in at {_name(place)} already; send plug_out first"
            )
        ev = command.ev or control.EvArguments()
        self.board.plug_in(*place, Ev(ev.current_a, ev.phases, ev.ready_after_s))

    def _known(self, place: Place) -> None:
        if place not in self._seen:
            known = ", ".join(map(_name, self._seen))
            raise ControlError(
                f"there is no evse/connector {_name(place)}; this station has {known}"
            )

    def _plugged(self, place: Place) -> None:
        self._known(place)
        if self.board.connector(*place).ev is None:
            raise ControlError(f"no EV is plugged in at {_name(place)}; send plug_in first")

    def _known_evses(self, evses: tuple[int, ...]) -> None:
        known = sorted({evse_id for evse_id, _ in self._seen})
        for evse_id in evses:
            if evse_id not in known:
                raise ControlError(
                    f"there is no evse {evse_id}; this station has {', '.join(map(str, known))}"
                )


def _name(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def _load_agent() -> "type[Agent]":
    from agent.app import Agent

    return Agent


def _board(settings: Settings) -> SimBoard:
    """The world as it was left in the data directory. Raises StoreError."""
    directory = Path(settings.data_directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the data directory {directory} cannot be made ({error.strerror}); create it for "
            "this user or set another data_directory"
        ) from error
    path = str(directory / WORLD)
    try:
        return SimBoard(plan_of(settings), save_path=path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} cannot be used ({error}); remove it to start with an empty world"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
