"""While a charge runs: values, limits, shares, the lock, phases."""

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import TokenInfo
from agent.core.policy import Policy
from tests.agent.core.conftest import card
from tests.agent.core.told import kinds

# --- while it runs --------------------------------------------------------------------------------


def test_periodic_values_come_on_a_grid_that_does_not_drift(play) -> None:
    p = play(tx_updated_interval_s=60)
    p.charging()
    begin_s = p.told()[0].at_s
    p.wait(7)
    p.wait(600)
    values = [r for r in p.told() if r.trigger_reason == "MeterValuePeriodic"]
    assert [round(r.at_s - begin_s) for r in values] == [60 * n for n in range(1, len(values) + 1)]
    assert len(values) >= 10


def test_samples_missed_while_the_meter_was_silent_are_not_made_up(play) -> None:
    p = play(tx_updated_interval_s=60)
    p.charging()
    begin_s = p.told()[0].at_s
    p.meter_answers = False
    p.wait(200)
    p.meter_answers = True
    p.wait(130)
    values = [r for r in p.told() if r.trigger_reason == "MeterValuePeriodic"]
    late, *others = [r.at_s - begin_s for r in values]
    assert 200 < late < 240
    assert others == [240.0, 300.0, 360.0][: len(others)]
    assert others


def test_a_new_interval_counts_at_once_and_zero_means_none(play) -> None:
    p = play(tx_updated_interval_s=0)
    p.charging()
    p.wait(600)
    count = len(p.told())
    p.do(ev.PolicyChanged(Policy(tx_updated_interval_s=30)))
    p.wait(95)
    assert len(p.told()) == count + 3
    p.do(ev.PolicyChanged(Policy(tx_updated_interval_s=0)))
    p.wait(600)
    assert len(p.told()) == count + 3


def test_a_limit_below_six_amperes_suspends_and_the_next_one_resumes(play) -> None:
    p = play()
    p.charging()
    told = len(p.story())
    assert kinds(p.do(ev.CurrentLimited(1, 5.9)), ef.StopPower)
    p.pilot("B")
    p.wait(60)
    assert p.ledger.allowed == {}
    p.do(ev.CurrentLimited(1, 10.0))
    p.wait(4)
    p.meter()
    p.pilot("C", closed=True)
    assert p.ledger.allowed == {(1, 1): 10.0}
    assert p.story()[told:] == [
        ("Updated", "ChargingStateChanged", "SuspendedEVSE"),
        ("Updated", "ChargingStateChanged", "Charging"),
    ]


def test_an_ev_that_does_not_come_back_after_a_pause_is_suspending_after_its_time(play) -> None:
    p = play()
    p.charging()
    p.do(ev.CurrentLimited(1, 0.0))
    p.pilot("B")
    p.wait(60)
    p.do(ev.CurrentLimited(1, None))
    p.wait(14)
    assert p.story()[-1][2] == "SuspendedEVSE"
    p.wait(8)
    assert p.story()[-1][2] == "SuspendedEV"


def test_a_limit_that_lets_nothing_begin_is_told_as_the_evses_doing(play) -> None:
    p = play()
    p.do(ev.CurrentLimited(1, 0.0))
    p.pilot("B")
    p.swipe()
    p.wait(30)
    assert [state for _, _, state in p.story()] == ["EVConnected", "SuspendedEVSE"]
    assert p.ledger.allowed == {}


def test_lower_limits_are_withdrawn_at_once_and_raised_at_a_pace(play) -> None:
    p = play()
    p.charging()
    lowered = p.do(ev.CurrentLimited(1, 8.0))
    assert kinds(lowered, ef.WithdrawCurrent) == [ef.WithdrawCurrent(1, 1, 8.0)]
    assert not kinds(p.do(ev.CurrentLimited(1, None)), ef.AllowPower)
    assert [e.limit_a for e in kinds(p.wait(6), ef.AllowPower)] == [32.0]


def test_two_evs_share_the_supply_and_the_station_limit(play) -> None:
    p = play([(1,), (1,)], supply_a=40.0)
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    assert p.ledger.allowed == {(1, 1): 20.0, (2, 1): 20.0}
    p.do(ev.CurrentLimited(0, 10.0))
    p.wait(20)
    assert p.ledger.allowed == {(1, 1): 10.0}
    p.do(ev.CurrentLimited(0, None))
    p.wait(20)
    assert sum(p.ledger.allowed.values()) == 40.0


def test_raises_stay_within_a_station_limit_while_others_still_let_go(play) -> None:
    """The other EV has 5 s to follow; what it may still draw counts against the limit."""
    p = play([(1,), (1,)], supply_a=64.0)
    p.do(ev.CurrentLimited(0, 32.0))
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    p.do(ev.CurrentLimited(1, 6.0))
    assert p.ledger.allowed == {(1, 1): 6.0, (2, 1): 16.0}
    p.wait(1)
    assert p.ledger.allowed[2, 1] == 16.0
    p.wait(10)
    assert p.ledger.allowed[2, 1] == 26.0


def test_what_still_flows_through_a_stuck_path_is_taken_off_the_supply(play) -> None:
    p = play([(1,), (1,)], supply_a=40.0)
    p.charging("ONE", (1, 1))
    p.charging("TWO", (2, 1))
    p.swipe("ONE")
    p.meter(1, current_a=(20.0, 20.0, 20.0))
    p.wait(60)
    assert p.ledger.allowed == {(2, 1): 20.0}
    p.pilot("B", (1, 1))
    p.wait(12)
    assert p.ledger.allowed == {(2, 1): 32.0}


def test_a_loose_cable_of_13_a_is_never_offered_more(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=13.0)
    p.swipe()
    assert p.ledger.allowed == {(1, 1): 13.0}


def test_the_plug_is_locked_for_the_session_and_released_only_with_an_open_path(play) -> None:
    p = play()
    p.pilot("A")
    assert not kinds(p.effects, ef.LockPlug), "what ran before may have allowed power just now"
    p.wait(2)
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, False)], "left locked by a crash"
    p.effects.clear()
    p.charging()
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, True)]
    p.effects.clear()
    p.swipe()
    p.wait(20)
    assert p.told()[-1].event_type == "Ended"
    assert not kinds(p.effects, ef.LockPlug)
    p.pilot("B")
    assert kinds(p.effects, ef.LockPlug) == [ef.LockPlug(1, 1, False)]


def test_a_lock_that_was_told_to_open_is_not_taken_for_closed_until_it_says_so_again(play) -> None:
    """G05.FR.01: the driver's second card comes while the lock is on its way."""
    p = play()
    p.evse.connectors[1].has_lock = True
    p.pilot("B")
    p.do(ev.LockSeen(1, 1, True, p.now_s))
    p.charging()
    p.swipe()
    p.pilot("B")
    p.wait(20)
    assert kinds(p.effects, ef.LockPlug)[-1] == ef.LockPlug(1, 1, False)
    p.swipe()
    p.wait(6)
    assert kinds(p.effects, ef.LockPlug)[-1] == ef.LockPlug(1, 1, True)
    assert p.ledger.allowed == {}
    p.do(ev.LockSeen(1, 1, True, p.now_s))
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_phases_are_told_from_when_energy_flows(play) -> None:
    p = play()
    p.charging()
    p.meter(current_a=(16.0, 0.2, 0.1))
    p.pilot("B")
    assert p.told()[-1].phases_used == 1


def test_a_meter_that_does_not_say_whether_the_last_energy_is_spent_is_asked_every_2_s(
    play,
) -> None:
    """E05.FR.03, with a meter that fell silent: nobody asks in circles."""
    policy = {"stop_tx_on_invalid_id": False, "max_energy_on_invalid_id_wh": 100}
    p = play(tx_stop_point=frozenset({"EVConnected"}), tx_updated_interval_s=0, **policy)
    transaction_id = p.charging()
    p.meter(power_w=11_000.0)
    p.do(ev.TransactionAnswered(transaction_id, card("CARD"), TokenInfo("Invalid")))
    p.meter_answers = False
    p.effects.clear()
    p.wait(60)
    assert 10 < len(kinds(p.effects, ef.ReadMeter)) < 20
    p.meter_answers = True
    p.wait(2)
    p.meter(energy_wh=p.energy_wh[1] + 100)
    assert p.ledger.allowed == {}
