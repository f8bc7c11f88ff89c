"""The journal while the CSMS is away: said once, then seldom, and never a flood."""

import pytest

from agent.core.effects import Log
from agent.core.events import Now
from agent.ocpp.outage import REASONS, Outage
from drivers.contract import Permit


def at(mono_s: float) -> Now:
    return Now(mono_s, 1e9, True, "b1", Permit(0), lambda: 0.5, lambda: "id")


def texts(logs: list[Log]) -> list[str]:
    return [log.text for log in logs]


def test_the_same_reason_is_written_once_then_every_ten_minutes_with_the_count() -> None:
    outage = Outage()
    written = []
    for second in range(0, 1801, 10):
        written += [(second, *texts([log])) for log in outage.failed("refused", False, at(second))]
    assert written == [
        (0, "CSMS: refused"),
        (600, "CSMS: refused (offline for 10 min, failed attempts: 61)"),
        (1200, "CSMS: refused (offline for 20 min, failed attempts: 121)"),
        (1800, "CSMS: refused (offline for 30 min, failed attempts: 181)"),
    ]
    (log,) = outage.ended(at(1805))
    assert log == Log(5, "CSMS: online (offline for 30 min, failed attempts: 181)")


def test_another_reason_is_news() -> None:
    outage = Outage()
    outage.failed("refused", False, at(0))
    assert texts(outage.failed("no DNS", False, at(9))) == [
        "CSMS: no DNS (offline for 9 s, failed attempts: 2)"
    ]
    assert outage.failed("refused", False, at(18)) == []


def test_the_first_time_online_is_written_and_so_is_each_loss_of_a_steady_link() -> None:
    outage = Outage()
    assert texts(outage.ended(at(1))) == ["CSMS: online"]
    for hour in range(1, 4):
        at_s = hour * 300.0
        assert texts(outage.failed("gone", True, at(at_s))) == ["CSMS: gone"]
        assert texts(outage.ended(at(at_s + 5))) == [
            "CSMS: online (offline for 5 s, failed attempts: 0)"
        ]


def test_a_link_that_flaps_is_written_as_a_pair_every_ten_minutes() -> None:
    outage = Outage()
    outage.ended(at(0))
    losses, returns = 0, 0
    for second in range(10, 3610, 10):
        losses += len(outage.failed("gone", True, at(second)))
        returns += len(outage.ended(at(second + 5)))
    assert losses == returns == 6


@pytest.mark.parametrize("was_online", [True, False])
def test_a_csms_with_ever_new_words_does_not_flood_the_journal(was_online: bool) -> None:
    outage = Outage()
    outage.ended(at(0))
    written = 0
    for second in range(1, 3601):
        written += len(outage.failed(f"redirects to {second}", was_online, at(second)))
        if was_online:
            outage.ended(at(second))
    assert written <= 6 * (REASONS + 1)
