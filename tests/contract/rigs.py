"""What a pilot controller is tested on: the simulated ones, and a real one by a rig file."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from gpiozero.pins.mock import MockFactory

from drivers.contract import (
    DeviceOptions,
    EvseWbOptions,
    Observation,
    OpenEvseOptions,
    PhoenixOptions,
    PilotController,
    SerialLine,
)
from drivers.gpio.contactor import GpioContactor
from drivers.gpio.lines import Pins
from drivers.gpio_options import GpioContactorOptions, GpioInput, GpioOutput, GpioSwitch
from drivers.registry import Registry
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.parts import SimPilot
from drivers.sim.world import World
from hil.parts.bytes_under_way import BytesUnderWay
from hil.parts.evse_wb import EvseWb
from hil.parts.gpio_relay import Relay
from hil.parts.modbus_slave import Fault, ModbusSlave
from hil.parts.openevse import OpenEvse
from hil.parts.phoenix import Phoenix
from hil.parts.pty_port import PtyPort
from hil.parts.tcp_port import TcpPort
from hil.virtual_time import run_virtual

HERE = (1, 1)
LOOPBACK_S = 0.002
"""Real time that the loopback interface gets to pass bytes on, before virtual time jumps."""
FAULTS = frozenset({"rcd", "restart", "silence", "host_loss", "unplug", "stubborn", "weld"})


class Rig(Protocol):
    """One controller with an EV before it. Commands of the EV come back when they are done."""

    name: str
    features: frozenset[str]
    """Of FAULTS: what can be done to it."""
    driver: PilotController

    def run(self, scenario: Coroutine[Any, Any, None]) -> None: ...
    async def start(self) -> None: ...
    async def end(self) -> None: ...
    async def ev(self, state: str) -> None: ...
    async def do(self, what: str) -> None: ...
    def is_closed(self) -> bool: ...


class WorldRig:
    """A simulated controller over the one physics, in virtual time."""

    features = FAULTS

    def __init__(self, name: str) -> None:
        self.name = name
        self.driver: PilotController
        self.world: World
        self.ev_obeys = True

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        with BytesUnderWay() as under_way:
            run_virtual(scenario, fd_grace_s=under_way.grace_s)

    async def start(self) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.driver = await self._build()

    async def end(self) -> None:
        """The controller goes dark."""

    async def _build(self) -> PilotController:
        raise NotImplementedError

    async def ev(self, state: str) -> None:
        """A: unplugged; B: plugged, wants nothing; C: wants power as soon as it is offered;
        grabs: wants it whatever is offered, and does not let go."""
        self.live.catch_up()
        connector = self.world.connectors[HERE]
        if state == "A":
            if connector.ev is not None:
                self.world.plug_out(HERE)
            return
        wants: Any = "B" if state == "B" else "C"
        ev = Ev(ready_after_s=0.2, wants=wants, ignores_pilot=state == "grabs")
        if connector.ev is None:
            self.world.plug_in(HERE, ev, cable_a=32)
        else:
            self.world.set_ev(HERE, ev)

    async def do(self, what: str) -> None:
        self.live.catch_up()
        match what:
            case "rcd":
                self.world.raise_fault(HERE, "rcd")
            case "clear rcd":
                self.world.clear_fault(HERE, "rcd")
            case "weld":
                self.world.weld(HERE)
            case "silence":
                self._silence()
            case "host_loss":
                self._cut_off()
            case "speak":
                self._speak()
            case "restart":
                self._restart()

    def _silence(self) -> None:
        self.world.raise_fault(HERE, "pilot_lost")

    def _speak(self) -> None:
        self.world.clear_fault(HERE, "pilot_lost")

    def _cut_off(self) -> None:
        self._silence()

    def _restart(self) -> None:
        raise NotImplementedError

    def is_closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    def offered_a(self) -> float:
        self.live.catch_up()
        return self.world.connectors[HERE].offered_a


class SimRig(WorldRig):
    """drivers.sim, as the benches use it; controller and driver are one, and restart as one."""

    features = FAULTS - {"restart", "unplug"}

    async def _build(self) -> PilotController:
        self.pilot = SimPilot("pilot", self.live, HERE)
        return self.pilot


class ContactorRig(SimRig):
    """A contactor on mock lines above the simulated controller, whose own one does not count."""

    features = SimRig.features - {"host_loss"}

    async def _build(self) -> PilotController:
        factory = MockFactory()
        self.relay = Relay(factory, 17, 4)
        switch = GpioSwitch(GpioOutput("GPIO17"), GpioInput("GPIO4"))
        options = GpioContactorOptions("below", switch)
        return GpioContactor("pilot", options, await super()._build(), Pins(board=factory))

    def is_closed(self) -> bool:
        return self.relay.is_closed

    async def do(self, what: str) -> None:
        if what == "weld":
            self.relay.weld()
        else:
            await super().do(what)


class PtyRig(WorldRig):
    """A driver at one end of a pseudo-terminal, the bench's controller at the other."""

    def __init__(
        self,
        name: str,
        options: Callable[[str], DeviceOptions],
        meters_at_v: float | None = None,
    ) -> None:
        super().__init__(name)
        self._options = options
        self._meters_at_v = {} if meters_at_v is None else {"pilot": meters_at_v}
        # By a link, which goes with the cable: the number of a pseudo-terminal that was unplugged
        # may be that of another test's the next moment.
        self._folder = tempfile.TemporaryDirectory(prefix="chargepoint-rig-")

    async def _build(self) -> PilotController:
        self.port = await self._open()
        self.controller = self._controller()
        self.controller.start()
        registry = Registry({"bus": SerialLine(self.port.path)}, {}, self._meters_at_v)
        pilot: Any = registry.build("pilot", self._options(self.port.path))
        return pilot

    async def _open(self) -> Any:
        port = PtyPort(link=f"{self._folder.name}/tty")
        port.open()
        return port

    def _controller(self) -> Any:
        raise NotImplementedError

    def _cut_off(self) -> None:
        self.port.unplug()

    async def do(self, what: str) -> None:
        if what == "unplug":
            self.port.unplug()
        elif what == "plug":
            self.port.open()
        else:
            await super().do(what)

    def _restart(self) -> None:
        self.controller.start()

    async def end(self) -> None:
        self.controller.stop()
        self.port.unplug()
        self._folder.cleanup()


class OpenEvseRig(PtyRig):
    def _controller(self) -> OpenEvse:
        return OpenEvse(self.port, self.live, HERE)


class ModbusRig(PtyRig):
    def __init__(self, name: str, options: DeviceOptions, kind: Any) -> None:
        super().__init__(name, lambda path: options)
        self._kind = kind

    def _controller(self) -> Any:
        controller = self._kind(self.live, HERE)
        self.slave = ModbusSlave(self.port, {1: controller.unit})
        return controller

    def _silence(self) -> None:
        self.slave.inject(Fault.SILENT)

    def _speak(self) -> None:
        self.slave.heal()


class ConverterRig(ModbusRig):
    """The line behind a converter on the network."""

    features = ModbusRig.features - {"unplug"}

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        run_virtual(scenario, fd_grace_s=LOOPBACK_S)

    async def _open(self) -> TcpPort:
        port = TcpPort()
        await port.open()
        return port


SIMULATED: dict[str, Callable[[], WorldRig]] = {
    "sim": lambda: SimRig("sim"),
    "gpio_contactor": lambda: ContactorRig("gpio_contactor"),
    "openevse": lambda: OpenEvseRig("openevse", lambda path: OpenEvseOptions(port=path)),
    "openevse that measures": lambda: OpenEvseRig(
        "openevse", lambda path: OpenEvseOptions(port=path), meters_at_v=230.0
    ),
    "evse_wb": lambda: ModbusRig("evse_wb", EvseWbOptions("bus", host_loss="interlock"), EvseWb),
    "phoenix": lambda: ModbusRig(
        "phoenix",
        PhoenixOptions("bus", host_loss="interlock", contactor_feedback=True),
        Phoenix,
    ),
    "phoenix behind a converter": lambda: ConverterRig(
        "phoenix", PhoenixOptions("bus", host_loss="interlock", contactor_feedback=True), Phoenix
    ),
}


class Watch:
    """Runs the driver of a rig and keeps what it reports."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.seen: list[Observation] = []
        self._task = asyncio.create_task(rig.driver.run(self.seen.append))

    async def end(self) -> None:
        """Cancels the driver, which orders power off."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
