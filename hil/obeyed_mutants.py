"""`python -m hil.obeyed_mutants`: every variable the CSMS may set, made dead one at a time.

A dead variable takes a new value, keeps it and tells it, and the station goes on with the default.
The tests that tests/obeyed.csv names for it must then fail; one that does not is a survivor.
"""

import contextlib
import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agent.core.policy import Policy
from agent.ocpp.device_model import Change, DeviceModel, VariablesSet
from agent.ocpp.entry import Entry

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests/obeyed.csv"
LONGEST = 120
"""Characters of a failure that are shown."""


class Row(Struct, frozen=True):
    """A variable by its names, as they stand in the table, and the test that shows its effect."""

    component: str
    per: str
    """evse, connector, or empty for the whole station"""
    variable: str
    instance: str
    test: str

    @property
    def name(self) -> str:
        return full_name(self.component, self.per, self.variable, self.instance)


def full_name(component: str, per: str, variable: str, instance: str) -> str:
    """Component@evse.Variable[instance]"""
    place = f"@{per}" if per else ""
    return f"{component}{place}.{variable}" + (f"[{instance}]" if instance else "")


def read_table() -> list[Row]:
    with TABLE.open() as file:
        return [msgspec.convert(row, Row) for row in csv.DictReader(file)]


def name_of(entry: Entry) -> str:
    """As `Row.name`: all EVSEs, or all connectors, are one."""
    variable = entry.variable
    per = variable.level if variable.level != "station" else ""
    return full_name(variable.component, per, variable.name, variable.instance or "")


class Corpse:
    """What a dead variable was set to: told to whoever asks, obeyed by nobody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: dict[str, str] = {}
        """State key -> value"""

    def is_key(self, model: DeviceModel, key: str) -> bool:
        return name_of(model._entries[key]) == self.name

    def bury(self, model: DeviceModel) -> None:
        """Takes the value away from whoever obeys it."""
        for key in [key for key in model._values if self.is_key(model, key)]:
            self.told[key] = model._values.pop(key)


@contextlib.contextmanager
def dead(name: str) -> Iterator[None]:
    """As long as it lasts, nothing in this process obeys the variable."""
    corpse = Corpse(name)
    kept: dict[str, Callable[..., Any]] = {
        method: getattr(DeviceModel, method)
        for method in ("_load", "_apply_first", "consequences", "policy", "_read")
    }

    def load(model: DeviceModel, saved: Mapping[str, str]) -> None:
        kept["_load"](model, saved)
        corpse.bury(model)

    def apply_first(model: DeviceModel, first_values: Any) -> None:
        kept["_apply_first"](model, first_values)
        corpse.bury(model)

    def consequences(model: DeviceModel, changes: Sequence[Change]) -> Any:
        effects, events = kept["consequences"](model, changes)
        corpse.told |= {c.key: c.value for c in changes if corpse.is_key(model, c.key)}
        return effects, tuple(_without(event, model, corpse) for event in events)

    def policy(model: DeviceModel, changes: Sequence[Change] = ()) -> Policy:
        alive = tuple(change for change in changes if not corpse.is_key(model, change.key))
        found: Policy = kept["policy"](model, alive)
        return found

    def read(model: DeviceModel, entry: Entry, view: object, now: Any) -> Any:
        if entry.key in corpse.told:
            return corpse.told[entry.key]
        return kept["_read"](model, entry, view, now)

    mutants = (load, apply_first, consequences, policy, read)
    for method, mutant in zip(kept, mutants, strict=True):
        setattr(DeviceModel, method, mutant)
    try:
        yield
    finally:
        for method, original in kept.items():
            setattr(DeviceModel, method, original)


def _without(event: object, model: DeviceModel, corpse: Corpse) -> object:
    if not isinstance(event, VariablesSet):
        return event
    return VariablesSet(tuple(c for c in event.changes if not corpse.is_key(model, c.key)))


def run_test(test: str) -> tuple[int, str]:
    """pytest's exit code (0 passed, 1 failed, others: could not be run) and what it failed with."""
    import pytest

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        words = ["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", test]
        code = int(pytest.main([f"--rootdir={ROOT}", *words]))
    errors = [line[1:].strip() for line in told.getvalue().splitlines() if line.startswith("E  ")]
    return code, errors[0] if errors else ""


def try_out(row: Row) -> str:
    """killed, and by what; or what is wrong: the test passes without the variable, or fails with
    it."""
    code, error = run_test(str(ROOT / row.test))
    if code != 0:
        return f"fails with the variable alive, too: {error}"
    with dead(row.name):
        code, error = run_test(str(ROOT / row.test))
    if code == 0:
        return "SURVIVED"
    return f"killed: {error[:LONGEST]}" if code == 1 else f"pytest ended with {code}"


def main(argv: Sequence[str] | None = None) -> int:
    """Tries the rows whose variable contains one of the words given, all without any."""
    words = sys.argv[1:] if argv is None else list(argv)
    rows = [r for r in read_table() if not words or any(word in r.name for word in words)]
    killed = 0
    for number, row in enumerate(rows, 1):
        verdict = try_out(row)
        killed += verdict.startswith("killed")
        print(f"{number}/{len(rows)} {row.name}: {row.test}: {verdict}", flush=True)
    print(f"obeyed: {killed} of {len(rows)} dead variables noticed")
    return 0 if killed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
