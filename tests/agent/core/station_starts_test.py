"""How a charge begins: plug and card, start points, and where nobody needs a card."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.granting import NO_TOKEN
from drivers.contract import PilotReading, PilotState, PowerPath
from tests.agent.core.told import BEGIN_TO_CHARGE, kinds, texts


def test_plug_then_card_starts_with_the_card_and_power_follows_in_the_same_turn(play) -> None:
    p = play()
    assert kinds(p.pilot("B"), ef.Record) == []
    effects = p.swipe()
    started = kinds(effects, ef.Record)[0]
    assert (started.event_type, started.trigger_reason) == ("Started", "Authorized")
    assert (started.token.value, started.connector_id, started.seq_no) == ("CARD", 1, 0)
    assert started.samples[0].context == "Transaction.Begin"
    assert kinds(effects, ef.AllowPower) == [ef.AllowPower(1, 1, 32.0, p.permit)]
    p.pilot("C", closed=True)
    assert p.story()[1:] == BEGIN_TO_CHARGE


def test_card_then_plug_waits_for_the_cable(play) -> None:
    p = play()
    p.swipe()
    assert p.told() == []
    assert p.ledger.allowed == {}
    p.wait(30)
    p.pilot("B")
    assert p.story() == [("Started", "CablePluggedIn", "EVConnected")]
    assert p.told()[0].token.value == "CARD"


def test_the_begin_value_is_read_anew_when_the_last_one_is_old(play) -> None:
    p = play()
    p.meter()
    p.pilot("B")
    p.wait(60)
    p.meter_answers = False
    effects = p.swipe()
    assert kinds(effects, ef.ReadMeter)
    assert not kinds(effects, ef.Record | ef.AllowPower)
    asked = kinds(p.wait(10), ef.ReadMeter)
    assert 4 <= len(asked) <= 6, "asked again every 2 s"
    p.meter_answers = True
    p.wait(3)
    assert p.story() == [("Started", "Authorized", "EVConnected")]
    assert p.told()[0].samples[0].reading.at_s >= p.now_s - 5


def test_a_meter_that_never_answers_ends_the_wait_of_the_driver(play) -> None:
    p = play()
    p.meter_answers = False
    p.pilot("B")
    p.swipe()
    assert "not possible" in texts(p.wait(61))
    assert p.evse.grant is None
    p.meter_answers = True
    p.meter()
    p.wait(300)
    assert p.told() == [], "an hour later the charge does not begin by itself"
    p.swipe()
    assert len(p.told()) == 1


# --- start points ---------------------------------------------------------------------------------

PLUG_FIRST = {
    "EVConnected": [
        ("Started", "CablePluggedIn", "EVConnected"),
        ("Updated", "Authorized", "EVConnected"),
        *BEGIN_TO_CHARGE,
    ],
    "Authorized": [("Started", "Authorized", "EVConnected"), *BEGIN_TO_CHARGE],
    "PowerPathClosed": [("Started", "Authorized", "EVConnected"), *BEGIN_TO_CHARGE],
    "EnergyTransfer": [("Started", "ChargingStateChanged", "Charging")],
}
CARD_FIRST = {
    "EVConnected": [("Started", "CablePluggedIn", "EVConnected"), *BEGIN_TO_CHARGE],
    "Authorized": [
        ("Started", "Authorized", "Idle"),
        ("Updated", "CablePluggedIn", "EVConnected"),
        *BEGIN_TO_CHARGE,
    ],
    "PowerPathClosed": [("Started", "CablePluggedIn", "EVConnected"), *BEGIN_TO_CHARGE],
    "EnergyTransfer": [("Started", "ChargingStateChanged", "Charging")],
}


@pytest.mark.parametrize("point", PLUG_FIRST)
@pytest.mark.parametrize("card_first", [False, True])
def test_start_points(play, point: str, card_first: bool) -> None:
    p = play(tx_start_point=frozenset({point}))
    acts = [lambda: p.pilot("B"), p.swipe]
    for act in reversed(acts) if card_first else acts:
        act()
        p.wait(2)
    p.pilot("C")
    p.pilot("C", closed=True)
    assert p.story() == (CARD_FIRST if card_first else PLUG_FIRST)[point]
    tokens = [r.token.value for r in p.told() if r.token]
    assert tokens == ["CARD"], "told once"
    places = [r.connector_id for r in p.told() if r.connector_id is not None]
    assert places == [1], "told once"


def test_a_session_that_never_met_its_start_point_leaves_no_trace(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    assert "transaction/1" in p.saved
    assert (1, 1) in p.ledger.allowed
    p.pilot("A")
    p.wait(10)
    assert p.told() == []
    assert "transaction/1" not in p.saved


def test_energy_before_the_start_point_is_told_all_the_same(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    p.pilot("B", closed=True)
    p.wait(2)
    p.energy_wh[1] += 250
    p.pilot("A")
    p.wait(10)
    assert [r.event_type for r in p.told()] == ["Started", "Ended"]
    assert p.told()[-1].samples[0].reading.energy_wh == 100_250


def test_an_ev_that_does_not_take_its_offer_is_suspending_after_a_while(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(14)
    assert p.story()[-1][2] == "EVConnected"
    p.wait(2)
    assert p.story()[-1] == ("Updated", "ChargingStateChanged", "SuspendedEV")


# --- without authorisation ------------------------------------------------------------------------


def test_without_authorisation_every_ev_charges_and_a_new_one_again(play) -> None:
    p = play(auth_enabled=False)
    for _ in range(2):
        p.pilot("B")
        assert p.told()[0].token == NO_TOKEN
        p.wait(6)
        p.pilot("C", closed=True)
        p.pilot("A")
        p.wait(12)
        assert p.told()[-1].event_type == "Ended"
    assert len(p.ledger.told) == 2


def test_without_authorisation_an_ev_plugged_in_during_an_ending_charges(play) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.meter_answers = False
    p.wait(6)
    p.pilot("A")
    p.wait(1)
    p.pilot("B")
    assert len(p.ledger.told) == 1
    p.meter_answers = True
    p.wait(20)
    assert len(p.ledger.told) == 2
    assert (1, 1) in p.ledger.allowed


def test_an_ev_that_came_while_the_disk_was_busy_is_not_taken_for_the_one_before(play) -> None:
    """Both are heard of late: one had left, the next was plugged in before any of it was heard."""
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.wait(30)
    late = [
        PilotReading(p.now_s + n, PilotState(s), PowerPath.OPEN) for n, s in ((1, "A"), (4, "B"))
    ]
    p.wait(10)
    for reading in late:
        p.readings[1, 1] = reading
        p.do(ev.PilotChanged(1, 1, reading))
    p.wait(20)
    ended, running = p.ledger.told.values()
    assert (ended[-1].event_type, running[0].event_type) == ("Ended", "Started")
    assert (1, 1) in p.ledger.allowed


def test_a_residual_current_while_nobody_is_plugged_in_is_not_held_against_the_next_ev(
    play,
) -> None:
    points = frozenset({"Authorized"})
    p = play(tx_stop_point=points, stop_tx_on_ev_side_disconnect=False)
    p.charging()
    p.pilot("A")
    p.wait(1)
    p.raise_fault("rcd")
    p.wait(20)
    assert p.told()[-1].stopped_reason == "GroundFault"
    p.clear_fault("rcd")
    p.pilot("B")
    assert "tripped" not in p.saved
    assert p.evse.awaits_card


def test_without_authorisation_charging_goes_on_after_a_power_cut(play) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.reboot()
    p.pilot("B")
    p.wait(20)
    assert [r.event_type for r in next(iter(p.ledger.told.values()))][-1] == "Ended"
    assert len(p.ledger.told) == 2
    assert (1, 1) in p.ledger.allowed
