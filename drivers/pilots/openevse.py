"""OpenEVSE pilot controller over RAPI. It closes and opens its contactor by itself, and may be the
meter of its connector as well."""

import asyncio
import logging

from drivers.bus.serial_port import FIRST_PAUSE_S, next_pause_s
from drivers.contract import (
    Counters,
    DeviceFound,
    DeviceLost,
    DriverError,
    InputSeen,
    MeterSeen,
    NoAnswer,
    OpenEvseOptions,
    Payer,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
    Report,
    SerialLine,
    Signing,
)
from drivers.pilots.openevse_extras import Cable, Extras
from drivers.pilots.openevse_meter import ACCURACY, INTERVAL_S, MeterInside
from drivers.pilots.openevse_view import (
    BOOT_LOCKED,
    DISABLED,
    ENABLED,
    EV_CONNECTED,
    FAULTS,
    SLEEPING,
    View,
    from_change,
    from_status,
)
from drivers.pilots.rapi import Frame
from drivers.pilots.rapi_link import RapiLink
from drivers.pilots.wish import Wish

log = logging.getLogger(__name__)

LEAST_A = 6
MOST_A = 80
HEARTBEAT_S = 20
"""The controller counts it in 16-bit milliseconds: never above 65."""
PULSE_S = 5.0
FAILURES_UNTIL_LOST = 3
LONGEST_PAUSE_S = 5.0
"""Between two attempts to open the port: an EV may be charging behind it, and a stop may stand."""
PLUG_LOCK = "plug_lock"
OPENS_WITHIN_S = 6.0
"""Up to 3 s from sleep to an open relay, up to 1.1 s deaf in its self test, and the way there."""


STOPS = {Wish.STOP: ("FS", SLEEPING), Wish.EMERGENCY_STOP: ("FD", DISABLED)}
"""Command of each stop and the state it leads to."""


class OpenEvse:
    """Implements contract.PilotController, and contract.Meter where it is to measure."""

    interval_s = INTERVAL_S
    signs = signs_begin = has_export = False

    def __init__(
        self, name: str, options: OpenEvseOptions, meters_at_v: float | None = None
    ) -> None:
        """`meters_at_v`: it reports as a meter, too, at this voltage of the mains."""
        self.name = name
        self._line = SerialLine(port=options.port, baud=options.baud)
        self._poll_s = options.poll_s
        self._fallback_a = max(LEAST_A, int(options.fallback_a))
        self.capabilities = PilotCapabilities(
            closes_itself=True,
            opens_itself=True,
            opens_within_s=OPENS_WITHIN_S,
            report_interval_s=options.poll_s,
            min_a=float(LEAST_A),
            max_a=float(MOST_A),
            has_lock=options.lock,
            watches_contacts=True,
            host_loss_fallback=(
                f"goes on charging, with at most {self._fallback_a} A after {HEARTBEAT_S} s; "
                "it cannot stop by itself"
            ),
            before_first_order=(
                "it starts enabled: from its power-up (3 s) until this agent first puts it to "
                "sleep it gives energy to any EV; supply both from one switch"
            ),
            measures="" if meters_at_v is None else ACCURACY,
        )
        self._wish = Wish.STOP
        self._limit_a = 0
        self._lowest_a = MOST_A
        """Least that was allowed since the connector was seen free."""
        self._wake = asyncio.Event()
        self._link: RapiLink | None = None
        self._ceiling_a = MOST_A
        """What it last made of a higher limit."""
        self._lost = False
        self._pause_s = FIRST_PAUSE_S
        self._extras = Extras(options.lock)
        self._cable = Cable()
        self._meter = None if meters_at_v is None else MeterInside(name, meters_at_v, MOST_A)
        self.counters = Counters(trips=self._extras.trips)
        self._lock_told: bool | None = None
        self._start_over()

    def _start_over(self) -> None:
        """Nothing is known of the controller: it was just opened, or restarted by itself."""
        self._order_is_due = True
        self._view: View | None = None
        self._amps: int | None = None
        self._most_a: int | None = None
        self._asked_s = 0.0
        self._asked_with: View | None = None
        """The view when the command in flight was sent."""
        self._accepted_a = 0
        self._supervised = ""
        self._pulse_at_s = 0.0
        self._poll_at_s = 0.0
        self._repeat_at_s = 0.0
        self._enable_at_s = 0.0
        self._amps_are_fresh = False
        self._extras.start_over()
        if self._meter is not None:
            self._meter.start_over()
        self._lock_told = None

    # --- orders -----------------------------------------------------------------------------

    def allow_power(self, limit_a: float) -> None:
        """See contract; less than 6 A cannot be signalled and is a stop."""
        limit = min(int(limit_a), MOST_A)
        if limit < LEAST_A:
            self.stop()
        elif (self._wish, self._limit_a) != (Wish.ALLOW, limit):
            self._limit_a = limit
            self._lowest_a = min(self._lowest_a, limit)
            self._order(Wish.ALLOW)

    def stop(self) -> None:
        """See contract; the relay opens when the EV let go, at the latest after 3 s."""
        self._order(Wish.STOP)

    def emergency_stop(self) -> None:
        """See contract; -12 V on the pilot and the relay opens at once."""
        self._order(Wish.EMERGENCY_STOP)

    def lock(self, locked: bool) -> None:
        """See contract; without `lock: true` the controller locks by itself, or has none."""
        if self.capabilities.has_lock:
            self._extras.order_lock(locked)
            if self._extras.locked is locked:
                self._lock_told = None  # told again
            self._wake.set()

    def read_soon(self, signing: Signing = Signing.NONE, payer: Payer | None = None) -> None:
        """See contract.Meter; nothing here signs."""
        if self._meter is not None:
            self._meter.ask_soon(asyncio.get_running_loop().time())
            self._wake.set()

    def power_path(self) -> PowerPath:
        """See contract; the view is stale after three polls."""
        if self._view is None:
            return PowerPath.UNKNOWN
        age_s = asyncio.get_running_loop().time() - self._view.at_s
        return PowerPath.UNKNOWN if age_s > 3 * self._poll_s else self._view.power_path

    def _order(self, wish: Wish) -> None:
        self._wish = wish
        self._order_is_due = True
        self._wake.set()
        if self._link and wish in STOPS and self._link.asking != STOPS[wish][0]:
            self._link.hurry()

    # --- the port ---------------------------------------------------------------------------

    async def run(self, report: Report) -> None:
        """See contract."""
        while True:
            self._wake.clear()
            try:
                await self._session(report)
            except DriverError as error:
                self._start_over()
                if not self._lost:
                    self._lost = True
                    unseen = PilotReading(
                        asyncio.get_running_loop().time(), PilotState.UNKNOWN, PowerPath.UNKNOWN
                    )
                    report(PilotSeen(self.name, unseen))
                    report(DeviceLost(self.name, str(error)))
            await self._rest(self._pause_s)
            self._pause_s = min(next_pause_s(self._pause_s), LONGEST_PAUSE_S)

    async def _session(self, report: Report) -> None:
        """Works on one open port until it or the controller fails; raises DriverError."""

        def unasked(frame: Frame) -> None:
            self._heard(frame, report)

        self._start_over()
        link = self._link = RapiLink(self._line, unasked, self.counters)
        link.lost.add_done_callback(lambda _: self._wake.set())
        try:
            await self._obey(link, report)
        except asyncio.CancelledError:
            link.send("FD" if self._wish is Wish.EMERGENCY_STOP else "FS")
            raise
        finally:
            self._link = None
            link.close()

    async def _obey(self, link: RapiLink, report: Report) -> None:
        time = asyncio.get_running_loop().time
        failures = 0
        while True:
            self._wake.clear()
            command = self._next_command(time())
            if link.lost.done():
                raise link.lost.result()
            if not command:
                await self._rest(self._due_s() - time())
                continue
            self._asked_s, self._asked_with = time(), self._view
            try:
                self._answered(command, await link.ask(command), report)
                failures = 0
            except (NoAnswer, ValueError) as error:
                failures += not link.hurried
                if failures >= FAILURES_UNTIL_LOST:
                    raise NoAnswer(f"controller {self.name}: {error}") from error

    async def _rest(self, seconds: float) -> None:
        """Waits, but not when an order or a message comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    # --- decisions --------------------------------------------------------------------------

    def _next_command(self, now_s: float) -> str:
        """What to ask next; empty when nothing is due. Stops come before everything."""
        if not self._order_is_due and now_s >= self._repeat_at_s and not self._obeyed():
            self._order_is_due = True
            self._repeat_at_s = now_s + self._poll_s
        if self._order_is_due:
            if self._wish in STOPS:
                return STOPS[self._wish][0]
            return f"SC {self._limit_a} V"
        if self._supervised != self._supervision():
            return self._supervision()
        if self._must_enable() and now_s >= self._enable_at_s:
            self._enable_at_s = now_s + self._poll_s
            return "SB" if self._is_boot_locked else "FE"
        if now_s >= self._pulse_at_s:
            return "SY"
        question = ""
        if self._meter is not None and self._view is not None:
            question = self._meter.next_command(now_s)
        if not question and now_s >= self._poll_at_s:
            question = "GS" if self._amps_are_fresh else "GC"
        return question or self._extras.next_command(now_s)

    def _due_s(self) -> float:
        """When the next question is due by time alone."""
        times_s = [self._poll_at_s, self._pulse_at_s, self._extras.due_s()]
        if self._meter is not None and self._view is not None:
            times_s.append(self._meter.due_s())
        return min(times_s)

    def _supervision(self) -> str:
        """The fallback is never above the limit in force. Each other value of it wears the EEPROM
        out, so it is raised again only once the connector is free."""
        return f"SY {HEARTBEAT_S} {min(self._fallback_a, self._lowest_a)}"

    def _obeyed(self) -> bool:
        """Whether the controller shows what was ordered, as far as it can."""
        view = self._view
        if view is None:
            return True
        if self._wish in STOPS:
            if view.power_path is PowerPath.CLOSED:
                return False
            return view.state == STOPS[self._wish][1] or view.state in FAULTS
        return view.amps is None or view.amps == self._accepted_a or view.state not in ENABLED

    def _must_enable(self) -> bool:
        return (
            self._wish is Wish.ALLOW
            and self._view is not None
            and (self._view.state in (SLEEPING, DISABLED) or self._is_boot_locked)
        )

    @property
    def _is_boot_locked(self) -> bool:
        """Firmware that gives nothing after a restart until it is told that its host lives."""
        return self._view is not None and bool(self._view.flags & BOOT_LOCKED)

    # --- what the controller says -----------------------------------------------------------

    def _answered(self, command: str, reply: Frame, report: Report) -> None:
        """Takes an answer in; raises ValueError when it makes no sense."""
        now_s = asyncio.get_running_loop().time()
        word, good = command.split(" ")[0], reply.word == "OK"
        if word in ("FS", "FD", "SC"):
            self._order_answered(command, reply, now_s)
        elif word == "SY":
            self._pulse_at_s = now_s + PULSE_S
            if command == "SY":
                supervised = good and reply.arguments[:1] in ((), (str(HEARTBEAT_S),))
                tripped = reply.arguments[2:] not in ((), ("0",))
                self._supervised = self._supervised if supervised and not tripped else ""
            else:
                self._supervised = command
        elif word in ("GP", "GF", "G5", "S5"):
            self._extra_answered(command, reply, now_s)
            self._tell_lock(now_s, report)
        elif word in ("SV", "GU", "GG") and self._meter is not None:
            self._meter_answered(self._meter, command, reply)
        elif not good:
            if word in ("FE", "SB"):
                return
            raise ValueError(f"${command} was refused; check the controller's firmware")
        elif word in ("FE", "SB"):
            self._poll_at_s = now_s
        elif word == "GC":
            self._amps, self._most_a = reply.number(2, 10), reply.number(3, 10)
            self._amps_are_fresh = True
        elif word == "GS":
            self._amps_are_fresh = False
            missed = max(0.0, now_s - self._poll_at_s - self._poll_s)
            self._poll_at_s = now_s + self._poll_s if missed else self._poll_at_s + self._poll_s
            self._status(from_status(reply, self._amps, now_s), report)

    def _extra_answered(self, command: str, reply: Frame, now_s: float) -> None:
        was_refused = self._extras.is_refused
        self._extras.answered(command, reply, now_s)
        self.counters.trips = self._extras.trips
        if self._extras.is_refused and not was_refused:
            log.warning(
                "%s: has no lock, so nothing is sold; build its firmware with MENNEKES_LOCK, "
                "or write lock: false",
                self.name,
            )

    def _meter_answered(self, meter: MeterInside, command: str, reply: Frame) -> None:
        was_refused = meter.is_refused
        if meter.answered(command, reply, self._asked_s, self._asked_with):
            self._poll_at_s = self._asked_s
        if meter.is_refused and not was_refused:
            log.warning(
                "%s: counts no energy, so nothing is sold; build its firmware with AMMETER and "
                "KWH_RECORDING, or name another meter",
                self.name,
            )

    def _status(self, view: View, report: Report) -> None:
        """A whole view was asked for: it also ends a round of the meter."""
        if self._most_a is not None:
            self._cable.told(self._most_a, self._view, view)
        reading = None if self._meter is None else self._meter.seen(view)
        self._seen(view, report)
        if reading is not None:
            report(MeterSeen(self.name, reading))

    def _order_answered(self, command: str, reply: Frame, now_s: float) -> None:
        """An order is done unless another one came meanwhile; its effect shows in the next view.

        A refusal of $SC names the current in force: the controller's own ceiling is lower.
        """
        is_stop = command in ("FS", "FD")
        if is_stop and reply.word != "OK":
            raise ValueError(f"${command} was refused; check the controller's firmware")
        accepted_a = 0 if is_stop else reply.number(0, 10)
        if not is_stop and accepted_a > int(command.split(" ")[1]):
            raise ValueError(f"${command} left {accepted_a} A in force; check the firmware")
        self._poll_at_s = now_s
        self._amps_are_fresh = False
        self._repeat_at_s = now_s + self._poll_s
        if self._wish in STOPS:
            self._order_is_due = command != STOPS[self._wish][0]
        elif command == f"SC {self._limit_a} V":
            self._accepted_a = accepted_a
            self._order_is_due = False
            if accepted_a not in (self._limit_a, self._ceiling_a):
                self._ceiling_a = accepted_a
                log.info(
                    "%s: offers %d A where %d were allowed; look at its configured maximum, the "
                    "coding of the cable and its temperature",
                    self.name,
                    accepted_a,
                    self._limit_a,
                )

    def _heard(self, frame: Frame, report: Report) -> None:
        """$AT tells a change; $AB a restart, after which the controller is enabled."""
        if frame.word == "AT":
            try:
                view = from_change(frame, asyncio.get_running_loop().time())
            except ValueError:
                return
            self._amps = view.amps
            self._seen(view, report)
        elif frame.word == "AB":
            self._start_over()
            if self._link:
                self._link.hurry(0.0)
        self._wake.set()

    def _seen(self, view: View, report: Report) -> None:
        self._view = view
        if not view.flags & EV_CONNECTED and view.state != DISABLED:
            self._lowest_a = self._limit_a if self._wish is Wish.ALLOW else MOST_A
        self._pause_s = FIRST_PAUSE_S
        if self._lost:
            self._lost = False
            report(DeviceFound(self.name))
        reading = view.reading(self._extras.temperature_c, self._cable.rated_a)
        report(PilotSeen(self.name, reading))

    def _tell_lock(self, now_s: float, report: Report) -> None:
        locked = self._extras.locked
        if locked is not None and locked is not self._lock_told:
            self._lock_told = locked
            report(InputSeen(self.name, PLUG_LOCK, locked, now_s))
