"""From a token to the EVSE it serves: whom it stops, what it starts, who waits for a cable (C, E).

Whether a token is good is judged in `core.authorization`; here is what follows from that.
"""

from collections.abc import Mapping

from msgspec import Struct

from agent.core import events as ev
from agent.core.authorization import (
    NEVER_CACHED,
    Authorization,
    Outcome,
    Question,
    Verdict,
)
from agent.core.effects import Show
from agent.core.events import IdToken, Now, TokenInfo
from agent.core.evse import Evse
from agent.core.evse_facts import Grant
from agent.core.master_pass import CHOICE_S, CHOICE_TEXT, Choice, chosen, is_master
from agent.core.policy import Policy

NO_TOKEN = IdToken("", "NoAuthorization")


class Floating(Struct, frozen=True):
    """A token accepted before it was clear at which EVSE the cable will be plugged in."""

    grant: Grant
    evse_ids: tuple[int, ...]


class Granting:
    """Gives what was authorised to an EVSE, or takes it back. Methods return effects."""

    def __init__(self, evses: Mapping[int, Evse], *, has_keypad: bool) -> None:
        self.online = False
        """Whether the CSMS can be asked."""
        self.floating: Floating | None = None
        self._evses = evses
        self._has_keypad = has_keypad
        self._authorization = Authorization()
        self._choice: Choice | None = None
        """A master pass waits for the number of what it is to stop."""

    # --- facts --------------------------------------------------------------------------------

    def presented(self, event: ev.TokenPresented, policy: Policy, now: Now) -> list[object]:
        token = event.token
        if self._choice is not None and token.type == "KeyCode":
            return self._choose(self._choice, token.value, policy, now)
        for evse in self._served(event.evse_ids):
            if evse.grant is not None and evse.ending is None and token.same_as(evse.grant.token):
                return _stop_locally(evse, token, policy, now)
            for connector in evse.connectors.values():
                if token.same_as(connector.cable_owner):
                    connector.cable_owner = None
                    return [Show(evse.evse_id, "Take your cable")]
        if self.floating is not None and token.same_as(self.floating.grant.token):
            self.floating = None
            return [Show(0, "Cancelled; present the card again to charge")]
        question = Question(token, event.evse_ids)
        if token.type == "NoAuthorization":
            verdict = Verdict(question, True, TokenInfo("Accepted"))
            return self._conclude(([], verdict), policy, now)
        if not policy.auth_enabled:
            return [Show(0, "No card is needed here; plug in the cable")]
        outcome = self._authorization.present(question, policy, self.online, now)
        return self._conclude(outcome, policy, now)

    def looked_up(self, event: ev.LookedUp, policy: Policy, now: Now) -> list[object]:
        judged = self._authorization.looked_up(event.token, event.info, policy, self.online, now)
        return self._conclude(judged, policy, now)

    def answered(self, event: ev.TokenAnswered, policy: Policy, now: Now) -> list[object]:
        judged = self._authorization.answered(event.token, event.info, policy, now)
        return self._conclude(judged, policy, now)

    def unanswered(self, event: ev.TokenUnanswered, policy: Policy, now: Now) -> list[object]:
        judged = self._authorization.unanswered(event.token, policy, now)
        return self._conclude(judged, policy, now)

    def start_requested(self, event: ev.StartRequested, policy: Policy, now: Now) -> list[object]:
        question = Question(event.token, (event.evse_id,), event.remote_start_id)
        asks = policy.auth_enabled and policy.authorize_remote_start
        if asks and event.token.type not in NEVER_CACHED:
            outcome = self._authorization.present(question, policy, self.online, now)
            return self._conclude(outcome, policy, now)
        info = TokenInfo("Accepted", group=event.group)
        return self._conclude(([], Verdict(question, True, info)), policy, now)

    def tick(self, now: Now) -> list[object]:
        effects: list[object] = []
        if self.floating is not None and now.mono_s >= self.floating.grant.deadline_s:
            self.floating = None
            effects.append(Show(0, "No cable was plugged in; present the card again"))
        if self._choice is not None and now.mono_s >= self._choice.until_s:
            self._choice = None
            effects.append(Show(0, "Master pass: nothing was chosen; present it again"))
        return effects

    def deadline(self) -> float | None:
        times = [] if self.floating is None else [self.floating.grant.deadline_s]
        times += [] if self._choice is None else [self._choice.until_s]
        return min(times, default=None)

    def forget(self) -> None:
        """The station restarts: nobody waits for a cable any more."""
        self.floating = None

    def settle(self, policy: Policy, now: Now) -> list[object]:
        """After each fact: whoever waits for a cable gets the one that was plugged in."""
        return self._adopt_floating(policy, now) + self._give_away(policy, now)

    # --- from a verdict to an EVSE --------------------------------------------------------------

    def _served(self, evse_ids: tuple[int, ...]) -> list[Evse]:
        return [e for e in self._evses.values() if not evse_ids or e.evse_id in evse_ids]

    def _conclude(self, outcome: Outcome, policy: Policy, now: Now) -> list[object]:
        effects, verdict = outcome
        if verdict is None:
            return effects
        if not verdict.accepted:
            return [*effects, Show(0, verdict.text)]
        if all(evse.resetting for evse in self._evses.values()):
            return [*effects, Show(0, "Restarting; present the card again in a minute")]
        question, info = verdict.question, verdict.info
        if is_master(info.group, policy):
            return effects + self._master_pass(question, policy, now)
        served = self._served(question.evse_ids)
        running = _of_group(served, info.group) if question.remote_start_id is None else None
        if running is not None and not any(evse.awaits_card for evse in served):
            return effects + _stop_locally(running, question.token, policy, now)
        usable = [e for e in served if not info.evse_ids or e.evse_id in info.evse_ids]
        deadline_s = now.mono_s + policy.ev_connection_timeout_s
        grant = Grant(question.token, info.group, deadline_s, question.remote_start_id)
        takers = [e for e in usable if e.free or e.resumes(grant.token)]
        return effects + self._place(grant, takers, policy, now)

    def _place(self, grant: Grant, free: list[Evse], policy: Policy, now: Now) -> list[object]:
        """Gives the grant to the EVSE last plugged in, else the only one, else to whoever plugs
        in. An EV whose session is over is not charged at the expense of somebody who came later;
        its own driver's card starts it again."""
        waiting = [e for e in free if e.awaits_card]
        resumed = next((e for e in free if e.resumes(grant.token)), None)
        if resumed is not None:
            return resumed.authorize(grant, now, policy)
        again = [e for e in free if e.session_over and grant.token.same_as(e.finished_token)]
        if waiting:
            latest = max(waiting, key=lambda e: e.active.plugged_at_s if e.active else 0.0)
            return latest.authorize(grant, now, policy)
        in_bay = [e for e in free if e.awaits_in_bay]
        if len(in_bay) == 1 and not again:
            return in_bay[0].authorize(grant, now, policy)
        if len(free) == 1 or again:
            return (again or free)[0].authorize(grant, now, policy)
        if not free:
            return [Show(0, "No free connector; wait until one is free")]
        self.floating = Floating(grant, tuple(e.evse_id for e in free))
        return [Show(0, "Accepted; plug in the cable")]

    def _adopt_floating(self, policy: Policy, now: Now) -> list[object]:
        if self.floating is None:
            return []
        for evse_id in self.floating.evse_ids:
            evse = self._evses[evse_id]
            if evse.awaits_card:
                grant, self.floating = self.floating.grant, None
                return evse.authorize(grant, now, policy, by_plug=True)
        return []

    def _give_away(self, policy: Policy, now: Now) -> list[object]:
        """Without authorisation every EV that is plugged in may charge (C02)."""
        effects: list[object] = []
        for evse in self._evses.values():
            if not policy.auth_enabled and evse.awaits_card:
                grant = Grant(NO_TOKEN, None, now.mono_s + policy.ev_connection_timeout_s)
                effects += evse.authorize(grant, now, policy)
        return effects

    # --- the master pass ------------------------------------------------------------------------

    def _master_pass(self, question: Question, policy: Policy, now: Now) -> list[object]:
        """C16: never starts anything; stops all transactions, or those that are chosen."""
        if question.remote_start_id is not None:
            return [Show(0, "A master pass starts nothing; use another card")]
        if self._has_keypad:
            self._choice = Choice(question.token, now.mono_s + CHOICE_S)
            return [Show(0, CHOICE_TEXT)]
        return self._stop_all(tuple(self._evses), question.token, policy, now)

    def _choose(self, choice: Choice, number: str, policy: Policy, now: Now) -> list[object]:
        evse_ids = chosen(number, tuple(self._evses))
        if evse_ids is None:
            return [Show(0, CHOICE_TEXT)]
        self._choice = None
        return self._stop_all(evse_ids, choice.token, policy, now)

    def _stop_all(
        self, evse_ids: tuple[int, ...], token: IdToken, policy: Policy, now: Now
    ) -> list[object]:
        effects: list[object] = []
        for evse in self._served(evse_ids):
            if evse.transaction is not None and evse.ending is None:
                effects += evse.deauthorize("StopAuthorized", "MasterPass", token, now, policy)
        return effects or [Show(0, "Master pass: nothing to stop")]


def _of_group(served: list[Evse], group: IdToken | None) -> Evse | None:
    """An EVSE that charges for this group: any of its cards may end that (C09.FR.07)."""
    for evse in served:
        running = evse.grant
        if running is not None and group is not None and group.same_as(running.group):
            return evse
    return None


def _stop_locally(evse: Evse, token: IdToken, policy: Policy, now: Now) -> list[object]:
    """E07: the card that started, or one of its group, ends the authorisation."""
    return evse.deauthorize("StopAuthorized", "Local", token, now, policy)
