"""docs/security.md names a test for each threat; each of them exists."""

import re
from pathlib import Path

import pytest

from agent.ocpp.security import CRITICAL

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()
THREATS = TEXT.split("## Threats")[1].split("\n## ")[0]
EVENTS = TEXT.split("## Security events")[1].split("\n## ")[0]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


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


def test_every_event_of_the_standard_says_when_and_by_which_test_or_why_never() -> None:
    """Part 2 appendix 1, and A02.FR.29; critical ones as the station sends them."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in EVENTS.splitlines()
        if line.startswith("| ")
    ][1:]
    assert len(rows) == 21
    assert {cells[0].removesuffix(" !") for cells in rows if cells[0].endswith(" !")} == CRITICAL
    for name, when, tests in rows:
        assert bool(tests) is not when.startswith("never: "), name
