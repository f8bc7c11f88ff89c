"""What the CSMS asks of the agent, in numbers: how soon a remote start energises, what an inventory
takes and holds up, and what ten thousand questions leave in memory. The agent is its own process
on the desk bench, the CSMS the barest that can call."""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from msgspec import Struct

from drivers.sim.connector import Ev
from hil import figures_client
from hil.desk import EVSE_IDS, BenchError, DeskBench
from hil.figures_lines import Figure
from hil.figures_process import memory_of
from hil.parts.bare_caller import BareCaller

POWER_ON_S = 3.2
"""The controllers of the desk answer this long after their power came."""
SUPPLY_A = 80.0
"""Enough for both EVSEs, so that no start waits for current that another charge just gave back."""
SETTLE_S = 5.5
"""An EVSE that was stopped offers nothing new for 5 s (IEC 61851-1); starts take turns."""
STARTS = 16
REPORTS = 20
QUESTIONS = 10_000
WARM_UP = 500
"""Questions before the counted ones: the first use of everything lies there."""
LOOK_S = 0.000_5
"""The bench looks this often whether the controller has heard the order."""
EV = Ev(current_a=16.0, ready_after_s=0.2)
TOKEN = {"idToken": "04A2B3C4D5E680", "type": "ISO14443"}


class Inventory(Struct, frozen=True):
    """Of one FullInventory: from the question to the last part, each part answered at once."""

    took_s: float
    parts: int
    part_bytes: int
    stall_s: float
    """The longest that a ping took to be answered meanwhile: the loop stood no longer."""


class Calls(Struct, frozen=True):
    """All that was measured."""

    starts_s: list[float]
    """From RequestStartTransaction to the order to energise at the controller, per start."""
    answer_s: float
    """An answer to a CALL that changes nothing (median)."""
    inventories: list[Inventory]
    ping_pong_s: float
    """A bare frame of an inventory's part and its answer."""
    idle_stall_s: float
    """The longest ping while nothing was asked, in the time of all inventories."""
    questions: int
    questions_s: float
    before_kb: int
    after_kb: int


async def measure_calls(
    starts: int = STARTS, reports: int = REPORTS, questions: int = QUESTIONS
) -> Calls:
    """One agent serves all of it, in this order. Raises BenchError, TimeoutError."""
    async with BareCaller() as csms, DeskBench(supply_a=SUPPLY_A) as desk:
        desk.config.write_text(desk.config.read_text().replace(desk.server.url, csms.url))
        await asyncio.sleep(POWER_ON_S)
        await desk.start_agent()
        await desk.wait_until(lambda: csms.link is not None, "the station's link")
        await csms.heard("SecurityEventNotification")
        assert desk.pid is not None
        answers_s = [await _answer_s(csms) for _ in range(200)]
        starts_s = [await _start_s(csms, desk, number) for number in range(1, starts + 1)]
        inventories = [await _inventory(csms, number) for number in range(reports)]
        idle_s = sum(inventory.took_s for inventory in inventories)
        _, idle_stall_s = await with_pings(csms, asyncio.sleep(idle_s))
        ping_pong_s = await _ping_pong_s(csms)
        await _ask(csms, WARM_UP)
        before_kb = memory_of(desk.pid).rss_kb
        began_s = time.monotonic()
        await _ask(csms, questions)
        questions_s = time.monotonic() - began_s
        after_kb = memory_of(desk.pid).rss_kb
        return Calls(
            starts_s,
            statistics.median(answers_s),
            inventories,
            ping_pong_s,
            idle_stall_s,
            questions,
            questions_s,
            before_kb,
            after_kb,
        )


# --- a remote start -------------------------------------------------------------------------------


async def _answer_s(csms: BareCaller) -> float:
    began_s = time.monotonic()
    await csms.call("RequestStopTransaction", {"transactionId": "unknown"})
    return time.monotonic() - began_s


async def _start_s(csms: BareCaller, desk: DeskBench, number: int) -> float:
    """One charge, started and stopped by the CSMS."""
    evse_id = EVSE_IDS[number % len(EVSE_IDS)]
    received = desk.controllers[evse_id].received
    csms.forget()
    desk.plug_in(evse_id, EV)
    await csms.heard("StatusNotification", evseId=evse_id, connectorStatus="Occupied")
    await asyncio.sleep(SETTLE_S / len(EVSE_IDS))
    heard = len(received)
    request = {"idToken": TOKEN, "remoteStartId": number, "evseId": evse_id}
    began_s = time.monotonic()
    start = asyncio.create_task(csms.call("RequestStartTransaction", request))
    while not any(command.name == "FE" for command in received[heard:]):
        if time.monotonic() - began_s > 10.0:
            raise BenchError(f"start {number} never reached the controller; read {desk.agent_log}")
        await asyncio.sleep(LOOK_S)
    took_s = time.monotonic() - began_s
    if (await start).get("status") != "Accepted":
        raise BenchError(f"start {number} was answered {start.result()}")
    _, event = await csms.heard("TransactionEvent", eventType="Started")
    stop = {"transactionId": event["transactionInfo"]["transactionId"]}
    await csms.call("RequestStopTransaction", stop)
    await csms.heard("TransactionEvent", eventType="Ended")
    csms.forget()
    desk.plug_out(evse_id)
    await csms.heard("StatusNotification", evseId=evse_id, connectorStatus="Available")
    return took_s


# --- an inventory ---------------------------------------------------------------------------------


async def _inventory(csms: BareCaller, number: int) -> Inventory:
    csms.forget()
    began_s = time.monotonic()
    asked = {"requestId": number, "reportBase": "FullInventory"}

    async def report() -> float:
        await csms.call("GetBaseReport", asked)
        at_s, _ = await csms.heard("NotifyReport", requestId=number, tbc=False)
        return at_s

    end_s, stall_s = await with_pings(csms, report())
    parts = [text for _, text in csms.frames if '"NotifyReport"' in text]
    size = sum(map(len, parts)) // len(parts)
    return Inventory(end_s - began_s, len(parts), size, stall_s)


async def with_pings(csms: BareCaller, work: Awaitable[Any]) -> tuple[Any, float]:
    """(what came of the work, the longest ping meanwhile)."""
    task = asyncio.ensure_future(work)
    longest_s = 0.0
    assert csms.link is not None
    while not task.done():
        began_s = time.monotonic()
        await (await csms.link.ping())
        longest_s = max(longest_s, time.monotonic() - began_s)
        await asyncio.sleep(0.001)
    return task.result(), longest_s


async def _ping_pong_s(csms: BareCaller, count: int = 1_000) -> float:
    """By a bare client in a process of its own, with the part of a report that is nearest to the
    mean."""
    parts = [text for _, text in csms.frames if '"NotifyReport"' in text]
    mean = statistics.mean(map(len, parts))
    frame = min(parts, key=lambda text: abs(len(text) - mean))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, figures_client.__file__, f"{csms.url}/BARE", frame, str(count)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"the bare client ended with exit code {process.returncode}")
    return float(out) / count


# --- many questions -------------------------------------------------------------------------------

_NAMED: list[dict[str, Any]] = [
    {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}},
    {"component": {"name": "TxCtrlr"}, "variable": {"name": "TxStartPoint"}},
    {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "AvailabilityState"}},
]
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("GetVariables", {"getVariableData": _NAMED}),
    ("DataTransfer", {"vendorId": "bench", "data": {"text": "x" * 500}}),
    ("GetTransactionStatus", {}),
    ("SetVariables", {"setVariableData": [_NAMED[0] | {"attributeValue": "3600"}]}),
    ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
    ("GetReport", {"requestId": 1, "componentCriteria": ["Problem"]}),
    ("RequestStopTransaction", {"transactionId": "unknown"}),
    ("GetCompositeSchedule", {"evseId": 1, "duration": 3600}),
)
"""Questions of several kinds, in turn; one of them writes to the disk."""


async def _ask(csms: BareCaller, count: int) -> None:
    for number in range(count):
        action, payload = ASKED[number % len(ASKED)]
        answer = await csms.call(action, payload)
        if "error" in answer:
            raise BenchError(f"{action} was answered with {answer}")
        if number % 100 == 0:
            csms.forget()


# --- as figures -----------------------------------------------------------------------------------


def call_figures(calls: Calls) -> list[Figure]:
    """Each beside what it can be compared with."""
    starts_ms = sorted(1000 * took_s for took_s in calls.starts_s)
    start_ms, answer_ms = statistics.median(starts_ms), 1000 * calls.answer_s
    spread = (
        f"{len(starts_ms)} starts, ms: least {starts_ms[0]:.1f}, median {start_ms:.1f}, "
        f"nine of ten below {_below(starts_ms, 0.9):.1f}, most {starts_ms[-1]:.1f}"
    )
    took_s = statistics.median(inventory.took_s for inventory in calls.inventories)
    parts = calls.inventories[0].parts
    bare_s = parts * calls.ping_pong_s
    kilobytes = parts * calls.inventories[0].part_bytes / 1024
    report = f"{parts} parts, {kilobytes:.0f} kB: {took_s * 1000:.1f} ms, as bare frames "
    stall_ms = 1000 * max(inventory.stall_s for inventory in calls.inventories)
    idle_ms = 1000 * calls.idle_stall_s
    stall = f"longest ping in {len(calls.inventories)} reports; with nothing asked {idle_ms:.1f} ms"
    rate = calls.questions / calls.questions_s
    memory = f"{calls.after_kb / 1024:.1f} MB against {calls.before_kb / 1024:.1f} MB; {rate:.0f}/s"
    grown = (calls.after_kb - calls.before_kb) / 1024
    count = f"{calls.questions:,}".replace(",", " ")
    return [
        Figure("RequestStart to order to energise", start_ms, "ms", None, spread),
        Figure(
            "RequestStart to order : answer to a CALL",
            start_ms / answer_ms,
            "",
            None,
            f"a CALL that changes nothing is answered in {answer_ms:.1f} ms",
        ),
        Figure(
            "FullInventory : the same bytes bare",
            took_s / bare_s,
            "",
            None,
            f"{report}{bare_s * 1000:.1f} ms",
        ),
        Figure("longest stall of the loop in a FullInventory", stall_ms, "ms", None, stall),
        Figure(f"RSS after {count} incoming calls, more by", grown, "MB", None, memory),
    ]


def _below(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
