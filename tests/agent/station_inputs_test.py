"""Inputs of the board: what stops power at once, what the core hears, what lights up."""

from typing import Any

import msgspec
import pytest

from agent.core import events as ev
from agent.guard import Guard
from agent.lamps import Lamps
from agent.settings import Settings
from agent.station_inputs import StationInputs, Watched
from agent.wiring import Senses, wire
from drivers.contract import (
    DeviceFound,
    DeviceLost,
    InputSeen,
    MeterReading,
    MeterSeen,
    PilotCapabilities,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
)

LINE = {"line": "gpiochip0:1"}


def settings(**board: Any) -> Settings:
    file = {
        "station": {"identity": "T", "vendor": "V", "model": "M"},
        "csms": [{"url": "ws://csms.invalid", "lab_unsecured": True}],
        "supply": {"current_a": 40},
        "evses": [
            {"id": n, "meter": f"m{n}", "connectors": [{"id": 1, "pilot": f"p{n}"}]} for n in (1, 2)
        ],
        "devices": {
            "board": {"driver": "gpio_board", **board},
            **{f"p{n}": {"driver": "sim_pilot"} for n in (1, 2)},
            **{f"m{n}": {"driver": "sim_meter"} for n in (1, 2)},
        },
    }
    return msgspec.convert(file, Settings)


class Thing:
    """A device of any role that notes its orders."""

    interval_s = 1.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.capabilities = PilotCapabilities(True, True, 3.0, 1.0)
        self.orders: list[str] = []

    def allow_power(self, limit_a: float) -> None:
        self.orders.append("allow")

    def stop(self) -> None:
        self.orders.append("stop")

    def emergency_stop(self) -> None:
        self.orders.append("emergency")

    def show(self, conditions: object) -> None:
        self.orders.append(f"show {conditions}")


class Rig:
    def __init__(self, **board: Any) -> None:
        self.now_s = 100.0
        self.posted: list[object] = []
        self.wiring = wire(settings(**board), lambda name, options: Thing(name))  # type: ignore[arg-type, return-value]
        self.guard = Guard(
            self.wiring.pilots,
            {1: 1.0, 2: 1.0},
            lambda: self.now_s,
            lambda place, cause: self.posted.append(ev.GuardStopped(*place, cause)),
        )
        self.senses = Senses(self.wiring, self.guard, self.posted.append)
        for n in (1, 2):
            self.pilot(n, "B", "open")
            self.senses.report(MeterSeen(f"m{n}", MeterReading(self.now_s, 1.0)))
        self.posted.clear()

    def pilot(self, n: int, state: str, path: str) -> None:
        reading = PilotReading(self.now_s, PilotState(state), PowerPath(path))
        self.senses.report(PilotSeen(f"p{n}", reading))

    def input(self, name: str, active: bool) -> None:
        self.senses.report(InputSeen("board", name, active, self.now_s))

    def allow(self, n: int) -> str | None:
        return self.guard.allow((n, 1), 16.0, self.guard.permit)

    def orders(self, n: int) -> list[str]:
        return self.wiring.pilots[n, 1].orders  # type: ignore[attr-defined, no-any-return]


CASES = [
    ("emergency_stop", True, "emergency_stop"),
    ("rcd", True, "rcd"),
    ("dc_fault", True, "dc_fault"),
    ("mains", False, "no_mains"),
]


@pytest.mark.parametrize(("name", "level", "fault"), CASES)
def test_a_fault_input_stops_power_before_the_core_hears_of_it(
    name: str, level: bool, fault: str
) -> None:
    rig = Rig(**{name: LINE})
    rig.input(name, not level)
    assert rig.posted == []
    assert rig.allow(1) is None
    rig.pilot(1, "C", "closed")
    rig.posted.clear()
    permit = rig.guard.permit
    rig.input(name, level)
    assert rig.orders(1) == ["allow", "emergency"]
    assert rig.posted == [
        ev.GuardStopped(1, 1, f"fault: {fault}"),
        ev.FaultRaised(1, 0, fault),
        ev.FaultRaised(2, 0, fault),
    ]
    assert rig.allow(2) == f"fault: {fault}"
    rig.input(name, not level)
    assert rig.posted[3:] == [ev.FaultCleared(1, 0, fault), ev.FaultCleared(2, 0, fault)]
    assert rig.guard.allow((2, 1), 16.0, permit) == "the guard stopped power after this was decided"
    assert rig.allow(2) is None


def test_an_emergency_stop_does_not_wait_for_a_graceful_one() -> None:
    rig = Rig(emergency_stop=LINE)
    rig.input("emergency_stop", False)
    rig.allow(1)
    rig.pilot(1, "C", "closed")
    rig.guard.stop((1, 1), emergency=False)
    rig.input("emergency_stop", True)
    assert rig.orders(1) == ["allow", "stop", "emergency"]
    assert rig.orders(2) == []


def test_a_board_stops_only_the_evses_it_serves() -> None:
    rig = Rig(rcd=LINE, evses=[2])
    rig.input("rcd", True)
    assert (rig.allow(1), rig.allow(2)) == (None, "fault: rcd")
    assert rig.posted == [ev.FaultRaised(2, 0, "rcd")]


def test_nothing_is_energised_before_every_fault_input_was_seen() -> None:
    rig = Rig(rcd=LINE, emergency_stop=LINE)
    assert rig.allow(1) == "fault: inputs_lost"
    rig.input("rcd", False)
    assert rig.allow(1) == "fault: inputs_lost"
    rig.input("emergency_stop", False)
    assert rig.allow(1) is None


def test_inputs_out_of_sight_stop_power_until_all_are_seen_again() -> None:
    rig = Rig(rcd=LINE, emergency_stop=LINE, evses=[1])
    for name in ("rcd", "emergency_stop"):
        rig.input(name, False)
    rig.allow(1)
    rig.pilot(1, "C", "closed")
    rig.posted.clear()
    rig.senses.report(DeviceLost("board", "expander gone"))
    assert rig.orders(1) == ["allow", "emergency"]
    assert ev.FaultRaised(1, 0, "inputs_lost") in rig.posted
    rig.pilot(1, "B", "open")
    rig.posted.clear()
    rig.input("rcd", False)
    assert rig.allow(1) == "fault: inputs_lost"
    rig.input("emergency_stop", False)
    rig.senses.report(DeviceFound("board"))
    assert rig.posted == [ev.FaultCleared(1, 0, "inputs_lost")]
    assert rig.allow(1) is None


def test_a_board_without_fault_inputs_that_is_lost_stops_nothing() -> None:
    rig = Rig(door=LINE, inputs={"bay": LINE})
    assert rig.allow(1) is None
    rig.senses.report(DeviceLost("board", "gone"))
    assert rig.orders(1) == ["allow"]


def test_what_two_boards_report_is_over_when_it_is_over_on_both() -> None:
    posted: list[object] = []
    guard = Guard({}, {}, lambda: 0.0, lambda place, cause: None)
    stop = frozenset({"emergency_stop"})
    boards = {"left": Watched(stop, (1, 2)), "right": Watched(stop, (2,))}
    inputs = StationInputs(boards, guard, posted.append)
    for device in boards:
        inputs.seen(device, "emergency_stop", True)
    posted.clear()
    inputs.seen("left", "emergency_stop", False)
    assert posted == [ev.FaultCleared(1, 0, "emergency_stop")]
    inputs.seen("right", "emergency_stop", False)
    assert posted[1:] == [ev.FaultCleared(2, 0, "emergency_stop")]


def test_an_open_door_is_a_security_event_and_nothing_else() -> None:
    rig = Rig(door=LINE)
    rig.allow(1)
    for is_open in (False, True, False):
        rig.input("door", is_open)
    assert rig.posted == [ev.SecurityNoted("TamperDetectionActivated", "door open (board)")]
    assert rig.orders(1) == ["allow"]


def test_lamps_show_status_and_charging() -> None:
    rig = Rig(lamps={"charging": LINE}, evses=[1])
    board = rig.wiring.devices["board"]
    lamps = rig.senses.lamps
    for _ in range(3):
        lamps.see_status((1, 1), "Available")
    lamps.see_status((2, 1), "Faulted")
    lamps.see_status((1, 1), "Occupied")
    rig.pilot(1, "C", "closed")
    rig.pilot(1, "C", "closed")
    rig.pilot(1, "C", "open")
    shown = [text.removeprefix("show ") for text in board.orders]  # type: ignore[attr-defined]
    assert shown == [
        "{1: 'available'}",
        "{1: 'available'}",
        "{1: 'occupied'}",
        "{1: 'charging'}",
        "{1: 'occupied'}",
    ]


@pytest.mark.parametrize(
    ("statuses", "condition"),
    [
        (["Available", "Faulted"], "faulted"),
        (["Available", "Occupied"], "occupied"),
        (["Unavailable", "Reserved"], "reserved"),
        (["Available", "Unavailable"], "unavailable"),
    ],
)
def test_of_several_connectors_the_first_condition_in_order_is_shown(
    statuses: list[str], condition: str
) -> None:
    display = Thing("d")
    lamps = Lamps([(display, (1,))])
    for number, status in enumerate(statuses):
        lamps.see_status((1, number), status)
    assert display.orders[-1] == f"show {{1: '{condition}'}}"
