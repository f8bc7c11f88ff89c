"""Every line that `chargepoint probe` can print, whole."""

from typing import Any

import pytest

from agent.devices import DeviceSeen
from agent.probe_judge import Complaint
from agent.probe_text import text
from drivers.contract import Counters, MeterReading, PilotReading, PilotState, PowerPath

BARE = MeterReading(0.0, 1234.0)
WHOLE = MeterReading(
    0.0,
    1_234_567.0,
    serial="77",
    power_w=3680.0,
    power_phase_w=(3680.0, 0.0),
    current_a=(16.0, 0.25, 0.0),
    voltage_v=(230.4,),
    frequency_hz=49.98,
)
SPARSE = PilotReading(0.0, PilotState.B, PowerPath.UNKNOWN)
FULL = PilotReading(
    0.0, PilotState.C, PowerPath.CLOSED, offered_a=0.0, cable_a=20.0, temperature_c=41.0
)


def shown(row: DeviceSeen, *wrong: Complaint) -> list[str]:
    """The lines of one device: what stands between the heading and the total."""
    lines = text("CP-1", "read directly", [row], wrong).splitlines()
    assert lines[:2] == ["station CP-1, read directly", ""]
    assert lines[-2] == ""
    return lines[2:-2]


def device(*roles: str, **facts: Any) -> DeviceSeen:
    return DeviceSeen(**{"name": "d", "roles": roles, "driver": "x", "age_s": 0.5} | facts)


@pytest.mark.parametrize(
    ("facts", "heading"),
    [
        ({"roles": ("meter",)}, "d  meter, x"),
        ({"roles": ("pilot", "meter")}, "d  pilot and meter, x"),
        ({"roles": ("meter",), "places": ((0, 0),)}, "d  meter of the grid connection, x"),
        ({"roles": ("meter",), "places": ((1, 0), (2, 0))}, "d  meter of EVSE 1, EVSE 2, x"),
        ({"roles": ("pilot",), "places": ((1, 2),)}, "d  pilot of EVSE 1 connector 2, x"),
        (
            {"roles": ("pilot", "meter"), "places": ((1, 0), (1, 1))},
            "d  pilot of EVSE 1 connector 1, meter of EVSE 1, x",
        ),
        ({"roles": ("meter",), "model": "sdm"}, "d  meter, x sdm"),
    ],
)
def test_the_heading_says_what_it_is_to_the_station(facts: dict[str, Any], heading: str) -> None:
    assert shown(device(**facts)) == [heading]


@pytest.mark.parametrize(
    ("facts", "line"),
    [({"port": "/dev/a"}, "    /dev/a"), ({"port": "/dev/a", "unit": 7}, "    /dev/a unit 7")],
)
def test_the_port_stands_with_its_unit(facts: dict[str, Any], line: str) -> None:
    assert shown(device("meter", **facts))[1:] == [line]


def test_a_meter_is_shown_whole() -> None:
    assert shown(device("meter", meter=WHOLE))[1:] == [
        "    1234.567 kWh   3680 W   49.98 Hz   0.5 s old   serial 77",
        "    L1     230.4 V     16.00 A      3680 W",
        "    L2      0.25 A         0 W",
        "    L3      0.00 A",
    ]


def test_a_meter_that_tells_little_shows_that_alone() -> None:
    assert shown(device("meter", meter=BARE))[1:] == [
        "    1.234 kWh   0.5 s old   tells no serial number"
    ]


def test_a_controller_shows_what_it_knows() -> None:
    assert shown(device("pilot", pilot=FULL))[1:] == [
        "    state C   contactor closed   offers 0 A   cable 20 A   41 °C   0.5 s old"
    ]
    assert shown(device("pilot", pilot=SPARSE, age_s=None))[1:] == [
        "    state B   contactor unknown   0.0 s old"
    ]


def test_what_is_lost_shows_no_value() -> None:
    row = device("pilot", "meter", "reader", pilot=FULL, meter=WHOLE, lost="gone")
    assert shown(row) == ["d  pilot and meter and reader, x"]


def test_inputs_stand_each_on_a_line() -> None:
    assert shown(device("board", inputs={"door": True, "emergency_stop": False}))[1:] == [
        "    door         active",
        "    emergency_stop not active",
    ]


def test_a_reader_that_was_asked_nothing_shows_its_port_and_how_to_go_on() -> None:
    assert shown(device("reader", counters=Counters(opens=3, unusable=2, garbled=9)))[1:] == [
        "    listens; `chargepoint learn` shows what it makes of a card",
        "    2 reconnects, 2 unusable lines, 9 garbled bytes",
    ]


@pytest.mark.parametrize(
    ("latency_s", "told"),
    [(None, "no answer yet"), (0.0125, "latency 12 ms, slowest 250 ms")],
)
def test_counters_stand_with_their_latency(latency_s: float | None, told: str) -> None:
    counters = Counters(9, 1, 2, 3, 5, latency_s=latency_s, slowest_s=0.25)
    assert shown(device("meter", counters=counters))[1:] == [
        "    9 requests: 1 timeouts, 2 unusable, 3 exceptions, 4 reconnects",
        f"    {told}",
    ]


def test_what_the_device_counted_itself_stands_below() -> None:
    counters = Counters(1, trips={"rcd": 2, "ground": None})
    assert shown(device("pilot", counters=counters))[-1] == (
        "    tripped by its own count: rcd 2, ground -"
    )


@pytest.mark.parametrize(
    ("count", "total"),
    [
        (0, "nothing looks wrong"),
        (1, "1 complaint, each marked ! above"),
        (2, "2 complaints, each marked ! above"),
    ],
)
def test_notes_doubts_and_complaints_stand_with_their_device_and_are_counted(
    count: int, total: str
) -> None:
    row = device("meter", notes=("by itself",), doubts=("two manuals", "compare with the bill"))
    wrong = [Complaint("d", "bad; mend it")] * count
    assert shown(row, *wrong, Complaint("other", "x"))[1:] == [
        "    - by itself",
        "    ? two manuals; compare with the meter's display",
        "    ? compare with the bill",
        *["    ! bad; mend it"] * count,
    ]
    assert text("S", "here", [row], wrong).splitlines()[-1] == total
