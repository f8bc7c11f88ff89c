"""What people did while the disk took nothing, heard of when it works again, all at once."""

import pytest

from agent.core import events as ev
from agent.core.events import TokenInfo
from tests.agent.core.conftest import card
from tests.agent.core.told import texts

AGAIN = "Please present the card again"


def since(p, ago_s, tell):
    """`tell` happens now, though it was posted long ago."""
    p.happened_s = p.now_s - ago_s
    try:
        return tell()
    finally:
        p.happened_s = None


def test_a_card_of_long_ago_does_not_start_the_charge_of_whoever_stands_there_now(play) -> None:
    p = play()
    p.pilot("B")
    effects = since(p, 600.0, p.swipe)
    since(p, 300.0, lambda: p.pilot("A"))
    since(p, 200.0, lambda: p.pilot("B"))
    p.wait(10)
    assert AGAIN in texts(effects)
    assert p.ledger.allowed == {}
    p.swipe()
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_a_card_that_waited_for_a_slow_commit_counts(play) -> None:
    p = play()
    p.pilot("B")
    since(p, 12.0, p.swipe)
    assert p.ledger.allowed == {(1, 1): 32.0}


def test_a_card_of_long_ago_ends_its_charge_all_the_same(play) -> None:
    p = play()
    p.charging()
    since(p, 600.0, p.swipe)
    p.pilot("B")
    p.wait(20)
    assert p.told()[-1].trigger_reason == "StopAuthorized"
    assert p.ledger.allowed == {}


@pytest.mark.parametrize("evses", [((1,),), ((1,), (1,))])
def test_an_authorisation_that_lapsed_is_not_for_the_ev_that_came_later(play, evses) -> None:
    """The card was accepted in time, the plug came ten minutes later; both are heard of now."""
    p = play(evses, ev_connection_timeout_s=60)
    p.csms_answers = False
    p.swipe()
    p.wait(600)
    accepted = ev.TokenAnswered(card("CARD"), TokenInfo("Accepted"))
    since(p, 590.0, lambda: p.do(accepted))
    effects = since(p, 30.0, lambda: p.pilot("B"))
    p.wait(10)
    assert "No cable was plugged in" in texts(effects)
    assert p.ledger.allowed == {}
    p.swipe()
    assert p.ledger.allowed == {}, "asked anew, and not answered yet"
