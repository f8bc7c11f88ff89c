"""Ten thousand events wait, and nobody else does: cards, CALLs of the CSMS, status, heartbeat."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.app import DATABASE
from agent.ocpp.messages import dump
from agent.store.db import open_store
from agent.store.rows import Batch, NewRow
from hil.parts.csms import Delayed, Received
from hil.scenarios.day import CARD_A, begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

QUEUED = 10_000


def old_event(number: int) -> NewRow:
    body = dump(
        {
            "eventType": "Updated" if number else "Started",
            "timestamp": "2026-09-20T10:00:00.000Z",
            "triggerReason": "MeterValuePeriodic",
            "seqNo": number,
            "transactionInfo": {"transactionId": "from-another-life"},
        }
    )
    return NewRow(f"old-{number}", "TransactionEvent", body, "boot-0", True, "Updated", 1.0)


async def with_a_full_queue(scene: Callable[[SimBench], Awaitable[None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = await open_store(str(Path(directory, DATABASE)), inline=True)
        await store.commit(Batch(enqueue=tuple(old_event(number) for number in range(QUEUED))))
        await store.close()
        async with SimBench(directory=directory) as bench:
            await bench.until(lambda: len(events(bench)) > 50)
            await scene(bench)
            assert bench.agent.status()["queue"] > QUEUED * 0.9, "the queue was gone too early"


def events(bench: SimBench) -> list[Received]:
    return [call for call in bench.csms.calls if call.action == "TransactionEvent"]


def sent_before(bench: SimBench, action: str, since: int) -> int:
    """Messages that went out between `since` and the first `action` after it."""
    actions = [call.action for call in bench.csms.calls[since:]]
    return actions.index(action)


def test_a_card_is_asked_about_behind_at_most_one_message_in_flight() -> None:
    async def scene(bench: SimBench) -> None:
        for card in range(5):
            since = len(bench.csms.calls)
            bench.swipe(f"04A1B2C{card}")
            await bench.csms.wait_for("Authorize")
            assert sent_before(bench, "Authorize", since) <= 1
            await asyncio.sleep(0.5)

    run_virtual(with_a_full_queue(scene))


def test_a_call_of_the_csms_is_answered_at_once() -> None:
    async def scene(bench: SimBench) -> None:
        variable = {"component": {"name": "TxCtrlr"}, "variable": {"name": "TxStartPoint"}}
        loop = asyncio.get_running_loop()
        for _ in range(5):
            asked_s = loop.time()
            answer: dict[str, Any] = await bench.csms.call(
                "GetVariables", {"getVariableData": [variable]}
            )
            assert answer["getVariableResult"][0]["attributeStatus"] == "Accepted"
            assert loop.time() - asked_s <= 3 * bench.network.latency_s
            await asyncio.sleep(0.3)

    run_virtual(with_a_full_queue(scene))


def test_status_and_heartbeat_do_not_starve() -> None:
    async def scene(bench: SimBench) -> None:
        bench.csms.forget()
        since = len(bench.csms.calls)
        bench.plug_in(1)
        await bench.csms.wait_for("StatusNotification")
        assert sent_before(bench, "StatusNotification", since) <= 2
        interval = {
            "attributeValue": "5",
            "component": {"name": "OCPPCommCtrlr"},
            "variable": {"name": "HeartbeatInterval"},
        }
        await bench.csms.call("SetVariables", {"setVariableData": [interval]})
        await asyncio.sleep(6)

    run_virtual(with_a_full_queue(scene))


def test_a_long_report_and_the_queue_share_the_line() -> None:
    async def scene(bench: SimBench) -> None:
        since = len(bench.csms.calls)
        request = {"requestId": 0, "reportBase": "FullInventory"}
        assert (await bench.csms.call("GetBaseReport", request))["status"] == "Accepted"
        await bench.csms.wait_for("NotifyReport", lambda part: not part.get("tbc", False))
        actions = [call.action for call in bench.csms.calls[since:]]
        reports, others = actions.count("NotifyReport"), actions.count("TransactionEvent")
        assert reports > 2
        assert others >= reports - 2

    run_virtual(with_a_full_queue(scene))


def test_a_question_about_a_transaction_is_answered_while_its_ended_waits() -> None:
    """The answer to the Ended comes late, and is empty."""

    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD_A)
            transaction_id = bench.connector(1)["transaction_id"]
            bench.csms.answer["TransactionEvent"] = Delayed(10.0, {})
            bench.swipe(CARD_A)
            await bench.csms.wait_for("TransactionEvent", lambda e: e["eventType"] == "Ended")
            question = {"transactionId": transaction_id}
            assert await bench.csms.call("GetTransactionStatus", question) == {
                "ongoingIndicator": False,
                "messagesInQueue": True,
            }
            await asyncio.sleep(12)
            assert await bench.csms.call("GetTransactionStatus", question) == {
                "ongoingIndicator": False,
                "messagesInQueue": False,
            }
            bench.csms.check()

    run_virtual(scene())
