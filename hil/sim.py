"""The sim bench: the whole agent in one virtual-time loop, a day in seconds.

The agent is the real one with its real store; devices are `drivers.sim`, the network is in memory
and carries the same text frames. Written to be stopped and started again on the same data.
"""

import asyncio
import itertools
import random
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from agent.app import Agent
from agent.settings import EnergyManager, Settings
from agent.station_clock import ClockReading
from agent.wiring import wire
from drivers.contract import SimMeterOptions, SimPilotOptions, SimReaderOptions
from drivers.sim.board import SimBoard, plan_of
from drivers.sim.connector import Ev
from hil.parts.csms import BenchCsms
from hil.parts.memory_link import MemoryNetwork
from hil.parts.sim_work import SimWork

START_UTC_S = 1_790_000_000.0
REPORT_INTERVAL_S = 60.0
"""Devices report on every change, and otherwise this seldom: deadlines drive the bench."""


def settings_of(
    directory: str,
    *,
    evse_count: int = 2,
    connector_count: int = 1,
    supply_a: float = 63.0,
    variables: dict[str, str] | None = None,
    endpoints: tuple[str, ...] = ("ws://csms.invalid/ocpp",),
    socket: bool = False,
    signs: bool = False,
    inputs: bool = False,
    main_meter: bool = False,
    energy_manager: EnergyManager | None = None,
) -> Settings:
    """A station of simulated devices; `variables` by "Component.Variable" or "C.V[instance]".

    `socket`: loose cables; `signs`: meters that sign; `inputs`: bay sensors and start buttons;
    `main_meter`: a meter at the grid connection; `energy_manager`: who may say local limits.
    """
    devices: dict[str, object] = {"reader": {"driver": SimReaderOptions.__struct_config__.tag}}
    meter = {"driver": SimMeterOptions.__struct_config__.tag, "interval_s": REPORT_INTERVAL_S}
    if main_meter:
        devices["main"] = meter | {"signs": signs}
    evses = []
    for evse_id in range(1, evse_count + 1):
        devices[f"meter{evse_id}"] = meter | {"signs": signs}
        cable = "socket" if socket else "fixed"
        connectors = []
        for connector_id in range(1, connector_count + 1):
            pilot = f"pilot{evse_id}" if connector_id == 1 else f"pilot{evse_id}_{connector_id}"
            devices[pilot] = {"driver": SimPilotOptions.__struct_config__.tag}
            connectors.append({"id": connector_id, "pilot": pilot, "cable": cable})
        evse = {"id": evse_id, "meter": f"meter{evse_id}", "connectors": connectors}
        if inputs:
            evse["bay_sensor"] = {"device": f"pilot{evse_id}", "input": "bay"}
            evse["start_button"] = {"device": f"pilot{evse_id}", "input": "start"}
        evses.append(evse)
    first = [_first_value(name, value) for name, value in (variables or {}).items()]
    return msgspec.convert(
        {
            "station": {"identity": "SIM-1", "vendor": "Bench", "model": "Sim"},
            "csms": [{"url": url, "lab_unsecured": True} for url in endpoints],
            "supply": {"current_a": supply_a},
            "evses": evses,
            "main_meter": "main" if main_meter else None,
            "energy_manager": msgspec.to_builtins(energy_manager),
            "devices": devices,
            "data_directory": directory,
            "ocpp": {"variables": first},
            "firmware": {"installer": {"kind": "command", "command": ["install"]}},
        },
        Settings,
    )


def _first_value(name: str, value: str) -> dict[str, object]:
    component, _, variable = name.partition(".")
    variable, _, instance = variable.partition("[")
    named = {"name": variable, "instance": instance.rstrip("]") or None}
    return {"component": {"name": component}, "variable": named, "value": value}


class SimBench:
    """`async with SimBench() as bench`: the agent runs until the block ends or `power_cut`."""

    features = frozenset({"virtual_time", "power_cut", "network"})

    def __init__(
        self,
        *,
        evse_count: int = 2,
        connector_count: int = 1,
        supply_a: float = 63.0,
        variables: dict[str, str] | None = None,
        directory: str | None = None,
        clock_error_s: float = 0.0,
        is_synced: bool = False,
        endpoints: tuple[str, ...] = ("ws://csms.invalid/ocpp",),
        seed: int = 7,
        utc_at_zero_s: float = START_UTC_S,
        on_effect: Callable[[object], None] = lambda effect: None,
        socket: bool = False,
        signs: bool = False,
        inputs: bool = False,
        main_meter: bool = False,
        energy_manager: EnergyManager | None = None,
        change: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory() if directory is None else None
        path = directory or self._temporary.name  # type: ignore[union-attr]
        self.settings = settings_of(
            path,
            evse_count=evse_count,
            connector_count=connector_count,
            supply_a=supply_a,
            variables=variables,
            endpoints=endpoints,
            socket=socket,
            signs=signs,
            inputs=inputs,
            main_meter=main_meter,
            energy_manager=energy_manager,
        )
        self.settings = change(self.settings)
        self.board = SimBoard(
            plan_of(self.settings),
            report_interval_s=REPORT_INTERVAL_S,
            meter_start_wh=1_000_000.0,
        )
        self.work = SimWork()
        """How slow work goes here."""
        self.csms = BenchCsms(read_utc=self.utc_s)
        self.network = MemoryNetwork(self.csms, latency_s=0.01)
        self.effects: list[object] = []
        """Every effect the agent carried out since it was started."""
        self.agent: Agent
        self.clock_error_s = clock_error_s
        self.is_synced = is_synced
        self._boots = itertools.count(1)
        self._boot_id = ""
        self._ids = random.Random(seed)
        self._seed = seed
        self._utc_at_zero_s = utc_at_zero_s
        self._on_effect = on_effect
        self._task: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> "SimBench":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.csms.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    async def start(self, *, cold: bool = True) -> None:
        """Starts the agent's process, so to say; `cold`: with a new boot id."""
        if cold or not self._boot_id:
            self._boot_id = f"boot-{self._seed}-{next(self._boots)}"
        self.csms.expect_boot()
        wiring = wire(self.settings, self.board.build)
        self.agent = Agent(
            self.settings,
            wiring,
            connect=self.network.connect,
            read_clock=self.read_clock,
            inline_store=True,
            random=self._ids.random,
            new_id=self._new_id,
            watch=self._watch,
            workshop=self.work.room,
        )
        await self.agent.open()
        self._task = asyncio.create_task(self.agent.run(), name="agent")

    async def stop(self) -> None:
        """An ordered stop; raises what the agent failed with, if it did."""
        task, self._task = self._task, None
        if task is None:
            return
        self.agent.stop_was_ordered = True
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    @property
    def is_running(self) -> bool:
        """The agent has not ended by itself."""
        return self._task is not None and not self._task.done()

    async def restarted(self, limit_s: float = 60.0) -> None:
        """Waits for the agent to end by order, and starts it again on the same boot."""
        await self.gone(limit_s)
        await self.start(cold=False)

    async def gone(self, limit_s: float = 60.0) -> None:
        """Waits for the agent to end by order; `restarted` starts it again."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), limit_s)

    async def power_cut(self) -> None:
        """Mains gone: the agent ends where it stands, controllers forget, contactors drop.

        `start()` brings it back as after a cold boot, on what the disk held at this moment.
        """
        self.board.power_cut()
        await self.crash()

    def forget_agent(self) -> None:
        """The agent ended by itself and was looked at; `start` makes a new one."""
        self._task = None

    async def crash(self) -> None:
        """SIGKILL: nothing orderly is done; frames under way are lost. `start(cold=False)`."""
        task, self._task = self._task, None
        if task is None:
            return
        if task.done():
            task.result()
        kept = {path: path.read_bytes() for path in self.directory.glob("chargepoint.db*")}
        self.network.cut()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for path in self.directory.glob("chargepoint.db*"):
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)

    def _watch(self, effect: object) -> None:
        self.effects.append(effect)
        self._on_effect(effect)

    # --- clocks -----------------------------------------------------------------------------

    def utc_s(self) -> float:
        """True time."""
        return self._utc_at_zero_s + asyncio.get_running_loop().time()

    def read_clock(self) -> ClockReading:
        mono_s = asyncio.get_running_loop().time()
        utc_s = self.utc_s() + self.clock_error_s
        return ClockReading(mono_s, utc_s, self.is_synced, self._boot_id)

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    # --- the driver and the EV ----------------------------------------------------------------

    def plug_in(
        self,
        evse_id: int = 1,
        connector_id: int = 1,
        *,
        current_a: float = 16.0,
        phases: Literal[1, 3] = 3,
        ready_after_s: float = 1.0,
    ) -> None:
        ev = Ev(current_a=current_a, phases=phases, ready_after_s=ready_after_s)
        is_loose = not self.board.connector(evse_id, connector_id).tethered
        self.board.plug_in(evse_id, connector_id, ev, cable_a=32.0 if is_loose else None)

    def plug_out(self, evse_id: int = 1, connector_id: int = 1) -> None:
        self.board.plug_out(evse_id, connector_id)

    def swipe(self, uid: str = "04A1B2C3") -> None:
        self.board.swipe("reader", uid)

    async def until(self, condition: Callable[[], bool], limit_s: float = 600.0) -> None:
        """Waits in virtual time; AssertionError with the last frames when it never comes true."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limit_s
        while not condition():
            if self._task is not None and self._task.done():
                self._task.result()
                raise AssertionError("the agent ended")
            if loop.time() >= end_s:
                frames = "\n".join(f"{t:.2f} {d} {f}" for t, d, f in list(self.csms.trace)[-12:])
                raise AssertionError(f"still not so after {limit_s} s; last frames:\n{frames}")
            await asyncio.sleep(0.05)

    def connector(self, evse_id: int = 1, connector_id: int = 1) -> dict[str, object]:
        """The agent's own view of a connector, as `chargepoint status` shows it."""
        rows = self.agent.status()["connectors"]
        return next(
            row for row in rows if (row["evse_id"], row["connector_id"]) == (evse_id, connector_id)
        )

    @property
    def directory(self) -> Path:
        return Path(self.settings.data_directory)
