"""A contactor on GPIO lines and a controller that only speaks pilot: one PilotController."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from drivers.contract import (
    Counters,
    DeviceFound,
    DeviceLost,
    DriverError,
    GpioContactorOptions,
    InputSeen,
    Observation,
    PilotCapabilities,
    PilotController,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
    Report,
)
from drivers.gpio.closing import UNDER_LOAD_S, Bounds, Closing, View, Wish
from drivers.gpio.lines import Bank, Pins
from drivers.gpio.lock_motor import LockMotor

PLUG_LOCK = "plug_lock"
"""Name of the input by which a pilot controller reports its lock; active: locked."""
F_AT_LEAST_S = 1.0
"""How long the controller holds F after an emergency stop (IEC 61851-1: 0.3 s). Then it signals
X1: in F nobody can see the EV leave, and faults wait for that."""
POLL_S = 0.25
"""How often the lines are read though no edge came, and `alive` toggles."""
REOPEN_S = 2.0


class Lines:
    """The open lines of one contactor device, coils first; all outputs are off."""

    def __init__(
        self, options: GpioContactorOptions, pins: Pins, heard: Callable[[], None]
    ) -> None:
        """Raises DriverError; nothing stays open then."""
        bank = self._bank = Bank(pins, heard)
        switches = [s for s in (options.contactor, options.second) if s is not None]
        lock, test, alive = options.lock, options.dc_fault_test, options.alive
        try:
            self.coils = [bank.output(switch.coil) for switch in switches]
            self.aux = [bank.input(switch.aux) for switch in switches]
            self.test = bank.output(test) if test else None
            self.alive = bank.output(alive) if alive else None
            self.rcd = bank.input(options.rcd) if options.rcd else None
            self.dc_fault = bank.input(options.dc_fault) if options.dc_fault else None
            self.lock_close = bank.output(lock.close) if lock else None
            self.lock_open = bank.output(lock.open) if lock else None
            self.lock_feedback = bank.input(lock.feedback) if lock else None
        except DriverError:
            bank.close()
            raise

    def view(self, reading: PilotReading | None, fresh: bool) -> View:
        """All inputs now; raises OSError when the lines are gone."""
        return View(
            state=reading.state if reading is not None else PilotState.UNKNOWN,
            is_healthy=reading is not None and fresh and not reading.faults,
            aux=tuple(aux.is_active for aux in self.aux),
            offered_a=reading.offered_a if reading is not None else None,
            rcd=self.rcd is not None and self.rcd.is_active,
            dc_fault=self.dc_fault is not None and self.dc_fault.is_active,
        )

    def close(self) -> None:
        self._bank.close()


class GpioContactor:
    """Implements contract.PilotController. The controller's own power path does not count."""

    def __init__(
        self, name: str, options: GpioContactorOptions, controller: PilotController, pins: Pins
    ) -> None:
        self.name = name
        self.counters = getattr(controller, "counters", Counters())
        self._options = options
        self._controller = controller
        self._pins = pins
        below = controller.capabilities
        self.capabilities = PilotCapabilities(
            closes_itself=True,
            opens_itself=True,
            opens_within_s=UNDER_LOAD_S + options.opens_within_s + POLL_S,
            report_interval_s=below.report_interval_s,
            min_a=below.min_a,
            max_a=below.max_a,
            has_lock=options.lock is not None or below.has_lock,
            watches_contacts=True,
            host_loss_fallback=(
                f"contactor: whatever the lines do that nobody holds (docs/gpio.md); "
                f"pilot: {below.host_loss_fallback}"
            ),
        )
        count = 1 if options.second is None else 2
        tests = options.dc_fault is not None and options.dc_fault_test is not None
        bounds = Bounds(options.closes_within_s, options.opens_within_s, tests)
        self._closing = Closing(count, bounds, 0.0)
        self._lock = LockMotor(options.lock.pulse_s) if options.lock is not None else None
        self._locked: bool | None = None
        """Where the lock was reported last, since it was ordered to move."""
        self._lines: Lines | None = None
        self._reading: PilotReading | None = None
        self._told: PilotReading | None = None
        self._report: Report = lambda observation: None
        self._timer: asyncio.TimerHandle | None = None
        self._cut_at_s: float | None = None
        """Since when the controller is ordered to F."""
        self._path_at_s = 0.0
        """When the power path was last seen to change."""
        self._lost: set[str] = set()
        """What is out of sight: the lines, the controller."""

    # --- orders -----------------------------------------------------------------------------

    def allow_power(self, limit_a: float) -> None:
        """See contract; the contactor closes once the EV is in C."""
        self._cut_at_s = None
        self._controller.allow_power(limit_a)
        self._order(Wish.ALLOW if limit_a >= self.capabilities.min_a else Wish.STOP)

    def stop(self) -> None:
        """See contract; it opens when the EV let go, at the latest after 6 s."""
        self._cut_at_s = None
        self._controller.stop()
        self._order(Wish.STOP)

    def emergency_stop(self) -> None:
        """See contract; the coils are off when this returns."""
        self._order(Wish.CUT)
        self._controller.emergency_stop()
        self._cut_at_s = self._now_s()

    def lock(self, locked: bool) -> None:
        """See contract."""
        if self._lock is None:
            self._controller.lock(locked)
        else:
            self._locked = None
            self._lock.order(locked, self._now_s())
            self._step()

    def power_path(self) -> PowerPath:
        """See contract; seen at the auxiliary contacts."""
        return self._closing.power_path if self._lines is not None else PowerPath.UNKNOWN

    def _order(self, wish: Wish) -> None:
        self._closing.order(wish, self._now_s())
        self._step()

    # --- the lines --------------------------------------------------------------------------

    async def run(self, report: Report) -> None:
        """See contract; the coils are off before anything else is closed."""
        self._report = report
        below = asyncio.create_task(self._controller.run(self._heard), name=self._controller.name)
        lines = asyncio.create_task(self._hold_lines(), name=f"lines of {self.name}")
        try:
            done, _ = await asyncio.wait((below, lines), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._let_go()
            below.cancel()
            lines.cancel()
            await asyncio.gather(below, lines, return_exceptions=True)

    async def _hold_lines(self) -> None:
        """Opens the lines for ever, and reads them now and then though no edge came."""
        while True:
            try:
                self._lines = Lines(self._options, self._pins, self._step)
            except DriverError as error:
                self._lose("lines", str(error))
                await asyncio.sleep(REOPEN_S)
                continue
            self._find("lines")
            self._step()
            while self._lines is not None:
                await asyncio.sleep(POLL_S)
                self._step(beat=True)

    def _let_go(self) -> None:
        """Coils off, lines given back; what they showed counts no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        self._closing.drop()

    # --- one step: inputs, decision, outputs, report ------------------------------------------

    def _step(self, beat: bool = False) -> None:
        """Runs to its end in whatever callback it is; `beat` moves the line `alive`."""
        if self._lines is None:
            return
        now_s = self._now_s()
        try:
            path = self._closing.power_path
            self._closing.step(self._lines.view(self._reading, self._is_fresh(now_s)), now_s)
            self._drive(self._lines)
            self._step_lock(self._lines, now_s)
            if beat and self._lines.alive is not None:
                self._lines.alive.set(not self._lines.alive.is_on)
        except OSError as error:
            self._let_go()
            self._lose("lines", f"{self.name}: GPIO lines lost ({error}); check the GPIO expander")
            return
        if path is not self._closing.power_path:
            self._path_at_s = now_s
        self._release(now_s)
        self._tell()
        self._wake_at(now_s)

    def _release(self, now_s: float) -> None:
        """The pilot leaves F once the path is open; the contactor stays open until an order."""
        cut_at_s, path = self._cut_at_s, self._closing.power_path
        if cut_at_s is not None and path is PowerPath.OPEN and now_s >= cut_at_s + F_AT_LEAST_S:
            self._cut_at_s = None
            self._controller.stop()

    def _wake_at(self, now_s: float) -> None:
        """The next step that time alone asks for."""
        lock_s = self._lock.deadline(now_s) if self._lock is not None else None
        times = [at_s for at_s in (self._closing.deadline(now_s), lock_s) if at_s is not None]
        if self._timer is not None:
            self._timer.cancel()
        if times:
            self._timer = asyncio.get_running_loop().call_at(min(times), self._step)

    def _drive(self, lines: Lines) -> None:
        """Coils that go off go first."""
        pairs = list(zip(lines.coils, self._closing.coils, strict=True))
        for coil, on in sorted(pairs, key=lambda pair: pair[1]):
            coil.set(on)
        if lines.test is not None:
            lines.test.set(self._closing.test)

    def _step_lock(self, lines: Lines, now_s: float) -> None:
        motor, feedback = self._lock, lines.lock_feedback
        if motor is None or feedback is None or not lines.lock_close or not lines.lock_open:
            return
        is_open = self._closing.power_path is PowerPath.OPEN
        motor.step(feedback.is_active, is_open, now_s)
        for line, on in sorted(
            ((lines.lock_close, motor.closing), (lines.lock_open, motor.opening)),
            key=lambda pair: pair[1],
        ):
            line.set(on)
        if motor.settled is not None and motor.settled is not self._locked:
            self._locked = motor.settled
            self._report(InputSeen(self.name, PLUG_LOCK, motor.settled, now_s))

    def _is_fresh(self, now_s: float) -> bool:
        age_s = max(3.0, 3 * self.capabilities.report_interval_s)
        return self._reading is not None and now_s - self._reading.at_s <= age_s

    # --- what others hear -----------------------------------------------------------------------

    def _heard(self, observation: Observation) -> None:
        """What the controller reports: taken in first, then told under this device's name."""
        match observation:
            case PilotSeen(_, reading):
                self._reading = reading
                self._told = None
                self._step()
            case DeviceLost(_, reason):
                self._reading = None
                self._step()
                self._lose("controller", reason)
            case DeviceFound():
                self._find("controller")
            case InputSeen(_, name, active, at_s):
                self._report(InputSeen(self.name, name, active, at_s))

    def _tell(self) -> None:
        """Each report of the controller, and each change of the contactor between two of them."""
        if self._reading is None:
            return
        merged = replace(
            self._reading,
            at_s=max(self._reading.at_s, self._path_at_s),
            power_path=self._closing.power_path,
            faults=self._reading.faults | self._closing.faults,
        )
        if merged != self._told:
            self._told = merged
            self._report(PilotSeen(self.name, merged))

    def _lose(self, what: str, reason: str) -> None:
        is_new = not self._lost
        self._lost.add(what)
        if is_new:
            self._report(DeviceLost(self.name, reason))

    def _find(self, what: str) -> None:
        if what in self._lost:
            self._lost.discard(what)
            if not self._lost:
                self._told = None
                self._report(DeviceFound(self.name))

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
