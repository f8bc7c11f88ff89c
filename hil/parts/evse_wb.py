"""An EVSE-WB on a Modbus line: registers of its own, EV and contactor of the simulated world."""

import asyncio

from drivers.contract import PilotState
from drivers.sim.live import LiveWorld
from drivers.sim.world import Place
from hil.parts.modbus_slave import Registers, Unit

BOOT_S, TEST_SHOWS_S, TEST_S = 1.0, 1.5, 30.0
TURN_OFF, TEST_RCD, CLEAR_RCD = 0x0001, 0x0002, 0x0004
TESTS = 0x0010
DIODE, VENTILATION, RCD = 0x0002, 0x0004, 0x0020
ALLOW_D, FINE, OFF = 0x0008, 0x0080, 0x4000
FAULT_BITS = {"diode": DIODE, "rcd": RCD}
VEHICLE = {PilotState.A: 1, PilotState.B: 2, PilotState.C: 3, PilotState.D: 4}
FAILURE = 5
STEADY, PWM = 1, 2


class EvseWb:
    """The board as its scripts describe it. `unit` belongs onto a ModbusSlave.

    It takes the worst that its sources leave open: a current of 0 does not open the relay, only
    the EV or the command to turn off does. Of the world's faults it sees those in FAULT_BITS; its
    relay bit is what was ordered, so it never sees a weld. After `start` it is silent for a while.
    Its test of the RCD sensor fails for the world's fault `rcd_sensor`.
    """

    def __init__(self, live: LiveWorld, place: Place, *, firmware: int = 18) -> None:
        self.live = live
        self.place = place
        self.connector = live.world.connectors[place]
        self.firmware = firmware
        self.after_boot_a = 16
        self.least_a, self.most_a = 6, 80
        self.settings = 0
        self.ends_at = 1009
        """Last register of the view; older firmware ends at 1007."""
        self.set_a = 0
        self.commands = 0
        self.relay = False
        self.relay_bit_inverted = False
        self.writes: list[tuple[int, int]] = []
        """(register, value) of everything that was written."""
        self.unit = Unit(self._registers, write=self._write, has_holes=True)
        self.booted = False
        self.tests = 0
        """How often it tested its RCD sensor."""
        self.is_testing = False
        self._test_shows_s = 0.0
        self._sensor_failed = False
        self._timer: asyncio.TimerHandle | None = None
        live.world.listeners.append(self._react)

    def start(self) -> None:
        """Power on, also a sudden restart: it offers what stands in register 2000."""
        self.booted, self.set_a, self.commands = False, self.after_boot_a, 0
        self.is_testing = self._sensor_failed = False
        self.live.catch_up()
        self._drive(0.0, False)
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(BOOT_S, self._boot)

    def stop(self) -> None:
        """Nothing more happens by itself, for the end of a bench."""
        if self._timer is not None:
            self._timer.cancel()

    def _boot(self) -> None:
        self.booted = True
        self.live.catch_up()
        self._react()

    def _tested(self) -> None:
        self.is_testing, self.commands = False, self.commands & ~TEST_RCD
        self.tests += 1
        self._sensor_failed = "rcd_sensor" in self.connector.faults
        self.live.catch_up()
        self._react()

    # --- registers ------------------------------------------------------------------------

    def _registers(self) -> Registers:
        self.live.catch_up()
        offered = self._offered_a()
        fine = 100 if self._is_fine else 1
        view = {
            1000: self.set_a,
            1001: round(offered * fine),
            1002: FAILURE if self._fault_bits() else VEHICLE[self._pilot()],
            1003: round(self.connector.cable_a or 0) if self.connector.cable_at_evse else 0,
            1004: self.commands,
            1005: self.firmware,
            1006: PWM if offered else STEADY,
            1007: self._status_bits(),
            1008: 0,
            1009: 0,
        }
        known = {(3, at): value for at, value in view.items() if at <= self.ends_at}
        kept = (self.after_boot_a, 1, self.least_a, 0, 0, self.settings, 0, 0, 0, 3)
        return known | {(3, 2000 + n): value for n, value in enumerate(kept)}

    def _write(self, kind: int, address: int, value: int) -> bool:
        if kind != 3 or address not in (1000, 1004, 2000, 2002, 2005):
            return False
        self.live.catch_up()
        self.writes.append((address, value))
        if address == 1000:
            fine = 100 if self._is_fine else 1
            self.set_a = (
                0 if value == 0 else max(self.least_a * fine, min(value, self.most_a * fine))
            )
        elif address == 1004:
            self.commands = value
            if value & TEST_RCD and not self.is_testing:
                loop = asyncio.get_running_loop()
                self.is_testing, self._test_shows_s = True, loop.time() + TEST_SHOWS_S
                self._timer = loop.call_later(TEST_S, self._tested)
        elif address == 2000:
            self.after_boot_a = value
        elif address == 2002:
            self.least_a = value
        else:
            self.settings = value
        self._react()
        return True

    # --- pilot and relay ------------------------------------------------------------------

    @property
    def _is_fine(self) -> bool:
        return bool(self.settings & FINE) and self.firmware >= 17

    def _pilot(self) -> PilotState:
        return self.live.world.pilot_state(self.place)

    def _status_bits(self) -> int:
        relay = self.relay != self.relay_bit_inverted
        shows = self.is_testing and asyncio.get_running_loop().time() >= self._test_shows_s
        return self._fault_bits() | TESTS * shows | relay

    def _fault_bits(self) -> int:
        bits = sum(bit for name, bit in FAULT_BITS.items() if name in self.connector.faults)
        bits |= RCD * self._sensor_failed
        forbids_d = self._pilot() is PilotState.D and not self.settings & ALLOW_D
        return bits | (VENTILATION if forbids_d else 0)

    def _offered_a(self) -> float:
        off = self.commands & TURN_OFF or self.settings & OFF or self._fault_bits()
        return 0.0 if off or not self.booted else self.set_a / (100 if self._is_fine else 1)

    def _react(self) -> None:
        if not self.booted:
            return
        offered_a = self._offered_a()
        asks = self._pilot() in (PilotState.C, PilotState.D)
        lets_stay = self.relay and asks and not self.commands & TURN_OFF and not self._fault_bits()
        self._drive(offered_a, (asks and offered_a > 0) or lets_stay)

    def _drive(self, offered_a: float, relay: bool) -> None:
        self.relay = relay
        self.live.world.offer(self.place, offered_a)
        self.live.world.order_contactor(self.place, relay)
