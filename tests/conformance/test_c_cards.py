"""Block C of Part 6: cards, online, by the cache, and refused later (C01, C12, C15)."""

import asyncio

from hil.cases_c import (
    ENDED_BY_CARD,
    MESSAGE_TIMEOUT_S,
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

RETRY_WAIT_S = 30

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
