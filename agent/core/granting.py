"""From a token to the EVSE it serves: whom it stops, what it starts, who waits for a cable (C, E).

Whether a token is good is judged in `core.authorization`; here is what follows from that.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from agent.core import events as ev
from agent.core.authorization import (
    NEVER_CACHED,
    Authorization,
    Outcome,
    Question,
    Verdict,
    expired,
)
from agent.core.effects import Show
from agent.core.events import IdToken, Now, TokenInfo
from agent.core.evse import PRESENT_AGAIN, Evse
from agent.core.evse_facts import Grant
from agent.core.floating import Floating
from agent.core.master_pass import CHOICE_S, CHOICE_TEXT, Choice, chosen, is_master
from agent.core.policy import Policy

TRIPPED = "Power was cut by a residual current; present the card again to charge"
RESTARTS = "The charger restarts soon; present the card again afterwards"

STALE_S = 30.0
"""Who asked so long ago, while the disk was busy, starts nothing any more: the driver may have
left, and another EV stand there."""

NO_TOKEN = IdToken("", "NoAuthorization")


class Granting:
    """Gives what was authorised to an EVSE, or takes it back. Methods return effects."""

    def __init__(self, evses: Mapping[int, Evse], *, has_keypad: bool) -> None:
        self.online = False
        """Whether the CSMS can be asked."""
        self.floating: list[Floating] = []
        """Who was accepted and has yet to plug in; whoever came first plugs in first."""
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
        own = next((f for f in self.floating if token.same_as(f.grant.token)), None)
        if own is not None:
            return self._cancel(own, token, now)
        if now.mono_s - now.at_s > STALE_S:
            return [Show(0, "Please present the card again")]
        question = Question(token, event.evse_ids)
        if token.type == "NoAuthorization":
            verdict = Verdict(question, True, TokenInfo("Accepted"))
            return self._conclude(([], verdict), policy, now)
        if not policy.auth_enabled:
            return [Show(0, "No card is needed here; plug in the cable")]
        outcome = self._authorization.present(question, policy, self.online, now)
        return self._conclude(outcome, policy, now)

    def hurry(self, event: ev.TokenPresented, waits: Callable[[int], bool]) -> list[object]:
        """Who comes to a charge that waits for the time by chance after a loss of mains wants it
        now, rather than to end it; `waits`: of an EVSE. Empty: this token waits nowhere."""
        for evse in self._served(event.evse_ids):
            grant = evse.grant
            if grant is None or grant.in_person or not waits(evse.evse_id):
                continue
            if not event.token.same_as(grant.token):
                continue
            evse.grant = replace(grant, in_person=True)
            return [Show(evse.evse_id, "Charging begins now")]
        return []

    def looked_up(self, event: ev.LookedUp, policy: Policy, now: Now) -> list[object]:
        question, info = self._authorization.open.get(event.token.key), event.info
        is_good = info is not None and info.accepted and not expired(info, policy, now)
        if question and info and is_good and self._is_ended_by(question, info.group):
            del self._authorization.open[event.token.key]
            return self._conclude(([], Verdict(question, True, info)), policy, now)
        judged = self._authorization.looked_up(event.token, info, policy, self.online, now)
        return self._conclude(judged, policy, now)

    def answered(self, event: ev.TokenAnswered, policy: Policy, now: Now) -> list[object]:
        judged = self._authorization.answered(event.token, event.info, policy, now)
        return self._conclude(judged, policy, now)

    def unanswered(self, event: ev.TokenUnanswered, policy: Policy, now: Now) -> list[object]:
        judged = self._authorization.unanswered(event.token, policy, now)
        return self._conclude(judged, policy, now)

    def start_requested(self, event: ev.StartRequested, policy: Policy, now: Now) -> list[object]:
        evse_ids = (event.evse_id,) if event.evse_id else ()
        question = Question(event.token, evse_ids, event.remote_start_id)
        asks = policy.auth_enabled and policy.authorize_remote_start
        if asks and event.token.type not in NEVER_CACHED:
            outcome = self._authorization.present(question, policy, self.online, now)
            return self._conclude(outcome, policy, now)
        info = TokenInfo("Accepted", group=event.group)
        return self._conclude(([], Verdict(question, True, info)), policy, now)

    def tick(self, now: Now) -> list[object]:
        effects = self._lapse(now.mono_s, now)
        if self._choice is not None and now.mono_s >= self._choice.until_s:
            self._choice = None
            effects.append(Show(0, "Master pass: nothing was chosen; present it again"))
        return effects

    def _lapse(self, at_s: float, now: Now) -> list[object]:
        """Nobody plugged in before `at_s` (E03.FR.05)."""
        effects: list[object] = []
        for floating in [f for f in self.floating if at_s >= f.grant.deadline_s]:
            self.floating.remove(floating)
            effects += floating.end("EVConnectTimeout", "Timeout", None, now)
            effects.append(Show(0, PRESENT_AGAIN))
        return effects

    def deadline(self) -> float | None:
        times = [floating.grant.deadline_s for floating in self.floating]
        times += [] if self._choice is None else [self._choice.until_s]
        return min(times, default=None)

    def settle(self, policy: Policy, now: Now) -> list[object]:
        """After each fact: whoever waits for a cable gets the one that was plugged in, in time."""
        effects = self._lapse(now.at_s, now)
        for floating in tuple(self.floating):
            effects += self._arrive(floating, policy, now)
        self._expect()
        return effects + self._give_away(policy, now)

    # --- transactions without an EVSE -----------------------------------------------------------

    def unplaced(self, transaction_id: str = "") -> Floating | None:
        """Whose transaction runs without an EVSE: that one, or the oldest."""
        for floating in self.floating:
            running = floating.transaction
            if running is not None and transaction_id in ("", running.transaction_id):
                return floating
        return None

    def stop(self, floating: Floating, now: Now) -> list[object]:
        """RequestStopTransaction (F03.FR.03)."""
        self.floating.remove(floating)
        return floating.end("RemoteStop", "Remote", None, now)

    def refuse(self, floating: Floating, policy: Policy, now: Now) -> list[object]:
        """The CSMS does not accept the token of a running transaction (E05)."""
        effects = floating.refuse(policy, now)
        if effects:
            self.floating.remove(floating)
        return effects

    def end_all(self, trigger: str, reason: str, now: Now) -> list[object]:
        """Nobody waits for a cable any more: the station restarts (B12.FR.04)."""
        effects: list[object] = []
        for floating in self.floating:
            effects += floating.end(trigger, reason, None, now)
        self.floating.clear()
        return effects

    def dismiss(self) -> list[object]:
        """The station is to restart: whoever has no transaction yet tries again afterwards."""
        waiting = [f for f in self.floating if f.transaction is not None]
        is_news, self.floating = len(waiting) < len(self.floating), waiting
        return [Show(0, RESTARTS)] if is_news else []

    def tell_now(self, now: Now) -> list[object]:
        """F06.FR.07."""
        return [effect for floating in self.floating for effect in floating.tell_now(now)]

    def _cancel(self, floating: Floating, token: IdToken, now: Now) -> list[object]:
        self.floating.remove(floating)
        ended = floating.end("StopAuthorized", "Local", token, now)
        return [*ended, Show(0, "Cancelled; present the card again to charge")]

    def _arrive(self, floating: Floating, policy: Policy, now: Now) -> list[object]:
        """The cable is plugged in; or the EV is in the bay where that begins a transaction."""
        by_bay = floating.transaction is not None and "ParkingBayOccupancy" in policy.tx_start_point
        for evse_id in floating.evse_ids:
            evse = self._evses[evse_id]
            if not evse.awaits_card and not (by_bay and evse.awaits_in_bay):
                continue
            self.floating.remove(floating)
            if floating.transaction is None:
                return evse.authorize(floating.grant, now, policy, by_plug=True)
            effects = evse.adopt(floating.transaction, floating.grant, now, policy)
            return effects + (evse.revoke(now, policy) if floating.is_refused else [])
        return []

    def _expect(self) -> None:
        """A plug begins no transaction of its own where one waits for it (E01.FR.02)."""
        expected = {n for f in self.floating if f.transaction is not None for n in f.evse_ids}
        for evse in self._evses.values():
            evse.is_expected = evse.evse_id in expected

    # --- from a verdict to an EVSE --------------------------------------------------------------

    def _served(self, evse_ids: tuple[int, ...]) -> list[Evse]:
        return [e for e in self._evses.values() if not evse_ids or e.evse_id in evse_ids]

    def _conclude(self, outcome: Outcome, policy: Policy, now: Now) -> list[object]:
        effects, verdict = outcome
        if verdict is None:
            return effects
        told: list[object] = [*effects]
        for question in (verdict.question, *verdict.question.others):
            told += self._carry_out(replace(verdict, question=question), policy, now)
        return told

    def _carry_out(self, verdict: Verdict, policy: Policy, now: Now) -> list[object]:
        """What one who asked gets of the answer."""
        if not verdict.accepted:
            return [Show(0, verdict.text)]
        if all(evse.resetting for evse in self._evses.values()):
            return [Show(0, RESTARTS)]
        question, info = verdict.question, verdict.info
        if is_master(info.group, policy):
            return self._master_pass(question, policy, now)
        served = self._served(question.evse_ids)
        if self._is_ended_by(question, info.group):
            running = next((e for e in served if _is_of_group(e.grant, info.group)), None)
            if running is not None:
                return _stop_locally(running, question.token, policy, now)
            waits = next((f for f in self.floating if _is_of_group(f.grant, info.group)), None)
            if waits is not None:
                return self._cancel(waits, question.token, now)
        usable = [e for e in served if not info.evse_ids or e.evse_id in info.evse_ids]
        deadline_s = now.at_s + policy.ev_connection_timeout_s
        remote_id = question.remote_start_id
        grant = Grant(question.token, info.group, deadline_s, remote_id, remote_id is None)
        takers = [e for e in usable if e.free or e.resumes(grant.token)]
        asked_s = now.at_s if question.since_s is None else question.since_s
        knowing = [e for e in takers if not e.tripped_after(asked_s)]
        if takers and not knowing:
            return [Show(0, TRIPPED)]
        if not takers and any(e.resetting for e in usable):
            return [Show(0, RESTARTS)]
        return self._place(grant, knowing, policy, now)

    def _is_ended_by(self, question: Question, group: IdToken | None) -> bool:
        """The card ends what one of its group began; nobody is asked first (C09.FR.07)."""
        served = self._served(question.evse_ids)
        if question.remote_start_id is not None or any(evse.awaits_card for evse in served):
            return False
        grants = [*(e.grant for e in served), *(f.grant for f in self.floating)]
        return any(_is_of_group(grant, group) for grant in grants)

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
        if again:
            return again[0].authorize(grant, now, policy)
        if not self.has_room(free):
            return [Show(0, "No free connector; wait until one is free")]
        if len(free) == 1:
            return free[0].authorize(grant, now, policy)
        return self._float(grant, free, policy, now)

    def awaits_start(self, remote_start_id: int) -> bool:
        """A requested start is judged still, or was accepted and has not lapsed."""
        questions = self._authorization.open.values()
        asked = (one.remote_start_id for q in questions for one in (q, *q.others))
        granted = (e.grant.remote_start_id for e in self._evses.values() if e.grant is not None)
        return remote_start_id in (*asked, *granted)

    def has_room(self, free: list[Evse]) -> bool:
        """One of these is left when all who came before have plugged in."""
        evse_ids = {e.evse_id for e in free}
        return len(free) > sum(not evse_ids.isdisjoint(f.evse_ids) for f in self.floating)

    def _float(self, grant: Grant, free: list[Evse], policy: Policy, now: Now) -> list[object]:
        """E01.FR.03: the transaction begins with the card, unless some already run at the EVSEs
        where it may be plugged in."""
        floating = Floating(grant, tuple(e.evse_id for e in free))
        self.floating.append(floating)
        effects: list[object] = [Show(0, "Accepted; plug in the cable")]
        if "Authorized" in policy.tx_start_point and all(e.transaction is None for e in free):
            effects += floating.begin(now)
        return effects

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
        for floating in [f for f in self.floating if set(f.evse_ids) <= set(evse_ids)]:
            self.floating.remove(floating)
            effects += floating.end("StopAuthorized", "MasterPass", token, now)
        return effects or [Show(0, "Master pass: nothing to stop")]


def _is_of_group(grant: Grant | None, group: IdToken | None) -> bool:
    """Any card of the group may end what one of them began (C09.FR.07)."""
    return grant is not None and group is not None and group.same_as(grant.group)


def _stop_locally(evse: Evse, token: IdToken, policy: Policy, now: Now) -> list[object]:
    """E07: the card that started, or one of its group, ends the authorisation."""
    return evse.deauthorize("StopAuthorized", "Local", token, now, policy)
