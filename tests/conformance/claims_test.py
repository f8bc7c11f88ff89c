"""docs/conformance.csv claims nothing that does not run."""

import ast
import csv
from pathlib import Path
from xml.etree import ElementTree

from hil.conformance_report import (
    REPORT,
    judge,
    outcomes,
    read_cases,
    read_not_applicable,
    summary,
)

HERE = Path(__file__).parent
RUN = (
    ("TC_B_01_CS", ""),
    ("TC_B_02_CS", "<failure/>"),
    ("TC_B_03_CS[a]", ""),
    ("TC_B_03_CS[b]", "<skipped/>"),
)
CASES = "".join(
    f"<testcase classname='tests.conformance.test_b' name='test_{name}'>{inside}</testcase>"
    for name, inside in RUN
)


def written_tests() -> dict[str, str]:
    """Case id -> module::name of the tests that stand here and are not skipped."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                runs = "skip" not in marks and "xfail" not in marks
                if node.name.startswith("test_TC_") and runs:
                    name = f"tests/conformance/{path.name}::{node.name}"
                    found[node.name.removeprefix("test_")] = name
    return found


def claimed() -> list[dict[str, str]]:
    with REPORT.open() as file:
        return list(csv.DictReader(file))


def test_what_is_claimed_to_pass_has_a_test_that_runs() -> None:
    tests = written_tests()
    passing = {row["id"]: row["test"] for row in claimed() if row["result"] == "pass"}
    assert passing
    assert tests == passing, "a test came or went: make conformance writes the file anew"


def test_what_is_not_applicable_has_a_reviewed_reason_and_no_test() -> None:
    reasons, tests = read_not_applicable(), written_tests()
    left_out = {row["id"] for row in claimed() if row["result"] == "not-applicable"}
    assert left_out <= set(reasons)
    assert all(reasons.values())
    assert not left_out & set(tests)


def test_every_case_of_the_standard_is_listed_once() -> None:
    cases = [case.case_id for case in read_cases()]
    assert len(cases) == len(set(cases)) == 424
    assert [row["id"] for row in claimed()] == cases
    assert set(written_tests()) <= set(cases)
    assert set(read_not_applicable()) <= set(cases)


def test_a_failing_or_skipped_case_is_missing_whatever_is_said_of_it() -> None:
    report = ElementTree.fromstring(f"<testsuites><testsuite>{CASES}</testsuite></testsuites>")
    reasons = {"TC_B_02_CS": "no reason helps", "TC_A_04_CS": "not here"}
    rows = {row.case_id: row.result for row in judge(read_cases(), outcomes(report), reasons)}
    assert rows["TC_B_01_CS"] == "pass"
    assert rows["TC_B_02_CS"] == rows["TC_B_03_CS"] == "missing"
    assert rows["TC_A_04_CS"] == "not-applicable"
    text = summary(judge(read_cases(), outcomes(report), reasons))
    assert text == "conformance: 1 passed, 1 not applicable, 422 missing of 424"
