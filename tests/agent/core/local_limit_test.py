"""What a local energy manager says lowers the offers; its silence leaves the fail-safe current."""

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.local_limit import LimitTold, LocalLimits, LocalLimitsChanged, is_significant
from agent.core.site import EnergyManager

MANAGER = EnergyManager(silent_s=60.0, failsafe_a=8.0)


def said(limit_a: float | None, evse_id: int = 0, for_s: float | None = None) -> LimitTold:
    return LimitTold(evse_id, limit_a, for_s, "pv")


def charging(play, **options):
    """A charge with all that the hardware gives."""
    p = play(energy_manager=MANAGER, **options)
    p.do(said(None))
    p.charging()
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.do(said(None))
    return p


def announced(p) -> list[dict[int, float]]:
    facts = [e.event for e in p.effects if isinstance(e, ef.Announce)]
    return [fact.limits for fact in facts if isinstance(fact, LocalLimitsChanged)]


def journal(p) -> list[tuple[int, str]]:
    lines = [e for e in p.effects if isinstance(e, ef.Log) and "energy manager" in e.text]
    return [(line.level, line.text) for line in lines]


# --- limits -------------------------------------------------------------------------------------


def test_a_local_limit_only_lowers(play) -> None:
    p = charging(play)
    for event, offer_a in (
        (said(40.0), 32.0),
        (said(17.25), 17.2),
        (said(12.0, 1), 12.0),
        (ev.CurrentLimited(1, 10.0), 10.0),
        (said(9.0), 9.0),
        (ev.CurrentLimited(1, None), 9.0),
        (ev.CurrentLimited(0, 7.0), 7.0),
        (said(6.5, 1), 6.5),
    ):
        p.do(event)
        assert p.ledger.allowed == {(1, 1): offer_a}, event
    p.do(ev.CurrentLimited(0, None))
    p.do(said(None))
    p.do(said(None, 1))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_less_than_a_pilot_can_offer_is_nothing(play) -> None:
    p = charging(play)
    p.do(said(5.9))
    assert p.ledger.allowed == {}
    p.do(said(6.0))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 6.0}


def test_a_limit_of_the_station_is_shared_one_of_an_evse_is_its_own(play) -> None:
    p = play([(1,), (1,)], energy_manager=MANAGER)
    p.do(said(20.0))
    p.charging("A", (1, 1))
    p.do(said(20.0))
    p.charging("B", (2, 1))
    assert p.ledger.allowed == {(1, 1): 10.0, (2, 1): 10.0}
    p.do(said(7.0, 2))
    p.wait(11)
    assert p.ledger.allowed == {(1, 1): 13.0, (2, 1): 7.0}


def test_where_no_manager_is_named_nobody_is_listened_to(play) -> None:
    p = play()
    p.charging()
    found = p.do(said(6.0))
    assert p.ledger.allowed == {(1, 1): 32.0}
    assert [e.level for e in found if isinstance(e, ef.Log)] == [4]
    p.wait(3600)
    assert p.ledger.allowed == {(1, 1): 32.0}
    assert announced(p) == []


# --- silence ------------------------------------------------------------------------------------


def test_a_silent_manager_leaves_the_failsafe_current_until_it_speaks(play) -> None:
    p = charging(play)
    p.wait(59)
    assert p.ledger.allowed == {(1, 1): 32.0}
    p.wait(1.1)
    assert p.ledger.allowed == {(1, 1): 8.0}
    p.do(said(20.0))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 20.0}
    p.wait(60)
    assert p.ledger.allowed == {(1, 1): 8.0}
    assert announced(p)[-3:] == [{0: 8.0}, {0: 20.0}, {0: 8.0}]


def test_a_start_is_a_silence_whatever_was_said_before(play) -> None:
    p = charging(play)
    p.pilot("A")
    p.wait(5)
    p.reboot()
    p.pilot("B")
    p.swipe()
    p.wait(20)
    assert p.ledger.allowed == {(1, 1): 8.0}
    assert "local" not in str(p.saved.keys()), "nothing of it wears the disk"
    p.do(said(None))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_the_failsafe_current_is_for_all_evses_together(play) -> None:
    p = play([(1,), (1,)], energy_manager=MANAGER)
    p.charging("A", (1, 1))
    p.pilot("B", (2, 1))
    p.swipe("B", (2,))
    p.wait(10)
    assert p.ledger.allowed == {(1, 1): 8.0}


def test_a_limit_that_ran_out_is_a_silence_until_a_word_for_the_same_place(play) -> None:
    p = charging(play)
    p.do(said(20.0, 1, for_s=10.0))
    p.wait(9.9)
    assert p.ledger.allowed == {(1, 1): 20.0}
    p.wait(0.2)
    assert p.ledger.allowed == {(1, 1): 8.0}
    p.do(said(30.0))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 8.0}, "the other word is about all EVSEs"
    p.do(said(None, 1))
    p.wait(6)
    assert p.ledger.allowed == {(1, 1): 30.0}


def test_a_limit_below_the_failsafe_current_is_void_when_it_ran_out(play) -> None:
    p = charging(play)
    p.do(said(6.5, 1, for_s=10.0))
    assert p.ledger.allowed == {(1, 1): 6.5}
    p.wait(16)
    assert p.ledger.allowed == {(1, 1): 8.0}


def test_what_was_said_without_a_lifetime_outlasts_a_silence(play) -> None:
    p = charging(play)
    p.do(said(6.0))
    p.wait(600)
    assert p.ledger.allowed == {(1, 1): 6.0}


def test_a_limit_with_a_lifetime_does_not_put_off_the_silence(play) -> None:
    p = charging(play)
    p.do(said(20.0, for_s=900.0))
    p.wait(61)
    assert p.ledger.allowed == {(1, 1): 8.0}


def test_lifetime_and_silence_count_from_when_it_was_said(play) -> None:
    """Behind a disk that hangs a word may wait for long."""
    p = play(energy_manager=MANAGER)
    local = LocalLimits(MANAGER)
    late = replace(p.now(), mono_s=1000.0, happened_s=970.0)
    local.take(said(20.0, for_s=40.0), late)
    assert local.in_force(1009.9) == {0: 20.0}
    assert local.in_force(1010.0) == {0: 8.0}
    local.take(said(20.0), late)
    assert local.deadline(1000.0) == 1030.0
    assert local.in_force(1030.0) == {0: 8.0}


def test_the_journal_tells_the_begin_and_the_end_of_a_silence(play) -> None:
    p = play(energy_manager=MANAGER)
    p.do(said(8.0))
    p.do(said(10.0))
    p.wait(300)
    p.do(said(8.0))
    assert [level for level, _ in journal(p)] == [5, 5, 4, 5]
    assert "no more than 8 A" in journal(p)[2][1]


# --- what is told of a charge -------------------------------------------------------------------


def rate_changes(p) -> list[str]:
    told = [r for r in p.told() if r.trigger_reason == "ChargingRateChanged"]
    return [record.charging_state for record in told]


def test_a_charge_that_goes_faster_or_slower_for_it_is_told(play) -> None:
    """K11.FR.04, K13.FR.03"""
    p = charging(play)
    p.do(said(16.0))
    assert rate_changes(p) == ["Charging"]
    p.do(said(None))
    p.wait(6)
    assert rate_changes(p) == ["Charging"] * 2


def test_what_the_csms_changes_is_no_news_to_it(play) -> None:
    p = charging(play)
    p.do(said(16.0))
    p.do(ev.CurrentLimited(1, 10.0))
    p.do(ev.CurrentLimited(1, None))
    p.wait(20)
    assert p.ledger.allowed == {(1, 1): 16.0}
    assert rate_changes(p) == ["Charging"]


def test_a_change_smaller_than_its_significance_is_not_told_until_they_add_up(play) -> None:
    p = charging(play, limit_change_significance=10.0)
    p.do(said(20.0))
    for limit_a in (19.0, 18.5, 18.0):
        p.do(said(limit_a))
        assert len(rate_changes(p)) == 1, limit_a
    p.do(said(17.9))
    assert len(rate_changes(p)) == 2


def test_a_share_that_shrinks_later_because_of_it_is_told_when_it_does(play) -> None:
    """What makes room for another EV waits until the EV has followed the last change."""
    p = play([(1,), (1,)], energy_manager=MANAGER, supply_a=20.0)
    p.do(said(None))
    first = p.charging("A", (1, 1))
    p.do(said(7.0, 2))
    p.charging("B", (2, 1))
    p.do(said(7.0, 2))
    p.wait(11)
    p.do(ev.CurrentLimited(1, 12.0))
    before = len(p.told(first))
    p.do(said(None, 2))
    assert p.ledger.allowed == {(1, 1): 12.0, (2, 1): 7.0}
    p.wait(11)
    assert p.ledger.allowed == {(1, 1): 10.0, (2, 1): 10.0}
    told = [record.trigger_reason for record in p.told(first)[before:]]
    assert told.count("ChargingRateChanged") == 1


def test_a_limit_that_does_not_reach_the_charge_changes_no_rate(play) -> None:
    p = charging(play)
    p.do(ev.CurrentLimited(1, 10.0))
    p.do(said(20.0))
    p.do(said(12.0))
    assert rate_changes(p) == []


def test_a_charge_that_is_suspended_by_it_is_told_and_its_return(play) -> None:
    p = charging(play)
    p.do(said(0.0))
    p.pilot("C", closed=False)
    p.wait(6)
    p.do(said(10.0))
    p.wait(6)
    states = rate_changes(p)
    assert len(states) == 2
    assert states[1] == "SuspendedEVSE"


def test_an_ev_that_is_full_is_told_nothing_of(play) -> None:
    """A manager that follows the sun would fill the queue all night."""
    p = charging(play)
    p.pilot("B", closed=False)
    p.wait(20)
    for limit_a in (20.0, 10.0, 30.0):
        p.do(said(limit_a))
        p.wait(6)
    assert rate_changes(p) == []


@pytest.mark.parametrize(
    ("before_a", "after_a", "percent", "is_told"),
    [
        (10.0, 10.1, 1.0, False),
        (10.0, 10.2, 1.0, True),
        (10.0, 9.8, 1.0, True),
        (10.0, 10.0, 0.0, False),
        (10.0, 9.9, 0.0, True),
        (0.0, 6.0, 100.0, True),
        (10.0, 0.0, 100.0, False),
    ],
)
def test_significance(before_a: float, after_a: float, percent: float, is_told: bool) -> None:
    assert is_significant(before_a, after_a, percent) == is_told
