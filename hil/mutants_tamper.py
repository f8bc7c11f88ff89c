"""Between the station and its link, for one mutant: what the station says and does wrongly."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from agent.ocpp import router
from agent.ocpp.block import Answer, Consequences, Later
from hil.mutants_frames import NOT_SENT, added, as_text, changed, other_value, rules
from hil.mutants_plan import Mutant, matches
from hil.parts.memory_link import MemoryLink


class Tamper:
    """Between the station and its link: notes what passes, and does what the mutant says."""

    def __init__(self, mutant: Mutant | None = None) -> None:
        self.mutant = mutant
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.called: set[str] = set()
        self.effective: set[str] = set()
        self._actions: dict[str, str] = {}
        self._late: str | None = None
        self._follows: dict[str, str] = {}
        """Message id -> the CALL that the station is made to send when that one is answered."""
        self._kept: dict[str, str] = {}
        """Message id of such a CALL -> the answer that the station gets when it is answered."""

    def install(self) -> None:
        """For this process, for good."""
        send, arrive = MemoryLink.send, MemoryLink._from_csms

        async def up(link: MemoryLink, text: str) -> None:
            for part in self.from_station(link, text):
                await send(link, part)

        async def down(link: MemoryLink, text: str) -> None:
            arrives, answer = self.to_station(text)
            if arrives is not None:
                await arrive(link, arrives)
            if answer is not None:
                await send(link, answer)

        for name, function in (("send", up), ("_from_csms", down)):
            setattr(MemoryLink, name, function)
        for action, handler in router.INCOMING.items():
            router.INCOMING[action] = self._watched(action, handler)
        for action, take in router.ON_RESPONSE.items():
            router.ON_RESPONSE[action] = self._heard(f"{action}Response", take)

    def from_station(self, link: MemoryLink, text: str) -> Iterator[str]:
        """What arrives of a frame of the station."""
        frame = json.loads(text)
        if frame[0] not in (2, 3):
            yield text
            return
        message = f"{frame[2]}Request" if frame[0] == 2 else f"{self._actions[frame[1]]}Response"
        self.sent.setdefault(message, []).append(frame[-1])
        if self._late is not None and frame[0] == 2:
            self._follows[frame[1]], self._late = self._late, None
            yield text
            return
        mutant = self.mutant
        if mutant is None or mutant.message != message or not matches(frame[-1], mutant.where):
            yield text
            return
        if mutant.kind in ("unsent", "late"):
            link.answer_usually(text)
            self._late = text if mutant.kind == "late" else None
            return
        if mutant.kind == "twice":
            self._follows[frame[1]] = json.dumps([2, f"{frame[1]}-2", *frame[2:]])
        yield json.dumps([*frame[:-1], corrupted(frame[-1], mutant)])

    def to_station(self, text: str) -> tuple[str | None, str | None]:
        """(what arrives at the station, what it is made to say)."""
        try:
            kind, message_id, *rest = json.loads(text)
        except (ValueError, TypeError):
            return text, None
        if not isinstance(message_id, str):
            return text, None
        if kind != 2:
            if message_id in self._follows:
                follower = self._follows.pop(message_id)
                self._kept[json.loads(follower)[1]] = text
                return None, follower
            return self._kept.pop(message_id, text), None
        action = str(rest[0]) if rest else ""
        self._actions[message_id] = action
        self.called.add(action)
        mutant = self.mutant
        if mutant and (mutant.kind, mutant.message) == ("refused", f"{action}Request"):
            return None, json.dumps([4, message_id, "NotSupported", "", {}])
        return text, None

    def _watched(self, action: str, handler: Callable[..., Answer | Later]) -> Any:
        mutant = self.mutant
        is_idle = mutant and (mutant.kind, mutant.message) == ("idle", f"{action}Request")

        def answer(*words: Any) -> Answer | Later:
            found = handler(*words)
            stream = isinstance(found, Answer) and found.stream
            if found.events or found.effects or stream:
                self.effective.add(action)
            return _idle(found) if is_idle else found

        return answer

    def _heard(self, message: str, take: Callable[..., Consequences]) -> Any:
        mutant = self.mutant
        is_deaf = mutant and (mutant.kind, mutant.message) == ("deaf", message)

        def taken(*words: Any) -> Consequences:
            found = take(*words)
            if found != Consequences():
                self.effective.add(message)
            return Consequences() if is_deaf else found

        return taken


def _idle(answer: Answer | Later) -> Answer | Later:
    if isinstance(answer, Answer):
        return Answer(answer.payload)
    decide = answer.decide

    def decided(*words: Any) -> Answer | None:
        found = decide(*words)
        return None if found is None else Answer(found.payload)

    return Later(answer.deadline_s, Answer(answer.otherwise.payload), decided)


def corrupted(payload: dict[str, Any], mutant: Mutant) -> dict[str, Any]:
    """A payload as the mutant sends it."""
    if mutant.kind == "added":
        return added(payload, mutant.path, mutant.value)
    if mutant.kind == "removed":
        return changed(payload, mutant.path, lambda value: NOT_SENT)
    if mutant.kind != "other":
        return payload
    rule = rules(mutant.message)[mutant.path]
    allowed = next((f.allowed for f in mutant.where if f.path == mutant.path), ())

    def other(value: Any) -> Any:
        is_meant = not allowed or as_text(value) in allowed
        return other_value(value, rule, allowed) if is_meant else value

    return changed(payload, mutant.path, other)
