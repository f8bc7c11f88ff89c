"""What looks wrong in what the devices show; pure: rows in, complaints out."""

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from agent.devices import DeviceSeen
from drivers.contract import MeterReading, PilotState, PowerPath

VOLTAGE_V = (80.0, 300.0)
"""Between phase and neutral, anywhere in the world; a meter that shows more or less is misread."""
BETWEEN_PHASES_V = (300.0, 520.0)
SPREAD = 1.25
"""Phases of one supply that differ by more have lost their neutral."""
FREQUENCY_HZ = (45.0, 65.0)
DRAWS_A = 1.0
"""Less is noise, or the EV's own standby."""
IDLE_A = 0.3
SUM_SHARE, SUM_LEAST_W = 0.05, 60.0
"""The phases are read a moment apart from their total."""
APPARENT_SHARE = 1.1
STALE_INTERVALS = 3
"""As the guard has it: three reports missed."""
LEAST_STALE_S = 3.0
CROSSED = (-0.65, -0.35)
"""Power by volts and amperes of a phase that is measured with another one's current."""
SLOW_SHARE = 0.5
"""Of the time-out: an answer slower than this is lost on a bad day."""
ERROR_SHARE, ERROR_LEAST = 0.02, 3
"""A line with more errors than this needs work; a single one at the start does not."""
GARBLED_LEAST = 16
"""Bytes; a controller that is switched on may send some."""
MANY_RECONNECTS = 3

MEASURE_OR_SWITCH = {"meter", "pilot"}
OPEN_STATES = (PilotState.A, PilotState.B)
ROTATION_FOR = {2: "TRS", 3: "STR"}
"""Terminal that carries L1 of the plug -> rotation that says so and keeps the rotary field."""


class Complaint(Struct, frozen=True):
    """What is wrong with a device; the text ends with the next step."""

    device: str
    text: str


def judge(rows: Sequence[DeviceSeen]) -> list[Complaint]:
    """All complaints, device by device in the order of `rows`, then those between devices."""
    found = [
        Complaint(row.name, text + _on_its_line(row, rows)) for row in rows for text in _of_one(row)
    ]
    return [*found, *_between(rows)]


def _on_its_line(row: DeviceSeen, rows: Sequence[DeviceSeen]) -> str:
    """What the others on the line of a device tell of its silence, and how it talks when new."""
    if not row.lost or row.unit is None or not _never_answered(row):
        return ""
    others = [other for other in rows if other.port == row.port and other is not row]
    answering = [other.name for other in others if not other.lost and other.age_s is not None]
    said = ""
    if answering:
        said = (
            f"; {', '.join(answering)} on the same line answers, so begin with the unit id and the "
            "wires of this one"
        )
    elif others and all(other.lost and _never_answered(other) for other in others):
        said = "; nobody on this line answers, so begin with A/B and the baud of the line"
    ours = ", ".join(word for word in (f"unit {row.unit}", row.line) if word)
    if row.factory not in ("", ours):
        said += f"; the file says {ours}, a new one of this model has {row.factory}"
    return said


def _never_answered(row: DeviceSeen) -> bool:
    counters = row.counters
    return counters is not None and counters.requests > 0 and counters.latency_s is None


def _of_one(row: DeviceSeen) -> Iterator[str]:
    if row.lost:
        yield row.lost
        return
    for check in CHECKS:
        yield from check(row)


def _silent(row: DeviceSeen) -> Iterator[str]:
    if not MEASURE_OR_SWITCH & set(row.roles):
        return
    if row.age_s is None and row.pilot is not None:
        yield (
            "has counted no energy yet, so nothing is sold; if that stays so, its firmware has no "
            "ammeter: name another meter"
        )
    elif row.age_s is None:
        yield "has shown nothing yet; wait a moment and probe again, then check supply and wiring"
    longest_s = max(LEAST_STALE_S, STALE_INTERVALS * row.interval_s)
    if row.age_s is not None and row.age_s > longest_s:
        yield (
            f"its last value is {row.age_s:.0f} s old; check its supply and wiring, and whether "
            "others on its line answer"
        )


def _line(row: DeviceSeen) -> Iterator[str]:
    counters = row.counters
    if counters is None:
        return
    errors = counters.timeouts + counters.unusable
    if errors >= ERROR_LEAST and errors > ERROR_SHARE * counters.requests:
        yield (
            f"{errors} of {counters.requests} requests failed ({counters.timeouts} unanswered, "
            f"{counters.unusable} damaged); check A/B, shield, termination (120 ohm at both ends) "
            "and baud, or raise timeout_s"
        )
    if counters.garbled >= max(GARBLED_LEAST, ERROR_SHARE * counters.requests):
        yield (
            f"{counters.garbled} garbled bytes came in; check baud, A/B (or TX and RX), the common "
            "ground, and that its cable runs apart from the power cables"
        )
    if counters.reconnects >= MANY_RECONNECTS and not row.port.startswith(("tcp:", "rtu-tcp:")):
        yield (
            f"its port was lost and opened again {counters.reconnects} times; check the plug of "
            "the adapter, its cable and the hub's supply"
        )
    slow_s = counters.slowest_s
    if row.timeout_s is not None and slow_s > SLOW_SHARE * row.timeout_s:
        yield (
            f"its slowest answer took {slow_s * 1000:.0f} ms, its time-out is "
            f"{row.timeout_s * 1000:.0f} ms; set timeout_s to {2 * slow_s + 0.05:.1f} or more"
        )


def _voltage(row: DeviceSeen) -> Iterator[str]:
    volts = row.meter.voltage_v if row.meter is not None else ()
    wrong = [n for n, value in enumerate(volts, 1) if not _within(value, VOLTAGE_V)]
    if not wrong:
        yield from _spread(row, volts)
        return
    told = ", ".join(f"L{n} {volts[n - 1]:.4g} V" for n in wrong)
    if len(wrong) < len(volts) and all(abs(volts[n - 1]) < VOLTAGE_V[0] for n in wrong):
        if row.phases > 1:
            yield f"{told}: a phase is missing; check its fuse and the meter's voltage terminals"
    elif all(_within(value, BETWEEN_PHASES_V) for value in volts):
        yield (
            f"{told}: as between two phases; check that the meter's terminal N is wired, then "
            "`model` against its label"
        )
    else:
        yield (
            f"{told}: outside 80 to 300 V: word order? Compare `model` with the label of the "
            "meter, then word_order of its register map"
        )


def _spread(row: DeviceSeen, volts: tuple[float, ...]) -> Iterator[str]:
    if len(volts) > 1 and max(volts) > SPREAD * min(volts):
        told = ", ".join(f"L{n} {value:.4g} V" for n, value in enumerate(volts, 1))
        yield (
            f"{told}: too far apart for one supply, a loose or missing neutral shows so; switch "
            "the supply off and have the neutral measured"
        )


def _frequency(row: DeviceSeen) -> Iterator[str]:
    hertz = row.meter.frequency_hz if row.meter is not None else None
    if hertz is not None and not _within(hertz, FREQUENCY_HZ):
        yield (
            f"{hertz:.4g} Hz is outside 45 to 65 Hz: another model? Compare `model` in "
            "charger.yaml with the label of the meter"
        )


def _one_of_three(row: DeviceSeen) -> Iterator[str]:
    if row.meter is None or row.phases < 3 or not any(evse_id for evse_id, _ in row.places):
        return
    if "pilot" not in row.roles and len(row.meter.voltage_v) == 1:
        yield (
            "it measures one phase, its connector has three: what the others carry is not counted; "
            "name another meter, or write phases: 1 at the connector"
        )


def _crossed(row: DeviceSeen) -> list[int]:
    """Phases whose current is that of another phase: its power is half of what volts and amperes
    make, and negative (cos 120 degrees). An EV takes its current in step."""
    meter = row.meter
    if meter is None or not any(evse_id for evse_id, _ in row.places):
        return []
    sizes = {len(meter.voltage_v), len(meter.current_a), len(meter.power_phase_w)}
    if sizes != {3}:
        return []
    phases = zip(meter.voltage_v, meter.current_a, meter.power_phase_w, strict=True)
    shares = [(w / (v * a) if v * a else 0.0, a) for v, a, w in phases]
    found = [
        n for n, (share, a) in enumerate(shares, 1) if a >= DRAWS_A and _within(share, CROSSED)
    ]
    return found if len(found) > 1 else []


def _crossing(row: DeviceSeen) -> Iterator[str]:
    crossed = _crossed(row)
    if crossed:
        told = ", ".join(f"L{n}" for n in crossed[:-1]) + f" and L{crossed[-1]}"
        yield (
            f"{told} show half their power, backwards: their current transformers sit on each "
            "other's wires, or its voltage terminals are interchanged; wire voltage and current of "
            "a phase to the same terminal number"
        )


def _sum(row: DeviceSeen) -> Iterator[str]:
    meter = row.meter
    if meter is None or meter.power_w is None or len(meter.power_phase_w) < 2:
        return
    phases_w = sum(meter.power_phase_w)
    if abs(phases_w - meter.power_w) > max(SUM_LEAST_W, SUM_SHARE * abs(meter.power_w)):
        yield (
            f"its phases sum up to {phases_w:.0f} W, its total is {meter.power_w:.0f} W; compare "
            "`model` with the label, and the direction of each current transformer"
        )
    told = ", ".join(
        f"L{n}" for n, value in enumerate(meter.power_phase_w, 1) if value < -SUM_LEAST_W
    )
    if told and not _crossed(row) and max(meter.power_phase_w) > SUM_LEAST_W:
        yield (
            f"{told} runs against the other phases; turn its current transformer, or swap supply "
            "and load of that phase"
        )


def _direction(row: DeviceSeen) -> Iterator[str]:
    meter = row.meter
    is_evse = any(evse_id for evse_id, _ in row.places)
    if meter is None or not is_evse or meter.power_w is None or meter.power_w >= -SUM_LEAST_W:
        return
    if _crossed(row):
        return
    other = "false" if row.is_reversed else "true"
    yield (
        f"it counts {meter.power_w:.0f} W backwards while the EV takes it; set reversed: {other}, "
        "or swap supply and load at the meter"
    )


def _scale(row: DeviceSeen) -> Iterator[str]:
    meter = row.meter
    if meter is None or meter.power_w is None or not meter.current_a:
        return
    if len(meter.voltage_v) != len(meter.current_a) or not all(
        _within(value, VOLTAGE_V) for value in meter.voltage_v
    ):
        return
    apparent_va = sum(
        volts * amps for volts, amps in zip(meter.voltage_v, meter.current_a, strict=True)
    )
    if abs(meter.power_w) > APPARENT_SHARE * apparent_va + SUM_LEAST_W:
        yield (
            f"{meter.power_w:.0f} W is more than its volts and amperes make ({apparent_va:.0f} "
            "VA); compare `model` with the label, and the ratio of current transformers"
        )


def _phase_order(row: DeviceSeen) -> Iterator[str]:
    """An EV on one phase takes L1 of its plug, which is terminal 1 of a meter wired like it."""
    if row.meter is None or not any(evse_id for evse_id, _ in row.places):
        return
    phase = _only_phase(row.meter)
    if phase is None:
        return
    supply = "RST"[phase - 1]
    terminal = row.phase_rotation.index(supply) + 1
    if phase != 1 and terminal != 1:
        yield (
            f"L{phase} carries {row.meter.current_a[phase - 1]:.1f} A and L1 nothing: an EV on one "
            f"phase takes L1; set phase_rotation: {ROTATION_FOR[terminal]}, or swap the wires of "
            "the meter"
        )
    if row.phases == 1 and len(row.meter.current_a) > 1 and phase != 1:
        yield "its connector has one phase, L1; check `phases` of the connector and the wiring"


def _only_phase(meter: MeterReading) -> int | None:
    """The phase that alone carries current."""
    if len(meter.current_a) != 3:
        return None
    drawn = [n for n, amps in enumerate(meter.current_a, 1) if amps >= DRAWS_A]
    idle = [n for n, amps in enumerate(meter.current_a, 1) if amps <= IDLE_A]
    return drawn[0] if len(drawn) == 1 and len(idle) == 2 else None


def _pilot(row: DeviceSeen) -> Iterator[str]:
    pilot = row.pilot
    if pilot is None:
        return
    if pilot.faults:
        yield (
            f"reports {', '.join(sorted(pilot.faults))}; see its manual for each, and unplug "
            "the EV before a new try"
        )
    if pilot.state is PilotState.UNKNOWN:
        yield "does not know the state of the pilot; check CP and PE at the connector"
    elif pilot.state in (PilotState.E, PilotState.F):
        yield (
            f"the pilot is in state {pilot.state.value}; check CP against PE for a short circuit, "
            "and the controller's own supply"
        )
    if pilot.power_path is PowerPath.UNKNOWN:
        yield "does not see the contactor; check its auxiliary contact or the controller's type"
    elif pilot.power_path is PowerPath.CLOSED and pilot.state in OPEN_STATES:
        yield (
            f"the contactor is closed in state {pilot.state.value}: welded, or its feedback is "
            "inverted; switch the supply off and measure before anything else"
        )


def _between(rows: Sequence[DeviceSeen]) -> Iterator[Complaint]:
    """What only several devices show together."""
    serials: dict[str, str] = {}
    for row in rows:
        serial = row.meter.serial if row.meter is not None and not row.lost else ""
        first = serials.setdefault(serial, row.name) if serial else row.name
        if first != row.name:
            yield Complaint(
                row.name,
                f"has the serial number {serial} of {first}: the same meter twice; check `unit` "
                "of both",
            )
    pilots: dict[int, list[DeviceSeen]] = {}
    for row in rows:
        for evse_id, connector_id in row.places if row.pilot is not None else ():
            if connector_id:
                pilots.setdefault(evse_id, []).append(row)
    for row in rows:
        for evse_id, connector_id in row.places if row.meter and not row.lost else ():
            if not connector_id:
                yield from _current_without_power(row, pilots.get(evse_id, ()))


def _current_without_power(row: DeviceSeen, pilots: Sequence[DeviceSeen]) -> Iterator[Complaint]:
    drawn_a = max(row.meter.current_a, default=0.0) if row.meter is not None else 0.0
    paths = [pilot.pilot.power_path for pilot in pilots if pilot.pilot and not pilot.lost]
    if not paths or drawn_a < DRAWS_A or any(path is not PowerPath.OPEN for path in paths):
        return
    name = pilots[0].name
    yield Complaint(
        row.name,
        f"measures {drawn_a:.1f} A while {name} says its contactor is open: the meter of another "
        "EVSE, or a welded contactor; swap `meter` of the EVSEs, or switch off and measure",
    )


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


CHECKS: tuple[Callable[[DeviceSeen], Iterator[str]], ...] = (
    _silent,
    _line,
    _voltage,
    _frequency,
    _one_of_three,
    _crossing,
    _sum,
    _direction,
    _scale,
    _phase_order,
    _pilot,
)
