"""`chargepoint probe --watch`: all devices as one table, a value a row; or a line a device."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime

from agent.devices import DeviceSeen
from agent.probe_judge import Complaint
from agent.probe_text import trips_of
from drivers.contract import MeterReading, PilotReading

COLUMNS = 100
TITLES = (
    "DEVICE",
    "SHOWS",
    "VALUE",
    "UNIT",
    "AGE",
    "LATENCY",
    "ASKED",
    *("T/O", "BAD", "EXC", "REC"),
)
LEGEND = (
    "T/O unanswered, BAD unusable, EXC refused by the device, REC port opened again; "
    "Ctrl-C ends this"
)

Value = tuple[str, str, str]
"""What it is, the value, its unit."""


def table(
    station: str,
    source: str,
    rows: Sequence[DeviceSeen],
    wrong: Sequence[Complaint],
    at: datetime,
    note: str = "",
) -> str:
    """A screen of 100 columns. `note`: why the values are not of this moment."""
    lines = [f"station {station}, {source}, {at:%H:%M:%S}"]
    lines += _wrapped(note, "") if note else []
    cells = [TITLES, *(cell for row in rows for cell in _cells(row))]
    lines += ["", *_aligned(cells), "", LEGEND]
    for one in wrong:
        lines += _wrapped(f"! {one.device}: {one.text}", "  ")
    if not wrong and not note:
        lines.append("nothing looks wrong")
    return "\n".join(_printable(line) for line in lines)


def plain(rows: Sequence[DeviceSeen], wrong: Sequence[Complaint], at: datetime) -> str:
    """For a file or a pipe: a line a device, with its complaints behind it."""
    lines = []
    for row in rows:
        values = [" ".join(word for word in value if word) for value in values_of(row)]
        words = [*values, f"age {_age(row)}", f"latency {_latency(row)}"]
        if row.counters is not None:
            count = row.counters
            words.append(
                f"{count.requests} requests, {count.timeouts} timeouts, {count.unusable} unusable, "
                f"{count.exceptions} exceptions, {count.reconnects} reconnects"
            )
            words += [f"{count.garbled} garbled bytes"] if count.garbled else []
        words += [f"! {one.text}" for one in wrong if one.device == row.name]
        lines.append(_printable(f"{at:%H:%M:%S} {row.name}: {', '.join(words)}"))
    return "\n".join(lines)


def values_of(row: DeviceSeen) -> list[Value]:
    """All that a device shows; at least one."""
    if row.lost:
        return [("lost", "-", "")]
    found: list[Value] = []
    if row.meter is not None:
        found += _meter(row.meter)
    if row.pilot is not None:
        found += _pilot(row.pilot)
    if row.counters is not None and (trips := trips_of(row.counters)):
        found.append(("tripped", trips, ""))
    found += [(name, "active" if on else "not active", "") for name, on in row.inputs.items()]
    if "reader" in row.roles:
        found.append(("cards", "listens", ""))
    return found or [("nothing yet", "-", "")]


def _meter(meter: MeterReading) -> Iterator[Value]:
    yield "energy", f"{meter.energy_wh / 1000:.3f}", "kWh"
    if meter.power_w is not None:
        yield "power", f"{meter.power_w:.0f}", "W"
    for name, values, digits, unit in (
        ("voltage", meter.voltage_v, 1, "V"),
        ("current", meter.current_a, 2, "A"),
        ("by phase", meter.power_phase_w, 0, "W"),
    ):
        if values:
            yield name, "  ".join(f"{value:.{digits}f}" for value in values), unit
    if meter.frequency_hz is not None:
        yield "frequency", f"{meter.frequency_hz:.2f}", "Hz"


def _pilot(pilot: PilotReading) -> Iterator[Value]:
    yield "state", pilot.state.value, ""
    yield "contactor", pilot.power_path.value, ""
    if pilot.offered_a is not None:
        yield "offers", f"{pilot.offered_a:g}", "A"
    if pilot.cable_a is not None:
        yield "cable", f"{pilot.cable_a:g}", "A"
    if pilot.temperature_c is not None:
        yield "inside", f"{pilot.temperature_c:g}", "°C"


def _cells(row: DeviceSeen) -> Iterator[tuple[str, ...]]:
    """Name, age and counters stand in the first row of a device."""
    count = row.counters
    counted: tuple[str, ...] = ("-",) * 5
    if count is not None:
        numbers = (count.requests, count.timeouts, count.unusable, count.exceptions)
        counted = tuple(str(number) for number in (*numbers, count.reconnects))
    for index, value in enumerate(values_of(row)):
        if index:
            yield ("", *value, *("",) * 7)
        else:
            yield (row.name, *value, _age(row), _latency(row), *counted)


def _age(row: DeviceSeen) -> str:
    return "-" if row.age_s is None else f"{row.age_s:.1f} s"


def _latency(row: DeviceSeen) -> str:
    latency_s = None if row.counters is None else row.counters.latency_s
    return "-" if latency_s is None else f"{latency_s * 1000:.0f} ms"


def _aligned(cells: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(TITLES))]
    for row in cells:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def _printable(line: str) -> str:
    return "".join(c for c in line if c.isprintable())
