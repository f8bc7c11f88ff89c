"""Block K of Part 6: charging profiles set by the CSMS (K01), and with a remote start (K05)."""

import asyncio
from typing import Any

import pytest

from hil.cases import play
from hil.cases_k import (
    DEFAULT,
    PROFILE_ID,
    STATION_MAX,
    TX,
    install,
    profile,
    reported,
    stamp,
    units,
)
from hil.conformance import OTHER_CARD, Octt
from hil.parts.csms import StationError

DURATION_S = 300

starts = pytest.mark.parametrize("start", ["PowerPathClosed", "EVConnected", "Authorized"])


async def installed(octt: Octt, evse_id: int, sent: dict[str, Any]) -> None:
    """Accepted, and reported as it was sent, at its place."""
    await install(octt, evse_id, sent)
    assert await reported(octt, chargingProfileId=[sent["id"]]) == [(evse_id, sent)]


def offered_a(octt: Octt) -> float:
    return octt.bench.board.connector(octt.evse_id, octt.connector_id).offered_a


# --- where it belongs -----------------------------------------------------------------------------


@units
def test_TC_K_01_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(start=stamp(octt), duration=DURATION_S, unit=unit)
        await installed(octt, octt.evse_id, sent)

    play(scene)


def test_TC_K_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(purpose=TX, start=stamp(octt), transactionId="UNKNOWN-TRANSACTION-ID")
        await install(octt, octt.evse_id, sent, "Rejected")

    play(scene)


@units
def test_TC_K_03_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(purpose=STATION_MAX, start=stamp(octt), duration=DURATION_S, unit=unit)
        await installed(octt, 0, sent)

    play(scene)


@units
def test_TC_K_04_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        await install(octt, octt.evse_id, profile(start=stamp(octt), unit=unit))
        sent = profile(PROFILE_ID, (0, 10.0), start=stamp(octt), unit=unit)
        await installed(octt, octt.evse_id, sent)

    play(scene)


@units
def test_TC_K_10_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(start=stamp(octt), duration=DURATION_S, unit=unit)
        await installed(octt, 0, sent)
        assert octt.csms.of("ReportChargingProfiles")[-1]["tbc"] is False

    play(scene)


def test_TC_K_11_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        sent = profile(purpose=TX, start=stamp(octt), transactionId=octt.transaction_id)
        await install(octt, 0, sent, "Rejected")

    play(scene)


@units
def test_TC_K_13_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(start=stamp(octt), duration=DURATION_S, unit=unit)
        await install(octt, octt.evse_id, sent)
        await octt.bench.power_cut()
        await asyncio.sleep(10)
        await octt.bench.start()
        await octt.booted()
        found = await reported(octt, chargingProfileId=[PROFILE_ID])
        assert found == [(octt.evse_id, sent)]

    play(scene)


def test_TC_K_14_CS() -> None:
    async def scene(octt: Octt) -> None:
        unknown = len(octt.bench.settings.evses) + 1
        await install(octt, unknown, profile(start=stamp(octt)), "Rejected")

    play(scene)


def test_TC_K_15_CS() -> None:
    """The station can be told to be one without smart charging."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "Enabled", "false")
        with pytest.raises(StationError) as refused:
            await install(octt, octt.evse_id, profile(start=stamp(octt)))
        assert refused.value.code == "NotSupported"

    play(scene)


def test_TC_K_16_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        sent = profile(purpose=TX, start=stamp(octt), transactionId="UNKNOWN-TRANSACTION-ID")
        await install(octt, octt.evse_id, sent, "Rejected")

    play(scene)


@pytest.mark.parametrize("recurrency", ["Daily", "Weekly"])
def test_TC_K_19_CS(recurrency: str) -> None:
    async def scene(octt: Octt) -> None:
        sent = profile(kind="Recurring", recurrencyKind=recurrency, start=stamp(octt))
        await installed(octt, octt.evse_id, sent)

    play(scene)


# --- with a transaction ---------------------------------------------------------------------------


@units
def test_TC_K_60_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        own = {"purpose": TX, "transactionId": octt.transaction_id}
        await installed(octt, octt.evse_id, profile(kind="Relative", unit=unit, **own))
        assert offered_a(octt) == 6.0

    play(scene)


@starts
@units
def test_TC_K_37_CS(unit: str, start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.ev_connected_pre_session()
        sent = profile(purpose=TX, kind="Relative", unit=unit)
        await octt.authorized_remotely(chargingProfile=sent)
        await octt.energy_transfer_started()
        bound = sent | {"transactionId": octt.transaction_id}
        found = await reported(octt, chargingProfileId=[PROFILE_ID])
        assert found == [(octt.evse_id, bound)]
        assert offered_a(octt) == 6.0

    play(scene)


def test_the_profile_of_a_start_that_lapses_is_nobodys() -> None:
    """F01.FR.10: it is for the transaction of that start, so not for whoever comes next."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", "30")
        sent = profile(purpose=TX, kind="Relative")
        await octt.authorized_remotely(chargingProfile=sent)
        request = {"evseId": octt.evse_id, "duration": 60, "chargingRateUnit": "A"}
        for limit, wait_s in ((6.0, 40), (32.0, 0)):
            answer = await octt.accepted("GetCompositeSchedule", request)
            (period,) = answer["schedule"]["chargingSchedulePeriod"]
            assert period["limit"] == limit
            await asyncio.sleep(wait_s)

    play(scene)


@pytest.mark.parametrize("purpose", [DEFAULT, STATION_MAX])
def test_the_profile_of_a_start_is_of_its_transaction_only(purpose: str) -> None:
    """F01.FR.09, FR.26."""

    async def scene(octt: Octt) -> None:
        request = {
            "idToken": {"idToken": "04A1B2C3", "type": "ISO14443"},
            "remoteStartId": 37,
            "evseId": octt.evse_id,
            "chargingProfile": profile(purpose=purpose, start=stamp(octt)),
        }
        answer = await octt.call("RequestStartTransaction", request)
        assert answer["status"] == "Rejected"
        assert answer["statusInfo"]["reasonCode"] == "InvalidProfile"

    play(scene)


def test_a_relative_profile_begins_when_driver_and_ev_are_there() -> None:
    """K01.FR.42, where the transaction begins with the plug."""

    async def scene(octt: Octt) -> None:
        await octt.configure(start="EVConnected")
        await install(
            octt, octt.evse_id, profile(PROFILE_ID, (0, 6.0), (600, 16.0), kind="Relative")
        )
        await octt.ev_connected_pre_session()
        await asyncio.sleep(900)
        await octt.energy_transfer_started()
        assert offered_a(octt) == 6.0
        await asyncio.sleep(610)
        assert offered_a(octt) == 16.0

    play(scene)


def test_the_profile_of_a_start_that_is_refused_does_not_bind_the_transaction_that_runs() -> None:
    """F01.FR.10: the plug began it, the CSMS refuses the start's token, a driver has a card."""

    async def scene(octt: Octt) -> None:
        await octt.configure(start="EVConnected")
        await octt.set_variable("AuthCtrlr", "AuthorizeRemoteStart", "true")
        await octt.ev_connected_pre_session()
        octt.csms.answer["Authorize"] = {"idTokenInfo": {"status": "Blocked"}}
        request = {
            "idToken": {"idToken": OTHER_CARD, "type": "ISO14443"},
            "remoteStartId": 37,
            "evseId": octt.evse_id,
            "chargingProfile": profile(purpose=TX, kind="Relative"),
        }
        await octt.accepted("RequestStartTransaction", request)
        await octt.expect("Authorize")
        await asyncio.sleep(5)
        octt.csms.answer.clear()
        await octt.authorized()
        await octt.energy_transfer_started()
        assert offered_a(octt) > 6.0

    play(scene)
