"""The connection to the CSMS: when to dial, when it is accepted, and what is sent next.

Boot (B01 to B03), back-off (OCPP-J 5.3), one CALL in flight (OCPP-J 4.1.1), the order in which
waiting messages leave, and what becomes of a durable row that is refused (E13).
"""

from collections.abc import Callable
from heapq import heappop, heappush

import msgspec
from msgspec import Struct

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow
from agent.ocpp import rpc
from agent.ocpp.block import OutgoingCall, Payload, Stream
from agent.ocpp.messages import close_stamps, dump

DIAL_FLOOR_S = 1.0
"""No endpoint is dialled sooner than this after the last attempt, whatever the variables say."""
OPEN_TIMEOUT_S = 20.0
SILENT_TIMEOUTS = 2
"""So many unanswered CALLs in a row and the socket is given up."""


class Slot(Struct, frozen=True):
    """One endpoint to dial."""

    url: str
    user: str
    security_profile: int


class InFlight(Struct, frozen=True):
    """The one CALL that waits for its answer; `row` when it comes from the outbox."""

    message_id: str
    action: str
    payload: Payload
    sent_at_s: float
    deadline_s: float
    row: OutboxRow | None = None
    stream: Stream | None = None


class Answered(Struct, frozen=True):
    """Our CALL ended: with a payload, or with none and the reason."""

    action: str
    payload: Payload
    response: Payload | None
    reason: str = ""


Read = Callable[[str, str, str], str]
"""(component, variable, instance) -> value of an OCPP variable as text."""


class Connection:
    """State of the link. Methods return effects; ended CALLs collect in `answered`."""

    def __init__(self, slots: tuple[Slot, ...], read: Read) -> None:
        self.slots = slots
        self.slot = 0
        self.link = "down"
        """down, dialling or up"""
        self.boot_status = ""
        """Status of the last BootNotification answer; empty before the first."""
        self.in_flight: InFlight | None = None
        self.waiting = 0
        """Rows in the outbox."""
        self.answered: list[Answered] = []
        self._read = read
        self._queue: list[tuple[int, int, OutgoingCall | Stream]] = []
        self._queued = 0
        self._head: OutboxRow | None = None
        self._head_asked = False
        self._retry_row_s = 0.0
        self._online_since_s = 0.0
        self._failures = 0
        self._slot_failures = 0
        self._wait_s = 0.0
        self._dial_at_s: float | None = 0.0
        self._dialled_at_s = float("-inf")
        self._boot_at_s: float | None = None
        self._boot_payload: Payload = {}
        self._interval_s = 0.0
        self._last_sent_s = 0.0
        self._heard_at_s = 0.0
        self._timeouts = 0
        self.lost_at_s: float | None = None

    # --- views ------------------------------------------------------------------------------

    @property
    def accepted(self) -> bool:
        return self.boot_status == "Accepted"

    @property
    def online(self) -> bool:
        """Connected and accepted: what happens now is told now."""
        return self.link == "up" and self.accepted

    def _seconds(self, variable: str, instance: str = "") -> float:
        return float(self._read("OCPPCommCtrlr", variable, instance) or 0)

    # --- what happens -------------------------------------------------------------------------

    def start(self, boot_payload: Payload) -> None:
        """The BootNotification that every first connection begins with."""
        self._boot_payload = boot_payload

    def opened(self, now: Now) -> list[object]:
        self.link = "up"
        self._failures = self._slot_failures = self._timeouts = 0
        self._heard_at_s = now.mono_s
        if self.accepted:
            return self._go_online(now)
        self._boot_at_s = now.mono_s
        return []

    def closed(self, reason: str, now: Now) -> list[object]:
        """A dial failed or the link ended: what was in flight has no answer."""
        was_up, was_online = self.link == "up", self.online
        self.link = "down"
        self._drop_in_flight("link lost")
        while self._queue:
            item = heappop(self._queue)[2]
            if isinstance(item, OutgoingCall):
                self.answered.append(Answered(item.action, item.payload, None, "link lost"))
        self._plan_dial(was_up, now)
        effects: list[object] = [ef.Log(4, f"CSMS: {reason}")]
        if was_online:
            self.lost_at_s = now.mono_s
            effects.append(ef.Announce(ev.CsmsLost()))
        return effects

    def heard(self, now: Now) -> None:
        self._heard_at_s = now.mono_s

    def head(self, event: ev.OutboxHead) -> None:
        self._head, self.waiting, self._head_asked = event.row, event.waiting, False

    def enqueue(self, item: OutgoingCall | Stream, priority: int) -> None:
        self._queued += 1
        heappush(self._queue, (priority, self._queued, item))

    def booted(self, status: str, interval_s: float, now: Now) -> list[object]:
        """The answer to BootNotification (B01.FR.04, B02, B03)."""
        self.boot_status = status
        if status == "Accepted":
            self._boot_at_s = None
            self._interval_s = interval_s
            return self._go_online(now)
        self._boot_at_s = now.mono_s + (interval_s if interval_s > 0 else 60.0)
        return [ef.Log(5, f"CSMS: boot {status}; asking again in {interval_s:.0f} s")]

    def response(self, message_id: str, payload: Payload, now: Now) -> list[object]:
        """A CALLRESULT: for the CALL in flight, or late for a row that waits to be sent again."""
        self._timeouts = 0
        flight = self.in_flight
        if flight is not None and flight.message_id == message_id:
            self.in_flight = None
            request = flight.payload if flight.row is None else _payload(flight.row)
            self.answered.append(Answered(flight.action, request, payload))
            if flight.stream is not None:
                self._continue(flight.stream)
            return self._settle(flight.row) if flight.row is not None else []
        if self._head is not None and self._head.message_id == message_id:
            row = self._head
            self.answered.append(Answered(row.action, _payload(row), payload))
            return self._settle(row)
        return [ef.Log(5, f"CSMS: answer to unknown message {message_id!r} dropped")]

    def refused(self, message_id: str, code: str, now: Now) -> list[object]:
        """A CALLERROR to the CALL in flight."""
        self._timeouts = 0
        flight = self.in_flight
        if flight is None or flight.message_id != message_id:
            return [ef.Log(5, f"CSMS: error for unknown message {message_id!r} dropped")]
        return self._failed(flight, code, now)

    def tick(self, now: Now) -> list[object]:
        flight = self.in_flight
        if flight is not None and now.mono_s >= flight.deadline_s:
            return self._timed_out(flight, now)
        if self.link == "down" and self._dial_at_s is not None and now.mono_s >= self._dial_at_s:
            return self._dial(now)
        return []

    def deadline(self, now: Now) -> float | None:
        if self.link == "down":
            return self._dial_at_s
        if self.link != "up":
            return None
        if self.in_flight is not None:
            return self.in_flight.deadline_s
        times = [self._boot_at_s]
        if self.accepted:
            times.append(self._heartbeat_at_s())
            times.append(self._retry_row_s if self._head is not None else None)
        return min((t for t in times if t is not None), default=None)

    # --- what is sent next ----------------------------------------------------------------------

    def send_next(self, now: Now) -> list[object]:
        """At most one CALL, when none is in flight: boot, then who waits, then the outbox."""
        if self.link != "up" or self.in_flight is not None:
            return []
        if self._boot_at_s is not None and now.mono_s >= self._boot_at_s:
            self._boot_at_s = None
            return self._send("BootNotification", self._boot_payload, now)
        if not self.accepted:
            return []
        if self._queue:
            return self._send_item(heappop(self._queue)[2], now)
        if now.mono_s >= self._heartbeat_at_s():
            return self._send("Heartbeat", {}, now)
        if self._head is not None and now.mono_s >= self._retry_row_s:
            return self._send_row(self._head, now)
        if self._head is None and self.waiting > 0 and not self._head_asked:
            self._head_asked = True
            return [ef.FetchHead()]
        return []

    def _send_item(self, item: OutgoingCall | Stream, now: Now) -> list[object]:
        if isinstance(item, OutgoingCall):
            return self._send(item.action, item.payload, now)
        action, payload, cursor = item.next_part(item.cursor)
        rest = Stream(cursor, item.next_part) if cursor is not None else None
        return self._send(action, payload, now, stream=rest)

    def _send(
        self, action: str, payload: Payload, now: Now, stream: Stream | None = None
    ) -> list[object]:
        message_id = now.new_id()
        text = rpc.call_text(message_id, action, dump(payload))
        return self._sent(message_id, action, payload, text, now, None, stream)

    def _send_row(self, row: OutboxRow, now: Now) -> list[object]:
        body = close_stamps(row.body, now.utc_s)
        if row.action == "TransactionEvent" and self._waited_offline(row, now):
            body = body[:-1] + ',"offline":true}'
        text = rpc.call_text(row.message_id, row.action, body)
        return self._sent(row.message_id, row.action, {}, text, now, row, None)

    def _waited_offline(self, row: OutboxRow, now: Now) -> bool:
        """Happened or still waited while the station was offline (E04.FR.03)."""
        return row.offline or row.boot_id != now.boot_id or row.created_s < self._online_since_s

    def _sent(
        self,
        message_id: str,
        action: str,
        payload: Payload,
        text: str,
        now: Now,
        row: OutboxRow | None,
        stream: Stream | None,
    ) -> list[object]:
        deadline_s = now.mono_s + self._seconds("MessageTimeout", "Default")
        self._last_sent_s = now.mono_s
        self.in_flight = InFlight(
            message_id, action, payload, now.mono_s, deadline_s, row, stream
        )
        return [ef.SendFrame(text)]

    def _continue(self, stream: Stream) -> None:
        self.enqueue(stream, 9)

    def _heartbeat_at_s(self) -> float:
        interval_s = self._seconds("HeartbeatInterval")
        return self._last_sent_s + (interval_s if interval_s > 0 else 86400.0)

    # --- how CALLs end ----------------------------------------------------------------------------

    def _settle(self, row: OutboxRow) -> list[object]:
        self._head, self._retry_row_s = None, 0.0
        self._head_asked = True
        return [ef.SettleRow(row.row_id)]

    def _failed(self, flight: InFlight, reason: str, now: Now) -> list[object]:
        """E13.FR.02 to FR.04: a row is tried MessageAttempts times, then set aside."""
        self.in_flight = None
        if flight.row is None:
            self.answered.append(Answered(flight.action, flight.payload, None, reason))
        if flight.action == "BootNotification":
            self._boot_at_s = now.mono_s + max(self._interval_s, 30.0)
            return [ef.Log(4, f"CSMS: BootNotification failed: {reason}; asking again")]
        row = flight.row
        if row is None:
            return [ef.Log(4, f"CSMS: {flight.action} failed: {reason}")]
        attempts = row.attempts + 1
        if attempts >= self._seconds("MessageAttempts", "TransactionEvent"):
            self._head, self._retry_row_s, self._head_asked = None, 0.0, True
            text = f"CSMS: {row.action} refused {attempts} times ({reason}), set aside"
            return [ef.SetAside(row.row_id, reason), ef.Log(3, text)]
        wait_s = self._seconds("MessageAttemptInterval", "TransactionEvent") * attempts
        self._retry_row_s = now.mono_s + wait_s
        self._head, self._head_asked = None, True
        return [ef.CountAttempt(row.row_id, reason)]

    def _timed_out(self, flight: InFlight, now: Now) -> list[object]:
        """Counts as an attempt only if the socket showed life after the send."""
        self._timeouts += 1
        alive = self._heard_at_s > flight.sent_at_s
        if alive and self._timeouts < SILENT_TIMEOUTS:
            return self._failed(flight, "no answer in time", now)
        self._drop_in_flight("no answer in time")
        return [ef.Hangup(f"{flight.action} was not answered; dialling again")]

    def _drop_in_flight(self, reason: str) -> None:
        flight, self.in_flight = self.in_flight, None
        if flight is not None and flight.row is None:
            self.answered.append(Answered(flight.action, flight.payload, None, reason))

    def _go_online(self, now: Now) -> list[object]:
        self._online_since_s = now.mono_s
        self._head, self._head_asked = None, True
        return [ef.Announce(ev.CsmsReached()), ef.FetchHead()]

    # --- dialling -----------------------------------------------------------------------------

    def _plan_dial(self, was_up: bool, now: Now) -> None:
        """OCPP-J 5.3: a minimum and a random part, doubled RetryBackOffRepeatTimes times."""
        minimum_s = self._seconds("RetryBackOffWaitMinimum")
        if was_up or self._failures == 0:
            self._wait_s = minimum_s
        elif self._failures <= self._seconds("RetryBackOffRepeatTimes"):
            self._wait_s *= 2
        if not was_up:
            self._failures += 1
            self._slot_failures += 1
        if self._slot_failures >= max(1.0, self._seconds("NetworkProfileConnectionAttempts")):
            self.slot, self._slot_failures = (self.slot + 1) % len(self.slots), 0
        wait_s = self._wait_s + now.random() * self._seconds("RetryBackOffRandomRange")
        floor_s = self._dialled_at_s + max(DIAL_FLOOR_S, minimum_s)
        self._dial_at_s = max(now.mono_s + wait_s, floor_s)

    def _dial(self, now: Now) -> list[object]:
        slot = self.slots[self.slot]
        self.link, self._dial_at_s, self._dialled_at_s = "dialling", None, now.mono_s
        ping_s = self._seconds("WebSocketPingInterval")
        return [
            ef.Dial(self.slot, slot.url, slot.user, slot.security_profile, OPEN_TIMEOUT_S, ping_s)
        ]


def _payload(row: OutboxRow) -> Payload:
    payload: Payload = msgspec.json.decode(row.body)
    return payload
