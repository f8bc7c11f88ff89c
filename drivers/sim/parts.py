"""Simulated devices over the world: they report each change, and otherwise now and then."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

from msgspec.structs import replace

from drivers.contract import (
    CardSeen,
    DeviceFound,
    DeviceLost,
    InputSeen,
    MeterReading,
    MeterSeen,
    Observation,
    Payer,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
    Report,
    SignedData,
    Signing,
)
from drivers.sim.controller import FORCED_OPEN_S, Controller
from drivers.sim.live import LiveWorld
from drivers.sim.world import MeterView, Place

PLUG_LOCK = "plug_lock"
"""Name of the input by which a pilot reports its lock; active: locked."""
LOCK_MOVES_S = 0.3
PILOT_LOST = "pilot_lost"
METER_LOST = "meter_lost"


class _Wire:
    """The way from a simulated device to the agent, which can fall silent.

    `silent` says whether it does; after `lost_after_s` of silence the device is lost, and found
    when it speaks again.
    """

    def __init__(self, name: str, silent: Callable[[], bool], lost_after_s: float) -> None:
        self._name = name
        self._silent = silent
        self._lost_after_s = lost_after_s
        self._report: Report | None = None
        self._verdict: asyncio.TimerHandle | None = None
        self.lost = False
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def open(self) -> bool:
        """The agent runs the device and hears it."""
        return self._report is not None and not self._silent()

    def connect(self, report: Report) -> None:
        self._report, self.lost = report, False
        self.check()

    def disconnect(self) -> None:
        self._report = None
        self._call_off()

    def send(self, observation: Observation) -> None:
        if self._report is not None:
            self._report(observation)

    def check(self) -> None:
        """Starts the silence when it begins, ends it when it is over."""
        if self._report is None:
            return
        if self._silent():
            if self._verdict is None and not self.lost:
                loop = asyncio.get_running_loop()
                self._verdict = loop.call_later(self._lost_after_s, self._give_up)
            return
        self._call_off()
        if self.lost:
            self.lost = False
            self.send(DeviceFound(self._name))

    def _give_up(self) -> None:
        self._verdict = None
        self.lost = True
        self.send(DeviceLost(self._name, f"the simulated device {self._name} is silent"))
        self.on_lost()

    def _call_off(self) -> None:
        if self._verdict is not None:
            self._verdict.cancel()
            self._verdict = None


class SimPilot:
    """A pilot controller that closes and opens by itself (contract.PilotController)."""

    def __init__(
        self,
        name: str,
        live: LiveWorld,
        place: Place,
        *,
        report_interval_s: float = 1.0,
        lost_after_s: float = 3.0,
        max_a: float = 32.0,
        has_lock: bool = False,
    ) -> None:
        self.name = name
        self.locked = False
        """Where the lock stands."""
        self.lock_jammed = False
        """It does not move, whatever is ordered, and says so."""
        self._lock_told: bool | None = None
        self._lock_moves: asyncio.TimerHandle | None = None
        self.capabilities = PilotCapabilities(
            closes_itself=True,
            opens_itself=True,
            opens_within_s=FORCED_OPEN_S + 0.5,
            report_interval_s=report_interval_s,
            max_a=max_a,
            has_lock=has_lock,
            watches_contacts=True,
            host_loss_fallback="keeps the last order (simulated)",
        )
        self._live = live
        self._controller = Controller(live.world, place)
        self._order: Callable[[], None] = self._controller.stop
        self._unheard = False
        self._seen: PilotReading | None = None
        self._connector = live.world.connectors[place]
        self._wire = _Wire(name, self._silent, lost_after_s)
        self._wire.on_lost = self._go_dark
        live.world.listeners.append(self._on_change)

    async def run(self, report: Report) -> None:
        """Reports until cancelled; then the power is off."""
        self._seen = None
        self._wire.connect(report)
        self._lock_told = None
        try:
            while True:
                self._live.catch_up()
                self._tell(always=True)
                await asyncio.sleep(self.capabilities.report_interval_s)
        finally:
            self._wire.disconnect()
            self.stop()

    def allow_power(self, limit_a: float) -> None:
        self._give(lambda: self._controller.allow(min(limit_a, self.capabilities.max_a)))

    def stop(self) -> None:
        self._give(self._controller.stop)

    def emergency_stop(self) -> None:
        self._give(self._controller.cut)

    def lock(self, locked: bool) -> None:
        """Moves in a moment, then reports where it stands; the last order counts."""
        if self.capabilities.has_lock:
            if self._lock_moves is not None:
                self._lock_moves.cancel()
            loop = asyncio.get_running_loop()
            self._lock_moves = loop.call_later(LOCK_MOVES_S, self._lock_arrives, locked)
            self._lock_told = None

    def power_path(self) -> PowerPath:
        """As last reported; UNKNOWN before the first report and once the controller is lost."""
        return PowerPath.UNKNOWN if self._seen is None else self._seen.power_path

    def press(self, button: str) -> None:
        """A button on the controller's input, pressed and released."""
        for active in (True, False):
            self.set_input(button, active)

    def set_input(self, name: str, active: bool) -> None:
        """An input of the controller changes; nobody hears it while the controller is silent."""
        at_s = self._live.catch_up()
        if self._wire.open:
            self._wire.send(InputSeen(self.name, name, active, at_s))

    def _lock_arrives(self, locked: bool) -> None:
        if not self.lock_jammed:
            self.locked = locked
        self._lock_moves = None
        self._tell_lock(self._live.catch_up())

    def _tell_lock(self, at_s: float) -> None:
        """Where it stands, once it does, unless that was told before."""
        is_news = self._lock_moves is None and self._lock_told is not self.locked
        if self.capabilities.has_lock and self._wire.open and is_news:
            self._lock_told = self.locked
            self._wire.send(InputSeen(self.name, PLUG_LOCK, self.locked, at_s))

    def power_cut(self) -> None:
        """The controller forgets all orders."""
        self._live.catch_up()
        self._order, self._unheard = self._controller.cut, False
        self._controller.cut()

    def _silent(self) -> bool:
        return PILOT_LOST in self._connector.faults

    def _give(self, order: Callable[[], None]) -> None:
        """A silent controller hears the order when it is back."""
        self._live.catch_up()
        self._order, self._unheard = order, self._silent()
        if not self._unheard:
            order()

    def _on_change(self) -> None:
        self._wire.check()
        if self._unheard and not self._silent():
            self._unheard = False
            self._order()
        self._tell(always=False)

    def _tell(self, always: bool) -> None:
        if not self._wire.open:
            return
        reading = self._controller.reading()
        if always or self._seen is None or replace(self._seen, at_s=reading.at_s) != reading:
            self._seen = reading
            self._wire.send(PilotSeen(self.name, reading))
        self._tell_lock(reading.at_s)

    def _go_dark(self) -> None:
        self._seen = None
        at_s = self._live.catch_up()
        dark = PilotReading(at_s=at_s, state=PilotState.UNKNOWN, power_path=PowerPath.UNKNOWN)
        self._wire.send(PilotSeen(self.name, dark))


class SimMeter:
    """An energy meter (contract.Meter); the world is saved before a reading is handed out."""

    def __init__(
        self,
        name: str,
        live: LiveWorld,
        evse_id: int,
        *,
        interval_s: float = 1.0,
        lost_after_s: float = 3.0,
        serial: str = "",
        signs: bool = False,
        with_export: bool = False,
    ) -> None:
        self.name = name
        self.interval_s = interval_s
        self.signs = self.signs_begin = signs
        self.has_export = with_export
        self._serial = serial or f"SIM{evse_id:05d}"
        self._live = live
        self._evse_id = evse_id
        self._wire = _Wire(name, self._silent, lost_after_s)
        self._told_power_w: tuple[float, ...] | None = None
        self.hangs = False
        """Its driver is stuck: nothing is reported, not even a loss."""
        live.world.listeners.append(self._on_change)

    async def run(self, report: Report) -> None:
        """Reports until cancelled."""
        self._wire.connect(report)
        try:
            while True:
                self._live.catch_up()
                self._tell()
                await asyncio.sleep(self.interval_s)
        finally:
            self._wire.disconnect()

    def read_soon(self, signing: Signing = Signing.NONE, payer: Payer | None = None) -> None:
        """Reports in the loop's next turn; all its readings are signed, or none."""
        asyncio.get_running_loop().call_soon(self._read_now)

    def _silent(self) -> bool:
        return METER_LOST in self._live.world.evse_faults[self._evse_id]

    def _read_now(self) -> None:
        self._live.catch_up()
        self._tell()

    def _on_change(self) -> None:
        self._wire.check()
        if self._live.world.meter(self._evse_id).power_phase_w != self._told_power_w:
            self._tell()

    def _tell(self) -> None:
        if self._wire.open and not self.hangs:
            view = self._live.world.meter(self._evse_id)
            self._told_power_w = view.power_phase_w
            self._live.save()
            self._wire.send(MeterSeen(self.name, self._reading(view)))

    def _reading(self, view: MeterView) -> MeterReading:
        return MeterReading(
            at_s=self._live.world.now_s,
            energy_wh=view.energy_wh,
            serial=self._serial,
            power_w=view.power_w,
            power_phase_w=view.power_phase_w,
            current_a=view.current_a,
            voltage_v=view.voltage_v,
            frequency_hz=view.frequency_hz,
            signature=self._sign(view) if self.signs else None,
            export_wh=0.0 if self.has_export else None,
        )

    def _sign(self, view: MeterView) -> SignedData:
        """Looks like OCMF; the signature is a digest that any bench can check."""
        data = f"OCMF|{self._serial}|{self._live.world.now_s:.3f}|{view.energy_wh:.0f}"
        signed = f"{data}|{sha256(data.encode()).hexdigest()}"
        return SignedData(
            data=b64encode(signed.encode()).decode(),
            signing_method="SHA256",
            encoding_method="OCMF",
            public_key=b64encode(f"key of {self._serial}".encode()).decode(),
        )


class SimReader:
    """A card reader."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._report: Report | None = None

    async def run(self, report: Report) -> None:
        """Waits for `swipe` until cancelled."""
        self._report = report
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._report = None

    def swipe(self, uid: str, token_type: str = "ISO14443") -> None:
        """Presents a card; nobody notices while the agent does not run the reader."""
        if self._report is not None:
            self._report(CardSeen(self.name, uid, token_type))
