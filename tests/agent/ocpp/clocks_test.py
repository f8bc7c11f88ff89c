"""Loop times of earlier boots as UTC."""

import pytest

from agent.core.events import Now
from agent.ocpp.clocks import KEPT, KEY, BootClocks, csms_time
from drivers.contract import Permit


def at(mono_s: float, boot_id: str, offset_s: float, known: bool) -> Now:
    return Now(mono_s, offset_s, known, boot_id, Permit(0), lambda: 0.5, lambda: "id")


def saved(clocks: BootClocks, now: Now) -> dict[str, str]:
    return {save.key: save.value or "" for save in clocks.follow(now)}


def test_a_boot_is_saved_when_it_begins_and_when_its_clock_is_known_and_not_between() -> None:
    clocks = BootClocks({})
    assert KEY in saved(clocks, at(1, "b1", 500, False))
    assert saved(clocks, at(2, "b1", 501, False)) == {}
    assert KEY in saved(clocks, at(3, "b1", 900, True))
    assert saved(clocks, at(4, "b1", 950, True)) == {}


def test_a_known_clock_of_an_earlier_boot_dates_its_events() -> None:
    state = saved(BootClocks({}), at(1, "b1", 900, True))
    clocks = BootClocks(state)
    now = at(10, "b2", 5000, True)
    clocks.follow(now)
    assert clocks.to_utc("b1", now)(50) == 950


def test_a_clock_that_was_wrong_by_years_was_as_wrong_in_the_boot_before() -> None:
    state = saved(BootClocks({}), at(1, "b1", 900, False))
    clocks = BootClocks(state)
    clocks.follow(at(0, "b2", 1100, False))
    now = at(10, "b2", 1100 + 7_000_000, True)
    clocks.follow(now)
    assert clocks.to_utc("b1", now)(50) == 950 + 7_000_000


def test_nothing_happened_later_than_now() -> None:
    state = saved(BootClocks({}), at(1, "b1", 900, False))
    clocks = BootClocks(state)
    now = at(10, "b2", 900, True)
    clocks.follow(now)
    assert clocks.to_utc("b1", now)(5000) == now.utc_s()


def test_the_boot_of_today_uses_the_clock_of_today() -> None:
    clocks = BootClocks({})
    now = at(100, "b1", 900, True)
    assert clocks.to_utc("b1", now)(50) == 950


def test_after_a_hundred_boots_without_a_csms_the_first_ones_events_keep_their_time() -> None:
    state: dict[str, str] = {}
    for number in range(100):
        state = saved(BootClocks(state), at(1, f"b{number}", 900 + 60 * number, False))
    clocks = BootClocks(state)
    clocks.follow(at(0, "b100", 7000, False))
    now = at(10, "b100", 7000, True)
    clocks.follow(now)
    assert clocks.to_utc("b0", now)(50) == 950
    assert clocks.to_utc("b99", now)(50) == 950 + 60 * 99


def test_not_all_boots_are_remembered_and_a_spoiled_state_is_none() -> None:
    state = {KEY: "not JSON"}
    for number in range(KEPT + 20):
        state = saved(BootClocks(state), at(1, f"b{number}", 900, True))
    assert state[KEY].count("boot_id") == KEPT


@pytest.mark.parametrize(
    ("text", "utc_s"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T00:00:00", 1767225600.0),
        ("2026-01-01T02:00:00.250+02:00", 1767225600.25),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("soon", None),
    ],
)
def test_a_time_of_the_csms_is_believed_when_it_can_be_true(text: str, utc_s: float | None) -> None:
    assert csms_time(text) == utc_s
