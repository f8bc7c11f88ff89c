"""Reset by the CSMS: what runs is Ended and recorded first, then the process starts anew."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from agent.core.effects import Log, StopPower
from agent.daemon import exit_code
from hil.parts.csms import Silent
from hil.scenarios.day import begin, drained
from hil.sim import SimBench
from hil.virtual_time import run_virtual


async def come_back(bench: SimBench) -> None:
    """The service manager starts the process again; the board was not off."""
    await bench.restarted()
    await bench.until(lambda: bench.agent.status()["link"] == "online")
    await drained(bench)


def last_event(bench: SimBench) -> dict[str, Any]:
    (events,) = bench.csms.transactions.values()
    return events[-1]


@pytest.mark.parametrize("online", [True, False])
def test_an_immediate_reset_ends_the_transaction_before_it(online: bool) -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, "04A1B2C3")
            await asyncio.sleep(300)
            answer = await bench.csms.call("Reset", {"type": "Immediate"})
            if not online:
                await bench.network.drop()
                await asyncio.sleep(30)
                await bench.network.accept()
            assert answer == {"status": "Accepted"}
            await come_back(bench)
            ended = last_event(bench)
            assert ended["eventType"] == "Ended"
            assert ended["triggerReason"] == "ResetCommand"
            assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
            assert bench.csms.of("BootNotification")[-1]["reason"] == "RemoteReset"
            billed_wh = float(ended["meterValue"][-1]["sampledValue"][0]["value"]) - 1_000_000
            assert billed_wh == bench.board.meter(1).energy_wh - 1_000_000
            bench.csms.check()

    run_virtual(scene())


@pytest.mark.parametrize(("scope", "code"), [("process", 0), ("board", 150)])
def test_what_a_reset_starts_anew_is_what_the_file_says(scope: Any, code: int) -> None:
    """`systemd/chargepoint.service` restarts the board after exit code 150."""

    async def scene() -> None:
        async with SimBench(change=lambda settings: replace(settings, reset=scope)) as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, "04A1B2C3")
            await bench.csms.call("Reset", {"type": "Immediate"})
            await bench.until(lambda: not bench.is_running)
            assert exit_code(bench.agent.runtime.restart) == code
            assert bench.board.connector(1, 1).drawn_a == 0.0
            bench.forget_agent()
            await bench.start(cold=scope == "board")
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            ended = last_event(bench)
            assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
            assert bench.csms.of("BootNotification")[-1]["reason"] == "RemoteReset"
            bench.csms.check()

    run_virtual(scene())


def test_a_reset_of_one_evse_restarts_no_board() -> None:
    async def scene() -> None:
        async with SimBench(change=lambda settings: replace(settings, reset="board")) as bench:
            await bench.csms.wait_for("StatusNotification")
            await bench.csms.call("Reset", {"type": "Immediate", "evseId": 1})
            await asyncio.sleep(60)
            assert bench.is_running

    run_virtual(scene())


def test_a_reset_on_idle_waits_for_the_transaction() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, "04A1B2C3")
            answer = await bench.csms.call("Reset", {"type": "OnIdle"})
            assert answer == {"status": "Scheduled"}
            await asyncio.sleep(600)
            assert bench.is_running
            bench.swipe("04A1B2C3")
            await come_back(bench)
            assert last_event(bench)["transactionInfo"]["stoppedReason"] == "Local"
            assert bench.csms.of("BootNotification")[-1]["reason"] == "ScheduledReset"
            bench.csms.check()

    run_virtual(scene())


def test_an_idle_station_is_reset_at_once_and_then_boots_as_usual() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            assert await bench.csms.call("Reset", {"type": "OnIdle"}) == {"status": "Accepted"}
            await come_back(bench)
            assert bench.csms.of("BootNotification")[-1]["reason"] == "RemoteReset"
            await bench.stop()
            await bench.start(cold=False)
            await bench.until(lambda: len(bench.csms.of("BootNotification")) == 3)
            assert bench.csms.of("BootNotification")[-1]["reason"] == "ApplicationReset"

    run_virtual(scene())


def test_an_unknown_evse_is_not_reset() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            answer = await bench.csms.call("Reset", {"type": "Immediate", "evseId": 9})
            assert answer["status"] == "Rejected"
            await asyncio.sleep(60)
            assert bench.is_running

    run_virtual(scene())


def test_a_csms_that_does_not_answer_gets_the_end_after_the_restart() -> None:
    """B12.FR.05."""

    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, "04A1B2C3")
            await asyncio.sleep(5)
            bench.csms.answer["TransactionEvent"] = Silent()
            assert await bench.csms.call("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
            await bench.restarted()
            del bench.csms.answer["TransactionEvent"]
            await drained(bench)
            ends = [e for e in bench.csms.of("TransactionEvent") if e["eventType"] == "Ended"]
            assert len(ends) >= 2
            assert ends[-1]["transactionInfo"]["stoppedReason"] == "ImmediateReset"
            bench.csms.check()

    run_virtual(scene())


@pytest.mark.parametrize("retries", [0, 3])
def test_a_path_that_stays_closed_is_ordered_off_as_often_as_resetretries_says(
    retries: int,
) -> None:
    """OCPPCommCtrlr.ResetRetries: the EVSE is not free before, and the station says so."""

    async def scene() -> None:
        async with SimBench(variables={"OCPPCommCtrlr.ResetRetries": str(retries)}) as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, "04A1B2C3")
            await asyncio.sleep(5)
            bench.board.weld(1, 1)
            answer = await bench.csms.call("Reset", {"type": "Immediate", "evseId": 1})
            assert answer == {"status": "Accepted"}
            await bench.csms.wait_for("TransactionEvent", lambda e: e["eventType"] == "Ended")
            bench.effects.clear()
            await asyncio.sleep(60)
            errors = [e.text for e in bench.effects if isinstance(e, Log) and e.level == 3]
            assert "EVSE 1: reset without seeing the power open; inspect it" in errors
            assert bench.effects.count(StopPower(1, 1)) == retries

    run_virtual(scene())


def test_an_evse_that_was_reset_starts_nothing_while_the_station_restarts() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 2, "04A1B2C3")
            await asyncio.sleep(5)
            bench.csms.answer["TransactionEvent"] = Silent()
            assert await bench.csms.call("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
            await bench.csms.call("Reset", {"type": "Immediate", "evseId": 1})
            token = {"idToken": "04D4E5F6", "type": "ISO14443"}
            request = {"evseId": 1, "remoteStartId": 1, "idToken": token}
            answer = await bench.csms.call("RequestStartTransaction", request)
            assert answer["status"] == "Rejected"
            bench.plug_in(1)
            bench.swipe("04D4E5F6")
            await bench.restarted()
            del bench.csms.answer["TransactionEvent"]
            await drained(bench)
            assert len(bench.csms.transactions) == 1
            bench.csms.check()

    run_virtual(scene())
