"""The composite schedule (K08). Ids of test cases stand where a test follows one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.ocpp.charging.profiles_bench import (
    BOOT_UTC_S,
    Bench,
    at,
    max_profile,
    profile,
    tx_profile,
    utc,
)

LIMITS = st.sampled_from([6.0, 10.0, 16.0])
PURPOSES = ("TxDefaultProfile", "TxProfile", "ChargingStationMaxProfile")


@st.composite
def any_profile(draw: st.DrawFn, profile_id: int) -> tuple[int, dict[str, Any]]:
    purpose = draw(st.sampled_from(PURPOSES))
    kinds = ["Absolute", "Recurring"] + ["Relative"] * (purpose != PURPOSES[2])
    kind = draw(st.sampled_from(kinds))
    starts = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    periods = [(start, draw(LIMITS)) for start in (0, *starts)]
    valid = draw(st.none() | st.tuples(st.integers(900, 1300), st.integers(1, 300)))
    more: dict[str, Any] = {}
    if valid is not None:
        more |= {"validFrom": utc(valid[0]), "validTo": utc(sum(valid))}
    if kind == "Recurring":
        more["recurrencyKind"] = "Daily"
    if purpose == "TxProfile":
        more["transactionId"] = "tx1"
    begin = utc(draw(st.integers(900, 1300)) - 86_400 * draw(st.integers(0, 2)))
    return 0 if purpose == PURPOSES[2] else 1, profile(
        profile_id,
        *periods,
        purpose=purpose,
        kind=kind,
        level=profile_id,
        duration=draw(st.none() | st.integers(1, 400)),
        begin=begin,
        **more,
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(*(any_profile(i) for i in range(5))))
def test_deadlines_and_composite_schedule_agree_with_the_limit_of_every_second(
    profiles: tuple[tuple[int, dict[str, Any]], ...],
) -> None:
    bench = Bench(evses=1)
    bench.start(1, "tx1")
    for evse_id, sent in profiles:
        assert bench.set(evse_id, sent) == "Accepted"
    anchor_s = bench.profiles.anchor_s(1, bench.now)
    schedule = dict(bench.schedule(1, 600))
    shown: float | None = None
    for second in range(600):
        bench.run_until(1000 + second + 0.002)
        limit = bench.profiles.limit(1, BOOT_UTC_S + 1000 + second, anchor_s)
        limit_a = None if limit is None else limit.current_a
        assert bench.limits.get(1) == limit_a
        shown = schedule.get(second, shown)
        assert shown == min(32.0, limit_a or 32.0)


# --- the composite schedule (K08) ---------------------------------------------------------------


def test_tc_k_39_without_profiles_it_is_the_hardware() -> None:
    bench = Bench()
    assert bench.schedule(1, 300) == [(0, 32.0)]
    assert bench.schedule(0, 300) == [(0, 63.0)]
    assert bench.schedule(1, 300, "W") == [(0, 22_080.0)]
    assert bench.schedule(0, 300, "W") == [(0, 43_470.0)]


def test_tc_k_40_stack_levels_are_merged() -> None:
    for unit, factor in (("A", 1), ("W", 690)):
        bench = Bench()
        low = [(start, limit * factor) for start, limit in ((0, 6.0), (100, 8.0), (200, 10.0))]
        high = [(start, limit * factor) for start, limit in ((0, 7.0), (100, 9.0))]
        window = {"validFrom": utc(995), "validTo": utc(1406)}
        bench.set(1, profile(1, *low, duration=405, unit=unit, **window))
        bench.set(1, profile(2, *high, duration=150, level=1, unit=unit, **window))
        bench.now = at(1010.0)
        assert bench.schedule(1, 350, unit) == [
            (0, 7.0 * factor),
            (90, 9.0 * factor),
            (140, 8.0 * factor),
            (190, 10.0 * factor),
        ]


def test_tc_k_41_purposes_are_merged() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    default = zip((0, 60, 120, 180, 260), (6.0, 10.0, 8.0, 15.0, 8.0), strict=True)
    own = zip((0, 50, 140, 200, 240), (8.0, 11.0, 16.0, 6.0, 12.0), strict=True)
    bench.set(0, max_profile(1, (0, 10.0), duration=86_400))
    bench.set(1, profile(2, *default, duration=300, validTo=utc(1401)))
    bench.set(1, tx_profile(3, "tx1", *own, duration=260, validTo=utc(1401)))
    assert bench.schedule(1, 400) == [
        (0, 8.0),
        (50, 10.0),
        (200, 6.0),
        (240, 10.0),
        (260, 8.0),
        (300, 10.0),
    ]


def test_tc_k_21_a_profile_begins_with_its_validity() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), kind="Relative", validFrom=utc(1300)))
    assert bench.schedule(1, 400) == [(0, 32.0), (300, 6.0)]


def test_tc_k_22_a_profile_ends_with_its_validity_on_each_evse_and_in_sum() -> None:
    bench = Bench()
    bench.set(0, profile(1, (0, 6.0), validFrom=utc(990), validTo=utc(1300)))
    assert bench.schedule(0, 400) == [(0, 12.0), (300, 63.0)]
    assert bench.schedule(1, 400) == [(0, 6.0), (300, 32.0)]
    assert bench.schedule(2, 400) == [(0, 6.0), (300, 32.0)]


def test_tc_k_23_a_profile_begins_with_its_schedule() -> None:
    bench = Bench()
    bench.set(1, profile(1, begin=utc(1060), validFrom=utc(1050), validTo=utc(1400)))
    assert bench.schedule(1, 300) == [(0, 32.0), (60, 6.0)]


def test_tc_k_28_a_default_is_taken_up_by_a_running_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    assert bench.set(1, profile(1, (0, 6.0), duration=301)) == "Accepted"
    assert bench.schedule(1, 300) == [(0, 6.0)]


def test_the_station_limit_bounds_the_sum() -> None:
    bench = Bench()
    bench.set(0, max_profile(1, (0, 40.0), (60, 80.0)))
    assert bench.schedule(0, 300) == [(0, 40.0), (60, 63.0)]


def test_a_profile_never_lifts_the_hardware() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 999_999.0), unit="W"))
    assert bench.schedule(1, 300) == [(0, 32.0)]


def test_an_idle_evse_is_shown_as_if_a_transaction_began() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative", duration=90))
    assert bench.schedule(1, 300) == [(0, 6.0), (60, 16.0), (90, 32.0)]


def test_a_running_transaction_is_shown_from_where_it_is() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative"))
    bench.now = at(1050.0)
    assert bench.schedule(1, 300) == [(0, 6.0), (10, 16.0)]


def test_a_limit_is_shown_with_one_digit_and_never_rounded_up() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6000.0), unit="W"))
    bench.set(2, profile(2, (0, 6000.0), unit="W"))
    assert bench.schedule(1, 60) == [(0, 8.6)]
    assert bench.schedule(0, 60) == [(0, 17.3)]
    assert bench.schedule(1, 60, "W") == [(0, 6000.0)]


def test_without_a_unit_the_answer_is_in_amperes() -> None:
    answer = Bench().call("GetCompositeSchedule", {"evseId": 1, "duration": 60})
    assert answer["schedule"]["chargingRateUnit"] == "A"


@pytest.mark.parametrize(
    ("evse_id", "duration_s", "reason"),
    [(3, 300, "UnknownEvse"), (1, 0, "ValueOutOfRange"), (1, 10**9, "ValueOutOfRange")],
)
def test_tc_k_47_a_schedule_that_cannot_be_told_is_refused(
    evse_id: int, duration_s: int, reason: str
) -> None:
    request = {"evseId": evse_id, "duration": duration_s, "chargingRateUnit": "A"}
    answer = Bench().call("GetCompositeSchedule", request)
    assert answer["status"] == "Rejected"
    assert answer["statusInfo"]["reasonCode"] == reason
    assert "schedule" not in answer


def test_many_profiles_are_told_as_far_as_a_moment_of_work_reaches() -> None:
    """Nothing else happens while a CSMS has its answer made."""
    bench = Bench(evses=1)
    for level in range(9):
        steps = [(0, 6.0), *((860 * i + level, 6.0 + (i + level) % 10) for i in range(1, 100))]
        bench.set(1, profile(level, *steps, level=level, kind="Recurring", recurrencyKind="Daily"))
    looks = 0
    good = bench.profiles.next_edge

    def counted(evse_id: int, at_s: float, anchor_s: float | None) -> float:
        nonlocal looks
        looks += 9
        return good(evse_id, at_s, anchor_s)

    bench.profiles.next_edge = counted  # type: ignore[method-assign]
    request = {"evseId": 1, "duration": 366 * 86_400, "chargingRateUnit": "W"}
    schedule = bench.call("GetCompositeSchedule", request)["schedule"]
    assert 86_400 // 40 < schedule["duration"] < 366 * 86_400
    assert 2000 < looks < 2100
    last = schedule["chargingSchedulePeriod"][-1]["startPeriod"]
    assert last < schedule["duration"]


def test_a_schedule_with_too_many_edges_is_told_as_far_as_they_reach() -> None:
    bench = Bench(evses=1)
    steps = [(900 * i, 6.0 + i % 2) for i in range(96)]
    bench.set(1, profile(1, *steps, kind="Recurring", recurrencyKind="Daily"))
    request = {"evseId": 1, "duration": 30 * 86_400, "chargingRateUnit": "A"}
    schedule = bench.call("GetCompositeSchedule", request)["schedule"]
    assert len(schedule["chargingSchedulePeriod"]) == 1024
    assert schedule["duration"] == 1024 * 900
