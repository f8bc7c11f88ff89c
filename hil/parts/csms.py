"""A bench CSMS on the `ocpp` package: answers, orders, remembers, and finds what is wrong.

It is an independent check: nothing here is shared with the agent's own OCPP rooms.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, NamedTuple

import ocpp.messages
from msgspec import Struct
from ocpp.charge_point import remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.v201 import call_result

from hil.parts.csms_checks import (
    TransactionBook,
    call_error_problems,
    payload_problems,
    read_json,
)

Payload = dict[str, Any]
Send = Callable[[str], Awaitable[None]]

PENDING_BREAKERS = frozenset({"TriggerMessage", "GetBaseReport", "GetReport"})
"""What lets a station speak before its boot was accepted (B02.FR.02)."""


class Received(NamedTuple):
    """A CALL of the station; `at_s` is loop time."""

    at_s: float
    action: str
    payload: Payload
    message_id: str


class Delayed(Struct, frozen=True):
    """Answer after a while; None: as usual."""

    delay_s: float
    answer: Any = None


class Refused(Struct, frozen=True):
    """Answer with a CALLERROR."""

    code: str = "InternalError"
    description: str = ""


class Silent(Struct, frozen=True):
    """Never answer."""


class Cut(Struct, frozen=True):
    """Break the link instead of answering."""


class StationError(Exception):
    """The station answered a call of the CSMS with a CALLERROR."""

    def __init__(self, code: str, description: str, details: Any) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.details = details


class BenchCsms:
    """One station's CSMS. Text frames come in through `feed` and leave through what `attach` got.

    `answer[action]` is a payload, Delayed, Refused, Silent, Cut, or a function of the request's
    payload that returns one of them (None: the usual answer).
    """

    def __init__(
        self, read_utc: Callable[[], float] = time.time, message_timeout_s: float = 30.0
    ) -> None:
        self.calls: list[Received] = []
        self.violations: list[str] = []
        self.errors: list[tuple[str, str, str]] = []
        """CALLERRORs to frames that were no call of ours: (message id, code, description)."""
        self.trace: deque[tuple[float, str, str]] = deque(maxlen=10_000)
        """(loop time, "<" from the station or ">" to it, frame)."""
        self.answer: dict[str, Any] = {}
        self.boot_status: str | None = None
        """Status of the last answered BootNotification; None: the station has yet to boot."""
        self.interval_s = 300
        self.clock_error_s = 0.0
        """How wrong the time is that it tells."""
        self.on_call: Callable[[Received], None] = lambda call: None
        """Called when a CALL has arrived and been stored, before it is answered."""
        self.gaps_allowed = False
        """Accept missing seqNo: the station may thin out Updated events (E04.FR.07)."""
        self.forgets_parallel_calls = False
        """Answer nothing to a CALL that comes while another one waits, as some back ends do."""
        self.message_timeout_s = message_timeout_s
        self.is_connected = False
        self._read_utc = read_utc
        self._book = TransactionBook()
        self._send: Send | None = None
        self._cut: Callable[[], None] = lambda: None
        self._link_number = 0
        self._ids = itertools.count(1)
        self._called: dict[str, str] = {}
        self._waiting: dict[str, asyncio.Future[Payload]] = {}
        self._first_seen: dict[str, Received] = {}
        self._answered_here: set[str] = set()
        self._unanswered: Received | None = None
        self._may_speak = False
        self._given_out: dict[str, int] = {}
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def transactions(self) -> dict[str, list[Payload]]:
        """TransactionEvents in the order they came, resends left out."""
        return self._book.events

    def of(self, action: str) -> list[Payload]:
        """Payloads of all received calls of an action."""
        return [call.payload for call in self.calls if call.action == action]

    def check(self) -> None:
        """Raise AssertionError with everything that was wrong so far."""
        assert not self.violations, "\n".join(self.violations)

    def expect_boot(self) -> None:
        """The station restarts: BootNotification must come first again."""
        self.boot_status = None
        self._may_speak = False

    # --- the link -----------------------------------------------------------------------------

    def attach(self, send: Send, cut: Callable[[], None] = lambda: None) -> int:
        """A link is up; returns its number for `detach`. A new link replaces the old one."""
        self.detach(self._link_number)
        self._link_number += 1
        self._send, self._cut, self.is_connected = send, cut, True
        self._answered_here.clear()
        self._unanswered = None
        self._wake()
        return self._link_number

    def detach(self, link_number: int) -> None:
        """The link is gone; calls that wait for an answer fail with ConnectionError."""
        if link_number != self._link_number:
            return
        self._send, self.is_connected = None, False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the link broke before the station answered"))
        self._waiting.clear()
        self._wake()

    async def close(self) -> None:
        """Stop what is still to be answered."""
        self.detach(self._link_number)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_text(self, text: str) -> None:
        """Send any text as a frame, good or bad."""
        if self._send is None:
            raise ConnectionError("the station is not connected")
        self.trace.append((self._now(), ">", text))
        await self._send(text)

    def expect_answer(self, message_id: str, action: str) -> None:
        """A text that will be sent is a CALL: what answers it is checked like any answer."""
        self._called[message_id] = action

    # --- our calls ----------------------------------------------------------------------------

    async def call(
        self,
        action: str,
        payload: Payload | None = None,
        *,
        timeout_s: float = 30.0,
        message_id: str = "",
    ) -> Payload:
        """Call the station; returns the payload of its answer. `message_id` instead of our own.

        Raises StationError on a CALLERROR, TimeoutError, ConnectionError.
        """
        message_id = message_id or f"csms-{next(self._ids)}"
        future: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._called[message_id] = action
        self._waiting[message_id] = future
        self._may_speak = self._may_speak or action in PENDING_BREAKERS
        try:
            await self.send_text(ocpp.messages.Call(message_id, action, payload or {}).to_json())
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise TimeoutError(f"no answer to {action} within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(message_id, None)

    async def wait_for(
        self,
        action: str,
        predicate: Callable[[Payload], bool] | None = None,
        timeout_s: float = 60.0,
    ) -> Payload:
        """The next call of an action that no earlier `wait_for` of it has passed.

        Calls that came before are looked at first, so nothing is missed between two waits.
        Raises TimeoutError with what came instead.
        """
        start = len(self.calls)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for index in range(self._given_out.get(action, 0), len(self.calls)):
                        call = self.calls[index]
                        if call.action == action and (not predicate or predicate(call.payload)):
                            self._given_out[action] = index + 1
                            return call.payload
                    await self._news.wait()
        except TimeoutError:
            came = [call.action for call in self.calls[start:]]
            raise TimeoutError(f"no {action} within {timeout_s:g} s, but {came}") from None

    def continue_from(self, other: "BenchCsms") -> None:
        """Takes over what another one stored, as a back end keeps it while a station is away."""
        self._book = deepcopy(other._book)
        self._first_seen = dict(other._first_seen)
        self.calls = list(other.calls)
        self.violations = list(other.violations)

    def forget(self) -> None:
        """Let `wait_for` look only at what comes from now on."""
        for action in {call.action for call in self.calls}:
            self._given_out[action] = len(self.calls)

    async def wait_connected(self, connected: bool = True, timeout_s: float = 600.0) -> None:
        """Wait until a link is up (or down)."""
        async with asyncio.timeout(timeout_s):
            while self.is_connected is not connected:
                await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # --- frames of the station ----------------------------------------------------------------

    def feed(self, text: str) -> None:
        """A frame of the station; never raises, what is wrong goes to `violations`."""
        self.trace.append((self._now(), "<", text))
        try:
            self._take(text)
        except Exception as error:
            self._blame("bench", [f"failed with {error!r} on {text[:200]}"])

    def _take(self, text: str) -> None:
        frame, problems = read_json(text)
        if not isinstance(frame, list) or len(frame) < 3 or type(frame[0]) is not int:
            self._blame("frame", [*problems, f"no OCPP-J frame: {text[:200]}"])
            return
        if not isinstance(frame[1], str) or not 1 <= len(frame[1]) <= 36:
            problems.append(f"the message id {frame[1]!r} is no string of 1 to 36 characters")
        elif frame[0] == 2 and len(frame) == 4 and isinstance(frame[2], str):
            self._take_call(Received(self._now(), frame[2], frame[3], frame[1]))
        elif frame[0] == 3 and len(frame) == 3:
            self._take_result(frame[1], frame[2])
        elif frame[0] == 4:
            problems += call_error_problems(frame)
            self._take_error(frame[1], [*frame[2:], "", "", {}][:3])
        else:
            problems.append(f"no OCPP-J frame: {text[:200]}")
        self._blame("frame", problems)

    def _take_call(self, call: Received) -> None:
        self.calls.append(call)
        problems = payload_problems(ocpp.messages.Call(call.message_id, call.action, call.payload))
        problems += self._order_problems(call)
        first = self._first_seen.setdefault(call.message_id, call)
        if first is call and call.action == "TransactionEvent" and isinstance(call.payload, dict):
            problems += self._book.enter(call.payload, self.gaps_allowed)
        is_early = self._is_early(call.action)
        if is_early:
            problems.append("not allowed before the boot was accepted (B02.FR.02)")
        self._blame(f"{call.action} {call.message_id}", problems)
        is_parallel = self._unanswered is not None
        self._unanswered = call
        self.on_call(call)
        answer = Refused("SecurityError") if is_early else self._policy(call)
        if is_parallel and self.forgets_parallel_calls:
            answer = Silent()
        if isinstance(answer, Delayed):
            self._start(self._answer_later(call, answer))
        else:
            self._start(self._answer(call, answer, self._link_number))
        self._wake()

    def _order_problems(self, call: Received) -> list[str]:
        """One CALL at a time, and message ids that are used once (OCPP-J 4.1.1, 4.1.4)."""
        problems = []
        waiting = self._unanswered
        if waiting is not None and call.at_s - waiting.at_s < self.message_timeout_s:
            problems.append(f"sent while {waiting.action} {waiting.message_id} was not answered")
        first = self._first_seen.get(call.message_id)
        if first is not None:
            if call.message_id in self._answered_here:
                problems.append("sent again although it was answered on this link")
            if not _is_resend(first, call):
                problems.append(f"the message id was used before, for another {first.action}")
        return problems

    def _is_early(self, action: str) -> bool:
        if action == "BootNotification" or self.boot_status == "Accepted":
            return False
        return not (self.boot_status == "Pending" and self._may_speak)

    def _policy(self, call: Received) -> Any:
        answer = self.answer.get(call.action)
        if callable(answer):
            answer = answer(call.payload)
        return self._usual(call) if answer is None else answer

    async def _answer_later(self, call: Received, delayed: Delayed) -> None:
        link_number = self._link_number
        await asyncio.sleep(delayed.delay_s)
        answer = self._usual(call) if delayed.answer is None else delayed.answer
        await self._answer(call, answer, link_number)

    async def _answer(self, call: Received, answer: Any, link_number: int) -> None:
        if self._send is None or link_number != self._link_number or isinstance(answer, Silent):
            return
        if isinstance(answer, Cut):
            self._cut()
            return
        waiting = self._unanswered
        if waiting is not None and waiting.message_id == call.message_id:
            self._unanswered = None
        if isinstance(answer, Refused):
            message = ocpp.messages.CallError(call.message_id, answer.code, answer.description)
        else:
            message = ocpp.messages.CallResult(call.message_id, answer)
            self._answered_here.add(call.message_id)
            if call.action == "BootNotification":
                self.boot_status = answer.get("status")
                self._may_speak = False
        await self.send_text(message.to_json())

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except ConnectionError:
            pass  # the link broke under the answer: the station will find out by itself

    def _take_result(self, message_id: str, payload: Any) -> None:
        action = self._called.get(message_id)
        if action is None:
            self._blame("CALLRESULT", [f"answers {message_id!r}, which was never called"])
            return
        result = ocpp.messages.CallResult(message_id, payload, action=action)
        self._blame(f"{action} response", payload_problems(result))
        future = self._waiting.get(message_id)
        if future is not None and not future.done():
            future.set_result(payload)

    def _take_error(self, message_id: str, what: list[Any]) -> None:
        code, description, details = what
        future = self._waiting.get(message_id)
        if future is None:
            self.errors.append((message_id, str(code), str(description)))
            self._wake()
        elif not future.done():
            future.set_exception(StationError(str(code), str(description), details))

    def _blame(self, where: str, problems: list[str]) -> None:
        self.violations += [f"{self._now():.3f} s, {where}: {problem}" for problem in problems]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- usual answers ------------------------------------------------------------------------

    def utc(self) -> str:
        """Now, as the CSMS writes it."""
        at = datetime.fromtimestamp(self._read_utc() + self.clock_error_s, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def usual_answer(self, action: str, payload: Payload) -> Payload:
        """What it answers where nothing else was ordered; the call is not stored."""
        return dict(self._usual(Received(self._now(), action, payload, "")))

    def _usual(self, call: Received) -> Any:
        make = getattr(call_result, call.action, None)
        if make is None:
            return Refused("NotImplemented")
        accepted = {"status": "Accepted"}
        usual: dict[str, dict[str, Any]] = {
            "Authorize": {"id_token_info": accepted},
            "BootNotification": {
                "current_time": self.utc(),
                "interval": self.interval_s,
                **accepted,
            },
            "Heartbeat": {"current_time": self.utc()},
            "DataTransfer": {"status": "UnknownVendorId"},
            "Get15118EVCertificate": {"status": "Failed", "exi_response": ""},
            "GetCertificateStatus": {"status": "Failed"},
            "NotifyEVChargingNeeds": accepted,
            "NotifyEVChargingSchedule": accepted,
            "SignCertificate": accepted,
            "TransactionEvent": {"id_token_info": accepted} if "idToken" in call.payload else {},
        }
        fields = usual.get(call.action, {})
        return snake_to_camel_case(remove_nones(serialize_as_dict(make(**fields))))


def _is_resend(first: Received, again: Received) -> bool:
    """Same message; only what is joined at sending (offline, times) may differ."""
    if first.action != again.action:
        return False
    if first.action != "TransactionEvent":
        return True
    same = ("eventType", "seqNo", "triggerReason", "transactionInfo")
    return all(first.payload.get(key) == again.payload.get(key) for key in same)
