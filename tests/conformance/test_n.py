"""Part 6, block N: logs and customer information."""

import asyncio
from typing import Any

import pytest

from agent.core.jobs import UploadLog
from hil.cases import play
from hil.conformance import CARD, Octt
from hil.parts.csms import Cut, Refused, Silent

Payload = dict[str, Any]

LOG = {"remoteLocation": "https://files.invalid/logs/"}
TOKEN = {"idToken": CARD, "type": "ISO14443"}
RETRY_S = 120


# --- logs -----------------------------------------------------------------------------------------


async def ask_log(octt: Octt, log_type: str, number: int = 1, **more: Any) -> Payload:
    request = {"logType": log_type, "requestId": number, "log": LOG}
    answer = await octt.call("GetLog", request | more)
    assert answer["filename"]
    return answer


async def told(octt: Octt, status: str, number: int = 1) -> None:
    found = await octt.expect("LogStatusNotification", within_s=3600)
    assert found == {"status": status, "requestId": number}


def uploaded(log_type: str) -> None:
    async def scene(octt: Octt) -> None:
        answer = await ask_log(octt, log_type)
        assert answer["status"] == "Accepted"
        await told(octt, "Uploading")
        await told(octt, "Uploaded")
        (order,) = octt.bench.work.of(UploadLog)
        assert (order.log_type, order.file_name) == (log_type, answer["filename"])

    play(scene)


def test_TC_N_25_CS() -> None:
    uploaded("DiagnosticsLog")


def test_TC_N_35_CS() -> None:
    uploaded("SecurityLog")


def test_TC_N_26_CS() -> None:
    """Erratum 2025-01: each status comes once or four times."""

    async def scene(octt: Octt) -> None:
        octt.bench.work.fails[UploadLog] = ["UploadFailure"] * 4
        octt.bench.work.takes_s[UploadLog] = 0.0
        answer = await ask_log(octt, "DiagnosticsLog", retries=3, retryInterval=RETRY_S)
        assert answer["status"] == "Accepted"
        await told(octt, "Uploading")
        began_s = octt.bench.utc_s()
        await told(octt, "UploadFailure")
        assert abs(octt.bench.utc_s() - began_s - 3 * RETRY_S) < 2
        assert len(octt.bench.work.of(UploadLog)) == 4
        await asyncio.sleep(2 * RETRY_S)
        assert len(octt.csms.of("LogStatusNotification")) == 2

    play(scene)


def test_TC_N_36_CS() -> None:
    async def scene(octt: Octt) -> None:
        answer = await ask_log(octt, "DiagnosticsLog")
        assert answer["status"] == "Accepted"
        await told(octt, "Uploading")
        answer = await ask_log(octt, "DiagnosticsLog", number=2)
        assert answer["status"] == "AcceptedCanceled"
        await told(octt, "AcceptedCanceled")
        await told(octt, "Uploading", number=2)
        await told(octt, "Uploaded", number=2)
        await asyncio.sleep(60)
        assert len(octt.csms.of("LogStatusNotification")) == 4

    play(scene)


@pytest.mark.parametrize("lost", ["Uploading", "Uploaded"])
def test_a_status_that_the_link_lost_is_told_again(lost: str) -> None:
    async def scene(octt: Octt) -> None:
        csms = octt.csms
        once = iter([Cut()])
        csms.answer["LogStatusNotification"] = lambda status: (
            next(once, None) if status["status"] == lost else None
        )
        await ask_log(octt, "SecurityLog")
        await asyncio.sleep(600)
        found = [status["status"] for status in csms.of("LogStatusNotification")]
        expected = ["Uploading", "Uploaded"]
        assert found == sorted([*expected, lost], key=expected.index)
        assert len(octt.bench.work.of(UploadLog)) == 1

    play(scene)


def test_an_upload_that_ends_offline_is_told_later() -> None:
    async def scene(octt: Octt) -> None:
        await ask_log(octt, "SecurityLog")
        await told(octt, "Uploading")
        await asyncio.sleep(1)
        await octt.offline()
        await asyncio.sleep(60)
        await octt.online()
        await told(octt, "Uploaded")

    play(scene)


def test_after_a_restart_nothing_is_uploaded() -> None:
    """F06.FR.15: Idle, without the requestId of what the restart ended."""

    async def scene(octt: Octt) -> None:
        bench = octt.bench
        bench.work.takes_s[UploadLog] = 600.0
        await ask_log(octt, "DiagnosticsLog")
        await told(octt, "Uploading")
        await bench.power_cut()
        octt.csms.forget()
        await bench.start()
        await octt.expect("BootNotification")
        await octt.accepted("TriggerMessage", {"requestedMessage": "LogStatusNotification"})
        assert await octt.expect("LogStatusNotification") == {"status": "Idle"}
        await ask_log(octt, "DiagnosticsLog", number=2)
        await told(octt, "Uploading", number=2)
        await told(octt, "Uploaded", number=2)

    play(scene)


# --- customer information -------------------------------------------------------------------------


async def informed(octt: Octt, **flags: bool) -> str:
    """The whole text about the card's owner, from all parts."""
    flags = {"report": False, "clear": False} | flags
    octt.csms.forget()
    request = {"requestId": 9, "idToken": TOKEN} | flags
    await octt.accepted("CustomerInformation", request)
    text, number, more = "", 0, True
    while more:
        part = await octt.expect("NotifyCustomerInformation")
        assert (part["requestId"], part["seqNo"]) == (9, number)
        text, number, more = text + part["data"], number + 1, part.get("tbc", False)
    return text


async def cached(octt: Octt) -> None:
    """The station keeps the card, and is idle again."""
    for variable in (("AuthCtrlr", "LocalPreAuthorize"), ("AuthCacheCtrlr", "Enabled")):
        await octt.set_variable(*variable, "true")
    await octt.token_cached()


def test_TC_N_27_CS() -> None:
    async def scene(octt: Octt) -> None:
        await cached(octt)
        text = await informed(octt, report=True)
        assert CARD.lower() in text.lower()
        assert "Accepted" in text

    play(scene)


def test_TC_N_28_CS() -> None:
    async def scene(octt: Octt) -> None:
        await cached(octt)
        await informed(octt, clear=True)
        assert await informed(octt, report=True) == "no data found"

    play(scene)


def test_TC_N_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        await cached(octt)
        text = await informed(octt, report=True, clear=True)
        assert CARD.lower() in text.lower()
        assert await informed(octt, report=True) == "no data found"
        octt.bench.swipe(CARD)
        await octt.expect("Authorize")

    play(scene)


def test_TC_N_31_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await informed(octt, report=True, clear=True) == "no data found"

    play(scene)


def test_TC_N_32_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await informed(octt, clear=True) == "cleared"

    play(scene)


def test_what_is_not_billed_yet_is_told_and_outlives_a_clear() -> None:
    """N09.FR.05: messages that wait, one that was set aside, and the running transaction."""

    async def scene(octt: Octt) -> None:
        bench, csms = octt.bench, octt.csms
        await octt.set_variable("OCPPCommCtrlr", "MessageAttempts", "1", "TransactionEvent")
        csms.gaps_allowed = True
        csms.answer["TransactionEvent"] = lambda event: (
            Refused("FormationViolation") if event["seqNo"] == 0 else Silent()
        )
        await octt.configure(start="Authorized")
        bench.swipe(CARD.lower())
        bench.plug_in(octt.evse_id)
        await bench.until(lambda: bench.agent.status()["set_aside"] == 1)
        bench.swipe(CARD)
        await csms.wait_for("TransactionEvent", lambda event: event["eventType"] == "Ended")
        text = await informed(octt, report=True, clear=True)
        lines = text.splitlines()
        (refused,) = [line for line in lines if line.startswith("set aside (FormationViolation")]
        (waits,) = [line for line in lines if line.startswith("waiting for the CSMS: ")]
        assert "TransactionEvent Started, transaction " in refused
        assert "TransactionEvent Ended, transaction " in waits
        assert lines[-1] == "kept until it is billed: 2 transactions and messages"
        assert await informed(octt, clear=True) == f"cleared\n{lines[-1]}"
        assert bench.agent.status()["set_aside"] == 2

    play(scene)


def test_a_transaction_without_an_evse_is_told_too() -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start="Authorized")
        octt.bench.swipe(CARD)
        event = await octt.expect("TransactionEvent")
        assert "evse" not in event
        text = await informed(octt, report=True)
        assert event["transactionInfo"]["transactionId"] in text
        assert "not chosen yet" in text
        assert await informed(octt, report=True, clear=True)
        octt.bench.plug_in(octt.evse_id)
        await octt.expect("TransactionEvent")

    play(scene)
