"""When values are due: from a start, and by the clock."""

import pytest

from agent.core.events import Now
from agent.core.policy import Policy
from agent.core.sampling import ClockInterval, Sampling, next_slot_s, slot_begin
from drivers.contract import Permit

MIDNIGHT_UTC_S = 1_790_035_200.0
OFFSET_S = MIDNIGHT_UTC_S - 1000.0
"""Loop second 1000 is midnight."""


def at(mono_s: float, offset_s: float = OFFSET_S) -> Now:
    return Now(mono_s, offset_s, True, "boot", Permit(0), lambda: 0.5, lambda: "id")


@pytest.mark.parametrize(
    ("mono_s", "interval_s", "begin_s", "next_s"),
    [
        (1000.0, 900, 1000.0, 1900.0),
        (1899.9, 900, 1000.0, 1900.0),
        (1900.0, 900, 1900.0, 2800.0),
        (999.0, 900, 100.0, 1000.0),
        (1000.0 + 86_390.0, 7000, 1000.0 + 84_000.0, 1000.0 + 86_400.0),
    ],
)
def test_slots_are_counted_from_midnight_and_the_last_one_may_be_short(
    mono_s: float, interval_s: int, begin_s: float, next_s: float
) -> None:
    now = at(mono_s)
    assert slot_begin(now.utc_s(), interval_s) - OFFSET_S == pytest.approx(begin_s)
    assert next_slot_s(now, interval_s) == pytest.approx(next_s)


def test_nothing_is_due_before_the_first_boundary_and_once_after_each() -> None:
    grid = ClockInterval()
    assert grid.due_s(at(1010.0), 60) is None
    assert grid.due_s(at(1059.0), 60) is None
    assert grid.due_s(at(1061.0), 60) == pytest.approx(1060.0)
    assert grid.due_s(at(1062.0), 60) == pytest.approx(1060.0)
    grid.take(at(1062.0), 60)
    assert grid.due_s(at(1063.0), 60) is None
    assert grid.due_s(at(1120.0), 60) == pytest.approx(1120.0)


def test_a_clock_that_steps_back_owes_nothing_and_goes_on_from_there() -> None:
    grid = ClockInterval()
    grid.due_s(at(5000.0), 60)
    assert grid.due_s(at(5010.0, OFFSET_S - 3600.0), 60) is None
    assert grid.due_s(at(5070.0, OFFSET_S - 3600.0), 60) is not None


def test_an_interval_of_zero_is_never_due() -> None:
    assert ClockInterval().due_s(at(1060.0), 0) is None
    assert next_slot_s(at(1060.0), 0) is None
    assert Sampling().deadline(at(1000.0), Policy(), True) is None


def test_the_grids_of_a_transaction_do_not_drift() -> None:
    policy = Policy(tx_updated_interval_s=60, tx_ended_interval_s=90)
    sampling = Sampling()
    sampling.begin(at(1000.0), policy)
    assert sampling.deadline(at(1001.0), policy, True) == 1060.0
    assert sampling.due(at(1061.5), policy, True).updated
    sampling.take(at(1061.5), policy)
    assert sampling.deadline(at(1062.0), policy, True) == 1090.0
    due = sampling.due(at(1125.0), policy, True)
    assert (due.updated, due.ended, due.since_s) == (True, True, 1119.0)
    sampling.take(at(1125.0), policy)
    assert sampling.due(at(1125.0), policy, True) is None
    assert sampling.deadline(at(1125.0), policy, True) == 1180.0


def test_what_is_switched_off_is_never_due() -> None:
    on = Policy(tx_updated_interval_s=60, aligned_interval_s=60)
    off = Policy(
        tx_updated_interval_s=60,
        aligned_interval_s=60,
        sampled_enabled=False,
        aligned_enabled=False,
    )
    sampling = Sampling()
    sampling.begin(at(1010.0), on)
    sampling.due(at(1010.0), on, True)
    assert sampling.due(at(1071.0), on, True).clock
    sampling.reschedule(on, off, at(1071.0), True)
    assert sampling.due(at(1140.0), off, True) is None
    assert sampling.deadline(at(1140.0), off, True) is None
