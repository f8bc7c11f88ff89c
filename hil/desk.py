"""The desk bench: the installed agent as its own process, its real drivers on pseudo-terminals,
a CSMS on loopback. What stands behind the terminals is one simulated world.

Two EVSEs: an OpenEVSE each, two Eastron SDM630 on one RS-485 line, one card reader for both; with
`main_meter` a third SDM630 on that line, at the grid connection. With `meter_inside` the first
EVSE has one phase, and its OpenEVSE is its meter as well. With `gpio` a board with emergency stop,
door switch, bay sensor and lamps on lines that are files.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from agent.console import ask
from drivers.meters.register_map import find
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import GRID, World
from hil.desk_file import LAMP_FAULT, LINE, MAIN_UNIT, METER_MODEL, PILOTS, READER, DeskFile
from hil.parts.card_reader import CardReader
from hil.parts.csms import BenchCsms
from hil.parts.csms_server import CsmsServer, serve_websocket
from hil.parts.gpio_files import GpioFiles
from hil.parts.modbus_slave import ModbusSlave
from hil.parts.openevse import OpenEvse
from hil.parts.pty_port import PtyPort
from hil.parts.world_meter import meter_unit
from hil.verdict import Outage

EVSE_IDS = (1, 2)
CONNECTOR_ID = 1
METER_START_WH: Mapping[int, float] = {1: 1_234_000.0, 2: 5_678_000.0}
LOOK_AGAIN_S = 0.05
STOP_WITHIN_S = 15.0
BETWEEN_CARDS_S = 2.0
LINK_GONE_S = 2.0
LOG_LINES_SHOWN = 12

Condition = Callable[[], bool | Awaitable[bool]]


class BenchError(Exception):
    """The bench waited in vain, or the agent's process ended; the text says where to look."""


class DeskBench:
    """`async with DeskBench() as bench:` builds the parts; `start_agent` runs the agent on them.

    Leaving the block always ends the process. The directory goes with it, unless it was left by
    an exception or `keep_directory` is set: it holds charger.yaml, agent.log and the data.
    `csms_url` and `password` lead the agent to another CSMS than the bench's own.
    Loop times (`_s`) of bench, CSMS and world are those of the running loop.
    """

    def __init__(
        self,
        *,
        supply_a: float = 40.0,
        sample_interval_s: int = 2,
        controller_time_scale: float = 1.0,
        main_meter: bool = False,
        meter_inside: bool = False,
        gpio: bool = False,
        csms_url: str | None = None,
        password: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.say = say
        """Takes a line about what the bench does, for whoever looks on."""
        self.command: tuple[str, ...] = ("agent.cli",)
        """Module that is the agent's program, and what it takes before its verb."""
        self.log_level = "INFO"
        """Of the agent's next start."""
        self.keep_directory = False
        self.csms = BenchCsms()
        self.outages: list[Outage] = []
        self.world = World(dict.fromkeys(EVSE_IDS, (CONNECTOR_ID,)))
        meters = {str(evse_id): energy_wh for evse_id, energy_wh in METER_START_WH.items()}
        self.world.restore({"meters": meters, "connectors": {}, "evse_faults": {}})
        self.live = LiveWorld(self.world)
        self.directory = Path()
        self.controllers: dict[int, OpenEvse] = {}
        self.meters: ModbusSlave
        self.reader: CardReader
        self.gpio: GpioFiles
        """Lines by their numbers in `hil.desk_file`, where the bench was asked for them."""
        self.server: CsmsServer
        self.utc_offset_s = 0.0
        """Seconds to add to loop time for UTC seconds since 1970."""
        self._supply_a = supply_a
        self._sample_interval_s = sample_interval_s
        self._controller_time_scale = controller_time_scale
        self._has_main_meter = main_meter
        self._is_meter_inside = meter_inside
        if meter_inside:
            self.world.connectors[min(EVSE_IDS), CONNECTOR_ID].phases = 1
        self._has_gpio = gpio
        self._csms_url = csms_url
        self._password = password
        self._ports: dict[str, PtyPort] = {}
        self._swiped_s = float("-inf")
        self._process: asyncio.subprocess.Process | None = None
        self._log: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="chargepoint-desk-"))
        try:
            await self._build()
        except BaseException:
            await self._take_down()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.stop_agent()
        finally:
            await self._take_down()
            failed = kind is not None and issubclass(kind, Exception)
            if not failed and not self.keep_directory:
                shutil.rmtree(self.directory, ignore_errors=True)

    async def _build(self) -> None:
        self.utc_offset_s = time.time() - asyncio.get_running_loop().time()
        self.live.catch_up()
        for name in (*PILOTS.values(), LINE, READER):
            self._ports[name] = port = PtyPort(link=str(self.directory / name))
            port.open()
        self._data.mkdir()
        for evse_id, name in PILOTS.items():
            place = (evse_id, CONNECTOR_ID)
            controller = OpenEvse(
                self._ports[name], self.live, place, time_scale=self._controller_time_scale
            )
            self.controllers[evse_id] = controller
            controller.start()
        model = find(METER_MODEL)
        units = {n: meter_unit(self.live, n, model, serial=70_000_000 + n) for n in EVSE_IDS}
        if self._has_main_meter:
            units[MAIN_UNIT] = meter_unit(self.live, GRID, model, serial=70_000_000 + MAIN_UNIT)
        self.meters = ModbusSlave(self._ports[LINE], units)
        self.reader = CardReader(self._ports[READER])
        if self._has_gpio:
            self.gpio = GpioFiles(self.directory, LAMP_FAULT + 1)
            self.command = ("hil.parts.gpio_program", str(self.directory))
        self.server = await serve_websocket(self.csms)
        desk_file = DeskFile(
            ports={name: port.path for name, port in self._ports.items()},
            csms_url=self._csms_url or self.server.url,
            data_directory=str(self._data),
            supply_a=self._supply_a,
            sample_interval_s=self._sample_interval_s,
            main_meter=self._has_main_meter,
            meter_inside=self._is_meter_inside,
            password_file=self._keep_password(),
            gpio=self._has_gpio,
        )
        self.config.write_text(desk_file.text())

    def _keep_password(self) -> str | None:
        if self._password is None:
            return None
        path = self.directory / "csms-password"
        path.touch(mode=0o600)
        path.write_text(self._password + "\n")
        return str(path)

    async def _take_down(self) -> None:
        if hasattr(self, "server"):
            await self.server.close()
        for controller in self.controllers.values():
            controller.stop()
        for port in self._ports.values():
            port.unplug()

    # --- the agent's process ------------------------------------------------------------------

    @property
    def config(self) -> Path:
        return self.directory / "charger.yaml"

    @property
    def agent_log(self) -> Path:
        """Everything the agent wrote, over all its starts."""
        return self.directory / "agent.log"

    @property
    def pid(self) -> int | None:
        """Of the running agent."""
        return self._process.pid if self._process is not None else None

    async def start_agent(self) -> None:
        """Starts the agent on the data it left, if any. Returns at once; the CSMS sees it boot."""
        assert self._process is None, "the agent runs already"
        self._log = self.agent_log.open("ab")
        hidden = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY")
        shown = {name: value for name, value in os.environ.items() if name not in hidden}
        self._process = await asyncio.create_subprocess_exec(
            # The words of the service: with an option more there would be a parser to load.
            *(sys.executable, "-m", *self.command, "run", str(self.config)),
            # From here only the installed agent can be found, not the one of a source tree.
            cwd=self.directory,
            env=shown | {"CHARGEPOINT_LOG": self.log_level},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    async def kill_agent(self) -> None:
        """SIGKILL, as a power cut ends it; the parts live on."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._ended()

    async def stop_agent(self) -> int | None:
        """SIGTERM, then SIGKILL when it does not go; returns its exit code."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        return await self._ended()

    async def restart_agent(self) -> None:
        """SIGKILL, and a new process on the same data."""
        await self.kill_agent()
        await self.start_agent()

    async def agent_ended(self, limit_s: float = 30.0) -> int:
        """Waits until the agent ends by itself; returns its exit code."""
        async with asyncio.timeout(limit_s):
            return await self._ended()

    async def _ended(self) -> int:
        assert self._process is not None
        code = await self._process.wait()
        self._process = None
        with contextlib.suppress(TimeoutError):
            # What it sent last may still be on its way.
            await self.csms.wait_connected(False, timeout_s=LINK_GONE_S)
        self.csms.expect_boot()
        if self._log is not None:
            self._log.close()
        return code

    async def service(self) -> dict[str, Any]:
        """`chargepoint service`: where something waits for a technician."""
        path = str(self._data / "console.sock")
        return await asyncio.to_thread(ask, path, {"cmd": "service"})

    async def status(self) -> dict[str, Any]:
        """What `chargepoint status` says. Raises ChargepointError while the agent cannot answer."""
        return await asyncio.to_thread(ask, str(self._data / "console.sock"), {"cmd": "status"})

    # --- what happens at the charger ----------------------------------------------------------

    def plug_in(self, evse_id: int, ev: Ev | None = None) -> None:
        self.live.catch_up()
        self.world.plug_in((evse_id, CONNECTOR_ID), ev)

    def plug_out(self, evse_id: int) -> None:
        self.live.catch_up()
        self.world.plug_out((evse_id, CONNECTOR_ID))

    async def swipe(self, uid: str) -> None:
        """Presents a card at the reader of both EVSEs, a while after the one before: a reader
        takes a card that is still there for the same presentation."""
        await asyncio.sleep(max(0.0, self._swiped_s + BETWEEN_CARDS_S - self._now_s()))
        self._swiped_s = self._now_s()
        self.reader.swipe(uid)

    async def cut_network(self) -> None:
        """Drops the station's link and refuses new ones."""
        self.outages.append(Outage(self._now_s()))
        await self.server.drop()

    async def restore_network(self, limit_s: float = 30.0) -> None:
        """Accepts links again; returns once the station is back. Raises BenchError."""
        await self.server.accept()
        await self.wait_until(lambda: self.csms.is_connected, "the station's new link", limit_s)
        self.outages[-1] = Outage(self.outages[-1].cut_s, self._now_s())

    # --- what is there to see -----------------------------------------------------------------

    def offered_a(self, evse_id: int) -> float:
        """What the pilot signals to the EV; 0 when it offers nothing."""
        return self.world.connectors[evse_id, CONNECTOR_ID].offered_a

    def drawn_a(self, evse_id: int) -> float:
        """What flows through the contactor, per phase."""
        return self.world.connectors[evse_id, CONNECTOR_ID].drawn_a

    def energy_wh(self, evse_id: int) -> float:
        """The meter's register: whole Wh."""
        self.live.catch_up()
        return self.world.meter(evse_id).energy_wh

    async def connector(self, evse_id: int) -> dict[str, Any]:
        """The connector as the agent's own status tells it."""
        rows: list[dict[str, Any]] = (await self.status())["connectors"]
        return next(row for row in rows if row["evse_id"] == evse_id)

    async def queue_length(self) -> int:
        """Events that wait in the agent's outbox."""
        return int((await self.status())["queue"])

    async def wait_until(self, condition: Condition, what: str, limit_s: float = 30.0) -> None:
        """Returns once `condition` holds. Raises BenchError after `limit_s`, or at once when the
        agent's process has ended."""
        until_s = self._now_s() + limit_s
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            if self._process is not None and self._process.returncode is not None:
                code = self._process.returncode
                raise BenchError(f"the agent ended with exit code {code}{self._last_lines()}")
            if self._now_s() >= until_s:
                raise BenchError(f"waited {limit_s:g} s in vain for {what}; read {self.agent_log}")
            await asyncio.sleep(LOOK_AGAIN_S)

    def _last_lines(self) -> str:
        lines = self.agent_log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return f"; the last of {self.agent_log}:\n" + "\n".join(f"    {line}" for line in lines)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
