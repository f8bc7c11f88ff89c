"""What held profiles allow, edge by edge (K01, K02); over restarts; with a start request (K05)."""

import pytest

from agent.core.events import (
    ClockSet,
    Tick,
    TransactionEnded,
    TransactionStarted,
)
from agent.ocpp.blocks import k_smart_charging as k
from agent.ocpp.messages import format_time, parse_time
from tests.agent.ocpp.charging.profiles_bench import (
    BOOT_UTC_S,
    Bench,
    at,
    max_profile,
    profile,
    start_profile,
    tx_profile,
    utc,
)

# --- what applies -------------------------------------------------------------------------------


def test_a_schedule_is_followed_edge_by_edge() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 8.0), (100, 6.0), (200, 12.0), duration=300, begin=utc(1050)))
    assert bench.limits == {}
    assert bench.run_until(5000) == [
        (1050.0, 1, 8.0),
        (1150.0, 1, 6.0),
        (1250.0, 1, 12.0),
        (1350.0, 1, None),
    ]
    assert bench.profiles.deadline(bench.now) is None


def test_a_higher_level_rules_and_its_gaps_fall_through() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0)))
    bench.set(1, profile(2, (0, 20.0), level=1, duration=60, begin=utc(1100)))
    bench.set(1, profile(3, (0, 30.0), level=2, validFrom=utc(1120), validTo=utc(1140)))
    assert bench.run_until(5000) == [
        (1100.0, 1, 20.0),
        (1120.0, 1, 30.0),
        (1140.0, 1, 20.0),
        (1160.0, 1, 6.0),
    ]


def test_a_daily_schedule_comes_back_and_rests_between() -> None:
    bench = Bench(evses=1)
    bench.set(
        1,
        profile(
            1, (0, 6.0), kind="Recurring", recurrencyKind="Daily", duration=3600, begin=utc(1000)
        ),
    )
    day = 86_400
    assert bench.run_until(1000 + 2 * day + 10) == [
        (4600.0, 1, None),
        (1000.0 + day, 1, 6.0),
        (4600.0 + day, 1, None),
        (1000.0 + 2 * day, 1, 6.0),
    ]


def test_a_weekly_schedule_of_the_past_applies_on_its_day() -> None:
    bench = Bench(evses=1)
    sunday = "2020-01-05T00:00:00Z"
    bench.set(
        1,
        profile(1, kind="Recurring", recurrencyKind="Weekly", duration=86_400, begin=sunday),
    )
    assert bench.limits == {}
    monday_to_sunday_s = parse_time("2026-03-08T00:00:00Z") - BOOT_UTC_S
    assert bench.run_until(monday_to_sunday_s + 90_000) == [
        (monday_to_sunday_s, 1, 6.0),
        (monday_to_sunday_s + 86_400, 1, None),
    ]


def test_a_recurring_schedule_without_an_end_repeats_seamlessly() -> None:
    bench = Bench(evses=1)
    plan = ((0, 6.0), (40_000, 16.0))
    bench.set(1, profile(1, *plan, kind="Recurring", recurrencyKind="Daily"))
    assert bench.run_until(1000 + 90_000) == [(41_000.0, 1, 16.0), (87_400.0, 1, 6.0)]


def test_a_relative_schedule_begins_with_the_transaction() -> None:
    bench = Bench(evses=1)
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative", duration=120))
    assert bench.limits == {1: 6.0}
    assert bench.run_until(2000) == []
    bench.start(1, "tx1")
    assert bench.run_until(3000) == [(2060.0, 1, 16.0), (2120.0, 1, None)]


def test_a_relative_schedule_waits_until_driver_and_ev_are_there() -> None:
    """K01.FR.42: not from the plug on, where that begins the transaction."""
    bench = Bench(evses=1)
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative"))
    bench.is_ready = False
    bench.start(1, "tx1")
    assert bench.run_until(2000) == []
    bench.is_ready = True
    bench.tell(Tick())
    assert bench.run_until(3000) == [(2060.0, 1, 16.0)]


def test_a_relative_schedule_that_comes_later_still_counts_from_the_start() -> None:
    bench = Bench(evses=1)
    bench.start(1, "tx1")
    bench.now = at(1100.0)
    bench.set(1, tx_profile(1, "tx1", (0, 6.0), (60, 16.0), (200, 20.0), kind="Relative"))
    assert bench.limits == {1: 16.0}
    assert bench.run_until(3000) == [(1200.0, 1, 20.0)]


def test_a_tx_profile_rules_over_the_default_even_when_it_allows_more() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, profile(1, (0, 6.0)))
    bench.set(1, tx_profile(2, "tx1", (0, 20.0), duration=60))
    assert bench.limits == {1: 20.0}
    assert bench.run_until(2000) == [(1060.0, 1, 6.0)]


def test_a_tx_profile_dies_with_its_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.start(2, "tx2")
    bench.set(1, tx_profile(1, "tx1", (0, 7.0)))
    bench.set(2, tx_profile(2, "tx2", (0, 8.0)))
    bench.end(1)
    assert bench.limits == {1: None, 2: 8.0}
    assert bench.reported_ids() == [2]
    assert bench.saved.keys() == {"profile/2"}


def test_the_station_limit_bounds_every_evse_and_the_whole() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 16.0)))
    bench.set(0, max_profile(2, (0, 10.0)))
    assert bench.limits == {0: 10.0, 1: 10.0, 2: 10.0}


def test_watts_become_amperes_of_each_phase() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6900.0), unit="W", phases=None))
    assert bench.limits == {1: 10.0}
    single = Bench(phases=1)
    single.set(1, profile(1, (0, 2300.0), unit="W", phases=1))
    assert single.limits == {1: 10.0}


def test_a_clock_that_is_set_moves_the_schedule_but_not_the_transaction() -> None:
    bench = Bench(evses=2)
    bench.start(2, "tx2")
    bench.set(1, profile(1, (0, 6.0), begin=utc(5000)))
    bench.set(2, tx_profile(2, "tx2", (0, 8.0), (3000, 9.0), kind="Relative"))
    assert bench.limits == {2: 8.0}
    bench.now = at(1000.0, BOOT_UTC_S + 4000)
    bench.tell(ClockSet(BOOT_UTC_S + 5000, 1000.0))
    assert bench.limits == {1: 6.0, 2: 8.0}
    due_s = bench.profiles.deadline(bench.now)
    assert due_s == pytest.approx(4000.0, abs=0.01)


def test_a_clock_that_is_corrected_by_the_board_moves_the_next_edge() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), begin=utc(5000)))
    assert bench.profiles.deadline(bench.now) == pytest.approx(5000.0, abs=0.01)
    bench.now = at(1000.0, BOOT_UTC_S + 4)
    assert bench.profiles.deadline(bench.now) == pytest.approx(4996.0, abs=0.01)


def test_an_edge_that_passed_while_the_disk_was_busy_is_due_at_once() -> None:
    """Whoever asks then has handled other facts in between."""
    bench = Bench()
    bench.set(0, max_profile(1, (0, 20.0), (3, 8.0), begin=utc(1000)))
    assert bench.limits[0] == 20.0
    bench.now = at(1005.0)
    assert bench.profiles.deadline(bench.now) == pytest.approx(1003.0, abs=0.01)
    bench.tell(Tick())
    assert bench.limits[0] == 8.0
    assert bench.profiles.deadline(bench.now) is None


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_an_edge_that_the_board_sets_its_clock_over_is_due_at_once(step_s: float) -> None:
    bench = Bench()
    begin_s = 1000.0 + step_s / 2
    bench.set(0, max_profile(1, (0, 8.0), begin=utc(begin_s)))
    before_a = bench.limits.get(0)
    bench.profiles.deadline(bench.now)
    bench.now = at(1001.0, BOOT_UTC_S + step_s)
    due_s = bench.profiles.deadline(bench.now)
    assert due_s is not None
    assert due_s <= 1001.0
    bench.tell(Tick())
    assert {before_a, bench.limits[0]} == {None, 8.0}
    following_s = bench.profiles.deadline(bench.now)
    assert following_s is None or following_s > 1001.0, "once"


def test_a_limit_is_told_once() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 6.0)))
    assert bench.run_until(2000) == []
    assert bench.tell(Tick()) == []


def test_an_idle_evse_needs_no_deadline_for_a_relative_schedule() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative"))
    assert bench.profiles.deadline(bench.now) is None


def test_ids_written_as_fractions_are_the_same_ids() -> None:
    bench = Bench()
    bench.set(1, profile(5))
    assert bench.set(1, {**profile(5, (0, 7.0)), "id": 5.0, "stackLevel": 0.0}) == "Accepted"
    assert bench.saved.keys() == {"profile/5"}
    bench.reboot()
    assert bench.limits == {1: 7.0}


def test_a_timer_that_fires_a_little_early_still_finds_the_edge_passed() -> None:
    bench = Bench(evses=1)
    bench.set(1, profile(1, (0, 6.0), (1, 7.0), (2, 8.0), begin=utc(1500)))
    seen = []
    for _ in range(3):
        due_s = bench.profiles.deadline(bench.now)
        assert due_s is not None
        bench.now = at(due_s - 0.0005)
        seen += [event.limit_a for event in bench.tell(Tick())]
    assert seen == [6.0, 7.0, 8.0]
    assert bench.profiles.deadline(bench.now) is None


def test_fractions_of_a_second_in_a_schedule_do_not_matter() -> None:
    bench = Bench()
    begin = format_time(BOOT_UTC_S + 1060.7)
    bench.set(1, profile(1, begin=begin, validTo=format_time(BOOT_UTC_S + 1100.9)))
    assert bench.schedule(1, 300) == [(0, 32.0), (60, 6.0), (100, 32.0)]


def test_an_end_told_late_does_not_end_the_next_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.start(1, "tx2")
    bench.set(1, tx_profile(1, "tx2", (0, 6.0), (900, 9.0), kind="Relative"))
    bench.tell(TransactionEnded(1, "tx1"))
    assert bench.limits == {1: 6.0}
    assert bench.profiles.deadline(bench.now) == pytest.approx(1900, abs=0.01)


def test_a_profile_does_not_pass_to_the_next_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, tx_profile(1, "tx1", (0, 6.0)))
    bench.start(1, "tx2")
    assert bench.limits == {1: None}


# --- over a restart -----------------------------------------------------------------------------


def test_tc_k_13_profiles_outlive_a_restart() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    sent = profile(5, (0, 6.0), validFrom=utc(0), validTo=utc(90_000), level=3)
    bench.set(2, sent)
    bench.set(0, max_profile(6, (0, 20.0)))
    bench.set(1, tx_profile(7, "tx1"))
    bench.reboot()
    assert bench.limits == {0: 20.0, 1: 20.0, 2: 6.0}
    (report,) = bench.reports(chargingProfileId=[5])
    assert (report["evseId"], report["chargingProfile"]) == (2, [sent])
    assert bench.reported_ids() == [6, 5]
    assert bench.saved.keys() == {"profile/5", "profile/6"}


def test_the_profile_of_a_transaction_that_goes_on_is_kept() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, tx_profile(7, "tx1", (0, 6.0), (500, 9.0), kind="Relative"))
    bench.now = at(10.0, BOOT_UTC_S + 1590)
    bench.reboot(TransactionStarted(1, "tx1", at_s=-590.0))
    assert bench.limits == {1: 9.0}
    assert bench.saved.keys() == {"profile/7"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"evseId":1,"chargingProfile":{}}',
        '{"evseId":1,"chargingProfile":{"chargingSchedule":[]}}',
        '{"evseId":1,"chargingProfile":{"chargingSchedule":null}}',
    ],
)
def test_a_saved_profile_that_cannot_be_read_is_dropped_aloud(text: str) -> None:
    bench = Bench()
    bench.set(1, profile(5))
    bench.saved["profile/8"] = text
    bench.reboot()
    assert bench.reported_ids() == [5]
    assert bench.saved.keys() == {"profile/5"}
    (line,) = bench.logged
    assert "profile/8" in line


def test_a_profile_of_an_evse_that_was_removed_is_dropped_aloud() -> None:
    bench = Bench()
    bench.set(2, profile(5))
    bench.evse_ids = (1,)
    bench.reboot()
    assert bench.reports() == []
    assert "there is no EVSE 2" in bench.logged[0]


# --- a profile with the start request (K05, F01, F02) -------------------------------------------


def test_tc_k_37_the_profile_of_a_start_request_belongs_to_its_transaction() -> None:
    bench = Bench()
    sent = start_profile()
    assert k.check_start_profile(sent, 1, bench.view, bench.now) is None
    bench.tell(k.StartProfileSet(1, 42, sent))
    assert bench.reports() == []
    assert bench.saved == {}
    bench.start(1, "tx1", remote_start_id=42)
    assert bench.limits == {1: 6.0}
    (report,) = bench.reports(chargingProfileId=[9])
    assert report["chargingProfile"] == [{**sent, "transactionId": "tx1"}]
    bench.end(1)
    assert bench.limits == {1: None}
    assert bench.reports() == []


def test_it_is_bound_at_once_when_the_transaction_runs_already() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.tell(k.StartProfileSet(1, 42, start_profile()))
    assert bench.limits == {1: 6.0}
    assert bench.reported_ids(1) == [9]


def test_it_holds_before_the_transaction_starts_but_lifts_no_default() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 8.0)))
    bench.tell(k.StartProfileSet(1, 42, start_profile(unit="W", phases=None)))
    assert bench.limits[1] == pytest.approx(6.0 / 690)
    bench.tell(k.StartProfileSet(1, 43, profile(9, (0, 20.0), purpose="TxProfile")))
    assert bench.limits[1] == 8.0
    bench.start(1, "tx1", remote_start_id=43)
    assert bench.limits[1] == 20.0


def test_it_does_not_go_to_a_transaction_that_somebody_else_started() -> None:
    for other in (None, 41):
        bench = Bench()
        bench.tell(k.StartProfileSet(1, 42, start_profile()))
        bench.awaited_starts.clear()
        bench.start(1, "tx1", remote_start_id=other)
        assert bench.limits == {1: None}
        bench.end(1)
        bench.start(1, "tx2", remote_start_id=42)
        assert bench.reports() == []


def test_it_waits_for_its_driver_while_the_plug_began_the_transaction() -> None:
    bench = Bench()
    bench.is_ready = False
    bench.tell(k.StartProfileSet(1, 42, start_profile()))
    bench.start(1, "tx1")
    assert bench.reports() == []
    bench.is_ready, bench.granted_start = True, 42
    bench.tell(Tick())
    assert bench.reported_ids() == [9]
    assert bench.profiles.expected == {}


def test_it_is_forgotten_when_its_start_lapses() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 20.0)))
    bench.tell(k.StartProfileSet(1, 42, start_profile()))
    bench.tell(Tick())
    assert bench.limits == {1: 6.0}
    bench.awaited_starts.clear()
    bench.tell(Tick())
    assert bench.limits == {1: 20.0}


def test_it_is_forgotten_for_an_evse_that_is_not_there() -> None:
    bench = Bench()
    bench.tell(k.StartProfileSet(3, 42, start_profile()))
    assert bench.profiles.expected == {}
    assert bench.limits == {}
