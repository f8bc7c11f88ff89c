"""An OpenEVSE controller: RAPI on a pseudo-terminal, EV and contactor of the simulated world."""

import asyncio
from collections import Counter
from collections.abc import Callable

from drivers.contract import PilotState
from drivers.sim.live import LiveWorld
from drivers.sim.world import WELDED, Place
from hil.parts.openevse_commands import COMMANDS, FIRMWARE, Mode, Settings, Words
from hil.parts.openevse_energy import Counted
from hil.parts.openevse_wire import LINE_BUFFER, Command, LineBuffer, frame, parse
from hil.parts.pty_port import PtyPort

BANNER_S, BOOTED_S = 1.9, 3.0
ANSWER_S = 0.03
DISABLE_S = 0.3
SELF_TEST_S = 1.1
LET_GO_S, NO_CURRENT_OPEN_S = 3.0, 0.046
WELD_SEEN_S = 1.0
RESTART_SILENCE_S = 1.0
NO_CURRENT_A = 1.0
VENT_REQUIRED, STUCK_RELAY = 0x04, 0x08
SLEEPING_CODE, DISABLED_CODE = 0xFE, 0xFF
FAULT_CODES = {
    "diode": 0x05,
    "rcd": 0x06,
    "ground": 0x07,
    WELDED: STUCK_RELAY,
    "gfi_self_test": 0x09,
    "over_temperature": 0x0A,
    "over_current": 0x0B,
    "relay_closure": 0x0E,
}
PLUGGED = (0x02, 0x03)
PILOT_CODES = {PilotState.A: 1, PilotState.B: 2, PilotState.C: 3, PilotState.D: 4}
HARD_FAULT, NO_GROUND, RELAY_CLOSED = 0x0002, 0x0020, 0x0040
GFI_TRIPPED, EV_CONNECTED, SESSION_ENDED, BOOT_LOCK = 0x0080, 0x0100, 0x0200, 0x4000


class OpenEvse:
    """The firmware's behaviour as measured; all its times are multiplied by `time_scale`.

    Faults of the world that FAULT_CODES does not name it cannot see. The fault `pilot_lost`
    cuts its serial line. A stuck relay stays a fault until the next `start`.
    """

    def __init__(
        self, port: PtyPort, live: LiveWorld, place: Place, *, time_scale: float = 1.0
    ) -> None:
        self.live = live
        self.place = place
        self.connector = live.world.connectors[place]
        self.settings = Settings()
        self.mode = Mode.ENABLED
        self.counters: Counter[str] = Counter()
        self.booted = False
        self.received: list[Command] = []
        """Commands with a good checksum, as they were carried out."""
        self._port = port
        self._scale = time_scale
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._uart = bytearray()
        self._line = LineBuffer()
        self._pilot = PilotState.A
        self._fault = 0
        self._flags = SESSION_ENDED
        self._relay = False
        self._pending: Command | None = None
        self._told: tuple[int, int, int] | None = None
        self._counted = Counted()
        self._share = 0.0
        self._was_plugged = False
        self._charging_since_s: float | None = None
        port.on_bytes = self._on_bytes
        live.world.listeners.append(self._react)

    # --- power on -------------------------------------------------------------------------

    def start(self) -> None:
        """Power on: silent, then the boot messages, then enabled. Also a sudden restart."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._uart.clear()
        self._line = LineBuffer()
        self.settings = self.settings.restarted()
        self.mode, self.booted, self._fault, self._pending = Mode.ENABLED, False, 0, None
        self.live.catch_up()
        self._count_energy()
        self._flags, self._told, self._relay = SESSION_ENDED, None, False
        self._counted.restarted()
        self.live.world.offer(self.place, 0.0)
        self.live.world.order_contactor(self.place, False)
        self._after("banner", BANNER_S, self._banner)
        self._after("boot", BOOTED_S, self._boot)

    def stop(self) -> None:
        """Power off, for the end of a bench."""
        self.start()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _banner(self) -> None:
        self._text("relayCloseMs: 100")
        self._text("relayHoldPwm: 255")
        self._send(frame(("AT", "00", "00", "0", f"{SESSION_ENDED:04x}")))

    def _boot(self) -> None:
        self.booted = True
        self._uart.clear()
        self.supervise()
        self._send(frame(("AB", "00", FIRMWARE)))
        self._react()

    # --- what the host may ask ------------------------------------------------------------

    @property
    def state_code(self) -> int:
        """EVSE state as RAPI numbers it."""
        if not self.booted:
            return 0
        if self._fault:
            return self._fault
        if self.mode is Mode.ENABLED:
            # While the self test runs, the transition to C has not happened yet.
            testing = self._pilot is PilotState.C and not self._relay
            return PILOT_CODES[PilotState.B if testing else self._pilot]
        return SLEEPING_CODE if self.mode is Mode.SLEEPING else DISABLED_CODE

    @property
    def pilot_code(self) -> int:
        return PILOT_CODES[self._pilot]

    @property
    def flags(self) -> int:
        """The vflags; the relay bit is what was ordered, not what the contacts do."""
        boot_lock = BOOT_LOCK if self.settings.boot_locked else 0
        return self._flags | boot_lock | (RELAY_CLOSED if self._relay else 0)

    @property
    def charging_s(self) -> int:
        since_s = self._charging_since_s
        return 0 if since_s is None else int(self.live.world.now_s - since_s)

    @property
    def energy(self) -> tuple[int, int]:
        """Ws of the session and Wh of those before, as $GU has them."""
        self._count_energy()
        return self._counted.session_ws, self._counted.total_wh

    @property
    def most_a(self) -> int:
        """What a volatile current cannot exceed: the cable's coding counts in B and C alone."""
        cable_a = self.connector.cable_a
        looks = self.settings.reads_cable and self.state_code in PLUGGED and cable_a is not None
        return min(self.settings.saved_a, int(cable_a or 0)) if looks else self.settings.saved_a

    def _count_energy(self) -> None:
        """What flowed until now counts as it began to; what flows from now on, as things stand."""
        world = self.live.world
        self._counted.follow(world.energy_wh(self.place[0]), self._share)
        told_v = self.settings.millivolts / 1000
        phases = self.connector.drawing_phases or 1
        self._share = told_v / world.voltage_v[0] / phases if self._relay else 0.0

    def set_mode(self, mode: Mode) -> None:
        """$FE, $FS, $FD."""
        if mode is not self.mode:
            self.mode = mode
            self._cancel("let go")
            self._cancel("no current")
        self._react()

    def supervise(self) -> None:
        """Starts the heartbeat's time anew; 0 ends supervision."""
        self._cancel("heartbeat")
        if self.settings.heartbeat_ms > 0:
            self._after("heartbeat", self.settings.heartbeat_ms / 1000, self._heartbeat_missed)

    def apply_current(self) -> None:
        """Signals the current that is set now."""
        self._react()

    def _heartbeat_missed(self) -> None:
        self.settings.heartbeat_trigger = 2
        self.settings.current_a = min(self.settings.current_a, self.settings.heartbeat_a)
        self._react()

    # --- pilot, faults, relay -------------------------------------------------------------

    def _react(self) -> None:
        """The main loop's turn: EV and faults in, pilot and relay out, $AT when it differs."""
        if not self.booted:
            return
        self._count_energy()
        self._look()
        is_plugged = self.state_code in PLUGGED
        if self.settings.reads_cable and is_plugged and not self._was_plugged:
            self.settings.current_a = self.most_a  # as that firmware does, above what was ordered
        self._was_plugged = is_plugged
        self._counted.plugged(bool(self._flags & EV_CONNECTED))
        world = self.live.world
        gives = self.mode is Mode.ENABLED and not self._fault and not self.settings.boot_locked
        world.offer(self.place, float(self.settings.current_a) if gives else 0.0)
        if gives and self._pilot is PilotState.C:
            if not self._relay and "self test" not in self._timers:
                self._after("self test", SELF_TEST_S, self._self_tested)
        else:
            self._cancel("self test")
            self._let_relay_go()
        self._notify()
        self._pump()

    def _look(self) -> None:
        seen = self.live.world.pilot_state(self.place)
        if self.mode is not Mode.DISABLED:
            # At -12 V the car's resistor cannot be seen: the last view stays.
            self._pilot = seen
        fault = self._find_fault(seen)
        if fault and fault != self._fault:
            self._count(fault)
        self._fault = fault
        self._note_flags()

    def _find_fault(self, seen: PilotState) -> int:
        codes = [FAULT_CODES[name] for name in self.connector.faults if name in FAULT_CODES]
        if self._fault == STUCK_RELAY or STUCK_RELAY in codes:
            return STUCK_RELAY
        if codes:
            return min(codes)
        stays = self._fault == VENT_REQUIRED and seen is not PilotState.A
        asks = seen is PilotState.D and self.mode is Mode.ENABLED
        return VENT_REQUIRED if stays or asks else 0

    def _count(self, fault: int) -> None:
        self.counters[{0x06: "gfi", 0x07: "no ground", 0x08: "stuck"}.get(fault, "")] += 1

    def _note_flags(self) -> None:
        hard = self._fault in (VENT_REQUIRED, STUCK_RELAY)
        flags = self._flags & (GFI_TRIPPED | NO_GROUND | SESSION_ENDED | EV_CONNECTED)
        if self.mode is not Mode.DISABLED:
            flags &= ~EV_CONNECTED
            flags |= EV_CONNECTED if self._pilot is not PilotState.A else 0
        flags |= HARD_FAULT if hard else 0
        flags |= GFI_TRIPPED if self._fault == FAULT_CODES["rcd"] else 0
        flags |= NO_GROUND if self._fault == FAULT_CODES["ground"] else 0
        if self._pilot is PilotState.A:
            flags |= SESSION_ENDED
        self._flags = flags

    def _self_tested(self) -> None:
        self._charging_since_s = self.live.world.now_s
        self._flags &= ~SESSION_ENDED
        self._text("relayCloseMs: 100")
        self._relay = True
        self._cancel("weld")
        self.live.world.order_contactor(self.place, True)
        self._react()

    def _let_relay_go(self) -> None:
        """Opens at once, but when asleep without load or after the EV's time to let go."""
        if not self._relay:
            return
        if self.mode is not Mode.SLEEPING or self._fault:
            self._open_relay()
        elif self._pilot is not PilotState.C or self._drawn_a() <= NO_CURRENT_A:
            self._after_unless_set("no current", NO_CURRENT_OPEN_S, self._open_relay)
        else:
            self._after_unless_set("let go", LET_GO_S, self._open_relay)

    def _drawn_a(self) -> float:
        return self.connector.drawn_a

    def _open_relay(self) -> None:
        self._relay, self._charging_since_s = False, None
        self._cancel("let go")
        self._cancel("no current")
        self._after("weld", WELD_SEEN_S, self._check_weld)
        self.live.world.order_contactor(self.place, False)
        self._notify()

    def _check_weld(self) -> None:
        if self.connector.closed and not self._relay:
            self._fault = STUCK_RELAY
            self._count(STUCK_RELAY)
            self._react()

    def _notify(self) -> None:
        now = (self.state_code, self.pilot_code, int(self.settings.current_a))
        if now != self._told and self._free():
            self._told = now
            state, pilot, amps = now
            words = ("AT", f"{state:02x}", f"{pilot:02x}", str(amps), f"{self.flags:04x}")
            self._send(frame(words))

    # --- the serial line ------------------------------------------------------------------

    def _on_bytes(self, data: bytes) -> None:
        self._uart += data[: LINE_BUFFER - len(self._uart)]
        self._pump()

    def _free(self) -> bool:
        """It has time for the serial line: not booting, in the self test or in a command."""
        return self.booted and self._pending is None and "self test" not in self._timers

    def _pump(self) -> None:
        while self._uart and self._free():
            line = self._line.feed(self._uart.pop(0))
            if line is not None:
                self._pending = parse(line) or Command("", ())
                self._after("command", ANSWER_S, self._carry_out)

    def _carry_out(self) -> None:
        command = self._pending
        if command is None:
            return
        if "self test" in self._timers:
            self._after("command", ANSWER_S, self._carry_out)
            return
        if command.name == "FR":
            self._after("restart", RESTART_SILENCE_S, self.start)
            return
        reply: Words = ("NK",)
        known = COMMANDS.get(command.name)
        if known is not None:
            self.received.append(command)
            reply = known(self, command.arguments)
        pause_s = DISABLE_S if command.name == "FD" else 0.0
        sequence = command.sequence if known is not None else ""
        self._after("command", pause_s, lambda: self._answer(frame(reply, sequence)))

    def _answer(self, data: bytes) -> None:
        self._pending = None
        self._send(data)
        self._notify()
        self._pump()

    def _text(self, line: str) -> None:
        self._send(f"{line}\r\n".encode("ascii"))

    def _send(self, data: bytes) -> None:
        if "pilot_lost" not in self.connector.faults:
            self._port.write(data)

    # --- timers ---------------------------------------------------------------------------

    def _after(self, name: str, pause_s: float, then: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.pop(name, None)
            self.live.catch_up()
            then()

        self._cancel(name)
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(pause_s * self._scale, fire)

    def _after_unless_set(self, name: str, pause_s: float, then: Callable[[], None]) -> None:
        if name not in self._timers:
            self._after(name, pause_s, then)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
