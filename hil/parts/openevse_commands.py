"""What each RAPI command does to the bench's OpenEVSE and answers."""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from drivers.sim.connector import Connector

LEAST_A = 6
HARDWARE_MAX_A = 80
HEARTBEAT_COOKIE = 165
FIRMWARE = "8.2.3.EU"
PROTOCOL = "5.2.1"
Words = tuple[str, ...]


class Mode(StrEnum):
    """What the host asked for last."""

    ENABLED = "enabled"
    SLEEPING = "sleeping"
    DISABLED = "disabled"


class Settings(Struct):
    """What the host has set; what `restarted` keeps stands in its EEPROM."""

    saved_a: int = 32
    hardware_max_a: int = HARDWARE_MAX_A
    hardware_max_set: bool = False
    current_a: int = 0
    millivolts: int = 240_000
    heartbeat_ms: int = 0
    heartbeat_s: int = 0
    heartbeat_a: int = 0
    heartbeat_trigger: int = 0
    """0 never missed, 1 missed and acknowledged, 2 limiting."""
    heartbeat_writes: int = 0
    """How often another interval or current went into the EEPROM."""
    has_ammeter: bool = True
    reads_cable: bool = False
    """Firmware that reads the cable's coding (PP_AUTO_AMPACITY)."""
    has_lock: bool = False
    """Firmware with a type 2 lock; it boots in its automatic mode."""
    lock_is_manual: bool = False
    locked: bool = False
    boot_locked: bool = False
    """Firmware with a boot lock: gives nothing after a restart until $SB."""

    def __post_init__(self) -> None:
        self.current_a = self.current_a or self.saved_a

    def restarted(self) -> "Settings":
        """What is left after a restart."""
        return Settings(
            self.saved_a,
            self.hardware_max_a,
            self.hardware_max_set,
            heartbeat_ms=self.heartbeat_ms,
            heartbeat_s=self.heartbeat_s,
            heartbeat_a=self.heartbeat_a,
            heartbeat_writes=self.heartbeat_writes,
            has_ammeter=self.has_ammeter,
            reads_cable=self.reads_cable,
            has_lock=self.has_lock,
        )


class Controller(Protocol):
    """What the commands need of the controller."""

    settings: Settings
    mode: Mode
    counters: Counter[str]
    connector: Connector

    @property
    def state_code(self) -> int: ...
    @property
    def pilot_code(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def charging_s(self) -> int: ...
    @property
    def most_a(self) -> int: ...
    @property
    def energy(self) -> tuple[int, int]: ...
    def set_mode(self, mode: Mode) -> None: ...
    def supervise(self) -> None: ...
    def apply_current(self) -> None: ...


def _numbers(arguments: Words) -> list[int] | None:
    try:
        return [int(word) for word in arguments]
    except ValueError:
        return None


def _enable(evse: Controller, arguments: Words) -> Words:
    evse.set_mode(Mode.ENABLED)
    return ("OK",)


def _sleep(evse: Controller, arguments: Words) -> Words:
    evse.set_mode(Mode.SLEEPING)
    return ("OK",)


def _disable(evse: Controller, arguments: Words) -> Words:
    evse.set_mode(Mode.DISABLED)
    return ("OK",)


def _set_current(evse: Controller, arguments: Words) -> Words:
    numbers = _numbers(arguments[:1])
    if not numbers:
        return ("NK",)
    wanted, flag, now = numbers[0], arguments[1:2], evse.settings
    if flag == ("M",):
        if now.hardware_max_set:
            return "NK", str(now.hardware_max_a)
        now.hardware_max_a, now.hardware_max_set = min(wanted, HARDWARE_MAX_A), True
        return "OK", str(now.hardware_max_a)
    volatile = flag == ("V",)
    most_a = evse.most_a if volatile else now.hardware_max_a
    result = max(LEAST_A, min(wanted, most_a))
    if not volatile:
        now.saved_a = result
    now.current_a = result
    evse.apply_current()
    return "OK" if result == wanted else "NK", str(result)


def _heartbeat(evse: Controller, arguments: Words) -> Words:
    now = evse.settings
    numbers = _numbers(arguments)
    if numbers is None or len(numbers) > 2:
        return ("NK",)
    status = "OK"
    if len(numbers) == 2:
        interval_s, fallback_a = numbers
        now.heartbeat_writes += interval_s != now.heartbeat_s
        now.heartbeat_writes += max(LEAST_A, fallback_a) != now.heartbeat_a
        now.heartbeat_s = interval_s
        # The firmware multiplies in 16 bits.
        now.heartbeat_ms = interval_s * 1000 & 0xFFFF
        now.heartbeat_a = max(LEAST_A, fallback_a) if interval_s else 0
        now.heartbeat_trigger = 0
    elif numbers == [HEARTBEAT_COOKIE]:
        if now.heartbeat_trigger == 2:
            now.heartbeat_trigger, now.current_a = 1, now.saved_a
            evse.apply_current()
    elif numbers or now.heartbeat_trigger == 2:
        status = "NK"
    evse.supervise()
    return status, *_heartbeat_status(evse, ())[1:]


def _heartbeat_status(evse: Controller, arguments: Words) -> Words:
    now = evse.settings
    return "OK", str(now.heartbeat_s), str(now.heartbeat_a), str(now.heartbeat_trigger)


def _set_voltage(evse: Controller, arguments: Words) -> Words:
    numbers = _numbers(arguments)
    if not numbers:
        return ("NK",)
    evse.settings.millivolts = numbers[0]
    return ("OK",)


def _state(evse: Controller, arguments: Words) -> Words:
    return (
        "OK",
        f"{evse.state_code:02x}",
        str(evse.charging_s),
        f"{evse.pilot_code:02x}",
        f"{evse.flags:04x}",
    )


def _capacity(evse: Controller, arguments: Words) -> Words:
    now = evse.settings
    return "OK", str(LEAST_A), str(now.hardware_max_a), str(now.current_a), str(evse.most_a)


def _measured(evse: Controller, arguments: Words) -> Words:
    milliamps = round(evse.connector.drawn_a * 1000) if evse.settings.has_ammeter else -1
    return "OK", str(milliamps), str(evse.settings.millivolts)


def _energy(evse: Controller, arguments: Words) -> Words:
    return "OK", *map(str, evse.energy)


def _saved_settings(evse: Controller, arguments: Words) -> Words:
    return "OK", str(evse.settings.saved_a), "0201"


def _version(evse: Controller, arguments: Words) -> Words:
    return "OK", FIRMWARE, PROTOCOL


def _plugged(evse: Controller, arguments: Words) -> Words:
    if evse.mode is Mode.DISABLED:
        return "OK", "2"
    return "OK", "0" if evse.pilot_code == 1 else "1"


def _temperatures(evse: Controller, arguments: Words) -> Words:
    hot = "over_temperature" in evse.connector.faults
    return "OK", "720" if hot else "250", "-2560", "-2560"


def _fault_counters(evse: Controller, arguments: Words) -> Words:
    return "OK", *(f"{evse.counters[name]:x}" for name in ("gfi", "no ground", "stuck"))


def _lock(evse: Controller, arguments: Words) -> Words:
    now = evse.settings
    if not now.has_lock or arguments not in (("A",), ("M",), ("0",), ("1",)):
        return ("NK",)
    if arguments[0] in "AM":
        now.lock_is_manual = arguments == ("M",)
    elif now.lock_is_manual:
        now.locked = arguments == ("1",)
    return ("OK",)


def _lock_state(evse: Controller, arguments: Words) -> Words:
    now = evse.settings
    if not now.has_lock:
        return ("NK",)
    locked = now.locked if now.lock_is_manual else evse.pilot_code > 1
    return "OK", str(int(locked)), "M" if now.lock_is_manual else "A"


def _clear_boot_lock(evse: Controller, arguments: Words) -> Words:
    evse.settings.boot_locked = False
    evse.set_mode(evse.mode)
    return "OK", "0"


def _accept(evse: Controller, arguments: Words) -> Words:
    return ("OK",)


COMMANDS: dict[str, Callable[[Controller, Words], Words]] = {
    "FE": _enable,
    "FS": _sleep,
    "FD": _disable,
    "SC": _set_current,
    "SY": _heartbeat,
    "GY": _heartbeat_status,
    "SV": _set_voltage,
    "GS": _state,
    "GC": _capacity,
    "GG": _measured,
    "GU": _energy,
    "GE": _saved_settings,
    "GV": _version,
    "G0": _plugged,
    "GP": _temperatures,
    "GF": _fault_counters,
    "SL": _accept,
    "S5": _lock,
    "G5": _lock_state,
    "FF": _accept,
    "F0": _accept,
    "SB": _clear_boot_lock,
}
