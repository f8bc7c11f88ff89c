"""EVSE-WB, EVSE-DIN, SimpleEVSE: a pilot controller on Modbus RTU that closes and opens by itself.

It has no communication watchdog. What public sources disagree on, or do not say: the meaning of
bit 0 of register 1007 (an option), of its bits 4 and 5 (any of them is a fault here), and whether
a current of 0 opens the relay under load (so it is told to turn off after the EV's time).
"""

import asyncio
import logging

from msgspec.structs import replace

from drivers.bus.modbus_line import ModbusLine, Refused
from drivers.contract import (
    EvseWbOptions,
    PilotReading,
    PilotState,
    PowerPath,
    ProtocolError,
    Report,
)
from drivers.pilots.modbus_pilot import LET_GO_S, ModbusPilot, without_watchdog
from drivers.pilots.wish import Wish

SET_CURRENT, COMMANDS, FIRMWARE = 1000, 1004, 1005
AFTER_BOOT_A, SETTINGS = 2000, 2005
TURN_OFF, TEST_RCD = 0x0001, 0x0002
TEST_WITHIN_S = 60.0
"""Its own test takes about 30 s."""
VIEW_LENGTHS = (8, 9, 10)
"""Registers from 1000 of three views in a row: an old view does not fit the next request."""
SHORT_VIEW = (8,)
"""For firmware that ends at 1007; something else is read between two views then."""
LOOKS_UNTIL_TOO_HIGH = 2
SETTINGS_LENGTH = 6
MOST_A = 80

STATES = {1: PilotState.A, 2: PilotState.B, 3: PilotState.C, 4: PilotState.D, 5: PilotState.UNKNOWN}
FAILURE = 5
PWM = 2
RELAY_ON = 0x0001
RCD_TEST_OR_ERROR, RCD_ERROR = 0x0010, 0x0020
FAULTS = {
    0x0002: "diode",
    0x0004: "ventilation_required",
    RCD_ERROR: "rcd",
}
BUTTON_CHANGES_CURRENT, FINE_CURRENT = 0x0001, 0x0080
OFF_AFTER_CHARGE, SWITCHED_OFF = 0x2000, 0x4000
FINE_FROM_FIRMWARE = 17

log = logging.getLogger(__name__)


class EvseWb(ModbusPilot):
    """Implements contract.PilotController."""

    def __init__(self, name: str, options: EvseWbOptions, line: ModbusLine) -> None:
        """Does no I/O."""
        capabilities = replace(
            without_watchdog(options, MOST_A),
            before_first_order=(
                "after its power-up it offers what register 2000 says; this driver sets it to 0, "
                "so only a new controller gives energy away before its first start with this agent"
            ),
        )
        super().__init__(name, options, line, capabilities)
        self._inverted = options.relay_bit_inverted
        self._per_a = 1
        self._lengths: tuple[int, ...] = VIEW_LENGTHS
        self._round = 0
        self._too_high = 0
        self._set = 0
        self._commands = 0
        self._status = 0
        self._tests = options.rcd_test
        self._test_is_due = options.rcd_test
        self._tested_at_s: float | None = None
        """When the test under way began."""
        self._test_was_seen = False
        self._test_failed = False

    async def _settle(self) -> None:
        await self._read(FIRMWARE, 1)

    async def _bring_up(self) -> None:
        (firmware,) = await self._read(FIRMWARE, 1)
        settings = await self._read(AFTER_BOOT_A, SETTINGS_LENGTH)
        bits = settings[SETTINGS - AFTER_BOOT_A]
        self._per_a = 100 if bits & FINE_CURRENT and firmware >= FINE_FROM_FIRMWARE else 1
        if settings[0] != 0:
            await self._forbid_charging_after_boot(settings[0])
        for bit, trouble in (
            (BUTTON_CHANGES_CURRENT, "a button may change its current (register 2005 bit 0)"),
            (OFF_AFTER_CHARGE, "it switches itself off after a charge (register 2005 bit 13)"),
            (SWITCHED_OFF, "it is switched off (register 2005 bit 14)"),
        ):
            if bits & bit:
                log.warning("%s: %s; clear that bit with its service program", self.name, trouble)

    async def _forbid_charging_after_boot(self, before_a: int) -> None:
        """Register 2000 is kept in EEPROM, so it is written only when it differs."""
        await self._write(AFTER_BOOT_A, 0)
        kept = (await self._read(AFTER_BOOT_A, SETTINGS_LENGTH))[0]
        if kept != 0:
            log.warning(
                "%s: offers %d A after its power-up and does not let that be changed; "
                "switch its supply together with this board's",
                self.name,
                kept,
            )
        else:
            log.info("%s: offered %d A after its power-up, now nothing", self.name, before_a)

    async def _tell(self) -> None:
        if self._wish is Wish.EMERGENCY_STOP:
            await self._write(COMMANDS, TURN_OFF)
        if self._wish is not Wish.ALLOW:
            await self._write(SET_CURRENT, 0)
            return
        value = int(self._limit_a * self._per_a)
        if self._commands & TURN_OFF:
            await self._write(COMMANDS, 0)
        if self._wish is Wish.ALLOW:
            self._accepted = None
            await self._write(SET_CURRENT, value)

    async def _look(self) -> PilotReading:
        values = await self._view()
        self._set, pwm_a, vehicle, cable_a, self._commands, _, evse, status = values[:8]
        self._status = status
        if vehicle not in STATES:
            raise ProtocolError(
                f"{self._options.line} unit {self._options.unit}: vehicle state {vehicle} is none; "
                "check that this is an EVSE-WB or EVSE-DIN"
            )
        self._too_high = self._too_high + 1 if self._offers_too_much() else 0
        relay_on = bool(status & RELAY_ON) != self._inverted
        return PilotReading(
            at_s=asyncio.get_running_loop().time(),
            state=STATES[vehicle],
            power_path=PowerPath.CLOSED if relay_on else PowerPath.OPEN,
            offered_a=(pwm_a / 100 if pwm_a > MOST_A else float(pwm_a)) if evse == PWM else 0.0,
            faults=self._faults(vehicle, status),
            cable_a=float(cable_a) if cable_a else None,
        )

    async def _view(self) -> list[int]:
        if self._lengths == SHORT_VIEW:
            await self._settle()
        self._round = (self._round + 1) % len(self._lengths)
        try:
            return await self._read(SET_CURRENT, self._lengths[self._round])
        except Refused:
            self._lengths = SHORT_VIEW
            raise

    def _offers_too_much(self) -> bool:
        allowed_a = self._limit_a if self._wish is Wish.ALLOW else 0.0
        return self._is_told and self._set > int(allowed_a * self._per_a)

    def _faults(self, vehicle: int, status: int) -> frozenset[str]:
        """Bit 4 is a test under way to some and an error to others: beside a failure an error."""
        found = {name for bit, name in FAULTS.items() if status & bit}
        if vehicle == FAILURE:
            if status & RCD_TEST_OR_ERROR:
                found.add("rcd")
            if not found:
                found.add("controller_failure")
        if self._test_failed:
            found.add("rcd_self_test")
        if self._too_high >= LOOKS_UNTIL_TOO_HIGH:
            found.add("current_not_obeyed")
        return frozenset(found)

    def _obeys(self, reading: PilotReading) -> bool:
        if self._wish is not Wish.ALLOW:
            off = self._wish is Wish.STOP or reading.power_path is not PowerPath.CLOSED
            return self._set == 0 and off
        if self._commands & TURN_OFF:
            return False
        return self._keeps(self._set, int(self._limit_a * self._per_a))

    async def _tend(self, reading: PilotReading, report: Report) -> None:
        """Opens under load when the EV does not let go; has the RCD sensor tested."""
        stays = self._wish is Wish.STOP and reading.power_path is PowerPath.CLOSED
        if stays and self._told_for_s >= LET_GO_S:
            await self._write(COMMANDS, TURN_OFF)
        if self._tests:
            await self._tend_test(reading)

    async def _tend_test(self, reading: PilotReading) -> None:
        """While nobody is there; whoever comes meanwhile waits for the controller."""
        if self._tested_at_s is not None:
            await self._judge_test(reading.at_s, self._tested_at_s)
        elif reading.state is not PilotState.A:
            self._test_is_due = True
        elif self._test_is_due and self._wish is Wish.STOP:
            self._test_is_due, self._test_was_seen = False, False
            self._tested_at_s = reading.at_s
            await self._write(COMMANDS, TEST_RCD)

    async def _judge_test(self, now_s: float, began_s: float) -> None:
        """Over when its bit went away again. What then still stands, or for too long, is an error,
        whichever of the two bits it is."""
        is_shown = bool(self._status & RCD_TEST_OR_ERROR)
        self._test_was_seen = self._test_was_seen or is_shown
        is_late = now_s >= began_s + TEST_WITHIN_S
        if is_late or (self._test_was_seen and not is_shown):
            failed = bool(self._status & (RCD_TEST_OR_ERROR | RCD_ERROR))
            if failed and not self._test_failed:
                log.warning(
                    "%s: the test of its RCD sensor failed, so nothing is sold; check the sensor, "
                    "or write rcd_test: false where there is none",
                    self.name,
                )
            self._tested_at_s, self._test_failed = None, failed
            if self._commands & TEST_RCD:
                await self._write(COMMANDS, 0)
