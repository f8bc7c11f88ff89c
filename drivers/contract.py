"""What a device driver promises, and the values that cross between drivers and the agent.

Times (`at_s`) are seconds of the event loop's clock, which on Linux counts from boot.
Energy is Wh, power W, current A, voltage V.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Literal, NewType, Protocol, runtime_checkable

from msgspec import Struct

from drivers.gpio_options import GpioBoardOptions as GpioBoardOptions
from drivers.gpio_options import GpioContactorOptions as GpioContactorOptions
from drivers.pilot_options import EvseWbOptions as EvseWbOptions
from drivers.pilot_options import PhoenixOptions as PhoenixOptions
from drivers.reader_options import TOKEN_TYPES as TOKEN_TYPES
from drivers.reader_options import KeyboardReaderOptions as KeyboardReaderOptions
from drivers.reader_options import Pn532Options as Pn532Options
from drivers.reader_options import SerialReaderOptions as SerialReaderOptions
from drivers.reader_options import TokenType as TokenType

Permit = NewType("Permit", int)
"""Number of the last guard stop an order to energise was decided after; a later stop voids it."""


class PilotState(StrEnum):
    """Vehicle state on the control pilot (IEC 61851-1 table A.1); UNKNOWN: not seen lately."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    F = "F"
    UNKNOWN = "unknown"


class PowerPath(StrEnum):
    """Contactor position as the hardware reports it."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class PilotReading(Struct, frozen=True):
    """One view of a connector's pilot controller, complete each time."""

    at_s: float
    state: PilotState
    power_path: PowerPath
    offered_a: float | None = None
    """Current the pilot signals now; 0 when none is offered, None when the device cannot tell."""
    faults: frozenset[str] = frozenset()
    """Standing fault names: over_current, over_temperature, rcd, ground, welded_contactor, ..."""
    cable_a: float | None = None
    """Rating of the plugged cable (PP coding); None when not coded or not known."""
    temperature_c: float | None = None
    """Hottest sensor of the device, whole degrees; None without one."""


class Signing(StrEnum):
    """What a signature is wanted for, or what a reading has to do with one."""

    NONE = "none"
    """The meter does not sign, or signs every reading."""
    LATER = "later"
    """A reading between: the meter signs when it is asked to."""
    BEGIN = "begin"
    VALUE = "value"
    END = "end"


class Payer(Struct, frozen=True):
    """Whose charge it is, for a meter that puts that into what it signs."""

    id: str
    type: str
    """IdTokenEnumType."""

    def __repr__(self) -> str:
        """For a log, where no whole card may stand."""
        return f"Payer({self.type})"


class SignedData(Struct, frozen=True):
    """A meter's own signed data set, untouched, as text for the wire (Base64)."""

    data: str
    """At most 2500 characters."""
    signing_method: str
    encoding_method: str
    public_key: str = ""
    """Empty when the device does not tell it."""


class MeterReading(Struct, frozen=True):
    """One consistent read of an energy meter. Tuples hold L1..L3 (one entry on one phase)."""

    at_s: float
    energy_wh: float
    """Import register, absolute, never falls."""
    step_wh: float = 1.0
    """Resolution of the register where it stands now."""
    serial: str = ""
    power_w: float | None = None
    power_phase_w: tuple[float, ...] = ()
    current_a: tuple[float, ...] = ()
    voltage_v: tuple[float, ...] = ()
    frequency_hz: float | None = None
    signature: SignedData | None = None
    """None when the meter does not sign, or not this reading."""
    signing: Signing = Signing.NONE
    """BEGIN, VALUE, END: the answer to `read_soon` for that, signed or with no signature to be had;
    LATER: one between, from a meter that signs only when it is asked to."""
    export_wh: float | None = None
    """Export register, absolute; None where the meter has none or it is not read."""


class PilotSeen(Struct, frozen=True):
    """A pilot controller reported."""

    device: str
    reading: PilotReading


class MeterSeen(Struct, frozen=True):
    """A meter was read."""

    device: str
    reading: MeterReading


class CardSeen(Struct, frozen=True):
    """A card or code was presented at a reader; `uid` is upper-case hex for cards."""

    device: str
    uid: str
    token_type: str = "ISO14443"
    raw: str = ""
    """What the reader sent for it, as far as the driver tells; for `chargepoint learn` alone."""


class CardRefused(Struct, frozen=True):
    """A reader read a card that cannot be used; `raw` is for `chargepoint learn` alone."""

    device: str
    reason: str
    """Why, and what to do; without the number."""
    raw: str


class InputSeen(Struct, frozen=True):
    """A digital input changed or was read: a button, a door, a fault input."""

    device: str
    name: str
    active: bool
    at_s: float


class DeviceLost(Struct, frozen=True):
    """A device stopped answering; its last values are worth nothing from now on."""

    device: str
    reason: str


class DeviceFound(Struct, frozen=True):
    """A lost device answers again."""

    device: str


Observation = PilotSeen | MeterSeen | CardSeen | CardRefused | InputSeen | DeviceLost | DeviceFound
Report = Callable[[Observation], None]
"""Called by drivers from the event loop's thread, synchronously; it never raises."""


class PilotCapabilities(Struct, frozen=True):
    """What the controller does by itself and how fast; the guard builds on it."""

    closes_itself: bool
    """Closes the contactor by itself in state C once power is allowed; False: it only speaks
    pilot, and whoever closes for it has to watch a contact."""
    opens_itself: bool
    """Opens it by itself when the EV leaves C, without being told."""
    opens_within_s: float
    """Longest time from `stop()` to an open power path that the device promises."""
    report_interval_s: float
    """A healthy driver reports at least this often; three missed reports make the view stale."""
    min_a: float = 6.0
    max_a: float = 32.0
    has_lock: bool = False
    watches_contacts: bool = False
    """A contact or a voltage behind `power_path()`; False: it is what the device itself ordered."""
    host_loss_fallback: str = "none"
    """What the device does when the host dies, in words for the technician."""
    stops_on_host_loss: bool = False
    """The device opens the power path by itself when the host dies; False: only an interlock in
    hardware does."""
    before_first_order: str = ""
    """What it gives away between its power-up and the first order, in words for the technician;
    empty when nothing."""
    measures: str = ""
    """What its readings as a meter are worth, in words for the technician; empty: it is none."""


class Counters(Struct):
    """What went wrong at one device since the start; a shared line counts for each of its units."""

    requests: int = 0
    timeouts: int = 0
    """Requests that nothing answered."""
    unusable: int = 0
    """Answers that came damaged (checksum) or did not fit the request."""
    exceptions: int = 0
    """Answers by which the device refused."""
    opens: int = 0
    """How often its port was opened."""
    latency_s: float | None = None
    """From the last request to its answer."""
    slowest_s: float = 0.0
    garbled: int = 0
    """Bytes on a line of text that are none: noise, or a device at another baud."""
    trips: dict[str, int | None] = {}
    """Faults that the device counted itself since its maker's or its own reset, by name; None: not
    told yet. Empty where it counts none."""

    @property
    def reconnects(self) -> int:
        """Its port was opened again, after an adapter or a connection was lost."""
        return max(0, self.opens - 1)

    def answered(self, took_s: float) -> None:
        """A request was answered, well or not."""
        self.latency_s = took_s
        self.slowest_s = max(self.slowest_s, took_s)


@runtime_checkable
class Counting(Protocol):
    """A driver that counts what goes wrong."""

    counters: Counters


@runtime_checkable
class Patient(Protocol):
    """A driver that switches nothing and first of all loads a large library: it begins when the
    station has greeted its CSMS, or soon after the start."""

    may_wait: bool


class Device(Protocol):
    """A driver of one device. Constructing it does no I/O."""

    name: str

    async def run(self, report: Report) -> None:
        """Owns the port: polls, re-opens for ever. Cancelling orders power off, then closes it."""


class PilotController(Device, Protocol):
    """Pilot and contactor of one connector. Orders return at once; their effect shows in reports.

    An order is a standing wish: the driver repeats it until the device obeys, and a later order
    replaces it. Stops overtake everything that waits.
    """

    capabilities: PilotCapabilities

    def allow_power(self, limit_a: float) -> None:
        """Offers `limit_a` (A per phase) and lets the power path close when the EV asks."""

    def stop(self) -> None:
        """Graceful stop: nothing offered, opens once the EV let go or in `opens_within_s`."""

    def emergency_stop(self) -> None:
        """Opens the power path now, under load if need be; stays so until the next order."""

    def lock(self, locked: bool) -> None:
        """Locks or unlocks the plug where `capabilities.has_lock`, and reports where it stands
        then, though it may not have moved; otherwise nothing."""

    def power_path(self) -> PowerPath:
        """The last seen position; UNKNOWN once the view is stale."""


class Meter(Device, Protocol):
    """An energy meter."""

    interval_s: float
    """How often it reports by itself."""
    signs: bool
    """Its readings carry a signature, all of them or those that are asked for so."""
    signs_begin: bool
    """Also the one that begins a session; some sign only the whole session at its end."""
    has_export: bool
    """Its readings carry `export_wh`."""

    def read_soon(self, signing: Signing = Signing.NONE, payer: Payer | None = None) -> None:
        """Asks for a report as soon as the bus allows, beside the regular ones.

        BEGIN, VALUE and END ask for a signature, which takes seconds; the reading of that moment
        comes also when there is none to be had. A meter that does not sign takes it as NONE.
        With BEGIN and END the meter is told the `payer`, where it can be.
        """


class Display(Protocol):
    """A device with lamps."""

    def show(self, conditions: Mapping[int, str]) -> None:
        """EVSE -> available, occupied, charging, reserved, unavailable or faulted."""


class DriverError(Exception):
    """Base of everything a driver raises; the text ends with the next step."""


class PortError(DriverError):
    """The port cannot be opened or was lost."""


class ProtocolError(DriverError):
    """The device answered, but not what its protocol allows."""


class NoAnswer(DriverError):
    """The device did not answer in time."""


class SerialLine(Struct, frozen=True, forbid_unknown_fields=True):
    """An RS-485 line, or a Modbus host on the network, that several devices may share."""

    port: str
    """Device path; prefer /dev/serial/by-id or by-path names, they survive a reboot. Or a host:
    tcp://192.168.1.9:502 for Modbus TCP, rtu-tcp://192.168.1.9:4196 for an RS-485 converter."""
    baud: int = 9600
    parity: str = "N"
    """N, E or O."""
    stop_bits: int = 1


class ModbusMeterOptions(
    Struct, frozen=True, tag_field="driver", tag="modbus_meter", forbid_unknown_fields=True
):
    """An energy meter on Modbus, described by a register map in config/meters."""

    line: str
    """Name of the entry under `lines` that it hangs on."""
    model: str
    """File name in config/meters without .yaml, for example eastron_sdm630_v2; or the path of a
    register map of your own."""
    unit: int = 1
    """Modbus unit id, 1 to 247."""
    interval_s: float = 1.0
    timeout_s: float = 1.0
    delay_s: float = 0.0
    """Pause before each request; some meters need 0.1."""
    phase_rotation: Literal["RST", "RTS", "SRT", "STR", "TRS", "TSR"] = "RST"
    """Supply phases at the meter's terminals 1, 2, 3: R is L1, S is L2, T is L3."""
    reversed: bool = False
    """Supply and load are swapped: the meter counts what the EV takes as export."""
    with_export: bool = False
    """Read what flows back as well, even where that costs a request of its own each time."""


class OpenEvseOptions(
    Struct, frozen=True, tag_field="driver", tag="openevse", forbid_unknown_fields=True
):
    """OpenEVSE controller over its serial RAPI protocol."""

    port: str
    baud: int = 115200
    poll_s: float = 1.0
    fallback_a: float = 6.0
    """Current the controller falls back to when the agent dies (at least 6)."""
    lock: bool = False
    """A type 2 lock is wired, and the firmware is built for it (MENNEKES_LOCK)."""


class SimPilotOptions(
    Struct, frozen=True, tag_field="driver", tag="sim_pilot", forbid_unknown_fields=True
):
    """Simulated pilot controller and contactor, for benches only."""


class SimMeterOptions(
    Struct, frozen=True, tag_field="driver", tag="sim_meter", forbid_unknown_fields=True
):
    """Simulated energy meter, for benches only."""

    interval_s: float = 1.0
    signs: bool = False
    with_export: bool = False


class SimReaderOptions(
    Struct, frozen=True, tag_field="driver", tag="sim_reader", forbid_unknown_fields=True
):
    """Simulated card reader or keypad, for benches only."""

    evses: tuple[int, ...] = ()
    token_type: str = "ISO14443"


DeviceOptions = (
    ModbusMeterOptions
    | OpenEvseOptions
    | GpioContactorOptions
    | GpioBoardOptions
    | EvseWbOptions
    | PhoenixOptions
    | SerialReaderOptions
    | KeyboardReaderOptions
    | Pn532Options
    | SimPilotOptions
    | SimMeterOptions
    | SimReaderOptions
)
