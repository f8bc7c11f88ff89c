"""One physics for every bench: EV, cable, contactor, grid and meter counter, pure in time.

Between two changes every value is constant and energy grows linearly; nothing is polled.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, convert

from drivers.contract import PilotState
from drivers.sim.connector import Connector, Ev, SavedConnector

Place = tuple[int, int]
"""(evse_id, connector_id)"""

WELDED = "welded_contactor"
GRID = 0
"""Stands for an EVSE's number where the grid connection of the whole station is meant."""


class MeterView(Struct, frozen=True):
    """What the meter of an EVSE shows; tuples hold L1..L3."""

    energy_wh: float
    """Whole Wh, rounded down."""
    power_w: float
    power_phase_w: tuple[float, float, float]
    current_a: tuple[float, float, float]
    voltage_v: tuple[float, float, float]
    frequency_hz: float


class _Counter(Struct):
    """Energy as a line: `base_wh` at `base_s`, rising by `power_w`."""

    base_wh: float
    base_s: float
    power_w: float = 0.0

    def energy_wh(self, at_s: float) -> float:
        return self.base_wh + self.power_w * (at_s - self.base_s) / 3600.0

    def bend(self, at_s: float, power_w: float) -> None:
        if power_w != self.power_w:
            self.base_wh, self.base_s = self.energy_wh(at_s), at_s
            self.power_w = power_w


class World:
    """The physics of a station. Commands take effect at `now_s`; `advance` moves that on.

    Listeners are called after every change with the world at the time of the change, also
    in the middle of an `advance`; what they command takes effect at that very time.
    """

    def __init__(
        self,
        evses: Mapping[int, Iterable[int]],
        *,
        now_s: float = 0.0,
        meter_start_wh: float = 0.0,
        voltage_v: float = 230.0,
    ) -> None:
        self.now_s = now_s
        self.voltage_v = (voltage_v, voltage_v, voltage_v)
        self.frequency_hz = 50.0
        self.connectors: dict[Place, Connector] = {
            (evse_id, connector_id): Connector()
            for evse_id, connector_ids in evses.items()
            for connector_id in connector_ids
        }
        self.evse_faults: dict[int, set[str]] = {evse_id: set() for evse_id in (GRID, *evses)}
        self.listeners: list[Callable[[], None]] = []
        self._counters = {evse_id: _Counter(meter_start_wh, now_s) for evse_id in evses}
        self._alarms: dict[object, float] = {}
        self._dirty = False
        self._busy = False

    # --- time -----------------------------------------------------------------------------

    def advance(self, to_s: float) -> None:
        """Moves the world to `to_s`, each change on the way at its own time."""
        if self._busy:
            return
        if to_s < self.now_s:
            raise ValueError(f"the world is at {self.now_s} s and cannot go back to {to_s} s")
        while (at_s := self.next_change_s()) is not None and at_s <= to_s:
            self.now_s = max(self.now_s, at_s)
            self._changed()
        self.now_s = to_s

    def rebase(self, now_s: float) -> None:
        """Calls the present moment `now_s`: for a world made before its clock was known."""
        shift_s = now_s - self.now_s
        for counter in self._counters.values():
            counter.base_wh, counter.base_s = counter.energy_wh(self.now_s), now_s
        self.now_s = now_s
        for connector in self.connectors.values():
            if connector.ev_changes_s is not None:
                connector.ev_changes_s += shift_s
            if connector.contactor_moves_s is not None:
                connector.contactor_moves_s += shift_s
        self._alarms = {key: at_s + shift_s for key, at_s in self._alarms.items()}

    def next_change_s(self) -> float | None:
        """When something changes by itself; None when nothing will."""
        times = [connector.next_change_s() for connector in self.connectors.values()]
        times.extend(self._alarms.values())
        return min((at_s for at_s in times if at_s is not None), default=None)

    def set_alarm(self, key: object, at_s: float | None) -> None:
        """Has the listeners called at `at_s` (None: no more)."""
        if at_s is None:
            self._alarms.pop(key, None)
        else:
            self._alarms[key] = at_s

    # --- commands -------------------------------------------------------------------------

    def plug_in(self, place: Place, ev: Ev | None = None, cable_a: float | None = None) -> None:
        """Connects an EV, both ends of the cable."""
        connector = self._at(place)
        connector.ev, connector.ev_state, connector.ev_changes_s = ev or Ev(), "B", None
        connector.cable_at_evse = connector.cable_at_ev = True
        if cable_a is not None:
            connector.cable_a = cable_a
        self._changed()

    def plug_out(self, place: Place) -> None:
        """Disconnects the EV; a loose cable leaves with it."""
        connector = self._at(place)
        connector.ev = None
        connector.cable_at_ev = False
        connector.cable_at_evse = connector.tethered
        if not connector.tethered:
            connector.cable_a = None
        self._changed()

    def set_cable(
        self, place: Place, *, at_evse: bool | None = None, at_ev: bool | None = None
    ) -> None:
        """Plugs or unplugs one end of the cable."""
        connector = self._at(place)
        connector.cable_at_evse = connector.cable_at_evse if at_evse is None else at_evse
        connector.cable_at_ev = connector.cable_at_ev if at_ev is None else at_ev
        self._changed()

    def set_ev(self, place: Place, ev: Ev) -> None:
        """The plugged EV changes its mind; where power allows it, at once."""
        connector = self._at(place)
        if connector.ev is None:
            raise ValueError(f"no EV at connector {place}: plug one in first")
        connector.ev = ev
        connector.ev_state = connector.ev_target()
        self._changed()

    def offer(self, place: Place, current_a: float) -> None:
        """What the pilot signals, A per phase; below 6 it offers no power."""
        connector = self._at(place)
        if connector.offered_a != current_a:
            connector.offered_a = current_a
            self._changed()

    def order_contactor(self, place: Place, closed: bool) -> None:
        """Energises or releases the coil; the contacts follow after their delay."""
        connector = self._at(place)
        if connector.ordered_closed != closed:
            connector.order(closed, self.now_s)
            self._changed()

    def weld(self, place: Place) -> None:
        """The contacts will never open again; nobody has noticed yet."""
        connector = self._at(place)
        connector.welded = True
        connector.order(connector.ordered_closed, self.now_s)
        self._changed()

    def raise_fault(self, place: Place, name: str) -> None:
        """A fault stands from now on; `welded_contactor` also holds the contacts closed."""
        connector = self._at(place)
        connector.faults.add(name)
        if name == WELDED:
            connector.welded = connector.closed = True
            connector.contactor_moves_s = None
        self._changed()

    def clear_fault(self, place: Place, name: str) -> None:
        connector = self._at(place)
        connector.faults.discard(name)
        if name == WELDED:
            connector.welded = False
            connector.order(connector.ordered_closed, self.now_s)
        self._changed()

    def raise_evse_fault(self, evse_id: int, name: str) -> None:
        self.evse_faults[evse_id].add(name)
        self._changed()

    def clear_evse_fault(self, evse_id: int, name: str) -> None:
        self.evse_faults[evse_id].discard(name)
        self._changed()

    def set_voltage(self, *voltage_v: float) -> None:
        """Grid voltage: one value for all phases, or three."""
        l1, l2, l3 = voltage_v * 3 if len(voltage_v) == 1 else voltage_v
        self.voltage_v = (l1, l2, l3)
        self._changed()

    # --- views ----------------------------------------------------------------------------

    def pilot_state(self, place: Place) -> PilotState:
        """A, B, C or D, as the EV shows it."""
        connector = self._at(place)
        return PilotState(connector.ev_state) if connector.ev_connected else PilotState.A

    def meter(self, evse_id: int) -> MeterView:
        """What the meter of the EVSE, or of the grid connection, shows now."""
        current_a = self._current_a(evse_id)
        l1, l2, l3 = (v * a for v, a in zip(self.voltage_v, current_a, strict=True))
        energy_wh = self.energy_wh(evse_id)
        return MeterView(
            # A millionth of a Wh of mercy: the sum of exact steps may end just below a whole one.
            energy_wh=float(math.floor(energy_wh + 1e-6)),
            power_w=l1 + l2 + l3,
            power_phase_w=(l1, l2, l3),
            current_a=current_a,
            voltage_v=self.voltage_v,
            frequency_hz=self.frequency_hz,
        )

    def energy_wh(self, evse_id: int) -> float:
        """The counter behind the register, with its fraction; the grid connection's counts what
        those of the EVSEs count."""
        counters = self._counters.values() if evse_id == GRID else (self._counters[evse_id],)
        return sum(counter.energy_wh(self.now_s) for counter in counters)

    # --- over a power cut -----------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What outlives a power cut, as JSON values."""
        return {
            "meters": {str(evse_id): self.energy_wh(evse_id) for evse_id in self._counters},
            "connectors": {
                f"{evse_id}/{connector_id}": connector.saved()
                for (evse_id, connector_id), connector in self.connectors.items()
            },
            "evse_faults": {str(e): sorted(names) for e, names in self.evse_faults.items()},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The world after a power cut: EVs plugged, nothing offered, contactors open or welded."""
        for evse_id, counter in self._counters.items():
            known_wh = float(saved["meters"].get(str(evse_id), counter.base_wh))
            self._counters[evse_id] = _Counter(known_wh, self.now_s)
        for evse_id in self.evse_faults:
            self.evse_faults[evse_id] = set(saved["evse_faults"].get(str(evse_id), ()))
        for (evse_id, connector_id), connector in self.connectors.items():
            known = saved["connectors"].get(f"{evse_id}/{connector_id}")
            if known is not None:
                connector.restore(convert(known, SavedConnector))
        self._changed()

    # --- inside ---------------------------------------------------------------------------

    def _at(self, place: Place) -> Connector:
        try:
            return self.connectors[place]
        except KeyError:
            known = ", ".join(f"{e}/{c}" for e, c in self.connectors)
            raise ValueError(f"no connector {place}; this station has {known}") from None

    def _changed(self) -> None:
        """Works out what follows from a change, until nothing more does."""
        self._dirty = True
        if self._busy:
            return
        self._busy = True
        try:
            for _ in range(100):
                if not self._dirty:
                    return
                self._dirty = False
                self._settle()
            raise RuntimeError("the world does not settle: two listeners undo each other's orders")
        finally:
            self._busy = False

    def _settle(self) -> None:
        for connector in self.connectors.values():
            connector.settle(self.now_s)
        self._alarms = {key: at_s for key, at_s in self._alarms.items() if at_s > self.now_s}
        for evse_id, counter in self._counters.items():
            power_w = sum(
                v * a for v, a in zip(self.voltage_v, self._current_a(evse_id), strict=True)
            )
            counter.bend(self.now_s, power_w)
        for listener in tuple(self.listeners):
            listener()

    def _current_a(self, evse_id: int) -> tuple[float, float, float]:
        phases = [0.0, 0.0, 0.0]
        for (owner, _), connector in self.connectors.items():
            if evse_id in (GRID, owner) and (drawn_a := connector.drawn_a) > 0:
                for phase in range(connector.drawing_phases):
                    phases[phase] += drawn_a if self.voltage_v[phase] > 0 else 0.0
        return phases[0], phases[1], phases[2]
