"""What `chargepoint probe` found, for a terminal of 100 columns."""

import textwrap
from collections.abc import Iterator, Sequence

from agent.devices import DeviceSeen
from agent.probe_judge import Complaint
from drivers.contract import Counters, MeterReading, PilotReading

COLUMNS = 100
INDENT = "    "


def text(station: str, source: str, rows: Sequence[DeviceSeen], wrong: Sequence[Complaint]) -> str:
    """The whole report; complaints stand with their device and are counted at the end."""
    lines = [f"station {station}, {source}"]
    for row in rows:
        lines += ["", *_device(row, [one.text for one in wrong if one.device == row.name])]
    lines += ["", _total(len(wrong))]
    return "\n".join(_printable(line) for line in lines)


def _total(wrong: int) -> str:
    if not wrong:
        return "nothing looks wrong"
    return f"{wrong} {'complaint' if wrong == 1 else 'complaints'}, each marked ! above"


def _device(row: DeviceSeen, complaints: Sequence[str]) -> Iterator[str]:
    unit = "" if row.unit is None else f" unit {row.unit}"
    unit += f", {row.line}" if row.line else ""
    what = " ".join(word for word in (row.driver, row.model) if word)
    yield from _wrapped(f"{row.name}  {places(row)}, {what}", "")
    if row.port:
        yield from _wrapped(f"{row.port}{unit}", INDENT)
    if row.meter is not None and not row.lost:
        yield from _meter(row.meter, row)
    if row.pilot is not None and not row.lost:
        yield from _pilot(row.pilot, row)
    for name, active in row.inputs.items():
        yield f"{INDENT}{name:<12} {'active' if active else 'not active'}"
    if "reader" in row.roles and not row.lost:
        yield f"{INDENT}listens; `chargepoint learn` shows what it makes of a card"
    if row.counters is not None:
        yield from _counters(row.counters, is_reader="reader" in row.roles)
    for note in row.notes:
        yield from _wrapped(f"- {note}", INDENT)
    for doubt in row.doubts:
        step = "" if "compare with" in doubt else "; compare with the meter's display"
        yield from _wrapped(f"? {doubt}{step}", INDENT)
    for complaint in complaints:
        yield from _wrapped(f"! {complaint}", INDENT)


def places(row: DeviceSeen) -> str:
    """What the device serves, in words."""
    if not row.places:
        return " and ".join(row.roles)
    words: dict[str, list[str]] = {role: [] for role in row.roles}
    for evse_id, connector_id in row.places:
        role = row.roles[0] if connector_id else row.roles[-1]
        place = f"EVSE {evse_id}" if evse_id else "the grid connection"
        place += f" connector {connector_id}" if connector_id else ""
        words[role].append(place)
    return ", ".join(f"{role} of {', '.join(there)}" for role, there in words.items() if there)


def _meter(meter: MeterReading, row: DeviceSeen) -> Iterator[str]:
    total = [f"{meter.energy_wh / 1000:.3f} kWh"]
    if meter.power_w is not None:
        total.append(f"{meter.power_w:.0f} W")
    if meter.frequency_hz is not None:
        total.append(f"{meter.frequency_hz:.2f} Hz")
    total.append(f"{row.age_s or 0.0:.1f} s old")
    total.append(f"serial {meter.serial}" if meter.serial else "tells no serial number")
    yield INDENT + "   ".join(total)
    count = max(len(meter.voltage_v), len(meter.current_a), len(meter.power_phase_w))
    for index in range(count):
        cells = [
            f"{values[index]:>9.{digits}f} {unit}"
            for values, digits, unit in (
                (meter.voltage_v, 1, "V"),
                (meter.current_a, 2, "A"),
                (meter.power_phase_w, 0, "W"),
            )
            if index < len(values)
        ]
        yield f"{INDENT}L{index + 1} {' '.join(cells)}"


def _pilot(pilot: PilotReading, row: DeviceSeen) -> Iterator[str]:
    words = [f"state {pilot.state.value}", f"contactor {pilot.power_path.value}"]
    if pilot.offered_a is not None:
        words.append(f"offers {pilot.offered_a:g} A")
    if pilot.cable_a is not None:
        words.append(f"cable {pilot.cable_a:g} A")
    if pilot.temperature_c is not None:
        words.append(f"{pilot.temperature_c:g} °C")
    words.append(f"{row.age_s or 0.0:.1f} s old")
    yield INDENT + "   ".join(words)


def _counters(counters: Counters, *, is_reader: bool) -> Iterator[str]:
    garbled = f", {counters.garbled} garbled bytes" if counters.garbled else ""
    if not counters.requests:
        lines = f", {counters.unusable} unusable lines" if is_reader else ", not asked yet"
        yield f"{INDENT}{counters.reconnects} reconnects{lines}{garbled}"
        return
    yield (
        f"{INDENT}{counters.requests} requests: {counters.timeouts} timeouts, "
        f"{counters.unusable} unusable, {counters.exceptions} exceptions, "
        f"{counters.reconnects} reconnects{garbled}"
    )
    if counters.latency_s is None:
        yield f"{INDENT}no answer yet"
    else:
        latency_ms, slowest_ms = counters.latency_s * 1000, counters.slowest_s * 1000
        yield f"{INDENT}latency {latency_ms:.0f} ms, slowest {slowest_ms:.0f} ms"
    if trips := trips_of(counters):
        yield f"{INDENT}tripped by its own count: {trips}"


def trips_of(counters: Counters) -> str:
    """Empty while the device has told none."""
    if all(count is None for count in counters.trips.values()):
        return ""
    told = counters.trips.items()
    return ", ".join(f"{name} {'-' if count is None else count}" for name, count in told)


def _wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(
        _printable(line),
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=True,
        break_on_hyphens=False,
    )


def _printable(line: str) -> str:
    return "".join(c for c in line if c.isprintable())
