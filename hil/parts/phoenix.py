"""A Phoenix Contact EV Charge Control Basic on a Modbus line, over the simulated world."""

import asyncio

from drivers.contract import PilotState
from drivers.sim.live import LiveWorld
from drivers.sim.world import Place
from hil.parts.modbus_slave import Registers, Unit

BOOT_S = 2.0
CHECKS_CONTACTOR_S = 0.2
DESIGNATION = "EV-CC-AC1-M3-CBC-SER-PCB"
BY_COIL = {4000: 3, 4001: 2, 4002: 3}
"""Settings by which the coils 20000, 20001, 20002 count."""
COILS = (20000, 20001, 20002)
FAULT_NUMBERS = {"diode": 13, "rcd": 15, "lock_failed": 6}
CONTACTOR, D_REJECTED, NOT_AVAILABLE = 12, 11, 5
LEAST_A, MOST_A = 6, 63


class Phoenix:
    """The controller as its manual describes it. `unit` belongs onto a ModbusSlave.

    Without PWM it waits for the EV to let go; state F opens at once. It compares its contactor with
    its order where 4006 says so. Of the world's faults it sees those in FAULT_NUMBERS.
    """

    def __init__(self, live: LiveWorld, place: Place) -> None:
        self.live = live
        self.place = place
        self.connector = live.world.connectors[place]
        self.status_f = "F0"
        self.dip_2 = True
        """Without it coil 20001 does nothing, and the controller is always available."""
        self.settings = {4000: 0, 4001: 0, 4002: 0, 4006: 0, 4007: 200, 4010: 0, 4011: 0, 4012: 0}
        self.coils = dict.fromkeys(COILS, 0)
        self.limit_a = LEAST_A
        self.relay = False
        self.writes: list[tuple[int, int]] = []
        """(register or coil, value) of everything that was written."""
        self.unit = Unit(self._registers, write=self._write, has_holes=True)
        self.booted = False
        self._welded = False
        self._timer: asyncio.TimerHandle | None = None
        live.world.listeners.append(self._react)

    def start(self) -> None:
        """Power on, also a sudden restart: coils and current are forgotten, settings are kept."""
        self.stop()
        self.booted, self.limit_a = False, LEAST_A
        self.coils, self._welded = dict.fromkeys(COILS, 0), False
        self.live.catch_up()
        self._drive(0.0, False)
        self._timer = asyncio.get_running_loop().call_later(BOOT_S, self._boot)

    def stop(self) -> None:
        """Nothing more happens by itself, for the end of a bench."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def locked(self) -> bool:
        return bool(self.coils[20002]) and self.settings[4002] == BY_COIL[4002]

    def _boot(self) -> None:
        self.booted = True
        self.live.catch_up()
        self._react()

    # --- registers ------------------------------------------------------------------------

    def _registers(self) -> Registers:
        self.live.catch_up()
        name = DESIGNATION.ljust(32).encode("ascii")
        offered_a = round(self._offered_a())
        status = self._status()
        registers = {(4, 1000 + n): name[2 * n] << 8 | name[2 * n + 1] for n in range(16)}
        registers |= {(3, at): value for at, value in self.settings.items()}
        registers |= {(3, 22000): self.limit_a}
        view = (ord(status[0]) << 8 | ord(status[1]), self._cable_a(), 0, offered_a, 0, 0)
        registers |= {(3, 24000 + n): value for n, value in enumerate(view)}
        registers |= {(3, 24025): self._errors()}
        return registers | {(1, at): value for at, value in self.coils.items()}

    def _write(self, kind: int, address: int, value: int) -> bool:
        if kind == 1 and address in self.coils:
            self.coils[address] = value
        elif kind == 3 and address in self.settings:
            self.settings[address] = value
        elif kind == 3 and address == 22000:
            self.limit_a = max(LEAST_A, min(value, MOST_A))
        else:
            return False
        self.live.catch_up()
        self.writes.append((address, value))
        self._react()
        return True

    def _status(self) -> str:
        if not self._is_available or self._numbers():
            return self.status_f
        return f"{self._pilot().value}{2 if self._offered_a() and not self._is_a() else 1}"

    def _errors(self) -> int:
        numbers = self._numbers() + [NOT_AVAILABLE] * (self.booted and not self._is_available)
        return sum(1 << number - 1 for number in numbers)

    def _numbers(self) -> list[int]:
        numbers = [n for name, n in FAULT_NUMBERS.items() if name in self.connector.faults]
        if self._pilot() is PilotState.D and not self.settings[4010]:
            numbers.append(D_REJECTED)
        return numbers + [CONTACTOR] * self._welded

    def _cable_a(self) -> int:
        return round(self.connector.cable_a or 0) if self.connector.cable_at_evse else 0

    # --- pilot and contactor --------------------------------------------------------------

    @property
    def _is_available(self) -> bool:
        listens = self.dip_2 and self.settings[4001] == BY_COIL[4001]
        return self.booted and (not listens or bool(self.coils[20001]))

    def _is_a(self) -> bool:
        return self._pilot() is PilotState.A

    def _pilot(self) -> PilotState:
        return self.live.world.pilot_state(self.place)

    def _offered_a(self) -> float:
        enabled = self.settings[4000] != BY_COIL[4000] or self.coils[20000]
        works = self._is_available and not self._numbers()
        return float(self.limit_a) if enabled and works else 0.0

    def _react(self) -> None:
        if not self.booted:
            return
        asks = self._pilot() in (PilotState.C, PilotState.D)
        works = self._is_available and not self._numbers()
        self._drive(self._offered_a(), works and asks and (self._offered_a() > 0 or self.relay))

    def _drive(self, offered_a: float, relay: bool) -> None:
        if relay is not self.relay:
            self.relay = relay
            if self.booted:
                self.stop()
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(CHECKS_CONTACTOR_S, self._check)
        self.live.world.offer(self.place, offered_a)
        self.live.world.order_contactor(self.place, relay)

    def _check(self) -> None:
        """The force-guided break contact against the order."""
        self.live.catch_up()
        if self.settings[4006] and self.connector.closed and not self.relay:
            self._welded = True
            self._react()
