"""Part 6, block C: authorization by card, cache, group and master pass."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest

from agent.core.events import IdToken, StartRequested
from agent.settings import Settings
from drivers.contract import SimReaderOptions
from hil.conformance import CARD, INVALID_CARD, OTHER_CARD, Octt, check_event
from hil.sim import SimBench
from hil.virtual_time import run_virtual

Payload = dict[str, Any]

MASTER_CARD = "04AA11BB"
GROUP = "FAMILY-7"
MASTER_GROUP = "POLICE-1"
MESSAGE_TIMEOUT_S = 30.0
TRANSACTION_DURATION_S = 120.0
RETRY_WAIT_S = 30
QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
STARTS = ("PowerPathClosed", "EVConnected", "Authorized")
ENDED_BY_CARD = {"Authorized", "PowerPathClosed", "EnergyTransfer"}

starts = pytest.mark.parametrize("start", STARTS)
stops = pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])


def case(scene: Callable[[Octt], Awaitable[None]], **options: Any) -> None:
    """A station that has booted plays the scene; one EVSE, so that its reader is its own."""

    async def play() -> None:
        async with SimBench(**({"evse_count": 1, "variables": QUIET} | options)) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("AuthCtrlr", "Enabled", "true")
            await octt.set_variable("AuthCtrlr", "DisableRemoteAuthorization", "false")
            await scene(octt)
            bench.csms.check()

    run_virtual(play())


# --- helpers --------------------------------------------------------------------------------------


def id_token(card: str) -> Payload:
    return {"idToken": card, "type": "ISO14443"}


def info(status: str, group: str | None = None) -> Payload:
    found: Payload = {"status": status}
    if group is not None:
        found["groupIdToken"] = {"idToken": group, "type": "Central"}
    return found


def judge(octt: Octt, book: Mapping[str, Payload], *actions: str) -> None:
    """What the CSMS says of each card, in the answers to both messages unless one is named."""

    def answer(payload: Payload) -> Payload | None:
        named = payload.get("idToken", {}).get("idToken")
        return {"idTokenInfo": book[named]} if named in book else None

    for action in actions or ("Authorize", "TransactionEvent"):
        octt.csms.answer[action] = answer


async def use_cache(octt: Octt, pre_authorize: str = "true") -> None:
    await octt.set_variable("AuthCacheCtrlr", "Enabled", "true")
    await octt.set_variable("AuthCtrlr", "LocalPreAuthorize", pre_authorize)
    await octt.set_variable("AuthCacheCtrlr", "DisablePostAuthorize", "false")


async def cached(octt: Octt, card: str, status: str = "Accepted", group: str | None = None) -> None:
    """IdTokenCached: the card was judged; when accepted, it was also used for a session."""
    judge(octt, {card: info(status, group)})
    if status == "Accepted" and group != MASTER_GROUP:
        await octt.authorized(card=card)
        await octt.energy_transfer_started()
        await octt.stop_authorized(card=card)
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
    else:
        await asked(octt, card)
        await asyncio.sleep(5)
    octt.csms.answer.clear()
    octt.csms.forget()


async def no_energy_on_invalid_id(octt: Octt) -> None:
    """MaxEnergyOnInvalidId is 0, where it is implemented."""
    found = await octt.get_variable("TxCtrlr", "MaxEnergyOnInvalidId")
    if found["attributeStatus"] == "Accepted":
        await octt.set_variable("TxCtrlr", "MaxEnergyOnInvalidId", "0")


async def asked(octt: Octt, card: str) -> None:
    """The card is presented and the CSMS is asked about it."""
    octt.bench.swipe(card)
    request = await octt.expect("Authorize")
    assert request["idToken"] == id_token(card), request


async def events(octt: Octt, *, for_s: float, reconnect: bool = False) -> list[Payload]:
    """All TransactionEvents of the next while, which may begin with a reconnect."""
    before = len(octt.csms.of("TransactionEvent"))
    if reconnect:
        await octt.online()
    await asyncio.sleep(for_s)
    octt.csms.forget()
    return octt.csms.of("TransactionEvent")[before:]


async def nothing_said(octt: Octt, *actions: str) -> None:
    """None of the messages comes within the message timeout."""
    before = [len(octt.csms.of(action)) for action in actions]
    await asyncio.sleep(MESSAGE_TIMEOUT_S)
    assert [len(octt.csms.of(action)) for action in actions] == before


async def flows(octt: Octt, evse_id: int = 1) -> bool:
    """Whether the EV is given energy, by the world's own meter."""
    before_wh = octt.bench.board.energy_wh(evse_id)
    await asyncio.sleep(5)
    return octt.bench.board.energy_wh(evse_id) > before_wh


# --- C01: local start -----------------------------------------------------------------------------


def _refused(status: str, start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        judge(octt, {INVALID_CARD: info(status)})
        await octt.ev_connected_pre_session()
        await asked(octt, INVALID_CARD)
        await nothing_said(octt, "TransactionEvent")
        assert not await flows(octt)

    case(scene)


@starts
def test_TC_C_02_CS(start: str) -> None:
    _refused("Invalid", start)


@starts
def test_TC_C_06_CS(start: str) -> None:
    _refused("Blocked", start)


@starts
def test_TC_C_07_CS(start: str) -> None:
    _refused("Expired", start)


@starts
def test_TC_C_56_CS(start: str) -> None:
    _refused("Unknown", start)


@starts
def test_TC_C_04_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.energy_transfer_started()
        await asked(octt, OTHER_CARD)
        await nothing_said(octt, "TransactionEvent")
        assert await flows(octt)

    case(scene)


# --- C12: online with the cache -------------------------------------------------------------------


@starts
def test_TC_C_08_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, CARD)
        await octt.ev_connected_pre_session()
        await octt.authorized(asks=False)
        await octt.energy_transfer_started()
        assert await flows(octt)

    case(scene)


def _cached_and_still_refused(status: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await cached(octt, INVALID_CARD, status)
        judge(octt, {INVALID_CARD: info(status)})
        await octt.ev_connected_pre_session()
        await asked(octt, INVALID_CARD)
        await nothing_said(octt, "TransactionEvent")

    case(scene)


def test_TC_C_09_CS() -> None:
    _cached_and_still_refused("Invalid")


def test_TC_C_10_CS() -> None:
    _cached_and_still_refused("Blocked")


def test_TC_C_11_CS() -> None:
    _cached_and_still_refused("Expired")


@starts
def test_TC_C_12_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, INVALID_CARD, "Invalid")
        await octt.ev_connected_pre_session()
        await octt.authorized(card=INVALID_CARD, asks=True)
        await octt.energy_transfer_started()
        assert await flows(octt)

    case(scene)


@starts
def test_TC_C_13_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.configure(start=start)
        await cached(octt, CARD)
        event = await octt.authorized(asks=False)
        assert (event is not None) == (start == "Authorized")
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()
        assert await flows(octt)

    case(scene)


def test_TC_C_57_CS() -> None:
    async def scene(octt: Octt) -> None:
        await use_cache(octt)
        await octt.set_variable("AuthCacheCtrlr", "DisablePostAuthorize", "true")
        await cached(octt, INVALID_CARD, "Invalid")
        await octt.ev_connected_pre_session()
        octt.bench.swipe(INVALID_CARD)
        await nothing_said(octt, "Authorize", "TransactionEvent")
        assert not await flows(octt)

    case(scene)


# --- C12, C15: accepted by the cache while offline, refused by the CSMS later ---------------------


async def _refused_after_offline_start(octt: Octt, offline_s: float) -> list[Payload]:
    """The events that tell of the offline start, and what follows from its refusal."""
    await use_cache(octt)
    await octt.set_variable("AuthCtrlr", "LocalAuthorizeOffline", "true")
    await octt.set_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "true")
    await cached(octt, CARD)
    await octt.ev_connected_pre_session()
    await octt.offline()
    octt.bench.swipe(CARD)
    await asyncio.sleep(offline_s)
    assert await flows(octt)
    judge(octt, {CARD: info("Invalid")})
    told = await events(octt, for_s=MESSAGE_TIMEOUT_S, reconnect=True)
    authorized = next(e for e in told if "idToken" in e)
    check_event(authorized, triggerReason="Authorized", offline=True)
    assert authorized["idToken"] == id_token(CARD)
    return told


async def _slow_retries(octt: Octt) -> None:
    await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", str(RETRY_WAIT_S + 60))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", str(RETRY_WAIT_S))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0")


def charging_offline(told: list[Payload]) -> list[Payload]:
    return [e for e in told if e["triggerReason"] == "ChargingStateChanged" and e.get("offline")]


def _stops_on_invalid_id(max_energy_wh: str, *, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(stop=stop)
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "true")
        if max_energy_wh == "0":
            await no_energy_on_invalid_id(octt)
        else:
            await octt.set_variable("TxCtrlr", "MaxEnergyOnInvalidId", max_energy_wh)
            await _slow_retries(octt)
        told = await _refused_after_offline_start(octt, 5.0)
        assert charging_offline(told)
        (stopped,) = [e for e in told if e["triggerReason"] == "Deauthorized"]
        assert stopped.get("offline", False) is False, stopped
        if stop in ENDED_BY_CARD:
            check_event(stopped, eventType="Ended", stoppedReason="DeAuthorized")
        else:
            check_event(stopped, eventType="Updated")
        assert not await flows(octt)

    case(scene)


@stops
def test_TC_C_16_CS(stop: str) -> None:
    _stops_on_invalid_id("0", stop=stop)


@stops
def test_TC_C_18_CS(stop: str) -> None:
    _stops_on_invalid_id("500", stop=stop)


def test_TC_C_17_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "false")
        await no_energy_on_invalid_id(octt)
        told = await _refused_after_offline_start(octt, 5.0)
        assert "Deauthorized" not in [e["triggerReason"] for e in told]
        check_event(
            told[-1],
            eventType="Updated",
            triggerReason="ChargingStateChanged",
            chargingState="SuspendedEVSE",
        )
        assert not await flows(octt)

    case(scene)


def test_TC_C_15_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "false")
        await octt.set_variable("TxCtrlr", "MaxEnergyOnInvalidId", "10000")
        await _slow_retries(octt)
        told = await _refused_after_offline_start(octt, TRANSACTION_DURATION_S)
        assert charging_offline(told)
        assert "Deauthorized" not in [e["triggerReason"] for e in told]
        assert "SuspendedEVSE" not in [e["transactionInfo"].get("chargingState") for e in told]
        assert await flows(octt)
        begin_wh = octt.bench.board.energy_wh(1)
        (later,) = await events(octt, for_s=7200.0)
        check_event(later, triggerReason="ChargingStateChanged", chargingState="SuspendedEVSE")
        given_wh = octt.bench.board.energy_wh(1) - begin_wh
        assert 9000 < given_wh < 10100, "after the refusal"
        assert not await flows(octt)

    case(scene)


def test_TC_C_26_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "LocalPreAuthorize", "true")
        await octt.set_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "true")
        await octt.set_variable("AuthCtrlr", "LocalAuthorizeOffline", "true")
        await no_energy_on_invalid_id(octt)
        await octt.set_variable("TxCtrlr", "StopTxOnInvalidId", "false")
        await octt.offline()
        octt.bench.swipe(CARD)
        await asyncio.sleep(2)
        octt.bench.plug_in()
        await asyncio.sleep(90)
        judge(octt, {CARD: info("Invalid")})
        told = await events(octt, for_s=MESSAGE_TIMEOUT_S, reconnect=True)
        assert octt.csms.of("StatusNotification")[-1]["connectorStatus"] == "Occupied"
        *happened_offline, suspended = told
        assert happened_offline
        assert all(e["offline"] for e in happened_offline)
        check_event(suspended, chargingState="SuspendedEVSE")
        assert not await flows(octt)
        octt.csms.answer.clear()
        octt.facts = {"EVConnected", "Authorized"}
        octt.transaction_id = suspended["transactionInfo"]["transactionId"]
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()

    case(scene)


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
