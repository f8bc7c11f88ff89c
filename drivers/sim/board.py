"""A whole simulated station: the world, its parts, and the hands of a test harness."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from drivers.contract import (
    Device,
    DeviceOptions,
    DriverError,
    SimMeterOptions,
    SimPilotOptions,
    SimReaderOptions,
)
from drivers.sim.connector import Connector, Ev, Ready
from drivers.sim.live import LiveWorld
from drivers.sim.parts import METER_LOST, SimMeter, SimPilot, SimReader
from drivers.sim.world import GRID, MeterView, Place, World


class BoardConnector(Struct, frozen=True):
    """A connector and the device name of its pilot controller."""

    id: int
    pilot: str
    phases: int = 3
    current_a: float = 32.0
    cable: str = "fixed"


class BoardMeter(Struct, frozen=True):
    """A simulated meter; `interval_s`: it never reports more often than the rest of the board."""

    name: str
    interval_s: float | None = None
    signs: bool = False
    with_export: bool = False


class BoardEvse(Struct, frozen=True):
    """An EVSE, its connectors and its meter."""

    id: int
    connectors: tuple[BoardConnector, ...]
    meter: BoardMeter | None = None


class BoardPlan(Struct, frozen=True):
    """What a simulated station is made of."""

    evses: tuple[BoardEvse, ...]
    readers: tuple[str, ...] = ()
    main_meter: BoardMeter | None = None
    """At the grid connection."""


class _ConnectorSettings(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def pilot(self) -> str: ...
    @property
    def cable(self) -> str: ...
    @property
    def current_a(self) -> float: ...
    @property
    def phases(self) -> int: ...


class _EvseSettings(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def connectors(self) -> Iterable[_ConnectorSettings]: ...
    @property
    def meter(self) -> str: ...


class _BoardSettings(Protocol):
    @property
    def evses(self) -> Iterable[_EvseSettings]: ...
    @property
    def main_meter(self) -> str | None: ...
    @property
    def devices(self) -> Mapping[str, DeviceOptions]: ...


def plan_of(settings: _BoardSettings) -> BoardPlan:
    """The simulated part of a charger.yaml (duck-typed agent.settings.Settings).

    Every EVSE and connector becomes physics; only sim_* devices become parts.
    """
    devices = settings.devices
    meters = {
        name: BoardMeter(name, options.interval_s, options.signs, options.with_export)
        for name, options in devices.items()
        if isinstance(options, SimMeterOptions)
    }
    return BoardPlan(
        evses=tuple(
            BoardEvse(
                id=evse.id,
                connectors=tuple(
                    BoardConnector(
                        id=connector.id,
                        pilot=connector.pilot
                        if isinstance(devices.get(connector.pilot), SimPilotOptions)
                        else "",
                        phases=connector.phases,
                        current_a=connector.current_a,
                        cable=connector.cable,
                    )
                    for connector in evse.connectors
                ),
                meter=meters.get(evse.meter),
            )
            for evse in settings.evses
        ),
        readers=tuple(n for n, o in devices.items() if isinstance(o, SimReaderOptions)),
        main_meter=meters.get(settings.main_meter or ""),
    )


class SimBoard:
    """Owns the world and all parts of a simulated station.

    The harness commands take effect at the running loop's time. An empty device name in the
    plan leaves that part out (something else, a desk part, plays it).
    """

    def __init__(
        self,
        plan: BoardPlan,
        *,
        report_interval_s: float = 1.0,
        lost_after_s: float = 3.0,
        meter_start_wh: float = 0.0,
        save_path: str | None = None,
    ) -> None:
        self.world = World(
            {evse.id: [connector.id for connector in evse.connectors] for evse in plan.evses},
            meter_start_wh=meter_start_wh,
        )
        for evse in plan.evses:
            for connector in evse.connectors:
                state = self.world.connectors[evse.id, connector.id]
                state.phases = 1 if connector.phases == 1 else 3
                state.tethered = state.cable_at_evse = connector.cable == "fixed"
        self.live = LiveWorld(self.world, save_path)
        self.pilots: dict[str, SimPilot] = {}
        self.meters: dict[str, SimMeter] = {}
        self._pilot_places: dict[Place, SimPilot] = {}
        self.readers = {name: SimReader(name) for name in plan.readers}
        for evse in plan.evses:
            self._build(evse, report_interval_s, lost_after_s)
        if plan.main_meter is not None:
            self._add_meter(GRID, plan.main_meter, report_interval_s, lost_after_s)

    def build(self, name: str, options: DeviceOptions | None = None) -> Device:
        """The part of that name; has the shape of the registry's `build`. Raises DriverError."""
        device: Device | None = (
            self.pilots.get(name) or self.meters.get(name) or self.readers.get(name)
        )
        if device is None:
            known = ", ".join([*self.pilots, *self.meters, *self.readers])
            raise DriverError(
                f"the simulated board has no device {name!r}; name one of: {known or 'none'}"
            )
        return device

    # --- the eyes, past all drivers ---------------------------------------------------------

    def connector(self, evse_id: int, connector_id: int) -> Connector:
        """The true state of a connector now."""
        self.live.catch_up()
        return self.world.connectors[evse_id, connector_id]

    def meter(self, evse_id: int) -> MeterView:
        """What the meter of an EVSE shows now."""
        self.live.catch_up()
        return self.world.meter(evse_id)

    def energy_wh(self, evse_id: int) -> float:
        """The true energy, with its fraction of a Wh."""
        self.live.catch_up()
        return self.world.energy_wh(evse_id)

    # --- the hands ------------------------------------------------------------------------

    def plug_in(
        self, evse_id: int, connector_id: int, ev: Ev | None = None, cable_a: float | None = None
    ) -> None:
        """Connects an EV (default: 3 x 16 A, ready 1 s after it is offered power)."""
        self.live.catch_up()
        self.world.plug_in((evse_id, connector_id), ev, cable_a)

    def plug_out(self, evse_id: int, connector_id: int) -> None:
        """Disconnects the EV, whatever state it is in."""
        self.live.catch_up()
        self.world.plug_out((evse_id, connector_id))

    def unplug_ev(self, evse_id: int, connector_id: int) -> None:
        """The cable is taken out of the EV; its other end stays where it is."""
        self.live.catch_up()
        self.world.set_cable((evse_id, connector_id), at_ev=False)

    def ev_state(self, evse_id: int, connector_id: int, wants: Ready) -> None:
        """The EV goes to B, C or D now, as far as power is offered, and wants to stay there."""
        self.live.catch_up()
        ev = self.world.connectors[evse_id, connector_id].ev
        if ev is None:
            raise ValueError(f"no EV at {evse_id}/{connector_id}: plug one in first")
        self.world.set_ev((evse_id, connector_id), replace(ev, wants=wants))

    def set_ev(self, evse_id: int, connector_id: int, ev: Ev) -> None:
        """The plugged EV is another one from now on: current, phases, manners."""
        self.live.catch_up()
        self.world.set_ev((evse_id, connector_id), ev)

    def swipe(self, reader: str, uid: str, token_type: str = "ISO14443") -> None:
        """Presents a card."""
        self.readers[reader].swipe(uid, token_type)

    def press(self, button: str, evse_id: int | None = None) -> None:
        """Presses a button; it is wired to the first pilot controller (of the EVSE)."""
        self._wired_to(evse_id).press(button)

    def set_input(self, name: str, evse_id: int, active: bool) -> None:
        """A sensor on the input of the EVSE's first pilot controller."""
        self._wired_to(evse_id).set_input(name, active)

    def _wired_to(self, evse_id: int | None) -> SimPilot:
        for (owner, _), pilot in self._pilot_places.items():
            if evse_id is None or owner == evse_id:
                return pilot
        raise ValueError(f"no simulated pilot controller at EVSE {evse_id} to wire a button to")

    def raise_fault(self, evse_id: int, connector_id: int, name: str) -> None:
        """A fault stands until cleared; meter_lost counts for the EVSE."""
        self.live.catch_up()
        if name == METER_LOST:
            self.world.raise_evse_fault(evse_id, name)
        else:
            self.world.raise_fault((evse_id, connector_id), name)

    def clear_fault(self, evse_id: int, connector_id: int, name: str) -> None:
        self.live.catch_up()
        if name == METER_LOST:
            self.world.clear_evse_fault(evse_id, name)
        else:
            self.world.clear_fault((evse_id, connector_id), name)

    def weld(self, evse_id: int, connector_id: int) -> None:
        """The contacts weld silently; the controller notices when it wants to open them."""
        self.live.catch_up()
        self.world.weld((evse_id, connector_id))

    def set_voltage(self, *voltage_v: float) -> None:
        """Grid voltage: one value, or one for each phase."""
        self.live.catch_up()
        self.world.set_voltage(*voltage_v)

    def power_cut(self) -> None:
        """Mains gone and back: controllers forget their orders, contactors drop unless welded."""
        self.live.catch_up()
        for pilot in self.pilots.values():
            pilot.power_cut()
        self.world.restore(self.world.snapshot())

    # --- inside ---------------------------------------------------------------------------

    def _build(self, evse: BoardEvse, report_interval_s: float, lost_after_s: float) -> None:
        for connector in evse.connectors:
            if connector.pilot:
                self.pilots[connector.pilot] = pilot = SimPilot(
                    connector.pilot,
                    self.live,
                    (evse.id, connector.id),
                    report_interval_s=report_interval_s,
                    lost_after_s=lost_after_s,
                    max_a=connector.current_a,
                    has_lock=connector.cable == "socket",
                )
                self._pilot_places[evse.id, connector.id] = pilot
        if evse.meter is not None:
            self._add_meter(evse.id, evse.meter, report_interval_s, lost_after_s)

    def _add_meter(
        self, evse_id: int, meter: BoardMeter, report_interval_s: float, lost_after_s: float
    ) -> None:
        self.meters[meter.name] = SimMeter(
            meter.name,
            self.live,
            evse_id,
            interval_s=max(meter.interval_s or 0.0, report_interval_s),
            lost_after_s=lost_after_s,
            signs=meter.signs,
            with_export=meter.with_export,
        )
