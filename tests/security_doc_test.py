"""docs/security.md names a test for each threat; each of them exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()
THREATS = TEXT.split("## Threats")[1].split("\n## ")[0]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", THREATS)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_threat_model_names_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_threat_has_its_four_cells_and_a_test() -> None:
    rows = [line for line in THREATS.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        assert len(cells) == 4, row
        assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(, `tests/[\w/]+\.py::\w+`)*", cells[3]), row
