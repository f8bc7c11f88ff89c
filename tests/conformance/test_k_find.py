"""Block K of Part 6: charging profiles cleared (K10) and reported (K09)."""

from typing import Any

from hil.cases import play
from hil.cases_k import (
    DEFAULT,
    DEVIATION_S,
    PROFILE_ID,
    STATION_MAX,
    ask_profiles,
    clear,
    composite,
    install,
    limits,
    profile,
    reported,
    stamp,
    units,
)
from hil.conformance import Octt

MAX_ID, DEFAULT_ID = 61, 62
MAX_LEVEL, DEFAULT_LEVEL = 3, 4

# --- clearing -------------------------------------------------------------------------------------


def test_TC_K_05_CS() -> None:
    async def scene(octt: Octt) -> None:
        await install(octt, octt.evse_id, profile(start=stamp(octt)))
        assert await clear(octt, chargingProfileId=PROFILE_ID) == "Accepted"
        assert await ask_profiles(octt, chargingProfileId=[PROFILE_ID]) == "NoProfiles"

    play(scene)


def test_TC_K_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        await install(octt, octt.evse_id, profile(start=stamp(octt), level=1))
        await octt.energy_transfer_started()
        wanted = {"chargingProfilePurpose": DEFAULT, "stackLevel": 1}
        assert await clear(octt, chargingProfileCriteria=wanted) == "Accepted"
        assert await ask_profiles(octt, **wanted) == "NoProfiles"

    play(scene)


def test_TC_K_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        await install(octt, octt.evse_id, profile(start=stamp(octt), level=1))
        wanted = {"chargingProfilePurpose": STATION_MAX, "stackLevel": 0}
        assert await clear(octt, chargingProfileCriteria=wanted) == "Unknown"

    play(scene)


def test_TC_K_08_CS() -> None:
    async def scene(octt: Octt) -> None:
        assert await clear(octt, chargingProfileId=PROFILE_ID) == "Unknown"

    play(scene)


@units
def test_TC_K_09_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "LimitChangeSignificance", "1.0")
        start = stamp(octt)
        sent = profile(start=start, duration=400 + DEVIATION_S, unit=unit)
        await install(octt, octt.evse_id, sent)
        await octt.energy_transfer_started()
        before = await composite(octt, octt.evse_id, 300, unit)
        assert list(limits(before, start, unit)) == [(0, 6.0)]
        wanted = {"chargingProfilePurpose": DEFAULT}
        assert await clear(octt, chargingProfileCriteria=wanted) == "Accepted"
        after = await composite(octt, octt.evse_id, 300, unit)
        ((_, limit),) = limits(after, start, unit)
        assert limit > 6.0
        assert octt.transaction_id is not None
        await octt.expect_none("TransactionEvent")

    play(scene)


def test_TC_K_24_CS() -> None:
    async def scene(octt: Octt) -> None:
        for evse_id in (1, 2):
            sent = profile(PROFILE_ID + evse_id, start=stamp(octt), level=1)
            await install(octt, evse_id, sent)
        wanted = {"chargingProfilePurpose": DEFAULT, "stackLevel": 1}
        assert await clear(octt, chargingProfileCriteria=wanted) == "Accepted"
        assert await ask_profiles(octt, **wanted) == "NoProfiles"

    play(scene)


# --- reporting ------------------------------------------------------------------------------------


async def stocked(octt: Octt) -> tuple[tuple[int, Any], tuple[int, Any]]:
    """The profiles that these cases begin with, each with its place."""
    start = stamp(octt)
    of_station = profile(MAX_ID, (0, 20.0), purpose=STATION_MAX, level=MAX_LEVEL, start=start)
    of_evse = profile(DEFAULT_ID, (0, 8.0), level=DEFAULT_LEVEL, start=start)
    await install(octt, 0, of_station)
    await install(octt, octt.evse_id, of_evse)
    return (0, of_station), (octt.evse_id, of_evse)


def test_TC_K_29_CS() -> None:
    async def scene(octt: Octt) -> None:
        of_station, _ = await stocked(octt)
        assert await reported(octt, 0) == [of_station]

    play(scene)


def test_TC_K_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        _, of_evse = await stocked(octt)
        assert await reported(octt, octt.evse_id) == [of_evse]

    play(scene)


def test_TC_K_31_CS() -> None:
    async def scene(octt: Octt) -> None:
        both = await stocked(octt)
        assert await reported(octt) == [*both]

    play(scene)


def test_TC_K_32_CS() -> None:
    async def scene(octt: Octt) -> None:
        of_station, _ = await stocked(octt)
        assert await reported(octt, chargingProfileId=[MAX_ID]) == [of_station]

    play(scene)


def test_TC_K_33_CS() -> None:
    async def scene(octt: Octt) -> None:
        _, of_evse = await stocked(octt)
        assert await reported(octt, octt.evse_id, stackLevel=DEFAULT_LEVEL) == [of_evse]
        assert await ask_profiles(octt, octt.evse_id, stackLevel=MAX_LEVEL) == "NoProfiles"

    play(scene)


def test_TC_K_34_CS() -> None:
    async def scene(octt: Octt) -> None:
        _, of_evse = await stocked(octt)
        assert await reported(octt, octt.evse_id, chargingLimitSource=["CSO"]) == [of_evse]
        others = {"chargingLimitSource": ["EMS"]}
        assert await ask_profiles(octt, octt.evse_id, **others) == "NoProfiles"
        await octt.expect_none("ReportChargingProfiles")

    play(scene)


def test_TC_K_35_CS() -> None:
    async def scene(octt: Octt) -> None:
        _, of_evse = await stocked(octt)
        await octt.energy_transfer_started()
        assert await reported(octt, octt.evse_id, chargingProfilePurpose=DEFAULT) == [of_evse]

    play(scene)


def test_TC_K_36_CS() -> None:
    async def scene(octt: Octt) -> None:
        _, of_evse = await stocked(octt)
        wanted = {"chargingProfilePurpose": DEFAULT, "stackLevel": DEFAULT_LEVEL}
        assert await reported(octt, octt.evse_id, **wanted) == [of_evse]

    play(scene)
