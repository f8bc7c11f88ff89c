"""`make conformance`: runs the cases and writes what passed, what does not apply, what is missing.

A case is a test `test_<id>` under tests/conformance. Those that may be not applicable stand, with
their reason, in docs/not-applicable.csv; everything else without a passing test is missing.
"""

import csv
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parent.parent
CASES = ROOT / "tests/conformance/cases.csv"
NOT_APPLICABLE = ROOT / "docs/not-applicable.csv"
REPORT = ROOT / "docs/conformance.csv"


class Case(Struct, frozen=True):
    """One case of Part 6 for a charging station."""

    case_id: str
    condition: str


class Row(Struct, frozen=True):
    case_id: str
    result: str
    """pass, not-applicable or missing"""
    test: str
    condition: str


def read_cases() -> list[Case]:
    with CASES.open() as file:
        return [Case(row["id"], row["condition"]) for row in csv.DictReader(file)]


def read_not_applicable() -> dict[str, str]:
    """Case id -> reason."""
    with NOT_APPLICABLE.open() as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def run_cases() -> dict[str, tuple[str, bool]]:
    """Case id -> (test, passed), from an actual run."""
    with tempfile.TemporaryDirectory() as directory:
        xml = Path(directory, "report.xml")
        words = [sys.executable, "-m", "pytest", "tests/conformance", f"--junitxml={xml}"]
        subprocess.run(words, cwd=ROOT, check=False)
        return outcomes(ElementTree.parse(xml).getroot())


def outcomes(report: ElementTree.Element) -> dict[str, tuple[str, bool]]:
    """Of a JUnit report: a case passed when all tests that carry its id did."""
    found: dict[str, tuple[str, bool]] = {}
    for test in report.iter("testcase"):
        name = test.get("name", "").split("[")[0]
        case_id = name.removeprefix("test_")
        if not case_id.startswith("TC_"):
            continue
        passed = not any(child.tag in ("failure", "error", "skipped") for child in test)
        before = found.get(case_id, ("", True))[1]
        module = test.get("classname", "").replace(".", "/")
        found[case_id] = (f"{module}.py::{name}", passed and before)
    return found


def judge(
    cases: list[Case], found: Mapping[str, tuple[str, bool]], not_applicable: Mapping[str, str]
) -> list[Row]:
    """A passing test wins; a failing one is missing, whatever is said of the case."""
    rows = []
    for case in cases:
        test, passed = found.get(case.case_id, ("", False))
        if passed:
            rows.append(Row(case.case_id, "pass", test, case.condition))
        elif case.case_id in not_applicable and not test:
            rows.append(Row(case.case_id, "not-applicable", "", case.condition))
        else:
            rows.append(Row(case.case_id, "missing", "", case.condition))
    return rows


def write(rows: list[Row]) -> None:
    with REPORT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "result", "test", "condition"])
        writer.writerows((row.case_id, row.result, row.test, row.condition) for row in rows)


def summary(rows: list[Row]) -> str:
    counts = {kind: sum(row.result == kind for row in rows) for kind in KINDS}
    passed, not_applicable, missing = counts.values()
    return (
        f"conformance: {passed} passed, {not_applicable} not applicable, "
        f"{missing} missing of {len(rows)}"
    )


KINDS = ("pass", "not-applicable", "missing")


def main() -> int:
    rows = judge(read_cases(), run_cases(), read_not_applicable())
    write(rows)
    print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
