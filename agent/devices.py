"""What each device showed last and what went wrong with it, as plain values for people: kept by the
running station and by `chargepoint probe` alike."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from agent.settings import Settings
from drivers.contract import (
    CardRefused,
    CardSeen,
    Counters,
    Counting,
    Device,
    DeviceFound,
    DeviceLost,
    GpioContactorOptions,
    InputSeen,
    MeterReading,
    MeterSeen,
    Observation,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    SerialLine,
)
from drivers.registry import MEASURING_PILOTS, Registry, roles_of

CARDS_KEPT = 8
"""Per reader, for whoever learns how it writes a number."""

Place = tuple[int, int]
"""EVSE and connector; connector 0: the EVSE, EVSE 0: the grid connection."""


class Card(Struct, frozen=True):
    """A card that was presented."""

    number: int
    """Counts up from 1, over all readers."""
    reader: str
    uid: str
    token_type: str
    raw: str = ""
    refused: str = ""
    """Why the driver passed nothing on; empty when it did."""


class DeviceSeen(Struct, kw_only=True):
    """One device: what charger.yaml says of it, and what was seen; ages in seconds."""

    name: str
    roles: tuple[str, ...]
    """What it is to this station: pilot, meter, reader or board; a controller may measure, too."""
    driver: str
    model: str = ""
    port: str = ""
    unit: int | None = None
    line: str = ""
    """Settings of its serial line, as in `9600 baud, parity N`."""
    factory: str = ""
    """How the model talks when it is new, in the same words; empty where that is not known."""
    places: tuple[Place, ...] = ()
    phases: int = 3
    """Of the connectors, or of the supply, that a meter serves."""
    phase_rotation: str = "RST"
    is_reversed: bool = False
    interval_s: float = 1.0
    """How often it is to report."""
    timeout_s: float | None = None
    lost: str = ""
    """Why it does not answer; ends with the next step."""
    age_s: float | None = None
    """Of what it showed last, in the role it was silent in for longer; None: nothing yet."""
    meter: MeterReading | None = None
    pilot: PilotReading | None = None
    inputs: dict[str, bool] = {}
    cards: tuple[Card, ...] = ()
    counters: Counters | None = None
    doubts: tuple[str, ...] = ()
    """What its register map is not sure of."""
    notes: tuple[str, ...] = ()
    """What a pilot controller does by itself, for the technician."""


def run_by_others(settings: Settings) -> frozenset[str]:
    """Devices that another device runs: nobody else may open their ports."""
    return frozenset(
        options.controller
        for options in settings.devices.values()
        if isinstance(options, GpioContactorOptions)
    )


def registry_of(settings: Settings) -> Registry:
    """Builds the devices of charger.yaml, each with all that it is used for."""
    meters_at_v = {
        evse.meter: settings.supply.voltage_v
        for evse in settings.evses
        if isinstance(settings.devices[evse.meter], MEASURING_PILOTS)
    }
    return Registry(settings.lines, settings.devices, meters_at_v)


class DeviceBook:
    """Takes in what drivers report; `rows` is what there is to show. Does no I/O."""

    def __init__(self, settings: Settings, devices: Mapping[str, Device]) -> None:
        self._devices = devices
        self._rows = {
            name: _described(settings, name, device)
            for name, device in devices.items()
            if name in settings.devices  # a bench may have more
        }
        self._seen_s: dict[str, float] = {}
        self._cards = 0

    def see(self, observation: Observation, now_s: float) -> None:
        """Never raises for a device that nobody configured: it is left out."""
        row = self._rows.get(observation.device)
        if row is None:
            return
        match observation:
            case MeterSeen(_, reading):
                row.meter = reading
            case PilotSeen(_, reading):
                row.pilot = reading
            case InputSeen(_, name, active):
                row.inputs, self._seen_s[row.name] = {**row.inputs, name: active}, now_s
            case CardSeen(_, uid, token_type, raw):
                self._keep(row, Card(self._cards + 1, row.name, uid, token_type, raw), now_s)
            case CardRefused(_, reason, raw):
                card = Card(self._cards + 1, row.name, "", "", raw, reason)
                self._keep(row, card, now_s)
            case DeviceLost(_, reason):
                row.lost = reason
            case DeviceFound():
                row.lost = ""

    def _keep(self, row: DeviceSeen, card: Card, now_s: float) -> None:
        self._cards = card.number
        row.cards, self._seen_s[row.name] = (*row.cards, card)[-CARDS_KEPT:], now_s

    def rows(self, now_s: float, *, with_cards: bool = False) -> list[DeviceSeen]:
        """All devices in the order of charger.yaml; card numbers only for those who learn."""
        return [self._row(row, now_s, with_cards) for row in self._rows.values()]

    def _row(self, row: DeviceSeen, now_s: float, with_cards: bool) -> DeviceSeen:
        seen_s = self._last_seen_s(row)
        device = self._devices[row.name]
        return msgspec.structs.replace(
            row,
            age_s=None if seen_s is None else max(0.0, now_s - seen_s),
            cards=row.cards if with_cards else (),
            doubts=tuple(getattr(device, "doubts", ())),
        )

    def _last_seen_s(self, row: DeviceSeen) -> float | None:
        """By its readings, of each role; what has none by what else it reported."""
        shown = {"meter": row.meter, "pilot": row.pilot}
        due = [shown[role] for role in row.roles if role in shown]
        times_s = [reading.at_s for reading in due if reading is not None]
        if not due:
            return self._seen_s.get(row.name)
        return min(times_s) if len(times_s) == len(due) else None

    def counters(self, name: str) -> Counters | None:
        """None where the driver does not count."""
        return self._rows[name].counters

    def counting(self) -> tuple[str, ...]:
        """Names of the devices whose drivers count."""
        return tuple(name for name, row in self._rows.items() if row.counters is not None)

    def tripping(self) -> tuple[tuple[str, str], ...]:
        """(device, fault) that devices count themselves."""
        return tuple(
            (name, fault)
            for name, row in self._rows.items()
            if row.counters is not None
            for fault in row.counters.trips
        )

    def summary(self) -> list[dict[str, Any]]:
        """A short row per device, for `chargepoint status`."""
        return [_summary(row) for row in self._rows.values()]


def _summary(row: DeviceSeen) -> dict[str, Any]:
    has_said = row.meter is not None or row.pilot is not None or bool(row.inputs)
    state = "lost" if row.lost else ("answers" if has_said else "-")
    if "reader" in row.roles and not row.lost:
        state = "listens"
    told: dict[str, Any] = {"device": row.name, "state": state}
    counters = row.counters
    if counters is not None:
        told |= {
            "requests": counters.requests,
            "timeouts": counters.timeouts,
            "unusable": counters.unusable,
            "exceptions": counters.exceptions,
            "reconnects": counters.reconnects,
        }
    return told


def _described(settings: Settings, name: str, device: Device) -> DeviceSeen:
    options = settings.devices[name]
    line = settings.lines.get(getattr(options, "line", ""))
    counters = device.counters if isinstance(device, Counting) else None
    row = DeviceSeen(
        name=name,
        roles=_roles(settings, name),
        driver=type(options).__struct_config__.tag,  # type: ignore[arg-type]
        model=getattr(options, "model", ""),
        port=line.port if line is not None else getattr(options, "port", ""),
        unit=getattr(options, "unit", None),
        line="" if line is None or "://" in line.port else _talks(line),
        factory=getattr(device, "factory", ""),
        places=_places(settings, name),
        phase_rotation=getattr(options, "phase_rotation", "RST"),
        is_reversed=getattr(options, "reversed", False),
        interval_s=getattr(options, "interval_s", getattr(options, "poll_s", 1.0)),
        timeout_s=getattr(options, "timeout_s", None),
        counters=counters,
        notes=_notes(getattr(device, "capabilities", None)),
    )
    phases = [
        connector.phases
        for evse in settings.evses
        if evse.meter == name
        for connector in evse.connectors
    ]
    row.phases = max(phases, default=settings.supply.phases)
    return row


def _talks(line: SerialLine) -> str:
    stop_bits = ", 2 stop bits" if line.stop_bits == 2 else ""
    return f"{line.baud} baud, parity {line.parity}{stop_bits}"


def _roles(settings: Settings, name: str) -> tuple[str, ...]:
    """A controller is no meter where nobody names it as one."""
    first, *others = roles_of(settings.devices[name])
    is_meter = any(evse.meter == name for evse in settings.evses)
    return (first, *(role for role in others if is_meter))


def _notes(controller: PilotCapabilities | None) -> tuple[str, ...]:
    """What nobody can see by looking: it is to be known before a car is plugged in."""
    if controller is None:
        return ()
    notes = [
        f"a stop opens within {controller.opens_within_s:g} s",
        f"when this board dies: {controller.host_loss_fallback}",
    ]
    if controller.measures:
        notes.append(f"as a meter: {controller.measures}")
    if controller.before_first_order:
        notes.append(f"before the first order: {controller.before_first_order}")
    if not controller.watches_contacts:
        notes.append(
            "its contactor stands where it ordered it, as far as it knows: no contact tells"
        )
    return tuple(notes)


def _places(settings: Settings, name: str) -> tuple[Place, ...]:
    found = [(evse.id, 0) for evse in settings.evses if evse.meter == name]
    found += [
        (evse.id, connector.id)
        for evse in settings.evses
        for connector in evse.connectors
        if connector.pilot == name
    ]
    if settings.main_meter == name:
        found.append((0, 0))
    return tuple(found)
