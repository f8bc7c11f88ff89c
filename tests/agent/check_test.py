"""`chargepoint check` as a technician meets it: files in, lines and an exit code out."""

from pathlib import Path

import pytest

from agent import cli
from tests.agent.settings_bench import GOOD

TEMPLATE = (Path(__file__).parents[2] / "config" / "meters" / "_template.yaml").read_text()
TOO_SHORT = "blocks: [{address: 0x0000, count: 20}]\n"
FIRST_VALUE = """\
ocpp:
  variables:
    - component: {name: SampledDataCtrlr}
      variable: {name: TxUpdatedInterval}
      value: "60"
"""


def line_of(text: str) -> int:
    """In the template."""
    return TEMPLATE[: TEMPLATE.index(text)].count("\n") + 1


class Desk:
    """A directory with charger.yaml and a register map of one's own."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.config = directory / "charger.yaml"
        self.map = directory / "mine.yaml"
        self.map.write_text(TEMPLATE)

    def check(self, text: str) -> tuple[int, list[str]]:
        """Exit code and lines; `MAP` in the text is the path of the map."""
        self.config.write_text(text.replace("MAP", str(self.map)))
        code = cli.main(["check", str(self.config)])
        return code, self._capsys.readouterr().out.splitlines()

    def check_map(self, old: str, new: str) -> tuple[int, list[str]]:
        """The same with a meter by the map, changed at one place."""
        assert TEMPLATE.count(old) == 1, old
        self.map.write_text(TEMPLATE.replace(old, new))
        return self.check(GOOD.replace("lovato_dmg610", "MAP"))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_a_map_of_ones_own_is_named_by_its_path(desk: Desk) -> None:
    code, lines = desk.check(GOOD.replace("lovato_dmg610", "MAP"))
    assert (code, lines) == (0, [f"{desk.config}: ok"])


@pytest.mark.parametrize(
    ("old", "new", "column", "said"),
    [
        ("type: float32, scale", "type: float, scale", 42, "did you mean 'float32'?"),
        ("  voltage_l1:", "  voltage_1:", 3, "did you mean 'voltage_l1'?"),
        ("max_registers: 80", "max_register: 80", 1, "did you mean 'max_registers'?"),
        ("address: 0x0048", "address: 0072", 28, "takes for 58 (octal); write 72"),
        ("address: 0x0048", "address: 0048h", 28, "write it as 0x0048"),
        ("scale: 1000", "scale: 0", 58, "more than 0"),
        ("  power_total:", "\tpower_total:", 1, "a tab in the indentation"),
        ("phases: 3", "phases: 2", 9, "1, 3"),
        ("fields:\n", f"{TOO_SHORT}fields:\n", 0, "must hold all of energy_import"),
    ],
)
def test_a_mistake_in_a_map_has_its_line_and_its_fix(
    desk: Desk, old: str, new: str, column: int, said: str
) -> None:
    """Column 0: a mistake of the map as a whole."""
    code, lines = desk.check_map(old, new)
    assert code == 78
    place = f"{line_of(old)}:{column}" if column else "1:1"
    assert lines[0].startswith(f"{desk.map}:{place}: ")
    assert said in lines[0]
    assert lines[-1] == "1 mistake, 0 warnings"


def test_all_mistakes_of_a_map_come_at_once_and_beside_those_of_the_file(desk: Desk) -> None:
    desk.map.write_text(TEMPLATE.replace("phases: 3", "phases: 2").replace("float32", "float"))
    code, lines = desk.check(
        GOOD.replace("lovato_dmg610", "MAP").replace("current_a: 32", "current_a: x")
    )
    assert (code, lines[-1]) == (78, "8 mistakes, 0 warnings")
    assert lines[0].startswith(f"{desk.config}:8:14: ")
    assert lines[1].startswith(f"{desk.map}:{line_of('phases: 3')}:9: ")


def test_a_map_that_is_empty_names_the_template(desk: Desk) -> None:
    desk.map.write_text("")
    code, lines = desk.check(GOOD.replace("lovato_dmg610", "MAP"))
    assert code == 78
    assert lines[0].startswith(f"{desk.map}:1:1: the file is empty; start from /")


def test_a_meter_of_one_phase_does_not_count_three(desk: Desk) -> None:
    one_phase = GOOD.replace("lovato_dmg610", "eastron_sdm230")
    code, lines = desk.check(one_phase)
    assert code == 0
    assert lines[0].startswith(f"{desk.config}:11:12: warning: evses[0].meter: ")
    assert "write phases: 1" in lines[0]
    fits = one_phase.replace("pilot: pilot\n", "pilot: pilot\n        phases: 1\n")
    assert desk.check(fits) == (0, [f"{desk.config}: ok"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TxUpdatedInterval", "TxUpdateInterval", "did you mean 'TxUpdatedInterval'?"),
        ("SampledDataCtrlr", "SampleDataCtrlr", "did you mean 'SampledDataCtrlr'?"),
        ('"60"', "soon", "is 'soon'; write a whole number from 0 (s)"),
        ("SampledDataCtrlr", "{name: SampledDataCtrlr, evse: 1}", "correct its place"),
        ("TxUpdatedInterval", "TxUpdatedMeasurands", "commas between: Energy.Active"),
        ("TxUpdatedInterval", "Available", "the station's own"),
    ],
)
def test_a_first_value_that_the_station_would_not_take_is_named(
    desk: Desk, old: str, new: str, said: str
) -> None:
    old = f"{{name: {old}}}" if new.startswith("{") else old
    code, lines = desk.check(GOOD + FIRST_VALUE.replace(old, new))
    assert code == 0
    assert "warning: ocpp.variables[0]" in lines[0]
    assert said in lines[0]
    assert desk.check(GOOD + FIRST_VALUE) == (0, [f"{desk.config}: ok"])


def test_what_only_the_driver_knows_is_found_before_the_start(desk: Desk) -> None:
    backwards = GOOD.replace("model: lovato_dmg610", "model: MAP\n    reversed: true")
    code, lines = desk.check(backwards)
    assert code == 78
    assert "does not count the direction that `reversed` asks for; wire" in lines[0]
