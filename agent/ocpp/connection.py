"""The connection to the CSMS: whether it is up, what is sent next, and how each CALL ends.

One CALL is in flight (OCPP-J 4.1.1). When to dial is `ocpp.dialling`, whether the CSMS took the
station `ocpp.booting`; what waits are `ocpp.turns` and, of the outbox, `ocpp.front`.
"""

from collections.abc import Callable, Mapping

import msgspec

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow
from agent.ocpp import rpc
from agent.ocpp.booting import Booting
from agent.ocpp.calls import Answered, InFlight, OutgoingCall, Payload, Stream, payload_of
from agent.ocpp.clocks import BootClocks
from agent.ocpp.dialling import GOOD_SLOT_KEY, Dialling, Slot
from agent.ocpp.front import Front
from agent.ocpp.messages import close_stamps, dump
from agent.ocpp.outage import Outage
from agent.ocpp.turns import REPORTS, Queued, Turns

__all__ = ["Answered", "Connection", "InFlight", "Read", "Slot"]

SILENT_TIMEOUTS = 2
"""So many unanswered CALLs in a row that are no rows of the outbox, and the socket is given up."""
LONGEST_HEARTBEAT_S = 86_400.0
"""The CSMS's time is asked for at least this often (G02.FR.07)."""
Read = Callable[[str, str, str], str]
"""(component, variable, instance) -> value of an OCPP variable as text."""


class Connection:
    """State of the link. Methods return effects; ended CALLs collect in `answered`."""

    def __init__(
        self, slots: tuple[Slot, ...], read: Read, saved: Mapping[str, str] | None = None
    ) -> None:
        self.link = "down"
        """down, dialling, up or closing"""
        self.in_flight: InFlight | None = None
        self.answered: list[Answered] = []
        self.lost_at_s: float | None = None
        self.clocks = BootClocks(saved or {})
        self._dialling = Dialling(slots, self._seconds, (saved or {}).get(GOOD_SLOT_KEY))
        self._read = read
        self.turns = Turns()
        self._front = Front(self._seconds)
        self._booting = Booting()
        self._online_since_s = 0.0
        self._last_sent_s = 0.0
        self._last_action = ""
        self._time_asked_s = 0.0
        self._heard_at_s = 0.0
        self._silences = 0
        self._answered_s = float("-inf")
        """When the CSMS last answered a CALL of ours."""
        self._on_trial: InFlight | None = None
        """Last attempt of a row that nobody answered: it counts if a Heartbeat is answered."""
        self._outage = Outage()

    # --- views ------------------------------------------------------------------------------

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._dialling.slots

    @property
    def slot(self) -> int:
        """Index of the slot in use."""
        return self._dialling.slot

    @property
    def credential(self) -> int:
        """Whose password the slot in use takes: index of the back end in charger.yaml."""
        return self.slots[self.slot].credential

    @property
    def failed_dials(self) -> int:
        """Dials of the slot in use in vain since a link to it was open last."""
        return self._dialling.failed

    @property
    def waiting(self) -> int:
        """Rows in the outbox."""
        return self._front.waiting

    @property
    def dialling(self) -> Dialling:
        """When and where it is dialled, and what came of it."""
        return self._dialling

    def forget_below(self, security_profile: int) -> None:
        """Less secure slots are not dialled any more."""
        self._dialling.forget_below(security_profile)

    @property
    def boot_status(self) -> str:
        """Status of the last BootNotification answer; empty before the first."""
        return self._booting.status

    @property
    def freshly_booted(self) -> bool:
        """Online by a BootNotification, not by a plain reconnect (B01.FR.05)."""
        return self._booting.is_fresh

    @property
    def accepted(self) -> bool:
        return self._booting.is_accepted

    @property
    def online(self) -> bool:
        """Connected and accepted: what happens now is told now."""
        return self.link in ("up", "closing") and self.accepted

    def action_of(self, message_id: str) -> str | None:
        """Action of the CALL in flight, or of the row that waits to be sent again."""
        for waiting in (self.in_flight, self._front.row):
            if waiting is not None and waiting.message_id == message_id:
                return waiting.action
        return None

    def is_row(self, message_id: str) -> bool:
        """Whether the CALL is a durable one."""
        head = self._front.row
        row = head if self.in_flight is None else self.in_flight.row or head
        return row is not None and row.message_id == message_id

    def _seconds(self, variable: str, instance: str = "") -> float:
        return float(self._read("OCPPCommCtrlr", variable, instance) or 0)

    # --- what happens -------------------------------------------------------------------------

    def start(self, boot_payload: Payload) -> None:
        """The BootNotification that every first connection begins with."""
        self._booting.start(boot_payload)

    def opened(self, now: Now) -> list[object]:
        """A plain reconnect goes on as before; else the station boots first."""
        self.link = "up"
        self._dialling.opened()
        self._silences = 0
        self._heard_at_s = now.mono_s
        self._booting.opened(self.slot, now)
        return self._go_online(now) if self.accepted else []

    def closed(self, reason: str, now: Now) -> list[object]:
        """A dial failed or the link ended: what was in flight has no answer."""
        was_online = self.online
        self.link = "down"
        self._drop_in_flight("link lost")
        for call in self.turns.give_up():
            self.answered.append(Answered(call.action, call.payload, None, "link lost"))
        self._dialling.ended(now)
        effects: list[object] = [*self._outage.failed(reason, was_online, now)]
        if was_online:
            self.lost_at_s = now.mono_s
            effects.append(ef.Announce(ev.CsmsLost()))
        return effects

    def redial(self, reason: str) -> list[object]:
        """Ends the link after what was ordered before, to dial again."""
        if self.link != "up":
            return []
        self.link = "closing"
        return [ef.Hangup(f"{reason}; dialling again")]

    def heard(self, now: Now) -> None:
        """A sign of life of the socket."""
        self._heard_at_s = now.mono_s
        self._dialling.proved()

    def head(self, event: ev.OutboxHead) -> None:
        """The oldest waiting row."""
        self._front.take(event)

    def enqueue(
        self, item: OutgoingCall | Stream, priority: int, *, precedes_boot: bool = False
    ) -> None:
        self.turns.add(item, priority, precedes_boot=precedes_boot)

    def boot_soon(self, now: Now) -> None:
        """The CSMS asks for a BootNotification before the interval it named is over."""
        self._booting.soon(now)

    def booted(self, status: str, interval_s: float, now: Now) -> list[object]:
        """The answer to BootNotification (B01.FR.04, B02, B03)."""
        told = self._booting.answered(status, interval_s, self.slot, now)
        if not self.accepted:
            return [told]
        return [told, *self._dialling.accepted(), *self._go_online(now)]

    def response(self, message_id: str, payload: Payload | None, now: Now) -> list[object]:
        """A CALLRESULT: for the CALL in flight, or late for a row that waits to be sent again.

        None: the payload cannot be used, but the row has arrived.
        """
        self._silences = 0
        flight = self.in_flight
        if flight is not None and flight.message_id == message_id:
            self.in_flight, self._answered_s = None, now.mono_s
            if self._on_trial is not None:
                return self._convict(Answered(flight.action, flight.payload, payload), now)
            # nobody has to know what a plain yes was the answer to, where that was long
            request = {} if flight.row is not None and payload == {} else flight.request
            self.answered.append(Answered(flight.action, request, payload))
            self._go_on(flight)
            return self._front.answered(flight.row) if flight.row is not None else []
        row = self._front.row
        if row is not None and row.message_id == message_id:
            self.answered.append(Answered(row.action, payload_of(row), payload))
            return self._front.answered(row)
        return [ef.Log(5, f"CSMS: answer to unknown message {message_id!r} dropped")]

    def refused(self, message_id: str, code: str, now: Now) -> list[object]:
        """A CALLERROR to the CALL in flight."""
        self._silences = 0
        flight = self.in_flight
        if flight is None or flight.message_id != message_id:
            return [ef.Log(5, f"CSMS: error for unknown message {message_id!r} dropped")]
        self._answered_s = now.mono_s
        return self._failed(flight, code, now)

    def sent_late(self, by_s: float) -> None:
        """The CALL in flight left, or its answer was looked at, so much later than decided."""
        flight = self.in_flight
        if flight is not None:
            self.in_flight = msgspec.structs.replace(
                flight, sent_at_s=flight.sent_at_s + by_s, deadline_s=flight.deadline_s + by_s
            )

    def tick(self, now: Now) -> list[object]:
        flight = self.in_flight
        if flight is not None and now.mono_s >= flight.deadline_s:
            return self._timed_out(flight, now)
        dial_at_s = self._dialling.at_s
        if self.link == "down" and dial_at_s is not None and now.mono_s >= dial_at_s:
            self.link = "dialling"
            return [self._dialling.dial(now)]
        return []

    def deadline(self, now: Now) -> float | None:
        if self.link == "down":
            return self._dialling.at_s
        if self.link != "up":
            return None
        if self.in_flight is not None:
            return self.in_flight.deadline_s
        times = [self._booting.at_s]
        if self.accepted:
            times.append(self._heartbeat_at_s())
            times.append(self._front.deadline())
        return min((t for t in times if t is not None), default=None)

    # --- what is sent next ----------------------------------------------------------------------

    def send_next(self, now: Now) -> list[object]:
        """At most one CALL, when none is in flight: boot, then who waits, then the outbox."""
        if self.link != "up" or self.in_flight is not None:
            return []
        boot = self._booting.due(now)
        if boot is not None:
            return self._send("BootNotification", boot, now)
        if self.accepted:
            return self._send_accepted(now)
        return self._send_while_pending(now)

    def _convict(self, answered: Answered, now: Now) -> list[object]:
        """The CSMS is there: it has had its last chance to answer the row on trial."""
        tried, self._on_trial = self._on_trial, None
        self.answered.append(answered)
        return self._failed(tried, "no answer in time", now) if tried is not None else []

    def _send_accepted(self, now: Now) -> list[object]:
        if self._on_trial is not None:
            return self._send("Heartbeat", {}, now)
        queued = self.turns.urgent()
        if queued is not None:
            return self._send_queued(queued, now)
        row = self._front.due(now)
        # answers slower than the interval must not let nothing but heartbeats through
        is_idle = row is None and not self.turns.has_report
        is_turn = self._last_action != "Heartbeat" or is_idle
        if is_turn and now.mono_s >= self._heartbeat_at_s():
            return self._send("Heartbeat", {}, now)
        queued = self.turns.report(row_waits=row is not None)
        if queued is not None:
            return self._send_queued(queued, now)
        if row is not None:
            self.turns.row_goes()
            return self._send_row(row, now)
        return [*self._front.fetch()]

    def _send_while_pending(self, now: Now) -> list[object]:
        """Only what the CSMS asked for may leave before the boot is accepted (B02.FR.02)."""
        queued = self.turns.before_boot() if self.boot_status == "Pending" else None
        return self._send_queued(queued, now) if queued is not None else []

    def _send_queued(self, queued: Queued, now: Now) -> list[object]:
        item = queued.item
        if isinstance(item, OutgoingCall):
            return self._send(item.action, item.payload, now)
        action, payload, cursor = item.next_part(item.cursor)
        rest = Stream(cursor, item.next_part) if cursor is not None else None
        return self._send(action, payload, now, rest, queued.precedes_boot)

    def _send(
        self,
        action: str,
        payload: Payload,
        now: Now,
        stream: Stream | None = None,
        precedes_boot: bool = False,
    ) -> list[object]:
        if action in ("BootNotification", "Heartbeat"):
            self._time_asked_s = now.mono_s
        message_id, deadline_s = now.new_id(), self._leaves(action, now)
        self.in_flight = InFlight(
            message_id, action, payload, now.mono_s, deadline_s, None, stream, precedes_boot
        )
        return [ef.SendFrame(rpc.call_text(message_id, action, dump(payload)))]

    def _send_row(self, row: OutboxRow, now: Now) -> list[object]:
        body = close_stamps(row.body, self.clocks.to_utc(row.boot_id, now))
        frozen = [ef.FreezeBody(row.row_id, body)] if body != row.body else []
        if row.action == "TransactionEvent" and self._waited_offline(row, now):
            body = body[:-1] + ',"offline":true}'
        self._front.sends(row, now)
        deadline_s = self._leaves(row.action, now)
        self.in_flight = InFlight(row.message_id, row.action, {}, now.mono_s, deadline_s, row)
        return [*frozen, ef.SendFrame(rpc.call_text(row.message_id, row.action, body))]

    def _waited_offline(self, row: OutboxRow, now: Now) -> bool:
        """Happened or still waited while the station was offline (E04.FR.03)."""
        return row.offline or row.boot_id != now.boot_id or row.created_s < self._online_since_s

    def _leaves(self, action: str, now: Now) -> float:
        """Loop time by which its answer must be there."""
        self._last_sent_s, self._last_action = now.mono_s, action
        own_s = self.slots[self.slot].message_timeout_s
        timeout_s = self._seconds("MessageTimeout", "Default") if own_s is None else own_s
        return now.mono_s + timeout_s

    def _heartbeat_at_s(self) -> float:
        """After a silence of ours, and once a day however much is said (G02.FR.05, FR.07)."""
        interval_s = self._seconds("HeartbeatInterval") or LONGEST_HEARTBEAT_S
        return min(self._last_sent_s + interval_s, self._time_asked_s + LONGEST_HEARTBEAT_S)

    # --- how CALLs end ----------------------------------------------------------------------------

    def _failed(self, flight: InFlight, reason: str, now: Now) -> list[object]:
        self.in_flight = None
        if flight.row is not None:
            return self._front.refused(flight.row, reason, now)
        self.answered.append(Answered(flight.action, flight.payload, None, reason))
        self._go_on(flight)
        if flight.action == "BootNotification":
            self._booting.failed(now)
        return [ef.Log(4, f"CSMS: {flight.action} failed: {reason}")]

    def _go_on(self, flight: InFlight) -> None:
        """The rest of a long answer; a part that was refused does not keep back the last one."""
        if flight.stream is not None:
            self.enqueue(flight.stream, REPORTS, precedes_boot=flight.precedes_boot)

    def _timed_out(self, flight: InFlight, now: Now) -> list[object]:
        """Counts as an attempt only if the socket showed life after the send.

        Behind a living socket may be no CSMS: what answers nothing has refused nothing, so the
        last attempt of a row does not count until some other CALL was answered, and a Heartbeat
        asks for that.
        """
        if flight.row is None:
            self._silences += 1
        is_dead = self._heard_at_s <= flight.sent_at_s or self._silences >= SILENT_TIMEOUTS
        if not is_dead and self._front.is_on_trial(flight.row, self._answered_s):
            self.in_flight, self._on_trial = None, flight
            return []
        if is_dead or self._on_trial is not None:
            self._drop_in_flight("no answer in time")
            self.link = "closing"
            return [ef.Hangup(f"{flight.action} was not answered; dialling again")]
        return self._failed(flight, "no answer in time", now)

    def _drop_in_flight(self, reason: str) -> None:
        flight, self.in_flight, self._on_trial = self.in_flight, None, None
        if flight is not None and flight.row is None:
            self.answered.append(Answered(flight.action, flight.payload, None, reason))

    def _go_online(self, now: Now) -> list[object]:
        self._online_since_s = now.mono_s
        found = self._front.forget()
        return [*self._outage.ended(now), ef.Announce(ev.CsmsReached()), *found]
