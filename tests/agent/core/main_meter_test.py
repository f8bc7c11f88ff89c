"""The meter at the grid connection: when it is asked, when it is told, what its silence is."""

import pytest

from agent.core.effects import Log, Metered, ReadMeter
from agent.core.events import FaultCleared, FaultRaised, MeterRead, Now
from agent.core.main_meter import LOST, STALE, MainMeter
from agent.core.policy import Policy
from drivers.contract import MeterReading, Permit

MIDNIGHT_UTC_S = 1_790_035_200.0
EVERY_MINUTE = Policy(aligned_interval_s=60)


def at(mono_s: float) -> Now:
    """Loop second 0 is midnight."""
    return Now(mono_s, MIDNIGHT_UTC_S, True, "boot", Permit(0), lambda: 0.5, lambda: "id")


def read(meter: MainMeter, at_s: float) -> None:
    meter.see(MeterRead(0, MeterReading(at_s, 5.0)))


def follow(
    meter: MainMeter, at_s: float, policy: Policy = EVERY_MINUTE, *, is_muted: bool = False
) -> list[type]:
    return [type(effect) for effect in meter.follow(at(at_s), policy, is_muted=is_muted)]


def fresh(at_s: float) -> MainMeter:
    """Read at that moment, its clock grid begun."""
    meter = MainMeter(1.0)
    read(meter, at_s)
    assert follow(meter, at_s) == []
    return meter


def test_it_is_asked_at_the_boundary_and_told_once_it_answered() -> None:
    meter = fresh(58.0)
    assert meter.deadline(at(58.0), EVERY_MINUTE) == 60.0
    assert follow(meter, 60.0) == [ReadMeter]
    assert follow(meter, 60.5) == [], "asked already"
    assert meter.deadline(at(60.5), EVERY_MINUTE) == 62.0
    assert follow(meter, 62.0) == [ReadMeter]
    read(meter, 62.1)
    assert follow(meter, 62.1) == [Metered]
    assert follow(meter, 62.2) == []


def test_a_muted_value_is_not_told_later() -> None:
    meter = fresh(58.0)
    assert follow(meter, 60.0, is_muted=True) == []
    read(meter, 60.1)
    assert follow(meter, 60.2) == []


def test_a_shorter_interval_counts_from_now() -> None:
    meter = fresh(58.0)
    often = Policy(aligned_interval_s=10)
    meter.reschedule(EVERY_MINUTE, often)
    read(meter, 58.5)
    assert follow(meter, 59.0, often) == []
    read(meter, 60.0)
    assert follow(meter, 60.0, often) == [Metered]


@pytest.mark.parametrize(("interval_s", "age_s"), [(1.0, 10.0), (60.0, 180.0)])
def test_its_silence_becomes_a_fault_in_time_and_is_told_once(
    interval_s: float, age_s: float
) -> None:
    meter = MainMeter(interval_s)
    idle = Policy()
    read(meter, 100.0)
    assert follow(meter, 100.0, idle) == []
    assert meter.deadline(at(100.0), idle) == 100.0 + age_s
    assert follow(meter, 99.9 + age_s, idle) == []
    assert follow(meter, 100.0 + age_s, idle) == [Log]
    assert (meter.fault, meter.reading) == (STALE, None)
    assert meter.deadline(at(100.0 + age_s), idle) is None
    assert follow(meter, 500.0, idle) == []
    read(meter, 501.0)
    assert follow(meter, 501.0, idle) == [Log]
    assert meter.fault is None


def test_one_that_never_answers_is_a_fault_too() -> None:
    meter = MainMeter(1.0)
    assert follow(meter, 50.0, Policy()) == []
    assert follow(meter, 60.0, Policy()) == [Log]
    assert meter.fault == STALE


def test_a_lost_one_is_a_fault_at_once_and_not_asked() -> None:
    meter = fresh(58.0)
    meter.see(FaultRaised(0, 0, "meter_lost"))
    assert follow(meter, 59.0) == [Log]
    assert (meter.fault, meter.reading) == (LOST, None)
    assert follow(meter, 60.0) == []
    meter.see(FaultCleared(0, 0, "meter_lost"))
    assert follow(meter, 61.0) == [Log]
    assert meter.fault is None
