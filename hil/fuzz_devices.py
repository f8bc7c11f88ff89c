"""Devices for the byte fuzz: each with its driver, and what of its reports would be wrong."""

import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count, cycle
from typing import Any

from msgspec import Struct

from drivers.contract import (
    CardSeen,
    DeviceOptions,
    EvseWbOptions,
    MeterReading,
    MeterSeen,
    ModbusMeterOptions,
    Observation,
    OpenEvseOptions,
    PhoenixOptions,
    PilotSeen,
    PilotState,
    Pn532Options,
    PowerPath,
    Report,
    SerialLine,
    SerialReaderOptions,
    Signing,
)
from drivers.meters.register_map import find
from drivers.registry import Registry
from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.fuzz_lines import Spoil
from hil.parts.evse_wb import EvseWb
from hil.parts.modbus_slave import ModbusSlave
from hil.parts.openevse import OpenEvse
from hil.parts.phoenix import Phoenix
from hil.parts.pn532 import Pn532
from hil.parts.pty_port import PtyPort
from hil.parts.signing_meters import SigningMeter
from hil.parts.tcp_port import TcpPort
from hil.parts.world_meter import meter_unit

MODEL = "eastron_sdm630_v2"
HERE = (1, 1)
CARD = "04A1B2C3"
START_WH = 500_000
ASKED_S, CARD_S = 30, 3
"""How often a signature is asked for, and a card comes: later than a reader takes for one."""

Port = PtyPort | TcpPort


class Rig(Struct):
    """A driver at one end of a line and its device at the other."""

    run: Callable[[Report], Coroutine[Any, Any, None]]
    is_good: Callable[[Observation], bool]
    """A report that shows that it works."""
    wrong: Callable[[Observation], str] = lambda seen: ""
    """What is wrong about a report; empty when nothing is."""
    step: Callable[[], None] = lambda: None
    """Happens once a second."""
    stop: Callable[[], None] = lambda: None


class Line:
    """A world with one place, and a port whose frames may be spoiled on their way to the driver."""

    def __init__(self, seed: int, port: Port) -> None:
        self.dice = random.Random(seed)
        self.world = World({1: [1]}, meter_start_wh=START_WH)
        self.live = LiveWorld(self.world)
        self.port = port
        self.spoils: Sequence[Spoil] = ()
        self.chance = 0.5
        """That a frame is spoiled, while there is something to spoil it with."""
        self.spoiled = 0
        name = "send" if isinstance(port, TcpPort) else "write"
        self._write = getattr(port, name)
        setattr(port, name, self.spoil)

    def spoil(self, frame: bytes) -> None:
        if self.spoils and self.dice.random() < self.chance:
            self.spoiled += 1
            frame = self.dice.choice(self.spoils)(frame, self.dice)
        self._write(frame)

    def built(self, options: DeviceOptions, meters_at_v: float | None = None) -> Any:
        lines = {"bus": SerialLine(self.port.path)}
        meters = {"device": meters_at_v} if meters_at_v is not None else {}
        return Registry(lines, meters_at_v=meters).build("device", options)


def meter(line: Line) -> Rig:
    """Three phases of 230 V and 10 A; the counter rises with them."""
    line.world.connectors[HERE].closed = line.world.connectors[HERE].ordered_closed = True
    line.live.catch_up()
    line.world.plug_in(HERE, Ev(current_a=10, ready_after_s=0))
    line.world.offer(HERE, 16)
    ModbusSlave(line.port, {1: meter_unit(line.live, 1, find(MODEL), serial=77)})
    options = ModbusMeterOptions(line="bus", model=MODEL, interval_s=1, timeout_s=0.5)
    last_wh = [float(START_WH)]

    def wrong(seen: Observation) -> str:
        if not isinstance(seen, MeterSeen):
            return ""
        reading = seen.reading
        line.live.catch_up()
        most_wh = line.world.energy_wh(1) + 1
        is_right = reading.voltage_v == (230, 230, 230) and reading.current_a == (10, 10, 10)
        is_right = is_right and reading.power_w == 6900
        is_right = is_right and last_wh[0] <= reading.energy_wh <= most_wh
        last_wh[0] = reading.energy_wh
        return "" if is_right else f"{reading} where {most_wh:.0f} Wh are the most"

    return Rig(line.built(options).run, _is_read, wrong)


def signing_meter(model: str, kind: type[SigningMeter]) -> Callable[[Line], Rig]:
    """Asked for a signature now and then: it is one that the meter made, or there is none."""

    def build(line: Line) -> Rig:
        device = kind()
        line.chance = 0.05  # a signature takes many frames
        ModbusSlave(line.port, {1: device.unit()})
        options = ModbusMeterOptions(line="bus", model=model, interval_s=1, timeout_s=0.5)
        driver = line.built(options)
        kinds = cycle((Signing.BEGIN, Signing.VALUE, Signing.END))

        def wrong(seen: Observation) -> str:
            if not isinstance(seen, MeterSeen):
                return ""
            reading = seen.reading
            if reading.energy_wh != device.energy_wh:
                return f"{reading.energy_wh} Wh instead of {device.energy_wh}"
            if reading.signature is not None and not device.has_signed(reading.signature.data):
                return f"{reading.signature} is not what the meter signed"
            return ""

        ask = _every(ASKED_S, lambda: driver.read_soon(next(kinds)))
        return Rig(driver.run, _is_signed, wrong, ask)

    return build


def openevse(line: Line) -> Rig:
    evse = OpenEvse(line.port, line.live, HERE, time_scale=0.05)  # type: ignore[arg-type]
    evse.start()
    driver = line.built(OpenEvseOptions(port=line.port.path, poll_s=0.5))
    return Rig(driver.run, _is_free, partial(_wrong_pilot, offers=True), stop=evse.stop)


def openevse_counter(line: Line) -> Rig:
    """It charges one phase with 10 A and counts that itself: the count never falls, nor exceeds
    what flowed. Its other values pass eight bits of check, and are looked at once only."""
    return _measuring(line, lambda reading: True)


def openevse_meter(line: Line) -> Rig:
    """Its current, too, is the right one: 6 A where its supervision heard nobody."""
    return _measuring(line, lambda reading: reading.current_a in ((0.0,), (6.0,), (10.0,)))


def _measuring(line: Line, is_true: Callable[[MeterReading], bool]) -> Rig:
    line.live.catch_up()
    line.world.plug_in(HERE, Ev(current_a=10, phases=1, ready_after_s=0))
    evse = OpenEvse(line.port, line.live, HERE, time_scale=0.05)  # type: ignore[arg-type]
    evse.start()
    driver = line.built(OpenEvseOptions(port=line.port.path, poll_s=0.5), meters_at_v=230.0)
    driver.allow_power(10)
    counted: list[float] = []

    def wrong(seen: Observation) -> str:
        if not isinstance(seen, MeterSeen):
            return ""
        counted.append(seen.reading.energy_wh)
        line.live.catch_up()
        most_wh = counted[0] + line.world.energy_wh(1) - START_WH + 1
        is_right = counted[-1] <= most_wh and counted[-1] >= max(counted)
        is_right = is_right and is_true(seen.reading)
        return "" if is_right else f"{seen.reading} where {most_wh:.0f} Wh are the most"

    return Rig(driver.run, _is_read, wrong, stop=evse.stop)


def evse_wb(line: Line) -> Rig:
    evse = EvseWb(line.live, HERE)
    ModbusSlave(line.port, {1: evse.unit})
    evse.start()
    driver = line.built(EvseWbOptions(line="bus"))
    return Rig(driver.run, _is_free, _wrong_pilot, stop=evse.stop)


def phoenix(line: Line) -> Rig:
    evse = Phoenix(line.live, HERE)
    ModbusSlave(line.port, {1: evse.unit})
    evse.start()
    driver = line.built(PhoenixOptions(line="bus"))
    wrong = partial(_wrong_pilot, before_orders=PilotState.F)
    return Rig(driver.run, _is_free, wrong, stop=evse.stop)


def line_reader(line: Line) -> Rig:
    """Its lines have no check: what is cut may look like another card, but like a card."""
    driver = line.built(SerialReaderOptions(port=line.port.path, evses=(1,)))
    numbers = (f"{n % 10}4A1B2C3\r\n".encode() for n in count())
    return Rig(driver.run, _is_card, unprintable, lambda: line.port.write(next(numbers)))


def rdm6300(line: Line) -> Rig:
    frame = b"\x0204A1B2C3D400\x03"
    check = 0x04 ^ 0xA1 ^ 0xB2 ^ 0xC3 ^ 0xD4
    frame = frame[:11] + f"{check:02X}".encode() + frame[13:]
    options = SerialReaderOptions(port=line.port.path, profile="rdm6300", token_type="Local",
                                  format="text")  # fmt: skip
    driver = line.built(options)

    def wrong(seen: Observation) -> str:
        is_wrong = isinstance(seen, CardSeen) and seen.uid != "04A1B2C3D4"
        return repr(seen) if is_wrong else ""

    return Rig(driver.run, _is_card, wrong, _every(CARD_S, lambda: line.port.write(frame)))


def pn532(line: Line) -> Rig:
    """A card that comes and goes."""
    device = Pn532(line.port)  # type: ignore[arg-type]

    def come_or_go() -> None:
        device.uid = b"" if device.uid else bytes.fromhex(CARD)

    def wrong(seen: Observation) -> str:
        return repr(seen) if isinstance(seen, CardSeen) and seen.uid != CARD else ""

    driver = line.built(Pn532Options(port=line.port.path))
    return Rig(driver.run, _is_card, wrong, _every(CARD_S, come_or_go))


def _every(seconds: int, action: Callable[[], None]) -> Callable[[], None]:
    ticks = count()

    def step() -> None:
        if next(ticks) % seconds == 0:
            action()

    return step


def _is_read(seen: Observation) -> bool:
    return isinstance(seen, MeterSeen)


def _is_signed(seen: Observation) -> bool:
    return isinstance(seen, MeterSeen) and seen.reading.signature is not None


def _is_free(seen: Observation) -> bool:
    return isinstance(seen, PilotSeen) and seen.reading.state is PilotState.A


def _is_card(seen: Observation) -> bool:
    return isinstance(seen, CardSeen)


def _wrong_pilot(
    seen: Observation, before_orders: PilotState = PilotState.A, offers: bool = False
) -> str:
    """`before_orders`: what it signals as long as nobody has told it anything; `offers`: and it
    allows charging until then."""
    if not isinstance(seen, PilotSeen):
        return ""
    reading, states = seen.reading, (PilotState.A, PilotState.UNKNOWN, before_orders)
    is_right = reading.state in states and not reading.faults
    is_right = is_right and (offers or not reading.offered_a)
    is_right = is_right and reading.power_path is not PowerPath.CLOSED
    return "" if is_right else f"{reading}, and no car was ever plugged in"


def unprintable(seen: Observation) -> str:
    if not isinstance(seen, CardSeen):
        return ""
    return "" if seen.uid.isalnum() and len(seen.uid) <= 36 else repr(seen.uid)
