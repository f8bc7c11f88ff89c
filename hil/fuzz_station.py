"""A station under fire: whatever is thrown at it, it answers as OCPP-J says or drops it, keeps what
it refused out of its state, and stops power at once when the guard sees a reason.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core.jobs import StartJob
from agent.settings import CommandInstaller, Firmware, Settings
from drivers.contract import PilotReading, PilotSeen, PilotState, PowerPath
from hil.fuzz_frames import TRANSACTION, Thrown
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.state_digest import changed, leaves
from hil.virtual_time import VirtualTimeLoop

CARD = "04A1B2C3"
FRAMES_PER_STATION = 250
"""Then a fresh one: what was accepted wears a station out of the interesting states."""
FRAMES_BEFORE_FAULT = 20
"""So early a station still charges when the guard's stop is looked at; once more at its end."""
TURNS = 40
"""Loop turns within which an answer that needs no result has left."""
LATE_S = 60.0
"""Within this an answer that waits for a result has left."""
BACK_S = 7200.0
"""Within this a station that lost its link has it again, or ends by an order that it still has."""
BURST = 30
REFUSALS = frozenset(
    (
        *("Rejected", "NotSupported", "NotImplemented", "Unknown", "UnknownVendorId"),
        *("UnknownMessageId", "NotFound", "UnknownComponent", "UnknownVariable"),
        *("NotSupportedAttributeType", "NoProfiles", "NoTransaction", "Failed"),
        *("UnknownConnector", "OngoingAuthorizedTransaction", "UnlockFailed"),
        *("EmptyResultSet", "NotSupportedMessageFormat", "UnknownTransaction"),
        *("VersionMismatch",),
    )
)
"""Words by which an answer says that nothing was done."""
ONLY_TELLING = frozenset(
    (
        *("GetVariables", "GetLocalListVersion", "GetTransactionStatus", "GetCompositeSchedule"),
        *("GetInstalledCertificateIds", "GetChargingProfiles", "GetBaseReport", "GetReport"),
    )
)
"""Actions that do nothing, whatever the answer."""
SUPPLY_A = 25.0
"""Less than one controller can signal."""


class Failing(AssertionError):
    """A property does not hold; the text holds the frame."""


class Tally(Struct):
    """What came of the frames."""

    thrown: int = 0
    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    answers: int = 0
    restarts: int = 0
    stops: int = 0
    slowest_s: float = 0.0
    """Of real time: from a frame to its answer."""
    slowest: str = ""

    def line(self) -> str:
        return (
            f"{self.thrown} thrown: {self.accepted} accepted, {self.refused} refused, "
            f"{self.dropped} dropped, {self.answers} answers of the CSMS spoiled; "
            f"{self.restarts} restarts by order, {self.stops} stops of the guard in a burst; "
            f"slowest {self.slowest_s * 1000:.0f} ms ({self.slowest})"
        )


class Target:
    """One station after the other, each with a sale on EVSE 1 and a plug that waits on EVSE 2."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self._bench: SimBench | None = None
        self._left = 0

    def throw(self, thrown: Thrown) -> None:
        """Raises Failing."""
        self._runner.run(self._throw(thrown))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """The last station's end, looked at unless something was found already; raises Failing."""
        with self._runner:
            self._runner.run(self._end() if kind is None else self._let_go())

    # --- stations -------------------------------------------------------------------------------

    async def _fresh(self) -> SimBench:
        await self._end()
        bench = self._bench = SimBench(supply_a=SUPPLY_A, socket=True, change=_updatable)
        bench.network.latency_s = 0.0
        await bench.start()
        await bench.csms.wait_for("StatusNotification")
        await begin(bench, 1, CARD)
        bench.plug_in(2)
        await asyncio.sleep(30)
        self._left = FRAMES_PER_STATION
        return bench

    async def _end(self) -> None:
        bench, self._bench = self._bench, None
        if bench is None:
            return
        if bench.is_running:
            await self._guard_is_prompt(bench)
        await bench.__aexit__()
        if bench.csms.violations:
            raise Failing("\n".join(bench.csms.violations[:5]))

    async def _let_go(self) -> None:
        if self._bench is not None:
            with contextlib.suppress(Exception):
                await self._bench.__aexit__()

    async def _alive(self) -> SimBench:
        """The station; an ordered restart is carried out, any other end is a failure."""
        bench = self._bench
        if bench is None or self._left <= 0:
            bench = await self._fresh()
        while not (bench.is_running and bench.csms.is_connected):
            if not bench.is_running:
                await bench.restarted()
                self.tally.restarts += 1
            await bench.until(lambda: bench.csms.is_connected or not bench.is_running, BACK_S)
        return bench

    # --- one frame ------------------------------------------------------------------------------

    async def _throw(self, thrown: Thrown) -> None:
        bench = await self._alive()
        self._left -= 1
        if self._left == FRAMES_PER_STATION - FRAMES_BEFORE_FAULT:
            await self._guard_is_prompt(bench)
        bench = await self._alive()
        self.tally.thrown += 1
        if thrown.trigger:
            await self._spoil_answer(bench, thrown)
        else:
            await self._send(bench, thrown.text)
        _within_ceilings(bench, thrown)
        if self.tally.thrown % 7 == 0:
            await asyncio.sleep(20)

    async def _send(self, bench: SimBench, text: str) -> None:
        text = text.replace(TRANSACTION, str(bench.connector(1).get("transaction_id", "none")))
        due = _due(text)
        if due is not None:
            bench.csms.expect_answer(*due)
        await _settled()
        while not (bench.is_running and bench.csms.is_connected):  # it restarts by an older order
            bench = await self._alive()
            await _settled()
        before = digest(bench)
        bench.csms.trace.clear()
        bench.effects.clear()
        clock = asyncio.get_running_loop()
        began_s, at_s = _real_s(), clock.time()
        await bench.csms.send_text(text)
        await _replied(bench, due)
        self._timed(_real_s() - began_s, text)
        await _settled()
        replies = _of(bench)
        _as_the_standard_has_it(text, due, replies)
        verdict = _verdict(replies)
        setattr(self.tally, verdict, getattr(self.tally, verdict) + 1)
        is_harmless = verdict != "accepted" or (due is not None and due[1] in ONLY_TELLING)
        if is_harmless and clock.time() == at_s:
            _unchanged(before, digest(bench), text, replies)
            if found := _changes(bench):
                raise Failing(f"{found} by a frame refused or harmless: {text[:1000]} -> {replies}")

    async def _spoil_answer(self, bench: SimBench, thrown: Thrown) -> None:
        """Provokes the CALL and answers it as thrown; the station must then still talk."""
        self.tally.answers += 1
        answer = thrown.answer if isinstance(thrown.answer, dict) else {"evil": thrown.answer}
        bench.csms.answer[thrown.trigger] = answer
        trigger = thrown.trigger
        if trigger == "Authorize":
            bench.swipe("04DEADBEEF")
        else:
            order = {"requestedMessage": trigger}
            await bench.csms.call("TriggerMessage", order)
        await asyncio.sleep(2)
        del bench.csms.answer[trigger]

    def _timed(self, took_s: float, text: str) -> None:
        if took_s > self.tally.slowest_s:
            self.tally.slowest_s, self.tally.slowest = took_s, f"{len(text)} bytes: {text[:60]!r}"

    async def _guard_is_prompt(self, bench: SimBench) -> None:
        """A burst of frames waits in the inbox and a fault is seen: the stop leaves before the
        driver's callback returns, so before any of them is looked at."""
        bad = json.dumps([2, "x", "SetVariables", {"setVariableData": [{}] * 50}])
        for number in range(BURST):
            bench.csms.expect_answer(f"b{number}", "SetVariables")
            await bench.csms.send_text(bad.replace('"x"', f'"b{number}"'))
        pilot = bench.agent.wiring.pilots[1, 1]
        was_charging = bench.board.connector(1, 1).ordered_closed
        turns = bench.agent.runtime.moves
        fault = PilotReading(
            at_s=asyncio.get_running_loop().time(),
            state=PilotState.F,
            power_path=PowerPath.CLOSED,
            faults=frozenset({"ground"}),
        )
        bench.agent._senses.report(PilotSeen(pilot.name, fault))
        is_ordered = bench.board.connector(1, 1).ordered_closed
        if was_charging and (is_ordered or bench.agent.runtime.moves != turns):
            raise Failing("the guard's stop waited behind frames")
        self.tally.stops += was_charging
        await asyncio.sleep(60)


def _updatable(settings: Settings) -> Settings:
    """A board with an installer, so that UpdateFirmware gets past the first word."""
    return replace(settings, firmware=Firmware(CommandInstaller(("/bin/true",)), unsigned=True))


# --- what must hold -------------------------------------------------------------------------------


def _due(text: str) -> tuple[str, str] | None:
    """(message id, action) that exactly one answer is due for: a CALL by an independent reading."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, list) or len(frame) < 2 or type(frame[0]) is not int:
        return None
    is_id = isinstance(frame[1], str) and 1 <= len(frame[1]) <= 36 and frame[1].isprintable()
    if frame[0] != 2 or not is_id:
        return None
    action = frame[2] if len(frame) > 2 and isinstance(frame[2], str) else ""
    return frame[1], action


async def _settled() -> None:
    """All that is due at this instant has happened."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _replied(bench: SimBench, due: tuple[str, str] | None) -> None:
    """An answer is there, or none comes; time passes only while one waits for a result."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if _of(bench):
            return
    if due is not None:
        with contextlib.suppress(AssertionError):
            await bench.until(lambda: bool(_of(bench)) or not bench.is_running, LATE_S)


def _of(bench: SimBench) -> list[list[Any]]:
    frames = [json.loads(text) for _, way, text in bench.csms.trace if way == "<"]
    return [frame for frame in frames if frame[0] != 2]


def _as_the_standard_has_it(
    text: str, due: tuple[str, str] | None, replies: list[list[Any]]
) -> None:
    ids = [frame[1] for frame in replies]
    if due is not None and ids != [due[0]]:
        raise Failing(f"one answer is due to {due}, got {replies}: {text[:300]}")
    if len(ids) > 1 or any(frame[0] == 3 for frame in replies if due is None):
        raise Failing(f"got {replies} to what was no CALL: {text[:300]}")
    bugs = [frame for frame in replies if frame[0] == 4 and frame[2] == "InternalError"]
    if bugs:
        raise Failing(f"a handler failed: {bugs} to {text[:2000]}")


def _verdict(replies: list[list[Any]]) -> str:
    if not replies:
        return "dropped"
    words = set(_statuses(replies[0][2])) if replies[0][0] == 3 else {"Rejected"}
    return "refused" if words and words <= REFUSALS else "accepted"


def _statuses(node: Any) -> Iterator[str]:
    """Every word of a status in an answer."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key.lower().endswith("status") and isinstance(value, str):
                yield value
            else:
                yield from _statuses(value)
    elif isinstance(node, list):
        for value in node:
            yield from _statuses(value)


ROOMS = (
    *("station", "profiles", "network", "passwords", "firmware", "uploads", "customers"),
    *("certificates", "told_locks"),
)
"""Of the view; the rest of it is traffic (`connection`, but for its slots), what the store and jobs
answered, and a request for a certificate, which a refused one ends (MAY_GO)."""
LEFT_OUT = frozenset(("station.site",))


def digest(bench: SimBench) -> dict[str, str]:
    """What a refused CALL must leave alone in the rooms' memory; the disk hears of effects only."""
    view = bench.agent.view
    found = {"variables": repr(sorted(view.variables._values.items()))}
    found |= leaves(view.connection.slots, "slots")
    found |= leaves(view.station_certificate._kept, "station_certificate")
    for room in ROOMS:
        found |= leaves(getattr(view, room), room, LEFT_OUT)
    return found


CHANGING = (
    *(ef.Save, ef.SaveToken, ef.ForgetTokens, ef.SetAside, ef.Restart, StartJob),
    *(ef.AllowPower, ef.StopPower, ef.WithdrawCurrent, ef.LockPlug, ef.Hangup, ef.Dial),
)
"""Effects that a refused CALL never has; a security event of it is one that it may have."""
MAY_GO = ef.Save("certificate_request", None)
"""A certificate that is refused ends the request that it answered (A02.FR.07)."""


def _changes(bench: SimBench) -> list[object]:
    found = [effect for effect in bench.effects if isinstance(effect, CHANGING)]
    return [effect for effect in found if effect != MAY_GO]


def _unchanged(
    before: dict[str, str], after: dict[str, str], text: str, replies: list[list[Any]]
) -> None:
    if found := changed(before, after):
        raise Failing(f"{found} by a frame refused or harmless: {text[:1000]} -> {replies}")


def _within_ceilings(bench: SimBench, thrown: Thrown) -> None:
    """What the file says is never exceeded, and nothing flows where no EV is plugged in."""
    offered = {place: c.offered_a for place, c in bench.board.world.connectors.items()}
    if sum(offered.values()) > SUPPLY_A + 0.01 or max(offered.values()) > 32.0:
        raise Failing(f"{offered} A offered, {SUPPLY_A:g} A are there: {thrown.text[:300]}")
    bare = [p for p, c in bench.board.world.connectors.items() if c.closed and not c.ev_connected]
    if bare:
        raise Failing(f"the contactor of {bare} is closed without an EV: {thrown.text[:300]}")


def _real_s() -> float:
    from time import perf_counter

    return perf_counter()
