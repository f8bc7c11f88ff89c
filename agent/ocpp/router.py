"""Between frames and blocks: which block answers a CALL, what an answer or a fact leads to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now
from agent.ocpp import messages, rpc
from agent.ocpp.block import NOTHING, Answer, Block, CallError, Later, OutgoingCall, Payload
from agent.ocpp.blocks import (
    a_security,
    b_provisioning,
    c_authorization,
    d_local_list,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_cost,
    j_meter_values,
    k_smart_charging,
    l_firmware,
    m_iso15118_certificates,
    n_diagnostics,
    o_display,
    p_data_transfer,
)
from agent.ocpp.blocks.a_security.certificate import renews
from agent.ocpp.chatter import Chatter
from agent.ocpp.clocks import csms_time
from agent.ocpp.leaving import Leaving
from agent.ocpp.tokens import KnownTokens
from agent.ocpp.turns import REPORTS
from agent.ocpp.view import View

BLOCKS: tuple[Block, ...] = (
    a_security,
    b_provisioning,
    c_authorization,
    d_local_list,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_cost,
    j_meter_values,
    k_smart_charging,
    l_firmware,
    m_iso15118_certificates,
    n_diagnostics,
    o_display,
    p_data_transfer,
)
"""Held against `Block` by the type checker, each module."""

INCOMING = {action: handler for block in BLOCKS for action, handler in block.INCOMING.items()}
OUTGOING = {effect: make for block in BLOCKS for effect, make in block.OUTGOING.items()}
ON_RESPONSE = {action: take for block in BLOCKS for action, take in block.ON_RESPONSE.items()}
ON_EVENT = {
    kind: tuple(block.ON_EVENT[kind] for block in BLOCKS if kind in block.ON_EVENT)
    for kind in {kind for block in BLOCKS for kind in block.ON_EVENT}
}
VARIABLES = tuple(variable for block in BLOCKS for variable in block.VARIABLES)

PENDING_ORDERS = frozenset({"TriggerMessage", "GetBaseReport", "GetReport"})
"""CALLs of the CSMS whose follow-ups may leave before the boot is accepted (B02.FR.02)."""

MOST_OPEN = 16
"""CALLs of the CSMS whose answers wait for a result; it should send one at a time."""

NO_OCPP = frozenset(
    {
        "FormatViolation",
        "NotImplemented",
        "OccurrenceConstraintViolation",
        "PropertyConstraintViolation",
        "TypeConstraintViolation",
    }
)
"""Errors of a message that is not as OCPP 2.0.1 has it."""

Turn = tuple[list[object], list[object]]
"""(events for the pure rooms, effects for the runtime)"""


class Open(Struct, frozen=True):
    """A CALL of the CSMS whose answer waits for a result."""

    call: rpc.Call
    later: Later


class Router:
    """The OCPP side as one pure thing: `handle(event, now)`, `translate(effect, now)`."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.connection = view.connection
        self._open: tuple[Open, ...] = ()
        self._leaving = Leaving()
        self._chatter = Chatter()
        self.tokens = KnownTokens()
        """Seen lately: no text that people read may name one."""

    def handle(self, event: object, now: Now) -> Turn:
        """What one event means to the connection and the blocks."""
        self.tokens.see(event)
        events: list[object] = []
        effects: list[object] = [*self.connection.clocks.follow(now)]
        self._take(self._link(event, now), events, effects, now)
        for take in ON_EVENT.get(type(event), ()):
            found = take(event, self.view, now)
            if found is NOTHING:
                continue
            events += found.events
            ordered = isinstance(event, ev.MessageTriggered)
            self._take(list(found.effects), events, effects, now, ordered=ordered)
        self._answers(events, effects, now)
        for due in (l_firmware.go_on(self.view, now), n_diagnostics.go_on(self.view)):
            if due is not NOTHING:
                self._take(list(due.effects), events, effects, now)
        self._take(self._conclude(event, now), events, effects, now)
        self._take(self.connection.send_next(now), events, effects, now)
        effects += self._leaving.after(event, self.connection, now)
        return events, effects

    def sent_late(self, by_s: float) -> None:
        """The disk held up what the last turn wanted to send."""
        self.connection.sent_late(by_s)

    def translate(self, effect: object, now: Now) -> list[object]:
        """An effect of the core as what the runtime carries out; most pass unchanged, a status
        is told and shown."""
        if isinstance(effect, ef.Restart):
            self._leaving.hold(effect, now)
            return []
        make = OUTGOING.get(type(effect))
        if make is None:
            return [effect]
        if isinstance(effect, ef.Record):
            call = make(effect, self.view, now)
            assert call is not None  # what is recorded is always told
            body = messages.dump(call.payload)
            if now.utc_known:
                body = messages.close_stamps(body, now.utc_s)
            offline = not self.connection.online
            row = ef.Enqueue(now.new_id(), call.action, body, offline, effect.event_type)
            return [row, *_shown(effect)]
        shown: list[object] = [effect] if isinstance(effect, ef.StatusChanged) else []
        if not self.connection.online:
            return shown + self._untold(effect)
        call = make(effect, self.view, now)
        if call is None:
            return shown
        self.connection.enqueue(call, call.priority)
        return shown + self.connection.send_next(now)

    def _untold(self, effect: object) -> list[object]:
        """Offline: a status is told at the next connection, a token is judged without the CSMS."""
        if isinstance(effect, ef.AskCsms):
            return [ef.Announce(ev.TokenUnanswered(effect.token))]
        return []

    def deadline(self, now: Now) -> float | None:
        times = [
            self.connection.deadline(now),
            self.view.profiles.deadline(now),
            self.view.firmware.deadline(now),
            self.view.uploads.deadline(),
            self._leaving.deadline(),
            self._renewal_deadline(now),
        ]
        times += [waiting.later.deadline_s for waiting in self._open]
        return min((t for t in times if t is not None), default=None)

    def _renewal_deadline(self, now: Now) -> float | None:
        view = self.view
        return view.station_certificate.deadline(now) if renews(view) else None

    # --- the link ---------------------------------------------------------------------------

    def _link(self, event: object, now: Now) -> list[object]:
        connection = self.connection
        match event:
            case ev.FrameReceived(text):
                connection.heard(now)
                return self._chatter.thin(self._frame(text, now), now)
            case ev.OutboxHead():
                connection.head(event)
            case ev.Tick():
                return connection.tick(now)
            case ev.LinkOpened():
                return connection.opened(now)
            case ev.LinkClosed(reason):
                return connection.closed(self.tokens.hide(reason), now)
            case ev.LinkHeard():
                connection.heard(now)
            case ev.MessageTriggered("BootNotification"):
                connection.boot_soon(now)
            case ev.Started():
                connection.start(self._boot_payload(event))
        return []

    def _boot_payload(self, event: ev.Started) -> Payload:
        facts = self.view.facts
        station: Payload = {"model": facts.model, "vendorName": facts.vendor}
        if facts.serial:
            station["serialNumber"] = facts.serial
        if facts.firmware_version:
            station["firmwareVersion"] = facts.firmware_version
        return {"reason": event.boot_reason, "chargingStation": station}

    def _frame(self, text: str, now: Now) -> list[object]:
        frame = rpc.parse(text)
        match frame:
            case rpc.Call():
                return self._call(frame, now)
            case rpc.CallResult(message_id, payload):
                return self._result(message_id, payload, now)
            case rpc.CallErrorFrame(message_id, code, description):
                words = self.tokens.hide(f"{code} {description}".strip())
                return self.connection.refused(message_id, words, now)
            case rpc.Malformed(reply, reason, answers, is_result):
                found: list[object] = [ef.Log(4, f"CSMS: bad frame dropped: {reason}")]
                found.append(ef.Announce(ev.SecurityNoted("InvalidMessages", reason)))
                if reply is not None:
                    found.append(ef.SendFrame(reply))
                if answers is not None:
                    why = f"unusable answer: {reason}"
                    found += self._unusable(answers, why, now, is_result=is_result)
                return found

    def _result(self, message_id: str, payload: Payload, now: Now) -> list[object]:
        """An answer with extra fields is used. One that cannot be used counts as refused, but a
        row it names has arrived: sent again it would be counted twice. The same holds of a
        CALLRESULT that cannot even be read."""
        action = self.connection.action_of(message_id)
        if action is None:
            return self.connection.response(message_id, payload, now)
        try:
            extra = messages.validate_response(action, payload)
        except CallError as error:
            noted: list[object] = [ef.Log(4, f"CSMS: {action} answer cannot be used: {error}")]
            words = f"an answer to {action} with {error.code}"
            noted.append(ef.Announce(ev.SecurityNoted("InvalidMessages", words)))
            return noted + self._unusable(message_id, "unusable answer", now, is_result=True)
        noted = [ef.Log(6, f"CSMS: {action} answer: {text}") for text in extra]
        return noted + self.connection.response(message_id, payload, now)

    def _unusable(self, message_id: str, why: str, now: Now, *, is_result: bool) -> list[object]:
        """An answer that says nothing to us; see `_result`."""
        if is_result and self.connection.is_row(message_id):
            return self.connection.response(message_id, None, now)
        return self.connection.refused(message_id, why, now)

    # --- CALLs of the CSMS --------------------------------------------------------------------

    def _call(self, call: rpc.Call, now: Now) -> list[object]:
        """One answer for one CALL, at once or when its result is known."""
        try:
            return self._answered(call, self._dispatch(call, now))
        except CallError as error:
            return _refused(call, error)

    def _conclude(self, event: object, now: Now) -> list[object]:
        """Answers that waited and are known after this fact, or will not be any more."""
        if isinstance(event, ev.LinkClosed):
            self._open = ()
        effects: list[object] = []
        for waiting in self._open:
            later = waiting.later
            try:
                with _failing(waiting.call):
                    answer = later.decide(self.view, now)
                    if answer is None and now.mono_s >= later.deadline_s:
                        answer = later.otherwise
                found = self._answered(waiting.call, answer) if answer is not None else None
            except CallError as error:
                found = _refused(waiting.call, error)
            if found is not None:
                self._open = tuple(other for other in self._open if other is not waiting)
                effects += found
        return effects

    def _answered(self, call: rpc.Call, answer: Answer | Later) -> list[object]:
        """What an answer leads to, its frame in the midst. Raises CallError."""
        self._check_room(answer)
        effects: list[object] = [ef.Announce(event) for event in answer.events]
        if isinstance(answer, Later):
            self._open = (*self._open, Open(call, answer))
            return [*effects, *answer.effects]
        with _failing(call):
            effects.append(ef.SendFrame(rpc.result(call.message_id, answer.payload)))
        ordered = call.action in PENDING_ORDERS
        for effect in answer.effects:
            if isinstance(effect, OutgoingCall):
                self.connection.enqueue(effect, effect.priority, precedes_boot=ordered)
            else:
                effects.append(effect)
        if answer.stream is not None:
            self.connection.enqueue(answer.stream, REPORTS, precedes_boot=ordered)
        return effects

    def _check_room(self, answer: Answer | Later) -> None:
        """A CSMS that asks for more than it takes is refused before anything is changed; who can
        say so in the words of the message does it before."""
        turns = self.connection.turns
        adds = any(isinstance(effect, OutgoingCall) for effect in answer.effects)
        has_stream = isinstance(answer, Answer) and answer.stream is not None
        if isinstance(answer, Later) and len(self._open) >= MOST_OPEN:
            raise CallError("GenericError", "too many answers are being worked on; ask again then")
        if (adds and turns.is_crowded) or (has_stream and not turns.takes_report):
            raise CallError("GenericError", "too much waits for the CSMS's answers; ask again then")

    def _dispatch(self, call: rpc.Call, now: Now) -> Answer | Later:
        """What the block says; a handler that fails changed nothing. Raises CallError."""
        if self.connection.boot_status == "Rejected":
            raise CallError("SecurityError", "the station was not accepted")
        handler = INCOMING.get(call.action)
        if handler is None:
            if call.action in messages.KNOWN_ACTIONS:
                raise CallError("NotSupported", f"{call.action} is not supported here")
            raise CallError("NotImplemented", "this action is not part of OCPP 2.0.1")
        with _failing(call):
            messages.validate_request(call.action, call.payload)
            answer: Answer | Later = handler(_whole(call.payload), self.view, now)
        return answer

    # --- what follows ---------------------------------------------------------------------------

    def _take(
        self,
        found: list[object],
        events: list[object],
        effects: list[object],
        now: Now,
        *,
        ordered: bool = False,
    ) -> None:
        """Sorts what blocks and connection produced: facts, CALLs to send, orders. `ordered`: the
        CSMS asked for the CALLs, so that they may leave before its boot is accepted."""
        for item in found:
            match item:
                case ef.Announce(event):
                    events.append(event)
                case OutgoingCall():
                    self.connection.enqueue(item, item.priority, precedes_boot=ordered)
                case ef.Enqueue() if now.utc_known:
                    body = messages.close_stamps(item.body, now.utc_s)
                    effects.append(msgspec.structs.replace(item, body=body))
                case _:
                    effects.append(item)

    def _answers(self, events: list[object], effects: list[object], now: Now) -> None:
        """Ended CALLs: BootNotification belongs to the connection, the others to their block."""
        while self.connection.answered:
            ended = self.connection.answered.pop(0)
            if ended.action == "BootNotification" and ended.response is not None:
                self._take(self._booted(ended.response, now), events, effects, now)
            take = ON_RESPONSE.get(ended.action)
            if take is not None:
                found = take(ended.payload, ended.response, self.view, now)
                events += found.events
                self._take(list(found.effects), events, effects, now)

    def _booted(self, response: Payload, now: Now) -> list[object]:
        """The clock is set before anything is told with it (B01.FR.06)."""
        found: list[object] = []
        utc_s = csms_time(response["currentTime"])
        if utc_s is not None:
            found.append(ef.Announce(ev.ClockSet(utc_s, now.at_s)))
        else:
            found.append(ef.Log(4, "CSMS: the time in the BootNotification answer is no use"))
        return found + self.connection.booted(response["status"], response["interval"], now)


@contextmanager
def _failing(call: rpc.Call) -> Iterator[None]:
    """Whatever fails while a CALL is answered becomes its InternalError."""
    try:
        yield
    except CallError:
        raise
    except Exception as error:
        raise CallError("InternalError", f"{type(error).__name__} in {call.action}") from error


def _refused(call: rpc.Call, error: CallError) -> list[object]:
    refusal = ef.SendFrame(rpc.error(call.message_id, error.code, error.description))
    level = 3 if error.code == "InternalError" else 5
    told: list[object] = [refusal, ef.Log(level, f"CSMS: {call.action} answered with {error}")]
    if error.code in NO_OCPP:
        told.append(ef.Announce(ev.SecurityNoted("InvalidMessages", f"a CALL with {error.code}")))
    return told


def _shown(record: ef.Record) -> list[object]:
    """The begin and the end of a transaction as lines of the journal."""
    if record.event_type not in ("Started", "Ended"):
        return []
    why = record.stopped_reason or record.trigger_reason
    what = f"transaction {record.transaction_id[:8]} {record.event_type.lower()} ({why})"
    return [ef.Log(5, f"EVSE {record.evse_id}: {what}")]


def _whole(node: Any) -> Any:
    """JSON knows one kind of number: 17.0 where the schema wants an integer is 17."""
    if isinstance(node, dict):
        return {key: _whole(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_whole(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node
