"""The console's answer to `status` as a table for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ENERGY = "energy_kwh"
COLUMNS = (
    ("EVSE", "evse_id"),
    ("CONN", "connector_id"),
    ("STATUS", "status"),
    ("PILOT", "pilot"),
    ("POWER PATH", "power_path"),
    ("OFFERED A", "offered_a"),
    ("A", "current_a"),
    ("kW", "power_kw"),
    ("kWh", ENERGY),
    ("TRANSACTION", "transaction_id"),
    ("CHARGING", "charging_state"),
    ("FAULTS", "faults"),
)
DEVICE_COLUMNS = (
    ("DEVICE", "device"),
    ("STATE", "state"),
    ("REQUESTS", "requests"),
    ("TIMEOUTS", "timeouts"),
    ("UNUSABLE", "unusable"),
    ("EXCEPTIONS", "exceptions"),
    ("RECONNECTS", "reconnects"),
)
LIMIT_COLUMNS = (
    ("LOCAL LIMIT OF", "place"),
    ("A", "limit_a"),
    ("SAID BY", "source"),
    ("SECONDS AGO", "age_s"),
    ("SECONDS LEFT", "left_s"),
)
TABLES = (
    ("connectors", COLUMNS),
    ("local_limits", LIMIT_COLUMNS),
    ("devices", DEVICE_COLUMNS),
)
HEAD = ("station", "link", "queue", "set_aside")


def table(answer: Mapping[str, Any]) -> str:
    """Connectors and devices as rows, the rest of the answer as `name: value` lines above; '-' for
    unknown."""
    names = [name for name in HEAD if name in answer]
    apart = (*HEAD, "ok", *(key for key, _ in TABLES))
    names += [name for name in answer if name not in apart]
    width = max((len(name) for name in names), default=0)
    lines = [f"{_label(name) + ':':<{width + 1}} {shown(answer[name])}" for name in names]
    for key, columns in TABLES:
        rows = [row for row in answer.get(key) or () if isinstance(row, Mapping)]
        if rows:
            lines += ["", *_rows(rows, columns)]
    return "\n".join(lines)


def _rows(rows: list[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> Iterable[str]:
    """A table of the columns that at least one row has."""
    shown_ones = [(title, key) for title, key in columns if any(key in row for row in rows)]
    cells = [[title for title, _ in shown_ones]]
    cells += [[_cell(key, row.get(key)) for _, key in shown_ones] for row in rows]
    return aligned(cells)


def _cell(key: str, value: object) -> str:
    """Energy with all its digits, as `probe` and the meter's display have it."""
    return f"{value:.3f}" if key == ENERGY and isinstance(value, float) else shown(value)


def shown(value: object) -> str:
    """A value for the eye; control characters are dropped."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(
            f"{_label(str(name))} {_cell(str(name), one)}" for name, one in value.items()
        )
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value)
    return "".join(c for c in str(value) if c.isprintable())


def _label(name: str) -> str:
    return name.replace("_", " ")


def aligned(cells: list[list[str]]) -> Iterable[str]:
    """Cells of a table, the first row its titles, as lines."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
