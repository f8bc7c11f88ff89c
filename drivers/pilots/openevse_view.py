"""What an OpenEVSE controller's state codes and flags mean; pure."""

from msgspec import Struct

from drivers.contract import PilotReading, PilotState, PowerPath
from drivers.pilots.rapi import Frame

SLEEPING = 0xFE
DISABLED = 0xFF
ENABLED = (0x01, 0x02, 0x03)
STARTING = 0x00
STUCK_RELAY = 0x08

HARD_FAULT = 0x0002
GROUND_TRIPPED = 0x0020
RELAY_CLOSED = 0x0040
RCD_TRIPPED = 0x0080
EV_CONNECTED = 0x0100
BOOT_LOCKED = 0x4000

FAULTS = {
    0x04: "ventilation_required",
    0x05: "diode",
    0x06: "rcd",
    0x07: "ground",
    0x08: "welded_contactor",
    0x09: "rcd_self_test",
    0x0A: "over_temperature",
    0x0B: "over_current",
    0x0E: "contactor_did_not_close",
}
PILOT_STATES = {1: PilotState.A, 2: PilotState.B, 3: PilotState.C, 4: PilotState.D}


class View(Struct, frozen=True):
    """The controller as it described itself last."""

    at_s: float
    state: int
    pilot: int
    flags: int
    amps: int | None

    @property
    def power_path(self) -> PowerPath:
        """The relay as ordered, but closed as long as voltage behind it says that it is stuck."""
        is_closed = self.flags & RELAY_CLOSED or self.state == STUCK_RELAY
        return PowerPath.CLOSED if is_closed else PowerPath.OPEN

    def reading(
        self, temperature_c: float | None = None, cable_a: float | None = None
    ) -> PilotReading:
        """The same in the words of the contract."""
        amps = None if self.amps is None else float(self.amps)
        return PilotReading(
            at_s=self.at_s,
            state=self._pilot_state(),
            power_path=self.power_path,
            offered_a=amps if self.state in ENABLED else 0.0,
            faults=self._faults(),
            cable_a=cable_a if self.flags & EV_CONNECTED else None,
            temperature_c=temperature_c,
        )

    def _pilot_state(self) -> PilotState:
        """Disabled means -12 V on the pilot: nobody can see then whether an EV is there."""
        if self.state == DISABLED:
            return PilotState.F
        if self.pilot in PILOT_STATES:
            return PILOT_STATES[self.pilot]
        if self.state in ENABLED:
            return PILOT_STATES[self.state]
        if self.state == SLEEPING:
            return PilotState.B if self.flags & EV_CONNECTED else PilotState.A
        return PilotState.UNKNOWN

    def _faults(self) -> frozenset[str]:
        """Trip flags last until a restart, so they count only while a hard fault stands."""
        found = {FAULTS[self.state]} if self.state in FAULTS else set()
        if self.flags & HARD_FAULT:
            found.add("hard_fault")
            if self.flags & GROUND_TRIPPED:
                found.add("ground")
            if self.flags & RCD_TRIPPED:
                found.add("rcd")
        return frozenset(found)


def from_status(frame: Frame, amps: int | None, at_s: float) -> View:
    """The answer to $GS (state, elapsed, pilot, flags); raises ValueError."""
    return View(at_s, frame.number(0), frame.number(2), frame.number(3), amps)


def from_change(frame: Frame, at_s: float) -> View:
    """The message $AT (state, pilot, A, flags); raises ValueError."""
    return View(at_s, frame.number(0), frame.number(1), frame.number(3), frame.number(2, 10))
