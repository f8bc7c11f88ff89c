"""Block C of Part 6: what the cache keeps, groups, master pass (C09, C10, C11, C16)."""

import asyncio
import logging

import msgspec
import pytest

from agent.core.events import IdToken, StartRequested
from agent.settings import Settings
from drivers.contract import SimReaderOptions
from hil.cases_c import (
    ENDED_BY_CARD,
    MASTER_GROUP,
    TRANSACTION_DURATION_S,
    Payload,
    asked,
    cached,
    case,
    events,
    flows,
    id_token,
    info,
    judge,
    no_energy_on_invalid_id,
    nothing_said,
    starts,
    stops,
    use_cache,
)
from hil.conformance import CARD, INVALID_CARD, OTHER_CARD, Octt, check_event

MASTER_CARD = "04AA11BB"
GROUP = "FAMILY-7"

# --- C10, C11: what the cache keeps ---------------------------------------------------------------


@starts
def test_TC_C_32_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, CARD)
        await octt.bench.power_cut()
        await asyncio.sleep(10)
        await octt.bench.start()
        await octt.booted()
        event = await octt.authorized(asks=False)
        assert (event is not None) == (start == "Authorized")
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()

    case(scene)


@starts
def test_TC_C_33_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=True)
        await octt.energy_transfer_started()
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        await octt.ev_connected_pre_session()
        judge(octt, {CARD: info("Invalid")}, "TransactionEvent")
        await octt.authorized(asks=False)

    case(scene)


@stops
@pytest.mark.parametrize("start", ["PowerPathClosed", "EVConnected"])
def test_TC_C_34_CS(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start, stop=stop)
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "true")
        await no_energy_on_invalid_id(octt)
        await cached(octt, CARD)
        judge(octt, {CARD: info("Invalid")})
        await octt.ev_connected_pre_session()
        event = await octt.authorized(asks=False)
        assert event is not None
        check_event(event, eventType="Started" if start == "PowerPathClosed" else "Updated")
        stopped = await octt.expect_event(
            triggerReason="Deauthorized", chargingState={"EVConnected", "SuspendedEVSE"}
        )
        if stop in ENDED_BY_CARD:
            check_event(stopped, eventType="Ended", stoppedReason="DeAuthorized")
        else:
            check_event(stopped, eventType="Updated")
        assert not await flows(octt)
        octt.facts.discard("Authorized")
        octt.csms.forget()
        await octt.ev_disconnected()
        await octt.ev_connected_pre_session()
        await asked(octt, CARD)
        await nothing_said(octt, "TransactionEvent")

    case(scene)


def test_TC_C_36_CS() -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt, pre_authorize="false")
        await cached(octt, CARD)
        judge(octt, {CARD: info("Invalid")})
        await asked(octt, CARD)
        await nothing_said(octt, "TransactionEvent")

    case(scene)


@starts
def test_TC_C_37_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, CARD)
        await octt.accepted("ClearCache")
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=True)
        await octt.energy_transfer_started()

    case(scene)


def test_TC_C_38_CS() -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await cached(octt, CARD)
        await octt.set_variable("AuthCacheCtrlr", "Enabled", "false")
        answer = await octt.call("ClearCache")
        assert answer["status"] == "Rejected"

    case(scene)


def test_TC_C_46_CS() -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.set_variable("AuthCacheCtrlr", "LifeTime", str(int(TRANSACTION_DURATION_S)))
        await cached(octt, CARD)
        await octt.ev_connected_pre_session()
        await asyncio.sleep(TRANSACTION_DURATION_S)
        await octt.authorized(asks=True)

    case(scene)


def test_the_cache_tells_what_it_takes() -> None:
    async def storage(octt: Octt) -> int:
        found = await octt.get_variable("AuthCacheCtrlr", "Storage")
        return int(found["attributeValue"])

    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        assert await storage(octt) == 0
        await cached(octt, CARD)
        one = await storage(octt)
        assert one > len(CARD)
        await cached(octt, OTHER_CARD, group=GROUP)
        assert await storage(octt) > 2 * one
        await octt.accepted("ClearCache")
        assert await storage(octt) == 0

    case(scene)


# --- C09: groups ----------------------------------------------------------------------------------


async def _stopped_by(octt: Octt, card: str) -> None:
    """The next event says that the card ended the authorisation; the session goes to its end."""
    event = await octt.expect_event(triggerReason="StopAuthorized")
    assert event["idToken"] == id_token(card), event
    ends = bool(octt.stop_points & ENDED_BY_CARD)
    check_event(event, eventType="Ended" if ends else "Updated")
    octt.facts -= {"Authorized", "EnergyTransfer"}
    await octt.ev_connected_post_session()
    await octt.ev_disconnected()


@starts
@stops
def test_TC_C_39_CS(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start, stop=stop)
        judge(octt, {CARD: info("Accepted", GROUP), OTHER_CARD: info("Accepted", GROUP)})
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=True)
        await octt.energy_transfer_started()
        await asked(octt, OTHER_CARD)
        await _stopped_by(octt, OTHER_CARD)

    case(scene)


@starts
@stops
def test_TC_C_41_CS(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await cached(octt, CARD, group=GROUP)
        await cached(octt, OTHER_CARD, group=GROUP)
        await octt.configure(start=start, stop=stop)
        judge(octt, {CARD: info("Accepted", GROUP), OTHER_CARD: info("Accepted", GROUP)})
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=False)
        await octt.energy_transfer_started()
        before = len(octt.csms.of("Authorize"))
        octt.bench.swipe(OTHER_CARD)
        await _stopped_by(octt, OTHER_CARD)
        assert len(octt.csms.of("Authorize")) == before

    case(scene)


@starts
def test_TC_C_42_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        judge(octt, {CARD: info("Accepted", GROUP), INVALID_CARD: info("Invalid", GROUP)})
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=True)
        await octt.energy_transfer_started()
        await asked(octt, INVALID_CARD)
        await nothing_said(octt, "TransactionEvent")
        assert await flows(octt)

    case(scene)


@starts
def test_TC_C_44_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, CARD, group=GROUP)
        await cached(octt, INVALID_CARD, "Invalid", GROUP)
        judge(octt, {CARD: info("Accepted", GROUP), INVALID_CARD: info("Invalid", GROUP)})
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=False)
        await octt.energy_transfer_started()
        await asked(octt, INVALID_CARD)
        await nothing_said(octt, "TransactionEvent")
        assert await flows(octt)

    case(scene)


# --- C16: master pass -----------------------------------------------------------------------------


def with_keypad(settings: Settings) -> Settings:
    keypad = SimReaderOptions(token_type="KeyCode")
    return msgspec.structs.replace(settings, devices=settings.devices | {"keypad": keypad})


async def master_pass(octt: Octt) -> None:
    await octt.set_variable("AuthCtrlr", "MasterPassGroupId", MASTER_GROUP)
    judge(octt, {MASTER_CARD: info("Accepted", MASTER_GROUP)})


async def charging_everywhere(octt: Octt, stop: str) -> list[Octt]:
    """EnergyTransferStarted at both EVSEs, each by a card of its own."""
    await octt.configure(stop=stop)
    both = [octt, Octt(octt.bench, evse_id=2)]
    for each, card in zip(both, (CARD, OTHER_CARD), strict=True):
        each.stop_points = octt.stop_points
        await each.ev_connected_pre_session()
        await each.authorized(card=card)
        await each.energy_transfer_started()
    return both


def check_stopped(told: list[Payload], octt: Octt) -> None:
    """The session of `octt` was ended by the master pass, as far as TxStopPoint lets it."""
    own = [e for e in told if e["transactionInfo"]["transactionId"] == octt.transaction_id]
    named = [e for e in own if "idToken" in e]
    assert len(named) <= 1, "once per stopped transaction"
    assert all(e["idToken"] == id_token(MASTER_CARD) for e in named)
    check_event(own[0], triggerReason="StopAuthorized")
    if octt.stop_points & ENDED_BY_CARD:
        check_event(own[-1], eventType="Ended", stoppedReason="MasterPass")
        octt.transaction_id = None
    else:
        assert all(e["eventType"] == "Updated" for e in own), own
        check_event(own[-1], triggerReason="ChargingStateChanged", chargingState="EVConnected")
    octt.facts -= {"Authorized", "EnergyTransfer"}


async def unplugged(octt: Octt) -> None:
    is_running = octt.transaction_id is not None
    event = await octt.ev_disconnected()
    if is_running:
        assert event is not None
        check_event(event, eventType="Ended", stoppedReason="MasterPass")
        assert event.get("idToken", id_token(MASTER_CARD)) == id_token(MASTER_CARD), event


@stops
def test_TC_C_14_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(stop=stop)
        await octt.set_variable("AuthCtrlr", "MasterPassGroupId", MASTER_GROUP)
        await cached(octt, MASTER_CARD, group=MASTER_GROUP)
        await octt.energy_transfer_started()
        octt.bench.swipe(MASTER_CARD)
        told = await events(octt, for_s=20)
        check_stopped(told, octt)
        assert told[0]["idToken"] == id_token(MASTER_CARD)
        await unplugged(octt)
        assert MASTER_CARD not in [a["idToken"]["idToken"] for a in octt.csms.of("Authorize")][1:]

    case(scene)


@pytest.mark.parametrize("start", ["Authorized", "PowerPathClosed"])
def test_TC_C_45_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await master_pass(octt)
        await asked(octt, MASTER_CARD)
        await asyncio.sleep(1)
        await octt.ev_connected_pre_session()
        await nothing_said(octt, "TransactionEvent")
        assert not await flows(octt)

    case(scene)


@stops
def test_TC_C_47_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        both = await charging_everywhere(octt, stop)
        await master_pass(octt)
        await asked(octt, MASTER_CARD)
        await nothing_said(octt, "TransactionEvent")
        octt.bench.board.swipe("keypad", "0", "KeyCode")
        told = await events(octt, for_s=20)
        for each in both:
            check_stopped(told, each)
            assert not await flows(octt, each.evse_id)
            await unplugged(each)

    case(scene, evse_count=2, change=with_keypad)


@stops
def test_TC_C_48_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        chosen, other = await charging_everywhere(octt, stop)
        await master_pass(octt)
        await asked(octt, MASTER_CARD)
        await asyncio.sleep(10)
        octt.bench.board.swipe("keypad", "1", "KeyCode")
        told = await events(octt, for_s=20)
        check_stopped(told, chosen)
        assert {e["transactionInfo"]["transactionId"] for e in told} != {other.transaction_id}
        await unplugged(chosen)
        assert await flows(octt, other.evse_id)

    case(scene, evse_count=2, change=with_keypad)


@stops
def test_TC_C_49_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        both = await charging_everywhere(octt, stop)
        await master_pass(octt)
        await asked(octt, MASTER_CARD)
        told = await events(octt, for_s=20)
        for each in both:
            check_stopped(told, each)
            assert not await flows(octt, each.evse_id)
            await unplugged(each)

    case(scene, evse_count=2)


def test_a_typed_code_stands_in_no_log_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    """C04.FR.04: accepted, refused, remotely, for a place that is not there, and offline."""
    caplog.set_level(logging.DEBUG)
    code = "70417041"

    async def scene(octt: Octt) -> None:
        for status in ("Invalid", "Accepted"):
            judge(octt, {code: info(status)})
            octt.bench.board.swipe("keypad", code, "KeyCode")
            assert (await octt.expect("Authorize"))["idToken"]["type"] == "KeyCode"
            await asyncio.sleep(1.0)
        octt.bench.plug_in()
        await octt.expect_event(eventType="Started")
        octt.bench.board.swipe("keypad", code, "KeyCode")
        await octt.expect_event(eventType="Ended")
        token = {"idToken": code, "type": "KeyCode"}
        request = {"idToken": token, "remoteStartId": 1, "evseId": 9}
        await octt.call("RequestStartTransaction", request)
        await octt.csms.send_text(f'[2,"x","Authorize",{{"idToken":{{"idToken":"{code}"}}}}]')
        await octt.csms.send_text(f'[2,"y","RequestStartTransaction",{{"idToken":"{code}"}}]')
        await octt.csms.send_text(f'[3,"z",{{"idToken":"{code}"}}]')
        await octt.csms.send_text(f'{{"idToken":"{code}"')
        await octt.bench.network.drop()
        octt.bench.board.swipe("keypad", code, "KeyCode")
        await asyncio.sleep(5.0)
        assert code not in str(octt.bench.agent.status())

    case(scene, change=with_keypad)
    assert code not in caplog.text
    assert code not in repr(StartRequested(9, IdToken(code, "KeyCode"), None, 1))
