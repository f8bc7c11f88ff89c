"""What pilot controllers on Modbus have in common: orders, polling, loss, and being in step."""

import asyncio
from abc import ABC, abstractmethod

from drivers.bus.modbus_line import ModbusLine, Refused
from drivers.bus.modbus_request import READ_HOLDING, WRITE_REGISTER, WRITE_REGISTERS, Request
from drivers.bus.turns import Rank
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    DriverError,
    EvseWbOptions,
    PhoenixOptions,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    PilotState,
    PortError,
    PowerPath,
    Report,
)
from drivers.pilots.wish import Wish

LEAST_A = 6
LET_GO_S = 6.0
"""An EV that does not let go is cut off under load (IEC 61851-1 A.6 seq. 10.2)."""
FAILURES_UNTIL_LOST = 3
RETRY_S = 0.1
"""Between two attempts to tell a stop."""
LONGEST_PERIOD_S = 16.0
"""A lost controller is asked more and more rarely, down to this, where others on its line are to
be seen in time; an order asks it at once."""
LAST_WORDS = 3
"""Attempts to stop when the driver is ended."""


def without_watchdog(options: EvseWbOptions | PhoenixOptions, max_a: int) -> PilotCapabilities:
    """Of a controller that closes and opens by itself and goes on when its host dies."""
    return PilotCapabilities(
        closes_itself=True,
        opens_itself=True,
        opens_within_s=_opens_within_s(options.poll_s, options.timeout_s),
        report_interval_s=options.poll_s,
        min_a=float(LEAST_A),
        max_a=float(max_a),
        host_loss_fallback=_goes_on(options.host_loss),
    )


def _opens_within_s(poll_s: float, timeout_s: float) -> float:
    """The EV's time to let go, two polls to see that it did not, two requests that fail, and a
    dead device on the same line that holds the bus for twice its own second."""
    return LET_GO_S + 2 * poll_s + 2 * timeout_s + 2.0


def _goes_on(host_loss: str) -> str:
    """What becomes of a charge when the host dies, in words for the technician."""
    goes_on = "goes on charging with the last current"
    if host_loss == "interlock":
        return f"{goes_on}; the interlock in the contactor's coil circuit has to open"
    return f"{goes_on}; nothing opens the contactor until a person does"


class ModbusPilot(ABC):
    """Implements contract.PilotController but for what the registers mean.

    A stop is written before anything else and repeated until the device shows it. Out of step
    (at the start, after a failure, after bytes nobody asked for) it first reads what it never
    reads otherwise; in step, no two requests in a row have answers of one kind and length, so a
    doubled or late answer is an error and never a state.
    """

    def __init__(
        self,
        name: str,
        options: EvseWbOptions | PhoenixOptions,
        line: ModbusLine,
        capabilities: PilotCapabilities,
    ) -> None:
        """Does no I/O."""
        self.name = name
        self.capabilities = capabilities
        self._options = options
        self._line = line
        self.counters = line.counters(options.unit)
        self._wish = Wish.STOP
        self._limit_a = 0.0
        self._lock_wish: bool | None = None
        self._wake = asyncio.Event()
        self._seen: PilotReading | None = None
        self._failures = 0
        self._lost = False
        self._write_function = WRITE_REGISTER
        self._start_over()

    def _start_over(self) -> None:
        """Nothing is known of the controller, nor what it knows of the orders.

        `_told_at_s`: when it first took the order in force; `_accepted`: the current it made of it.
        """
        self._is_told = False
        self._is_up = False
        self._settled_doubts = -1
        self._told_at_s: float | None = None
        self._accepted: int | None = None

    # --- what the family does -----------------------------------------------------------------

    @abstractmethod
    async def _settle(self) -> None:
        """Reads what no poll reads; an answer to it means that no older one is under way."""

    @abstractmethod
    async def _bring_up(self) -> None:
        """Makes the settings right that orders rely on; writes only what differs."""

    @abstractmethod
    async def _tell(self) -> None:
        """Writes the wish into the registers; for a stop it reads nothing. What lets power flow
        is written last, and not if a stop was ordered meanwhile."""

    @abstractmethod
    async def _look(self) -> PilotReading:
        """One whole view; raises ProtocolError for what cannot be."""

    @abstractmethod
    def _obeys(self, reading: PilotReading) -> bool:
        """Whether the registers of the last look say what was ordered."""

    @abstractmethod
    async def _tend(self, reading: PilotReading, report: Report) -> None:
        """What else is due after a look: an EV that does not let go, the lock."""

    # --- orders -------------------------------------------------------------------------------

    def allow_power(self, limit_a: float) -> None:
        """See contract; less than 6 A cannot be signalled and is a stop."""
        limit_a = min(limit_a, self.capabilities.max_a)
        if limit_a < LEAST_A:
            self.stop()
        elif (self._wish, self._limit_a) != (Wish.ALLOW, limit_a):
            self._limit_a = limit_a
            self._order(Wish.ALLOW)

    def stop(self) -> None:
        """See contract."""
        if self._wish is not Wish.STOP:
            self._order(Wish.STOP)

    def emergency_stop(self) -> None:
        """See contract."""
        self._order(Wish.EMERGENCY_STOP)

    def lock(self, locked: bool) -> None:
        """See contract."""
        if self.capabilities.has_lock:
            self._lock_wish = locked
            self._wake.set()

    def power_path(self) -> PowerPath:
        """See contract; the view is stale after three polls."""
        if self._seen is None:
            return PowerPath.UNKNOWN
        age_s = asyncio.get_running_loop().time() - self._seen.at_s
        return PowerPath.UNKNOWN if age_s > 3 * self._options.poll_s else self._seen.power_path

    def _order(self, wish: Wish) -> None:
        self._wish = wish
        self._is_told = False
        self._told_at_s = None
        self._wake.set()

    @property
    def _must_stop(self) -> bool:
        return self._wish is not Wish.ALLOW and not self._is_told

    # --- the line -----------------------------------------------------------------------------

    async def run(self, report: Report) -> None:
        """See contract."""
        time = asyncio.get_running_loop().time
        with self._line.held(controls=True):
            try:
                while True:
                    self._wake.clear()
                    due_s = time() + self._options.poll_s
                    try:
                        await self._turn(report)
                        self._failures = 0
                    except DriverError as error:
                        self._fail(error, report)
                        if self._is_in_the_way and not isinstance(error, PortError):
                            due_s = time() + self._lost_period_s()
                        elif self._must_stop and not self._lost:
                            due_s = time() + RETRY_S
                            self._wake.clear()
                    await self._rest(due_s - time())
            finally:
                await self._say_last_words()

    @property
    def _is_in_the_way(self) -> bool:
        """A lost controller holds up the others on its line, if there are any."""
        return self._lost and self._line.has_several_controllers

    def _lost_period_s(self) -> float:
        doublings = min(self._failures - FAILURES_UNTIL_LOST + 1, 16)
        return min(self._options.poll_s * 2.0**doublings, LONGEST_PERIOD_S)

    async def _turn(self, report: Report) -> None:
        """One round: stop, get in step, set up, tell, look. Raises DriverError."""
        if self._must_stop:
            await self._tell_now()
        if self._settled_doubts != self._line.doubts(self._options.unit):
            await self._settle()
            self._settled_doubts = self._line.doubts(self._options.unit)
        if not self._is_up:
            await self._bring_up()
            self._is_up = True
        if not self._is_told:
            await self._tell_now()
        reading = await self._look()
        if self._settled_doubts != self._line.doubts(self._options.unit):
            return  # bytes nobody asked for came meanwhile: the next round looks again
        self._report(reading, report)
        if self._is_told and not self._obeys(reading):
            # It may have restarted and forgotten its settings with the order.
            self._is_told = self._is_up = False
        await self._tend(reading, report)

    async def _tell_now(self) -> None:
        wish, limit_a = self._wish, self._limit_a
        await self._tell()
        if (wish, limit_a) == (self._wish, self._limit_a):
            self._is_told = True
            if self._told_at_s is None:
                self._told_at_s = asyncio.get_running_loop().time()

    async def _say_last_words(self) -> None:
        """The driver ends: power off, and an emergency stop stays one."""
        if self._wish is Wish.ALLOW:
            self._wish = Wish.STOP
        for _ in range(LAST_WORDS):
            try:
                await self._tell()
            except DriverError:
                continue
            return

    def _fail(self, error: DriverError, report: Report) -> None:
        self._failures += 1
        if self._lost or self._failures < FAILURES_UNTIL_LOST:
            return
        self._start_over()
        self._lost, self._seen = True, None
        now_s = asyncio.get_running_loop().time()
        report(PilotSeen(self.name, PilotReading(now_s, PilotState.UNKNOWN, PowerPath.UNKNOWN)))
        report(DeviceLost(self.name, f"controller {self.name}: {error}"))

    def _report(self, reading: PilotReading, report: Report) -> None:
        self._seen = reading
        if self._lost:
            self._lost = False
            report(DeviceFound(self.name))
        report(PilotSeen(self.name, reading))

    async def _rest(self, seconds: float) -> None:
        """Waits, but not when an order comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    @property
    def _told_for_s(self) -> float:
        """How long the device has known the order in force."""
        told_at_s = self._told_at_s
        return 0.0 if told_at_s is None else asyncio.get_running_loop().time() - told_at_s

    def _keeps(self, shown: int, ordered: int) -> bool:
        """Whether its register still shows the current it accepted: one below that ordered is its
        own ceiling, learnt at the first look after `_tell` forgot the last one."""
        if self._accepted is None and 0 < shown <= ordered:
            self._accepted = shown
        return shown == self._accepted

    # --- requests -----------------------------------------------------------------------------

    async def _ask(self, request: Request) -> list[int]:
        """A stop that was ordered meanwhile goes first. A device that is lost does not hold up what
        others on the line are told and show."""
        if self._must_stop and not request.values:
            await self._tell_now()
        rank = Rank.ORDER if request.values else Rank.VIEW
        if self._is_in_the_way:
            rank = Rank.OTHER
        return await self._line.ask(
            request, self._options.timeout_s, self._options.delay_s, rank, reopens=True
        )

    async def _read(self, address: int, count: int, function: int = READ_HOLDING) -> list[int]:
        return await self._ask(Request(self._options.unit, function, address, count))

    async def _write(self, address: int, value: int) -> None:
        """One register, by the function that the device takes."""
        unit = self._options.unit
        try:
            await self._ask(Request(unit, self._write_function, address, values=(value,)))
        except Refused:
            other = WRITE_REGISTERS if self._write_function == WRITE_REGISTER else WRITE_REGISTER
            await self._ask(Request(unit, other, address, values=(value,)))
            self._write_function = other
