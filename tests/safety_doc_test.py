"""docs/safety.md names tests: they exist, and no row goes without one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "docs" / "safety.md").read_text().splitlines()
ROWS = [line for line in LINES if line.startswith("|")]
NAMED = sorted({name for row in ROWS for name in re.findall(r"tests/\S+::\w+", row)})


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert function.startswith("test_")
    assert function in names_in(path)


def test_every_row_names_a_test() -> None:
    rows = [row for row in ROWS if not row.startswith(("| hazard", "| sequence", "|---"))]
    assert len(rows) > 25
    assert [row for row in rows if "::test_" not in row] == []
