"""Resets that wait until nothing runs any more (B11, B12)."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken

TWO = [(1,), (1,)]


def restarts(play) -> list[str]:
    return [e.reason for e in play.effects if isinstance(e, ef.Restart)]


@pytest.mark.parametrize("way", ["card", "remote", "EVConnected", "no authorisation", "button"])
def test_a_scheduled_restart_of_the_station_sells_nothing_new_meanwhile(play, way: str) -> None:
    start = frozenset({"EVConnected"} if way == "EVConnected" else {"PowerPathClosed"})
    p = play(TWO, tx_start_point=start)
    p.charging("A", (1, 1))
    p.do(ev.ResetRequested(on_idle=True))
    if way == "no authorisation":
        p.do(ev.PolicyChanged(p.policy.__class__(auth_enabled=False)))
    p.pilot("B", (2, 1))
    shown = []
    if way == "card":
        shown = [e.text for e in p.swipe("B") if isinstance(e, ef.Show)]
        assert shown == ["The charger restarts soon; present the card again afterwards"]
    elif way == "remote":
        p.do(ev.StartRequested(2, IdToken("APP", "Central"), None, 9))
    elif way == "button":
        p.do(ev.TokenPresented(IdToken("", "NoAuthorization"), (2,)))
    p.wait(5)
    assert len(p.ledger.told) == 1
    assert list(p.ledger.allowed) == [(1, 1)]
    assert restarts(p) == []
    p.pilot("A", (1, 1))
    p.pilot("A", (2, 1))
    p.wait(15)
    assert restarts(p) == ["ScheduledReset"]


def test_who_was_accepted_before_is_served_first(play) -> None:
    p = play(TWO)
    p.charging("A", (1, 1))
    p.swipe("B", (2,))
    p.do(ev.ResetRequested(on_idle=True))
    p.pilot("B", (2, 1))
    p.wait(6)
    assert set(p.ledger.allowed) == {(1, 1), (2, 1)}
    p.pilot("A", (1, 1))
    p.wait(15)
    assert restarts(p) == []
    p.pilot("A", (2, 1))
    p.wait(15)
    assert restarts(p) == ["ScheduledReset"]


def test_a_transaction_without_a_driver_may_still_be_authorised(play) -> None:
    p = play(TWO, tx_start_point=frozenset({"EVConnected"}))
    p.pilot("B", (1, 1))
    p.do(ev.ResetRequested(on_idle=True))
    p.swipe("A")
    p.wait(6)
    assert list(p.ledger.allowed) == [(1, 1)]
