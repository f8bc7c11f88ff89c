"""Who may charge: from a presented token to a grant, a stop or a refusal (C01 to C15).

The order of the questions stands in `Authorization._judge`; asking the cache (`LookUp`) and the
CSMS (`AskCsms`) are effects, their answers come back as events.
"""

from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import AskCsms, LookUp, SaveToken
from agent.core.events import IdToken, Now, TokenInfo
from agent.core.policy import Policy

QUESTION_AT_MOST_S = 120.0
"""A question that got no answer for this long is forgotten when its token is presented again."""

NEVER_CACHED = frozenset({"Central", "NoAuthorization"})
"""Token types that no reader shows (C02.FR.03, C05.FR.02)."""


class Question(Struct, frozen=True):
    """A token somebody waits on. `evse_ids` empty: any; `remote_start_id` set: RequestStart."""

    token: IdToken
    evse_ids: tuple[int, ...] = ()
    remote_start_id: int | None = None
    cached: TokenInfo | None = None
    since_s: float | None = None
    """When somebody asked; None: now."""
    others: tuple["Question", ...] = ()
    """Starts requested with the token while this is open, one per place: the answer is for all."""


class Verdict(Struct, frozen=True):
    """The end of a question: accepted or refused, and why, in words for the driver."""

    question: Question
    accepted: bool
    info: TokenInfo
    text: str = ""


Outcome = tuple[list[object], Verdict | None]


class Authorization:
    """Open questions by token. Methods return (effects, verdict or None while it is open)."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Question] = {}

    def present(self, question: Question, policy: Policy, online: bool, now: Now) -> Outcome:
        """A token was presented; a second presentation while one is open changes nothing, a start
        that is requested waits with it: it is promised already."""
        key = question.token.key
        pending = self.open.get(key)
        question = replace(question, since_s=now.at_s)
        if pending is not None and now.mono_s < (pending.since_s or 0.0) + QUESTION_AT_MOST_S:
            if question.remote_start_id is not None:
                others = (other for other in pending.others if other.evse_ids != question.evse_ids)
                self.open[key] = replace(pending, others=(*others, question))
            return [], None
        self.open[key] = question
        if policy.auth_cache_enabled:
            return [LookUp(question.token)], None
        return self._judge(question, policy, online, now)

    def looked_up(
        self, token: IdToken, info: TokenInfo | None, policy: Policy, online: bool, now: Now
    ) -> Outcome:
        question = self.open.get(token.key)
        if question is None:
            return [], None
        valid = info if info is not None and not expired(info, policy, now) else None
        question = self.open[token.key] = replace(question, cached=valid)
        return self._judge(question, policy, online, now)

    def answered(self, token: IdToken, info: TokenInfo, policy: Policy, now: Now) -> Outcome:
        """The CSMS's word counts; it goes to the cache whatever it is (C10.FR.01)."""
        effects = remember(token, info, policy, now)
        question = self.open.pop(token.key, None)
        if question is None:
            return effects, None
        return effects, Verdict(question, info.accepted, info, _words(info))

    def unanswered(self, token: IdToken, policy: Policy, now: Now) -> Outcome:
        """No usable answer: judged as offline."""
        question = self.open.get(token.key)
        return self._judge(question, policy, False, now) if question is not None else ([], None)

    def _judge(self, question: Question, policy: Policy, online: bool, now: Now) -> Outcome:
        cached = question.cached
        if online and _is_asked(cached, policy):
            return [AskCsms(question.token)], None
        del self.open[question.token.key]
        if not online:
            return [], self._offline(question, policy)
        if cached is not None:
            return [], Verdict(question, cached.accepted, cached, _words(cached))
        text = "Unknown card; use one known here"
        return [], Verdict(question, False, TokenInfo("Unknown"), text)

    def _offline(self, question: Question, policy: Policy) -> Verdict:
        """C13, C15: without the CSMS only what it said before counts, unless told otherwise."""
        cached, unknown = question.cached, TokenInfo("Unknown")
        if not policy.local_authorize_offline:
            text = "Offline: cards cannot be checked now; try again later"
            return Verdict(question, False, unknown, text)
        if cached is not None:
            return Verdict(question, cached.accepted, cached, _words(cached))
        if policy.offline_unknown_id:
            return Verdict(question, True, TokenInfo("Accepted"))
        return Verdict(question, False, unknown, "Offline: unknown card; use a card known here")


def _is_asked(cached: TokenInfo | None, policy: Policy) -> bool:
    """Whether the CSMS judges a token although the station is online and may know it (C10.FR.03,
    C12.FR.02, FR.05)."""
    if policy.disable_remote_authorization:
        return False
    if cached is None or not policy.local_pre_authorize:
        return True
    return not cached.accepted and not policy.disable_post_authorize


def remember(token: IdToken, info: TokenInfo, policy: Policy, now: Now) -> list[object]:
    """Puts what the CSMS said of a token into the cache (C10.FR.01)."""
    if not policy.auth_cache_enabled or token.type in NEVER_CACHED:
        return []
    return [SaveToken(token, replace(info, updated_s=now.utc_s()))]


def expired(info: TokenInfo, policy: Policy, now: Now) -> bool:
    """C10.FR.08, FR.13: cacheExpiryDateTime, else LifeTime since the last update."""
    if info.cache_expiry_s is not None:
        return now.utc_s() >= info.cache_expiry_s
    lifetime_s = policy.auth_cache_lifetime_s
    return lifetime_s > 0 and now.utc_s() >= info.updated_s + lifetime_s


def _words(info: TokenInfo) -> str:
    return "" if info.accepted else f"Card not accepted ({info.status}); use another card"
