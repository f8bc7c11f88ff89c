"""From the file to roles, and from what drivers report to the guard first and the inbox after."""

from typing import Any

import msgspec
import pytest

from agent.core import events as ev
from agent.core.events import IdToken
from agent.guard import Guard
from agent.settings import Settings
from agent.wiring import Senses, features, site_of, wire
from drivers.contract import (
    CardRefused,
    CardSeen,
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
from drivers.sim.board import SimBoard, plan_of

FILE: dict[str, Any] = {
    "station": {"identity": "T", "vendor": "V", "model": "M"},
    "csms": [{"url": "ws://csms.invalid", "lab_unsecured": True}],
    "supply": {"current_a": 40, "phases": 3},
    "evses": [
        {"id": 1, "meter": "m1", "connectors": [{"id": 1, "pilot": "p1", "current_a": 20}]},
        {
            "id": 2,
            "meter": "shared",
            "connectors": [
                {"id": 1, "pilot": "p2", "cable": "socket"},
                {"id": 2, "pilot": "p3"},
            ],
        },
        {"id": 3, "meter": "shared", "connectors": [{"id": 1, "pilot": "p4"}]},
    ],
    "main_meter": "grid",
    "devices": {
        "grid": {"driver": "sim_meter", "interval_s": 3},
        **{f"p{n}": {"driver": "sim_pilot"} for n in (1, 2, 3, 4)},
        "m1": {"driver": "sim_meter"},
        "shared": {"driver": "sim_meter", "interval_s": 7},
        "reader": {"driver": "sim_reader", "evses": [2, 3]},
        "lobby": {"driver": "sim_reader"},
    },
}


class Thing:
    """A device of any role that notes its orders."""

    def __init__(self, name: str, options: object) -> None:
        self.name = name
        self.interval_s = getattr(options, "interval_s", 1.0)
        self.capabilities = PilotCapabilities(True, True, 3.0, 1.0, min_a=8.0, max_a=32.0)
        self.signs = self.signs_begin = self.has_export = False
        self.orders: list[str] = []

    def allow_power(self, limit_a: float) -> None:
        self.orders.append(f"allow {limit_a:g}")

    def stop(self) -> None:
        self.orders.append("stop")

    def emergency_stop(self) -> None:
        self.orders.append("emergency")


class Bench:
    def __init__(self) -> None:
        self.built: list[str] = []
        self.settings = msgspec.convert(FILE, Settings)
        self.wiring = wire(self.settings, self._build)
        self.now_s = 100.0
        self.posted: list[object] = []
        intervals = {e: m.interval_s for e, m in self.wiring.meters.items()}
        self.guard = Guard(
            self.wiring.pilots,
            intervals,
            lambda: self.now_s,
            lambda place, cause: self.posted.append(ev.GuardStopped(*place, cause)),
        )
        self.senses = Senses(self.wiring, self.guard, self.posted.append)

    def _build(self, name: str, options: object) -> Thing:
        self.built.append(name)
        return Thing(name, options)

    def pilot(self, device: str, state: str = "B", path: str = "open") -> PilotReading:
        reading = PilotReading(self.now_s, PilotState(state), PowerPath(path))
        self.senses.report(PilotSeen(device, reading))
        return reading

    def meter(self, device: str) -> MeterReading:
        reading = MeterReading(self.now_s, 5.0)
        self.senses.report(MeterSeen(device, reading))
        return reading


def test_every_device_is_built_once_and_finds_its_roles() -> None:
    bench = Bench()
    assert sorted(bench.built) == sorted(FILE["devices"])
    assert {p: pilot.name for p, pilot in bench.wiring.pilots.items()} == {
        (1, 1): "p1",
        (2, 1): "p2",
        (2, 2): "p3",
        (3, 1): "p4",
    }
    meters = {evse_id: meter.name for evse_id, meter in bench.wiring.meters.items()}
    assert meters == {0: "grid", 1: "m1", 2: "shared", 3: "shared"}
    assert bench.wiring.meters[2] is bench.wiring.meters[3]
    assert bench.wiring.reader_evses == {"reader": (2, 3), "lobby": ()}


def test_the_site_holds_ratings_of_file_and_controller() -> None:
    bench = Bench()
    site = site_of(bench.settings, bench.wiring)
    assert (site.supply_a, site.phases, site.voltage_v) == (40, 3, 230)
    first, second = site.evses[0].connectors[0], site.evses[1].connectors[0]
    assert (first.controller_a, first.connector_a, first.min_a) == (32, 20, 8)
    assert (first.fixed_cable, second.fixed_cable) == (True, False)


def test_the_main_meter_is_of_evse_0_and_nothing_that_the_guard_stops_for() -> None:
    bench = Bench()
    assert site_of(bench.settings, bench.wiring).main_meter_interval_s == 3.0
    assert "main_meter" in features(bench.settings, bench.wiring)
    for place, name in (((1, 1), "p1"), ((2, 1), "p2")):
        bench.pilot(name)
        bench.meter(bench.wiring.meters[place[0]].name)
        assert bench.guard.allow(place, 16.0, bench.guard.permit) is None
    bench.posted.clear()
    reading = bench.meter("grid")
    bench.senses.report(DeviceLost("grid", "silent"))
    bench.senses.report(DeviceFound("grid"))
    assert bench.posted == [
        ev.MeterRead(0, reading),
        ev.FaultRaised(0, 0, "meter_lost"),
        ev.FaultCleared(0, 0, "meter_lost"),
    ]
    assert bench.wiring.pilots[1, 1].orders == ["allow 16"]  # type: ignore[attr-defined]


def test_a_refused_card_is_no_event_and_its_number_in_no_journal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.posted.clear()
    with caplog.at_level("DEBUG"):
        bench.senses.report(CardRefused("lobby", "a random number", "08A1B2C3"))
    assert bench.posted == []
    assert "08A1B2C3" not in caplog.text


def test_the_guard_sees_a_report_before_the_inbox_does() -> None:
    bench = Bench()
    bench.pilot("p1")
    bench.meter("m1")
    assert bench.guard.allow((1, 1), 16.0, bench.guard.permit) is None
    bench.posted.clear()
    reading = bench.pilot("p1", "E")
    assert bench.posted == [
        ev.GuardStopped(1, 1, "pilot state E"),
        ev.PilotChanged(1, 1, reading),
    ]


def test_only_changes_are_posted_but_the_guard_sees_every_report() -> None:
    bench = Bench()
    bench.pilot("p1")
    bench.meter("m1")
    assert bench.guard.allow((1, 1), 16.0, bench.guard.permit) is None
    bench.posted.clear()
    for _ in range(20):
        bench.now_s += 1.0
        bench.pilot("p1")
        bench.meter("m1")
        bench.guard.tick()
    assert [type(e) for e in bench.posted] == [ev.MeterRead] * 20
    bench.pilot("p1", "C")
    assert isinstance(bench.posted[-1], ev.PilotChanged)


def test_a_shared_meter_speaks_for_each_of_its_evses() -> None:
    bench = Bench()
    reading = bench.meter("shared")
    assert bench.posted == [ev.MeterRead(2, reading), ev.MeterRead(3, reading)]
    bench.posted.clear()
    bench.senses.report(DeviceLost("shared", "no answer"))
    bench.senses.report(DeviceFound("shared"))
    assert bench.posted == [
        ev.FaultRaised(2, 0, "meter_lost"),
        ev.FaultRaised(3, 0, "meter_lost"),
        ev.FaultCleared(2, 0, "meter_lost"),
        ev.FaultCleared(3, 0, "meter_lost"),
    ]


@pytest.mark.parametrize(("device", "cause"), [("p1", "p1 lost"), ("m1", "m1 lost")])
def test_a_lost_device_stops_power_at_once_and_is_a_fault(device: str, cause: str) -> None:
    bench = Bench()
    bench.pilot("p1")
    bench.meter("m1")
    assert bench.guard.allow((1, 1), 16.0, bench.guard.permit) is None
    bench.posted.clear()
    bench.senses.report(DeviceLost(device, "unplugged"))
    assert bench.wiring.pilots[1, 1].orders[-1] == "stop"
    assert bench.posted[0] == ev.GuardStopped(1, 1, cause)
    assert isinstance(bench.posted[1], ev.FaultRaised)
    assert bench.guard.allow((1, 1), 16.0, bench.guard.permit) is not None


def test_a_found_controller_is_reported_anew_even_if_nothing_changed() -> None:
    bench = Bench()
    bench.pilot("p1")
    bench.senses.report(DeviceLost("p1", "unplugged"))
    assert (1, 1) not in bench.senses.pilots, "status shows no view of a lost controller"
    bench.senses.report(DeviceFound("p1"))
    bench.posted.clear()
    reading = bench.pilot("p1")
    assert bench.posted == [ev.PilotChanged(1, 1, reading)]


def test_a_lost_reader_is_harmless() -> None:
    bench = Bench()
    bench.senses.report(DeviceLost("reader", "unplugged"))
    bench.senses.report(DeviceFound("reader"))
    assert bench.posted == []


@pytest.mark.parametrize(("device", "evse_ids"), [("reader", (2, 3)), ("lobby", ()), ("new", ())])
def test_a_card_is_posted_with_the_evses_of_its_reader(device: str, evse_ids) -> None:
    bench = Bench()
    bench.senses.report(CardSeen(device, "04AABBCC"))
    assert bench.posted == [ev.TokenPresented(IdToken("04AABBCC", "ISO14443"), evse_ids)]


def test_a_lock_speaks_for_the_connector_of_its_controller() -> None:
    bench = Bench()
    bench.senses.report(InputSeen("p3", "plug_lock", True, 101.0))
    assert bench.posted == [ev.LockSeen(2, 2, True, 101.0)]


def test_devices_nobody_wired_and_inputs_are_ignored() -> None:
    bench = Bench()
    bench.pilot("nobody")
    bench.meter("nobody")
    bench.senses.report(InputSeen("p1", "door", True, bench.now_s))
    assert bench.posted == []


def test_what_the_file_decides_for_the_place_reaches_the_core() -> None:
    decided = {
        "rcd_needs_service": True,
        "random_delay_s": 600,
        "csms_silent_s": 120,
        "failsafe_a": 8.0,
        "derate_from_c": 60,
        "stop_at_c": 75,
        "wake_up_s": 20,
    }
    settings = msgspec.convert({**FILE, "safety": decided}, Settings)
    wiring = wire(settings, SimBoard(plan_of(settings)).build)
    assert msgspec.to_builtins(site_of(settings, wiring).safety) == decided


@pytest.mark.parametrize("manager", [None, {"silent_s": 20, "failsafe_a": 7.5}])
def test_the_energy_manager_of_the_file_reaches_the_core(manager: Any) -> None:
    settings = msgspec.convert({**FILE, "energy_manager": manager}, Settings)
    wiring = wire(settings, SimBoard(plan_of(settings)).build)
    assert msgspec.to_builtins(site_of(settings, wiring).energy_manager) == manager
    assert ("energy_manager" in features(settings, wiring)) == (manager is not None)


@pytest.mark.parametrize(("degrees", "told"), [((20.0, 39.0), 1), ((20.0, 41.0, 41.4, 42.0), 3)])
def test_warmth_is_news_only_where_it_may_derate(degrees: tuple[float, ...], told: int) -> None:
    bench = Bench()
    for temperature_c in degrees:
        reading = PilotReading(1.0, PilotState.B, PowerPath.OPEN, temperature_c=temperature_c)
        bench.senses.report(PilotSeen("p1", reading))
    assert len(bench.posted) == told
