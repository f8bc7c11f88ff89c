"""Phoenix Contact EV Charge Control Basic (EV-CC-AC1-M3-...-SER) on Modbus.

It closes and opens by itself, watches the contactor where its feedback is wired, and locks. It has
no fallback for the loss of its host. What its manual leaves open: how long it waits for the EV
without PWM (so it is put into state F after the EV's time). An EV-RCM and its test (4011, coil
20003) need the switch S1/DIP 2 off, and with it goes state F: it is not used here.
"""

import asyncio
import logging

from msgspec.structs import replace

from drivers.bus.modbus_line import ModbusLine
from drivers.bus.modbus_request import READ_COILS, READ_INPUT, WRITE_COIL, Request
from drivers.contract import (
    InputSeen,
    PhoenixOptions,
    PilotReading,
    PilotState,
    PowerPath,
    ProtocolError,
    Report,
)
from drivers.pilots.modbus_pilot import LET_GO_S, ModbusPilot, without_watchdog
from drivers.pilots.wish import Wish

DESIGNATION, DESIGNATION_LENGTH = 1000, 16
ENABLED_BY, AVAILABLE_BY, LOCKED_BY, WATCH_CONTACTOR, RCM_INPUT = 4000, 4001, 4002, 4006, 4012
BY_COIL_20000, BY_COIL_20001, BY_COIL_20002 = 3, 2, 3
ENABLE, AVAILABLE, LOCK = 20000, 20001, 20002
LIMIT, STATUS, ERRORS = 22000, 24000, 24025
VIEW_LENGTHS = (4, 5, 6)
MOST_A = 63
PLUG_LOCK = "plug_lock"
LOCK_MOVES_S = 1.0
"""After this long without an error of the lock it stands where it was ordered."""

CONTACTOR = 12
LOCK_ERRORS = frozenset({6, 7, 8})
NOT_AVAILABLE = 5
"""In state F because it was told so: an order, no fault."""
NO_RESISTANCE = 0xFFFF
"""Where the cable's rating stands: PP touches PE."""
LOOKS_UNTIL_IN_VAIN = 3
FAULTS = {
    1: "cable_rejected",
    2: "cable_rejected",
    3: "proximity",
    4: "pilot_failure",
    6: "lock_failed",
    7: "lock_failed",
    8: "lock_failed",
    11: "ventilation_required",
    CONTACTOR: "welded_contactor",
    13: "diode",
    15: "rcd",
    16: "rcd_self_test",
}
"""Of error 12 the worse is assumed: it does not tell stuck closed from stuck open."""

log = logging.getLogger(__name__)


def errors_in(value: int) -> frozenset[int]:
    """Errors in register 24025: its bits, numbered from 1."""
    return frozenset(bit + 1 for bit in range(16) if value >> bit & 1)


class Phoenix(ModbusPilot):
    """Implements contract.PilotController."""

    def __init__(self, name: str, options: PhoenixOptions, line: ModbusLine) -> None:
        """Does no I/O."""
        capabilities = replace(
            without_watchdog(options, MOST_A),
            has_lock=options.lock,
            watches_contacts=options.contactor_feedback,
        )
        super().__init__(name, options, line, capabilities)
        self._watches = options.contactor_feedback
        self._round = 0
        self._coils = [0, 0, 0]
        self._kept_a = 0
        self._is_cut = False
        self._errors: frozenset[int] = frozenset()
        self._letter = ""
        self._looks_in_vain = 0
        """In a row that did not show state F though it was told so."""
        self._is_warned = False
        self._may_be_live = True
        self._lock_told: bool | None = None
        self._lock_told_at_s = 0.0
        self._locked: bool | None = None

    def _start_over(self) -> None:
        super()._start_over()
        self._lock_told = None
        self._locked = None
        self._may_be_live = True

    async def _settle(self) -> None:
        await self._read(DESIGNATION, DESIGNATION_LENGTH, READ_INPUT)

    async def _bring_up(self) -> None:
        words = await self._read(DESIGNATION, DESIGNATION_LENGTH, READ_INPUT)
        designation = b"".join(word.to_bytes(2, "big") for word in words)
        if b"EV" not in designation:
            raise ProtocolError(
                f"controller {self.name}: calls itself {designation!r}, not an EV charge "
                "controller; check line and unit"
            )
        await self._set_up(ENABLED_BY, BY_COIL_20000)
        await self._set_up(AVAILABLE_BY, BY_COIL_20001)
        if self.capabilities.has_lock:
            await self._set_up(LOCKED_BY, BY_COIL_20002)
        if self._watches:
            await self._set_up(RCM_INPUT, 0)
            await self._set_up(WATCH_CONTACTOR, 1)

    async def _set_up(self, address: int, value: int) -> None:
        """Writes a setting that differs; raises ProtocolError when it does not stay."""
        if await self._setting(address) == value:
            return
        await self._write(address, value)
        if await self._setting(address) != value:
            raise ProtocolError(
                f"controller {self.name}: register {address} does not stay {value}; "
                "check its DIP switches"
            )
        log.info("%s: register %d set to %d", self.name, address, value)

    async def _setting(self, address: int) -> int:
        """A single register, after something longer: two single ones could be mixed up."""
        await self._read(STATUS, VIEW_LENGTHS[0])
        return (await self._read(address, 1))[0]

    async def _coil(self, address: int, value: int) -> None:
        await self._ask(Request(self._options.unit, WRITE_COIL, address, values=(value,)))

    async def _tell(self) -> None:
        if self._wish is not Wish.ALLOW:
            self._is_cut = self._wish is Wish.EMERGENCY_STOP
            if self._is_cut:
                await self._coil(AVAILABLE, 0)
            await self._coil(ENABLE, 0)
            if not self._is_cut:
                await self._coil(AVAILABLE, 1)
            return
        self._accepted = None
        self._is_cut = False
        await self._write(LIMIT, int(self._limit_a))
        if self._wish is Wish.ALLOW:
            await self._coil(AVAILABLE, 1)
        if self._wish is Wish.ALLOW:
            await self._coil(ENABLE, 1)

    async def _look(self) -> PilotReading:
        self._round = (self._round + 1) % len(VIEW_LENGTHS)
        status, cable_a, _, offered_a = (await self._read(STATUS, VIEW_LENGTHS[self._round]))[:4]
        at_s = asyncio.get_running_loop().time()
        (errors,) = await self._read(ERRORS, 1)
        self._errors = errors_in(errors)
        # The coils stand between two single registers, so that these cannot be mixed up.
        self._coils = await self._read(ENABLE, 3, READ_COILS)
        (self._kept_a,) = await self._read(LIMIT, 1)
        letter, phase = chr(status >> 8), chr(status & 0xFF)
        # The manual has a second letter for A to D alone.
        if letter not in "ABCDEF" or (letter in "ABCD" and phase not in "012"):
            raise ProtocolError(
                f"controller {self.name}: status {status:#06x} is none; check the model"
            )
        self._letter = letter
        return PilotReading(
            at_s=at_s,
            state=PilotState(letter),
            power_path=self._path(letter, phase),
            offered_a=float(offered_a) if phase == "2" else 0.0,
            faults=self._faults(cable_a),
            cable_a=float(cable_a) if cable_a not in (0, NO_RESISTANCE) else None,
        )

    def _faults(self, cable_a: int) -> frozenset[str]:
        errors = self._errors - {NOT_AVAILABLE}
        found = {FAULTS.get(error, "controller_failure") for error in errors}
        return frozenset(found | ({"proximity"} if cable_a == NO_RESISTANCE else set()))

    def _path(self, letter: str, phase: str) -> PowerPath:
        """By the status. Without PWM in C or D it waits for the EV, nobody sees how long: what was
        live stays in doubt until another state shows it open."""
        if letter not in "CD":
            self._may_be_live = False
        elif phase == "2":
            self._may_be_live = True
            return PowerPath.CLOSED
        in_doubt = self._may_be_live or CONTACTOR in self._errors
        return PowerPath.UNKNOWN if in_doubt else PowerPath.OPEN

    def _obeys(self, reading: PilotReading) -> bool:
        enabled, available = self._coils[:2]
        if self._wish is not Wish.ALLOW:
            return not enabled and bool(available) is not self._is_cut
        is_kept = self._keeps(self._kept_a, int(self._limit_a))
        return bool(enabled and available) and is_kept

    async def _tend(self, reading: PilotReading, report: Report) -> None:
        self._check_cut()
        if self._wish is Wish.STOP and reading.power_path is not PowerPath.OPEN:
            if self._told_for_s >= LET_GO_S and not self._is_cut:
                self._is_cut = True
                await self._coil(AVAILABLE, 0)
        elif self._wish is Wish.STOP and self._is_cut:
            self._is_cut = False
            await self._coil(AVAILABLE, 1)
        if self.capabilities.has_lock:
            await self._tend_lock(reading.at_s, report)

    def _check_cut(self) -> None:
        """Says once that coil 20001 does nothing: by the switch that leaves input XR to an RCM."""
        is_in_vain = self._is_cut and self._letter != "F"
        self._looks_in_vain = self._looks_in_vain + 1 if is_in_vain else 0
        if self._looks_in_vain >= LOOKS_UNTIL_IN_VAIN and not self._is_warned:
            self._is_warned = True
            log.warning(
                "%s: was told to cut off and does not go into state F: a stop opens only when the "
                "EV lets go; set its switch S1/DIP 2 to ON",
                self.name,
            )

    def lock(self, locked: bool) -> None:
        """See contract."""
        super().lock(locked)
        self._locked = None  # told again

    async def _tend_lock(self, now_s: float, report: Report) -> None:
        """Orders the lock, and says where it stands: by the absence of its errors."""
        if self._lock_wish is None:
            self._lock_wish = bool(self._coils[2])
        if self._lock_told is not self._lock_wish:
            await self._coil(LOCK, int(self._lock_wish))
            self._lock_told, self._lock_told_at_s = self._lock_wish, now_s
            return
        if bool(self._coils[2]) is not self._lock_wish:
            self._lock_told = None
        elif now_s - self._lock_told_at_s >= LOCK_MOVES_S:
            stands = self._lock_wish if not self._errors & LOCK_ERRORS else not self._lock_wish
            if stands is not self._locked:
                self._locked = stands
                report(InputSeen(self.name, PLUG_LOCK, stands, now_s))
