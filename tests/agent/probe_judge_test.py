"""Each thing that may look wrong, and its neighbour that does not."""

from typing import Any

import pytest

from agent.devices import DeviceSeen
from agent.probe_judge import judge
from drivers.contract import Counters, MeterReading, PilotReading, PilotState, PowerPath

GOOD: dict[str, Any] = {
    "at_s": 0.0,
    "energy_wh": 1234.0,
    "serial": "77",
    "power_w": 11040.0,
    "power_phase_w": (3680.0, 3680.0, 3680.0),
    "current_a": (16.0, 16.0, 16.0),
    "voltage_v": (230.0, 230.0, 230.0),
    "frequency_hz": 50.0,
}
ONE_PHASE = {"power_w": 3680.0}


ONE_TERMINAL = ONE_PHASE | {
    "voltage_v": (230.0,),
    "current_a": (16.0,),
    "power_phase_w": (3680.0,),
}
CROSSED = {"power_w": 0.0, "power_phase_w": (-1840.0, 3680.0, -1840.0)}
"""The transformers of L1 and L3 interchanged."""


def on_phase(phase: int) -> dict[str, Any]:
    amps, watts = [0.0, 0.1, 0.0], [0.0, 0.0, 0.0]
    amps[phase - 1], watts[phase - 1] = 16.0, 3680.0
    return ONE_PHASE | {"current_a": tuple(amps), "power_phase_w": tuple(watts)}


def meter(reading: dict[str, Any] | None = None, **facts: Any) -> DeviceSeen:
    facts = {"name": "m", "places": ((1, 0),), "age_s": 0.5} | facts
    values = MeterReading(**(GOOD | (reading or {})))
    return DeviceSeen(roles=("meter",), driver="modbus_meter", meter=values, **facts)


def pilot(
    state: PilotState = PilotState.C, path: PowerPath = PowerPath.CLOSED, **facts: Any
) -> DeviceSeen:
    reading = PilotReading(0.0, state, path, 16.0, facts.pop("faults", frozenset()))
    facts = {"name": "p", "places": ((1, 1),), "age_s": 0.5} | facts
    return DeviceSeen(roles=("pilot",), driver="openevse", pilot=reading, **facts)


def both(reading: dict[str, Any] | None = None, **facts: Any) -> DeviceSeen:
    """A controller that is the meter, too."""
    row = pilot(facts.pop("state", PilotState.C), facts.pop("path", PowerPath.CLOSED), **facts)
    one = {"serial": "", "power_w": 3680.0, "power_phase_w": (), "current_a": (16.0,)}
    told = GOOD | one | {"voltage_v": (), "frequency_hz": None} | (reading or {})
    row.meter, row.roles, row.places = MeterReading(**told), ("pilot", "meter"), ((1, 0), (1, 1))
    return row


FINE = {
    "a controller that measures": [both()],
    "three phases": [meter()],
    "one phase on L1": [meter(on_phase(1))],
    "idle": [meter({"power_w": 0.0, "power_phase_w": (0.0,) * 3, "current_a": (0.0,) * 3})],
    "120 V": [
        meter({"voltage_v": (120.0,) * 3, "power_w": 5760.0, "power_phase_w": (1920.0,) * 3})
    ],
    "60 Hz": [meter({"frequency_hz": 60.0})],
    "read a moment apart": [meter({"power_w": 11540.0})],
    "terminal 1 carries L3 by its wiring": [meter(on_phase(3), phase_rotation="TRS")],
    "rotated as the file says": [meter(on_phase(1), phase_rotation="STR")],
    "a house on L2 alone": [meter(on_phase(2), places=((0, 0),))],
    "a house that feeds in": [
        meter({"power_w": -11040.0, "power_phase_w": (-3680.0,) * 3}, places=((0, 0),))
    ],
    "three terminals, one phase wired": [
        meter(on_phase(1) | {"voltage_v": (230.0, 0.1, 0.1)}, phases=1)
    ],
    "one phase for one": [meter(ONE_TERMINAL, phases=1)],
    "one phase at the grid": [meter(ONE_TERMINAL, places=((0, 0),))],
    "nothing but energy": [
        meter(
            {
                "power_w": None,
                "power_phase_w": (),
                "current_a": (),
                "voltage_v": (),
                "frequency_hz": None,
            }
        )
    ],
    "one error at the start": [meter(counters=Counters(requests=10, timeouts=2, opens=1))],
    "a splutter at power-up": [pilot(counters=Counters(requests=10, garbled=9))],
    "little noise in long": [pilot(counters=Counters(requests=100_000, garbled=900))],
    "a slow one with time": [meter(counters=Counters(slowest_s=0.4), timeout_s=1.0)],
    "charging": [pilot(), meter()],
    "no EV": [pilot(PilotState.A, PowerPath.OPEN), meter(on_phase(1), places=((2, 0),))],
    "one meter on two EVSEs": [meter(places=((1, 0), (2, 0)))],
}


@pytest.mark.parametrize("rows", FINE.values(), ids=FINE)
def test_what_is_fine_is_not_complained_of(rows: list[DeviceSeen]) -> None:
    assert judge(rows) == []


WRONG: dict[str, tuple[list[DeviceSeen], str]] = {
    "lost": ([meter(lost="no answer; check A/B")], "no answer; check A/B"),
    "nothing yet": ([meter(age_s=None)], "nothing yet; wait"),
    "old": ([meter(age_s=31.0)], "31 s old; check"),
    "old for its interval": ([meter(age_s=9.1, interval_s=3.0)], "9 s old"),
    "errors": (
        [meter(counters=Counters(requests=100, timeouts=2, unusable=1))],
        "3 of 100 requests failed (2 unanswered, 1 damaged); check A/B",
    ),
    "noise": (
        [pilot(counters=Counters(requests=9, garbled=40))],
        "40 garbled bytes came in; check",
    ),
    "plug": ([meter(counters=Counters(opens=4), port="/dev/x")], "opened again 3 times; check"),
    "slow": ([meter(counters=Counters(slowest_s=0.6), timeout_s=1.0)], "set timeout_s to 1.2"),
    "volts too many": ([meter({"voltage_v": (23000.0,) * 3})], "word order? Compare `model`"),
    "volts too few": ([meter({"voltage_v": (1e-5,) * 3})], "word order?"),
    "a phase gone": ([meter({"voltage_v": (230.0, 0.2, 230.0)})], "L2 0.2 V: a phase is missing"),
    "volts between phases": ([meter({"voltage_v": (400.0,) * 3})], "terminal N is wired"),
    "neutral": ([meter({"voltage_v": (180.0, 290.0, 220.0)})], "loose or missing neutral"),
    "one phase of three": ([meter(ONE_TERMINAL)], "what the others carry is not counted; name"),
    "crossed": ([meter(CROSSED)], "L1 and L3 show half their power, backwards"),
    "crossed all round": (
        [meter({"power_w": -5520.0, "power_phase_w": (-1840.0,) * 3})],
        "L1, L2 and L3 show half their power, backwards",
    ),
    "hertz": ([meter({"frequency_hz": 5.0})], "5 Hz is outside 45 to 65"),
    "sum": ([meter({"power_w": 3680.0})], "sum up to 11040 W, its total is 3680 W"),
    "one against": (
        [meter({"power_w": 3680.0, "power_phase_w": (3680.0, -3680.0, 3680.0)})],
        "L2 runs against the other phases; turn",
    ),
    "backwards": (
        [meter({"power_w": -11040.0, "power_phase_w": (-3680.0,) * 3})],
        "set reversed: true",
    ),
    "backwards by the file": (
        [meter({"power_w": -11040.0, "power_phase_w": (-3680.0,) * 3}, is_reversed=True)],
        "set reversed: false",
    ),
    "scale": ([meter({"current_a": (1.6,) * 3})], "11040 W is more than its volts and amperes"),
    "L1 on L3": ([meter(on_phase(3))], "set phase_rotation: STR"),
    "L1 on L2": ([meter(on_phase(2))], "set phase_rotation: TRS"),
    "rotated the wrong way": (
        [meter(on_phase(2), phase_rotation="TRS")],
        "set phase_rotation: STR",
    ),
    "fault": ([pilot(faults=frozenset({"rcd", "diode"}))], "reports diode, rcd; see"),
    "E": ([pilot(PilotState.E, PowerPath.OPEN)], "state E; check CP against PE"),
    "unknown": ([pilot(PilotState.UNKNOWN)], "does not know the state of the pilot; check"),
    "blind": ([pilot(path=PowerPath.UNKNOWN)], "does not see the contactor; check"),
    "welded": ([pilot(PilotState.A, PowerPath.CLOSED)], "closed in state A: welded"),
    "other EVSE's meter": (
        [pilot(PilotState.B, PowerPath.OPEN), meter()],
        "measures 16.0 A while p says its contactor is open",
    ),
    "twice": ([meter(), meter(name="n", places=((2, 0),))], "serial number 77 of m"),
}


@pytest.mark.parametrize(("rows", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_once_with_the_next_step(rows: list[DeviceSeen], said: str) -> None:
    (complaint,) = judge(rows)
    assert said in complaint.text
    assert "; " in complaint.text or "? " in complaint.text


def test_a_connector_with_one_phase_that_draws_on_another_says_both() -> None:
    texts = [complaint.text for complaint in judge([meter(on_phase(2), phases=1)])]
    assert any("check `phases`" in text for text in texts)
    assert any("phase_rotation: TRS" in text for text in texts)


def test_a_lost_device_is_judged_by_nothing_else() -> None:
    rows = [meter({"voltage_v": (0.0,) * 3}, lost="gone; look"), pilot(lost="gone; look")]
    assert [(one.device, one.text) for one in judge(rows)] == [
        ("m", "gone; look"),
        ("p", "gone; look"),
    ]


def test_a_controller_that_counts_nothing_is_told_to_have_no_ammeter() -> None:
    row = both(age_s=None)
    row.meter = None
    (found,) = judge([row])
    assert "has counted no energy yet" in found.text


def test_current_without_power_in_one_device_is_told_once() -> None:
    found = judge([both(path=PowerPath.OPEN, state=PilotState.B)])
    assert [one.text.split(" while ")[0] for one in found] == ["measures 16.0 A"]


def on_a_line(
    name: str, *, answers: bool, unit: int = 1, line: str = "9600 baud, parity N"
) -> DeviceSeen:
    """A meter behind /dev/x that has been asked twice."""
    counters = Counters(requests=2, timeouts=0 if answers else 2, opens=1)
    counters.latency_s = 0.01 if answers else None
    facts = {"port": "/dev/x", "unit": unit, "line": line, "places": ((unit, 0),), "name": name}
    row = meter({"serial": name}, counters=counters, factory="unit 1, 9600 baud, parity N", **facts)
    if not answers:
        row.lost, row.meter, row.age_s = "no answer; check A/B", None, None
    return row


def test_a_silent_device_is_told_what_the_others_on_its_line_say() -> None:
    (alone,) = judge([on_a_line("m", answers=False)])
    assert alone.text == "no answer; check A/B"
    (among,) = judge([on_a_line("m", answers=False), on_a_line("n", answers=True, unit=2)])
    assert "n on the same line answers, so begin with the unit id" in among.text
    both_silent = judge([on_a_line("m", answers=False), on_a_line("n", answers=False, unit=2)])
    assert all("begin with A/B and the baud of the line" in one.text for one in both_silent)


def test_a_silent_device_is_compared_with_a_new_one_of_its_model() -> None:
    (found,) = judge([on_a_line("m", answers=False, unit=7, line="19200 baud, parity E")])
    assert "the file says unit 7, 19200 baud, parity E, a new one of this model has" in found.text
    assert found.text.endswith("has unit 1, 9600 baud, parity N")


def test_a_device_that_answered_before_is_not_told_to_begin_with_its_address() -> None:
    row = on_a_line("m", answers=True, unit=7)
    row.lost = "no answer; check A/B"
    assert [one.text for one in judge([row])] == ["no answer; check A/B"]
