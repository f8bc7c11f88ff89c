"""From the technician's file to the objects that play the roles of a station."""

import logging
from collections.abc import Callable
from typing import cast

from msgspec import Struct, convert
from msgspec.structs import replace

from agent.core import events as ev
from agent.core.connector import STILL_CLOSES_S
from agent.core.events import IdToken
from agent.core.main_meter import STATION
from agent.core.site import ConnectorSite, EnergyManager, EvseSite, Safety, Site
from agent.devices import DeviceBook, run_by_others
from agent.guard import Guard
from agent.lamps import Lamps
from agent.ocpp.device_counters import counter_variables
from agent.ocpp.router import VARIABLES
from agent.ocpp.variable import Variable, fitting
from agent.settings import Settings
from agent.station_inputs import StationInputs, Watched, watched
from drivers.contract import (
    CardRefused,
    CardSeen,
    Device,
    DeviceFound,
    DeviceLost,
    DeviceOptions,
    Display,
    GpioBoardOptions,
    InputSeen,
    KeyboardReaderOptions,
    Meter,
    MeterSeen,
    Observation,
    PilotCapabilities,
    PilotController,
    PilotReading,
    PilotSeen,
    Pn532Options,
    SerialReaderOptions,
    SimReaderOptions,
)

log = logging.getLogger(__name__)

Place = tuple[int, int]
READERS = (SerialReaderOptions, KeyboardReaderOptions, Pn532Options, SimReaderOptions)
Build = Callable[[str, DeviceOptions], Device]
"""(name, options) -> driver: the registry's, or a bench's."""

PLUG_LOCK = "plug_lock"
"""Name of the input by which a pilot controller reports its lock; active: locked."""

WARM_C = 40
"""Below this no charger.yaml derates: a temperature is no news there."""

START_BUTTON = IdToken("", "NoAuthorization")
"""What a start button presents (C02)."""

KEYPAD = "KeyCode"
"""Token type of a reader that passes on what somebody types."""


class Wiring(Struct, frozen=True):
    """Drivers by role. `meters`: by EVSE, 0 for the grid connection. `reader_evses`: which EVSEs a
    reader serves (empty: all)."""

    pilots: dict[Place, PilotController]
    meters: dict[int, Meter]
    devices: dict[str, Device]
    reader_evses: dict[str, tuple[int, ...]]
    bays: dict[tuple[str, str], int] = {}
    """(device, input) of a parking bay sensor -> its EVSE."""
    buttons: dict[tuple[str, str], int] = {}
    """(device, input) of a start button -> its EVSE."""
    boards: dict[str, Watched] = {}
    """Devices whose inputs may stop power."""
    displays: tuple[tuple[Display, tuple[int, ...]], ...] = ()
    """Devices with lamps, each with the EVSEs it shows."""


def wire(settings: Settings, build: Build) -> Wiring:
    """Builds every configured device once, but those that another one runs; raises DriverError."""
    below = run_by_others(settings)
    devices = {n: build(n, options) for n, options in settings.devices.items() if n not in below}
    pilots: dict[Place, PilotController] = {}
    meters: dict[int, Meter] = {}
    for evse in settings.evses:
        meters[evse.id] = devices[evse.meter]  # type: ignore[assignment]
        for connector in evse.connectors:
            pilots[evse.id, connector.id] = devices[connector.pilot]  # type: ignore[assignment]
    if settings.main_meter is not None:
        meters[STATION] = devices[settings.main_meter]  # type: ignore[assignment]
    readers = {
        name: options.evses
        for name, options in settings.devices.items()
        if isinstance(options, READERS)
    }
    bays = {(e.bay_sensor.device, e.bay_sensor.input): e.id for e in settings.evses if e.bay_sensor}
    buttons = {
        (e.start_button.device, e.start_button.input): e.id
        for e in settings.evses
        if e.start_button
    }
    evse_ids = tuple(evse.id for evse in settings.evses)
    boards = {
        name: watched(options, evse_ids)
        for name, options in settings.devices.items()
        if isinstance(options, GpioBoardOptions)
    }
    displays = tuple((cast(Display, devices[n]), board.evse_ids) for n, board in boards.items())
    return Wiring(pilots, meters, devices, readers, bays, buttons, boards, displays)


def site_of(settings: Settings, wiring: Wiring) -> Site:
    """The ratings that the core shares and never exceeds."""
    evses = []
    for evse in settings.evses:
        connectors = []
        for connector in evse.connectors:
            capabilities = wiring.pilots[evse.id, connector.id].capabilities
            connectors.append(
                ConnectorSite(
                    connector.id,
                    capabilities.max_a,
                    connector.current_a,
                    capabilities.min_a,
                    connector.cable == "fixed",
                    capabilities.has_lock,
                    _still_closes_s(capabilities),
                )
            )
        evses.append(EvseSite(evse.id, tuple(connectors)))
    supply = settings.supply
    has_keypad = any(
        getattr(options, "token_type", "") == KEYPAD for options in settings.devices.values()
    )
    main_meter = wiring.meters.get(STATION)
    return Site(
        tuple(evses),
        supply.current_a,
        supply.phases,
        supply.voltage_v,
        has_keypad,
        main_meter.interval_s if main_meter is not None else None,
        settings.reset,
        convert(settings.safety, Safety, from_attributes=True),
        convert(settings.energy_manager, EnergyManager | None, from_attributes=True),
    )


def _still_closes_s(capabilities: PilotCapabilities) -> float:
    """A controller that did not hear a stop is lost, and known to be, after three reports; one
    that did hear it has opened in the time it promises."""
    lost_s = 3 * capabilities.report_interval_s + 1.0
    return max(STILL_CLOSES_S, min(lost_s, capabilities.opens_within_s))


def declared(settings: Settings, wiring: Wiring, book: DeviceBook) -> tuple[Variable, ...]:
    """The OCPP variables that this station has."""
    return (
        *fitting(VARIABLES, features(settings, wiring)),
        *counter_variables(book.counting(), book.tripping()),
    )


def places_of(settings: Settings) -> list[tuple[int, tuple[int, ...]]]:
    """EVSEs, each with its connectors."""
    return [(evse.id, tuple(it.id for it in evse.connectors)) for evse in settings.evses]


def features(settings: Settings, wiring: Wiring) -> frozenset[str]:
    """What not every station has, and some variables need."""
    cables = [connector.cable for evse in settings.evses for connector in evse.connectors]
    found = {"socket" if "socket" in cables else "fixed_cables"}
    if any(meter.signs for meter in wiring.meters.values()):
        found.add("signing_meter")
    if wiring.meters and all(meter.signs_begin for meter in wiring.meters.values()):
        found.add("signed_begin")
    if any(meter.has_export for meter in wiring.meters.values()):
        found.add("export_meter")
    if any(evse.bay_sensor is not None for evse in settings.evses):
        found.add("bay_sensor")
    if STATION in wiring.meters:
        found.add("main_meter")
    if settings.energy_manager is not None:
        found.add("energy_manager")
    return frozenset(found)


class Senses:
    """Turns drivers' observations into guard calls, at once, and events for the inbox, after."""

    def __init__(self, wiring: Wiring, guard: Guard, post: Callable[[object], None]) -> None:
        self.pilots: dict[Place, PilotReading] = {}
        """Last report per connector; none while its controller is lost."""
        self._guard = guard
        self._post = post
        self._reader_evses = wiring.reader_evses
        self._bays = wiring.bays
        self._buttons = wiring.buttons
        self._inputs = StationInputs(wiring.boards, guard, post)
        self.lamps = Lamps(wiring.displays)
        self._places: dict[str, list[Place]] = {}
        for place, pilot in wiring.pilots.items():
            self._places.setdefault(pilot.name, []).append(place)
        self._evses: dict[str, list[int]] = {}
        for evse_id, meter in wiring.meters.items():
            self._evses.setdefault(meter.name, []).append(evse_id)

    def report(self, observation: Observation) -> None:
        """What drivers call: the guard sees it before anything enters the inbox."""
        match observation:
            case PilotSeen(device, reading):
                for place in self._places.get(device, ()):
                    self._guard.see_pilot(place, reading)
                    self._pilot(place, reading)
            case MeterSeen(device, reading):
                for evse_id in self._evses.get(device, ()):
                    self._guard.see_meter(evse_id, reading)
                    self._post(ev.MeterRead(evse_id, reading))
            case CardSeen(device, uid, token_type):
                token = IdToken(uid, token_type)
                self._post(ev.TokenPresented(token, self._reader_evses.get(device, ())))
            case CardRefused():
                pass  # the journal has it from the driver
            case InputSeen(device, input_name, active) if self._inputs.seen(
                device, input_name, active
            ):
                pass
            case InputSeen(device, input_name, active, at_s) if input_name == PLUG_LOCK:
                for place in self._places.get(device, ()):
                    self._guard.see_lock(place, active)
                    self._post(ev.LockSeen(*place, active, at_s))
            case InputSeen(device, input_name, active) if (device, input_name) in self._bays:
                self._post(ev.BayChanged(self._bays[device, input_name], active))
            case InputSeen(device, input_name, active) if (device, input_name) in self._buttons:
                if active:
                    evse_id = self._buttons[device, input_name]
                    self._post(ev.TokenPresented(START_BUTTON, (evse_id,)))
            case DeviceLost(device, reason):
                log.warning("%s lost: %s", device, reason)
                self._lost(device)
            case DeviceFound(device):
                log.info("%s answers again", device)
                self._found(device)
            case _:
                log.info("no use for %s yet", observation)

    def _pilot(self, place: Place, reading: PilotReading) -> None:
        before = self.pilots.get(place)
        self.pilots[place] = reading
        self.lamps.see_pilot(place, reading)
        if before is None or _unlike(before, reading):
            self._post(ev.PilotChanged(*place, reading))

    def _lost(self, device: str) -> None:
        self._inputs.lost(device)
        for place in self._places.get(device, ()):
            self.pilots.pop(place, None)
            self._guard.lost(place, f"{device} lost")
            self._post(ev.FaultRaised(*place, "pilot_lost"))
        for evse_id in self._evses.get(device, ()):
            self._guard.lost_meter(evse_id, f"{device} lost")
            self._post(ev.FaultRaised(evse_id, 0, "meter_lost"))

    def _found(self, device: str) -> None:
        for place in self._places.get(device, ()):
            self._post(ev.FaultCleared(*place, "pilot_lost"))
        for evse_id in self._evses.get(device, ()):
            self._post(ev.FaultCleared(evse_id, 0, "meter_lost"))


def _unlike(before: PilotReading, reading: PilotReading) -> bool:
    """They differ in more than their time and a temperature at which nothing is derated."""
    same = replace(before, at_s=reading.at_s, temperature_c=reading.temperature_c)
    return same != reading or _warmth(before) != _warmth(reading)


def _warmth(reading: PilotReading) -> int:
    """Whole degrees from WARM_C on."""
    return max(WARM_C, int(reading.temperature_c or 0))
