"""Cards judged without the CSMS, and what becomes of questions that nobody answers."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from tests.agent.core.told import kinds

# --- offline --------------------------------------------------------------------------------------

ACCEPTED = TokenInfo("Accepted", cache_expiry_s=1e12)
BLOCKED = TokenInfo("Blocked")
UNKNOWN_MAY = {"offline_unknown_id": True}
OFFLINE = [
    ("a cached card", ACCEPTED, {}, True),
    ("an unknown card", None, {}, False),
    ("an unknown card where unknown ones may", None, UNKNOWN_MAY, True),
    ("a blocked card", TokenInfo("Blocked"), {}, False),
    ("a blocked card where unknown ones may", BLOCKED, UNKNOWN_MAY, False),
    ("a card whose time is over", TokenInfo("Accepted", cache_expiry_s=1.0), {}, False),
    ("a card older than LifeTime", TokenInfo("Accepted"), {"auth_cache_lifetime_s": 60}, False),
    ("a cached card where offline is closed", ACCEPTED, {"local_authorize_offline": False}, False),
    ("an unknown card where offline is closed", None,
     {"local_authorize_offline": False, "offline_unknown_id": True}, False),
    ("a cached card with the cache off", ACCEPTED, {"auth_cache_enabled": False}, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_case", "cached", "policy", "starts"), OFFLINE, ids=lambda v: str(v)[:40]
)
def test_offline(play, _case: str, cached: TokenInfo | None, policy: dict, starts: bool) -> None:
    p = play(online=False, **policy)
    if cached is not None:
        p.cache["CARD"] = cached
    p.pilot("B")
    effects = p.swipe()
    assert not kinds(effects, ef.AskCsms)
    assert bool(p.told()) == bool(starts) == ((1, 1) in p.ledger.allowed)


@pytest.mark.parametrize("pre", [True, False])
def test_online_a_cached_card_is_asked_for_unless_local_pre_authorize(play, pre: bool) -> None:
    p = play(local_pre_authorize=pre)
    p.cache["CARD"] = ACCEPTED
    p.pilot("B")
    assert bool(kinds(p.swipe(), ef.AskCsms)) is not pre
    assert len(p.told()) == 1


def test_a_csms_that_does_not_answer_is_judged_as_offline(play) -> None:
    p = play()
    p.csms_answers = False
    p.cache["CARD"] = ACCEPTED
    p.pilot("B")
    p.swipe()
    assert p.told() == []
    p.do(ev.TokenUnanswered(IdToken("CARD", "ISO14443")))
    assert len(p.told()) == 1


def test_a_question_nobody_answered_does_not_lock_the_card_out(play) -> None:
    p = play()
    p.csms_answers = False
    p.pilot("B")
    p.swipe()
    assert p.swipe() == [], "one question is enough"
    p.wait(121)
    p.csms_answers = True
    p.swipe()
    assert len(p.told()) == 1


@pytest.mark.parametrize("token_type", ["Central", "NoAuthorization"])
def test_tokens_no_reader_shows_are_never_cached(play, token_type: str) -> None:
    p = play()
    p.charging()
    token = IdToken("X", token_type)
    info = TokenInfo("Accepted")
    known = ev.TransactionAnswered(p.station.transaction_id(1), token, info)
    assert not kinds(p.do(known), ef.SaveToken)
    assert not kinds(p.do(ev.TokenAnswered(token, info)), ef.SaveToken)
    assert kinds(p.do(ev.TokenAnswered(IdToken("X", "ISO14443"), info)), ef.SaveToken)
