"""The live table of `chargepoint probe --watch`."""

from datetime import datetime

from agent.devices import DeviceSeen
from agent.probe_judge import Complaint
from agent.probe_text import text
from agent.probe_watch import COLUMNS, plain, table
from drivers.contract import Counters
from tests.agent.probe_judge_test import meter, pilot

AT = datetime(2026, 11, 23, 10, 20, 30)
COUNTED = Counters(requests=1000, timeouts=3, unusable=2, exceptions=1, latency_s=0.0123, opens=5)


def rows_of(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines()]


def test_each_value_has_a_row_with_its_unit_and_each_device_age_latency_and_counters() -> None:
    reader = DeviceSeen(name="reader", roles=("reader",), driver="serial_reader")
    shown = table("S", "here", [meter(counters=COUNTED), pilot(), reader], [], AT)
    assert shown.splitlines()[0] == "station S, here, 10:20:30"
    rows = rows_of(shown)
    counters = ["1000", "3", "2", "1", "4"]
    assert ["m", "energy", "1.234", "kWh", "0.5", "s", "12", "ms", *counters] in rows
    assert ["power", "11040", "W"] in rows
    assert ["voltage", "230.0", "230.0", "230.0", "V"] in rows
    assert ["current", "16.00", "16.00", "16.00", "A"] in rows
    assert ["frequency", "50.00", "Hz"] in rows
    assert ["p", "state", "C", "0.5", "s", *("-",) * 6] in rows
    assert ["contactor", "closed"] in rows
    assert ["offers", "16", "A"] in rows
    assert any(row[:3] == ["reader", "cards", "listens"] for row in rows)
    assert shown.endswith("nothing looks wrong")
    assert max(map(len, shown.splitlines())) <= COLUMNS


def test_a_lost_device_shows_no_old_value_and_its_complaint_stands_below() -> None:
    wrong = [Complaint("m", "no answer; check its supply " * 5)]
    shown = table("S", "here", [meter(lost="no answer")], wrong, AT, "chargepoint: gone; wait")
    assert "1.234" not in shown
    assert "! m: no answer" in shown
    assert "chargepoint: gone; wait" in shown
    assert "nothing looks wrong" not in shown
    assert max(map(len, shown.splitlines())) <= COLUMNS


def test_what_a_controller_has_counted_itself_is_shown_once_it_has_told_it() -> None:
    told = pilot(counters=Counters(requests=1, trips={"rcd": 2, "ground": None}))
    silent = pilot(counters=Counters(requests=1, trips={"rcd": None}))
    assert ["tripped", "rcd", "2,", "ground", "-"] in rows_of(table("S", "h", [told], [], AT))
    assert "tripped" not in table("S", "h", [silent], [], AT)
    assert "tripped" not in text("S", "h", [silent], [])


def test_a_device_that_never_answered_has_no_latency() -> None:
    lines = text("S", "h", [pilot(counters=Counters(requests=3, timeouts=3))], []).splitlines()
    assert "    no answer yet" in lines
    assert not any("latency" in line for line in lines)


def test_a_device_cannot_write_on_the_terminal() -> None:
    row = DeviceSeen(name="x\x1b[2J", roles=("board",), driver="gpio_board", inputs={"a\x9b": True})
    assert "\x1b" not in table("S", "h", [row], [], AT) + plain([row], [], AT)
    assert "\x9b" not in table("S", "h", [row], [], AT)


def test_for_a_file_each_device_is_a_line() -> None:
    wrong = [Complaint("m", "odd; look")]
    lines = plain([meter(counters=COUNTED), pilot()], wrong, AT).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("10:20:30 m: energy 1.234 kWh, power 11040 W, ")
    assert "3 timeouts, 2 unusable, 1 exceptions, 4 reconnects" in lines[0]
    assert lines[0].endswith("! odd; look")
    assert "contactor closed" in lines[1]
    assert "!" not in lines[1]
