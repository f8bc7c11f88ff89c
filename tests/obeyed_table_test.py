"""Each variable the CSMS may set has a test in obeyed.csv that shows what it changes.

Read-back does not count: `make obeyed` runs each of these tests with its variable dead, and it must
fail.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from agent.settings import EnergyManager
from hil.conformance import Octt
from hil.obeyed_mutants import TABLE, full_name, read_table
from hil.sim import SimBench
from hil.virtual_time import run_virtual

ROOT = Path(__file__).parent.parent

NOT_YET: dict[str, str] = {}
"""Settable without effect. Delete the entry when it has one, and name its test in the table."""


def writable(**options: Any) -> set[str]:
    """Names of what a full report says that the CSMS may set."""
    found: set[str] = set()

    async def scene() -> None:
        async with SimBench(**options) as bench:
            octt = Octt(bench)
            await octt.booted()
            request = {"requestId": 1, "reportBase": "FullInventory"}
            await octt.accepted("GetBaseReport", request)
            more = True
            while more:
                part = await octt.expect("NotifyReport")
                found.update(_name(row) for row in part["reportData"] if _is_writable(row))
                more = part["tbc"]

    run_virtual(scene())
    return found


def _is_writable(row: dict[str, Any]) -> bool:
    return any(a["mutability"] != "ReadOnly" for a in row["variableAttribute"])


def _name(row: dict[str, Any]) -> str:
    evse, variable = row["component"].get("evse", {}), row["variable"]
    per = ("connector" if "connectorId" in evse else "evse") if evse else ""
    return full_name(row["component"]["name"], per, variable["name"], variable.get("instance", ""))


@cache
def all_writable() -> frozenset[str]:
    """Of a station with everything, and of one with nothing."""
    optional = {"main_meter": True, "energy_manager": EnergyManager()}
    everything = writable(socket=True, signs=True, inputs=True, **optional)
    return frozenset(everything | writable(socket=False, signs=False, inputs=False))


def test_every_variable_that_can_be_set_names_the_test_of_what_it_changes() -> None:
    named = {row.name for row in read_table()}
    lacking = sorted(all_writable() - named - set(NOT_YET))
    assert not lacking, "\n".join(_advice(name) for name in lacking)


def _advice(name: str) -> str:
    place, _, variable = name.partition(".")
    component, _, per = place.partition("@")
    variable, _, instance = variable.partition("[")
    row = f"{component},{per},{variable},{instance.rstrip(']')},tests/<file>.py::<test>"
    return (
        f"{name} can be set and no test shows what it changes. Write one that sets it through"
        f" SetVariables to another value than its default and sees the station behave differently"
        f" (tests/obeyed_test.py has examples), add the line\n  {row}\nto {TABLE.name}, and see"
        f" `python -m hil.obeyed_mutants {name}` say `killed`."
    )


def test_the_table_names_only_variables_that_can_be_set_once_each_in_order() -> None:
    names = [row.name for row in read_table()]
    assert len(names) == len(set(names))
    assert not set(names) - all_writable(), "delete these lines: nobody can set them"
    assert not set(NOT_YET) & set(names), "named in the table: delete it from NOT_YET"
    assert set(NOT_YET) <= all_writable(), "cannot be set any more: delete it from NOT_YET"
    lines = TABLE.read_text().splitlines()[1:]
    assert lines == sorted(lines), "keep the lines sorted"


def test_the_tests_that_the_table_names_exist_and_run() -> None:
    wrong = [f"{row.name}: {row.test} {why}" for row in read_table() if (why := _flaw(row.test))]
    assert not wrong, "\n".join(wrong)


def _flaw(test: str) -> str:
    """Why a test proves nothing, or ""."""
    path, _, name = test.partition("::")
    if not (ROOT / path).is_file():
        return "stands in no file; correct the line"
    tree = ast.parse((ROOT / path).read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in tree.body if isinstance(node, functions) and node.name == name]
    if not found:
        return "is not in its file; correct the line"
    marks = [ast.unparse(mark) for mark in found[0].decorator_list]
    marks += [ast.unparse(n) for n in tree.body if isinstance(n, ast.Assign) and _is_mark(n)]
    calls = [ast.unparse(n.func) for n in ast.walk(found[0]) if isinstance(n, ast.Call)]
    skips = ("skip", "xfail", "importorskip")
    if any(word in text for text in (*marks, *calls) for word in skips):
        return "may be skipped; name one that always runs"
    return ""


def _is_mark(node: ast.Assign) -> bool:
    return any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)


def test_a_test_that_is_gone_or_skipped_is_found(tmp_path: Path) -> None:
    path = tmp_path / "some_test.py"
    path.write_text(
        "import pytest\n"
        "def test_runs(): assert True\n"
        "@pytest.mark.skipif(True, reason='')\ndef test_marked(): assert True\n"
        "def test_gives_up(): pytest.skip('lazy')\n"
    )
    assert not _flaw(f"{path}::test_runs")
    assert "skipped" in _flaw(f"{path}::test_marked")
    assert "skipped" in _flaw(f"{path}::test_gives_up")
    assert "not in its file" in _flaw(f"{path}::test_gone")
    assert "no file" in _flaw("tests/gone_test.py::test_gone")
