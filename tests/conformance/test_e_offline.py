"""Block E of Part 6: GetTransactionStatus, offline, and messages that are not taken."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from hil.cases_e import DURATION_S, play
from hil.conformance import CARD, OTHER_CARD, Octt, Payload
from hil.parts.csms import Delayed, Refused, Silent

SAMPLES_S = 10
"""<Configured transaction updated meter values interval>"""
BACK_OFF_S = 30
"""<Configured RetryBackOffWaitMinimum duration>"""
GROUP = {"idToken": "GROUP-1", "type": "Central"}


async def until_ended(octt: Octt) -> list[Payload]:
    """All further events (periodic ones, too) up to the end of the transaction."""
    events: list[Payload] = []
    while not events or events[-1]["eventType"] != "Ended":
        events.append(await octt.expect("TransactionEvent"))
    return events


# --- GetTransactionStatus ------------------------------------------------------------


async def offline_setup(octt: Octt, wait_s: float = BACK_OFF_S) -> None:
    """Configuration of the cases that lose their link."""
    await octt.set_variable("SampledDataCtrlr", "TxUpdatedInterval", str(SAMPLES_S))
    await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", str(int(wait_s) + 60))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", str(int(wait_s)))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0")


async def offline_for(octt: Octt, duration_s: float = BACK_OFF_S) -> None:
    """The link is closed, nothing accepted for a while; then it is back, with slow answers."""
    await asyncio.sleep(1.0)
    await octt.offline()
    octt.csms.forget()
    await asyncio.sleep(duration_s)
    octt.csms.answer["TransactionEvent"] = Delayed(0.5)
    await octt.online()


async def check_status(octt: Octt, transaction_id: str | None, **wanted: bool) -> None:
    payload = {} if transaction_id is None else {"transactionId": transaction_id}
    assert await octt.call("GetTransactionStatus", payload) == wanted


async def queue_of_samples(octt: Octt) -> None:
    """What was measured offline comes, marked as such."""
    for _ in range(2):
        event = await octt.expect("TransactionEvent")
        assert event["eventType"] == "Updated"
        assert event["meterValue"]
        assert event["offline"] is True


def test_TC_E_28_CS() -> None:
    async def scene(octt: Octt) -> None:
        unknown = "2f1c8e0a-0000-4000-8000-000000000000"
        await check_status(octt, unknown, ongoingIndicator=False, messagesInQueue=False)

    play(scene)


def test_TC_E_29_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        running = octt.transaction_id
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=True)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        running = octt.transaction_id
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=False)

    play(scene)


async def offline_until(octt: Octt, *acts: Callable[[], None]) -> None:
    """The link is closed; somebody does something at the charger; the link is back."""
    await asyncio.sleep(1.0)
    await octt.offline()
    octt.csms.forget()
    for act in acts:
        act()
        await asyncio.sleep(2.0)
    await asyncio.sleep(DURATION_S)
    octt.csms.answer["TransactionEvent"] = Delayed(0.5)
    await octt.online()


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected", "EnergyTransfer"])
def test_TC_E_31_CS(stop: str, remote: bool) -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt, BACK_OFF_S + DURATION_S)
        await (octt.authorized_remotely() if remote else octt.authorized())
        await octt.energy_transfer_started()
        running, bench = octt.transaction_id, octt.bench
        by_card, by_ev = lambda: bench.swipe(CARD), lambda: bench.board.ev_state(1, 1, "B")
        await offline_until(octt, by_ev if remote else by_card, bench.plug_out)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=True)
        events = await until_ended(octt)
        told = [(e["triggerReason"], e["transactionInfo"].get("chargingState")) for e in events]
        first = "ChargingStateChanged" if remote else "StopAuthorized"
        assert first in {trigger for trigger, _ in told}
        if stop == "EVConnected" or (remote and stop == "PowerPathClosed"):
            assert told[-1] == ("EVCommunicationLost", "Idle")
            assert not remote or ("ChargingStateChanged", "SuspendedEV") in told
        else:
            assert told[-1][0] == first
        assert all(e["offline"] is True for e in events)
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=False)

    play(scene, stop=stop)


def test_TC_E_32_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        running = octt.transaction_id
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        await asyncio.sleep(1.0)
        await check_status(octt, running, ongoingIndicator=False, messagesInQueue=False)

    play(scene)


def test_TC_E_33_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        await check_status(octt, None, messagesInQueue=True)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_34_CS() -> None:
    async def scene(octt: Octt) -> None:
        await check_status(octt, None, messagesInQueue=False)

    play(scene)


def test_what_waits_of_another_transaction_does_not_count() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        ended = octt.transaction_id
        await octt.stop_authorized()
        await octt.ev_disconnected()
        octt.facts.clear()
        await octt.energy_transfer_started(asks=True)
        await offline_setup(octt)
        await offline_for(octt)
        await check_status(octt, ended, ongoingIndicator=False, messagesInQueue=False)
        running = octt.transaction_id
        await check_status(octt, running, ongoingIndicator=True, messagesInQueue=True)

    play(scene)


# --- offline ------------------------------------------------------------


def test_TC_E_40_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await offline_for(octt)
        await queue_of_samples(octt)

    play(scene)


def test_TC_E_43_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.token_cached()
        await octt.offline()
        octt.csms.forget()
        octt.bench.plug_in()
        octt.bench.swipe(CARD)
        await asyncio.sleep(DURATION_S)
        octt.bench.swipe(CARD)
        await asyncio.sleep(2.0)
        octt.bench.plug_out()
        await asyncio.sleep(DURATION_S)
        await octt.online()
        events = await until_ended(octt)
        assert events[0]["eventType"] == "Started"
        assert all(e["offline"] is True for e in events)

    play(scene)


async def stopped_while_offline(octt: Octt, card: str) -> None:
    """The card stops the charge offline; afterwards everything comes, marked as such."""
    await octt.offline()
    octt.csms.forget()
    octt.bench.swipe(card)
    await asyncio.sleep(2.0)
    octt.bench.plug_out()
    await asyncio.sleep(BACK_OFF_S)
    await octt.online()
    events = await until_ended(octt)
    assert all(e["offline"] is True for e in events)
    assert {e["idToken"]["idToken"] for e in events if "idToken" in e} == {card}


def test_TC_E_44_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        await octt.energy_transfer_started()
        await stopped_while_offline(octt, CARD)

    play(scene)


def test_TC_E_45_CS() -> None:
    async def scene(octt: Octt) -> None:
        await offline_setup(octt)
        of_group = {"idTokenInfo": {"status": "Accepted", "groupIdToken": GROUP}}
        octt.csms.answer["Authorize"] = of_group
        octt.csms.answer["TransactionEvent"] = lambda p: of_group if "idToken" in p else None
        octt.bench.swipe(OTHER_CARD)
        await octt.expect("Authorize")
        await asyncio.sleep(90)
        await octt.energy_transfer_started()
        await stopped_while_offline(octt, OTHER_CARD)

    play(scene)


# --- messages that are not taken ------------------------------------------------------------


ATTEMPTS = 3
INTERVAL_S = 10
MESSAGE_TIMEOUT_S = 30.0


async def failing_event(octt: Octt, answer: Any) -> tuple[list[float], list[Payload]]:
    """Start until charging; the event about it meets `answer`. Times and payloads of its sends."""
    await octt.set_variable("OCPPCommCtrlr", "MessageAttempts", str(ATTEMPTS), "TransactionEvent")
    interval = str(INTERVAL_S)
    await octt.set_variable("OCPPCommCtrlr", "MessageAttemptInterval", interval, "TransactionEvent")
    await octt.authorized()
    octt.csms.answer["TransactionEvent"] = lambda p: answer(p) if is_charging(p) else None
    await octt.ev_connected_pre_session()
    await asyncio.sleep(ATTEMPTS * (MESSAGE_TIMEOUT_S + INTERVAL_S * ATTEMPTS) + 60)
    sent = [c for c in octt.csms.calls if c.action == "TransactionEvent" and is_charging(c.payload)]
    assert len({c.message_id for c in sent}) == 1
    return [c.at_s for c in sent], [c.payload for c in sent]


def is_charging(payload: Payload) -> bool:
    return bool(payload["transactionInfo"].get("chargingState") == "Charging")


def intervals(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def first_time_only(answer: Any) -> Callable[[Payload], Any]:
    """That answer to the first request, the usual one to the second."""
    left = [answer]
    return lambda payload: left.pop() if left else None


def test_TC_E_41_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, lambda p: Silent())
        wanted = [INTERVAL_S * n + MESSAGE_TIMEOUT_S for n in range(1, ATTEMPTS)]
        assert intervals(times) == pytest.approx(wanted, abs=1.0)

    play(scene)


def test_TC_E_42_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, first_time_only(Silent()))
        assert intervals(times) == pytest.approx([INTERVAL_S + MESSAGE_TIMEOUT_S], abs=1.0)

    play(scene)


def test_TC_E_50_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, lambda p: Refused("InternalError"))
        wanted = [INTERVAL_S * n for n in range(1, ATTEMPTS)]
        assert intervals(times) == pytest.approx(wanted, abs=1.0)

    play(scene)


def test_TC_E_51_CS() -> None:
    async def scene(octt: Octt) -> None:
        times, _ = await failing_event(octt, first_time_only(Refused("InternalError")))
        assert intervals(times) == pytest.approx([INTERVAL_S], abs=1.0)

    play(scene)
