"""What the conformance cases of block K share: profiles, reports and composite schedules."""

from collections.abc import Iterator
from typing import Any

import pytest

from hil.cases_b import at_s
from hil.conformance import Octt, iso

Payload = dict[str, Any]

MULTIPLIER = {"A": 1, "W": 690}
"""Of each limit of a case: A per phase, or W of three phases at 230 V (erratum 2025-02)."""
PHASES = 3
DEVIATION_S = 5
"""The tool's "Configured max time deviation"."""
PROFILE_ID = 51
REQUEST_ID = 4242
DEFAULT = "TxDefaultProfile"
STATION_MAX = "ChargingStationMaxProfile"
TX = "TxProfile"

units = pytest.mark.parametrize("unit", MULTIPLIER)


def stamp(octt: Octt, offset_s: int = 0) -> str:
    """A whole second, so long from now."""
    return iso(int(octt.bench.utc_s()) + offset_s)


def profile(
    profile_id: int = PROFILE_ID,
    *periods: tuple[int, float],
    purpose: str = DEFAULT,
    kind: str = "Absolute",
    level: int = 0,
    unit: str = "A",
    start: str | None = None,
    duration: int | None = None,
    **more: Any,
) -> Payload:
    """A ChargingProfileType; `periods` are (startPeriod, limit before it is multiplied)."""
    schedule: Payload = {
        "id": 1,
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [
            {"startPeriod": begin, "limit": limit * MULTIPLIER[unit], "numberPhases": PHASES}
            for begin, limit in periods or ((0, 6.0),)
        ],
    }
    if start is not None:
        schedule["startSchedule"] = start
    if duration is not None:
        schedule["duration"] = duration
    return {
        "id": profile_id,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **more,
    }


async def install(octt: Octt, evse_id: int, sent: Payload, status: str = "Accepted") -> None:
    """SetChargingProfile, answered with the status."""
    request = {"evseId": evse_id, "chargingProfile": sent}
    answer = await octt.call("SetChargingProfile", request)
    assert answer["status"] == status, answer


async def clear(octt: Octt, **wanted: Any) -> str:
    """Status of ClearChargingProfile."""
    return str((await octt.call("ClearChargingProfile", wanted))["status"])


async def ask_profiles(octt: Octt, evse_id: int | None = None, **criteria: Any) -> str:
    """Status of GetChargingProfiles."""
    request: Payload = {"requestId": REQUEST_ID, "chargingProfile": criteria}
    if evse_id is not None:
        request["evseId"] = evse_id
    return str((await octt.call("GetChargingProfiles", request))["status"])


async def reported(
    octt: Octt, evse_id: int | None = None, **criteria: Any
) -> list[tuple[int, Payload]]:
    """(evse_id, profile) of all parts of the report that GetChargingProfiles leads to."""
    octt.csms.forget()
    assert await ask_profiles(octt, evse_id, **criteria) == "Accepted"
    found: list[tuple[int, Payload]] = []
    more = True
    while more:
        part = await octt.expect("ReportChargingProfiles")
        assert part["requestId"] == REQUEST_ID, part
        assert part["chargingLimitSource"] == "CSO", part
        more = part.get("tbc", False)
        found += [(part["evseId"], each) for each in part["chargingProfile"]]
    await octt.expect_none("ReportChargingProfiles")
    return found


async def composite(octt: Octt, evse_id: int, duration: int, unit: str = "A") -> Payload:
    """The schedule of GetCompositeSchedule; what is asked for is checked."""
    now_s = octt.bench.utc_s()
    request = {"evseId": evse_id, "duration": duration, "chargingRateUnit": unit}
    answer = await octt.accepted("GetCompositeSchedule", request)
    schedule: Payload = answer["schedule"]
    assert schedule["evseId"] == evse_id
    assert schedule["duration"] == duration
    assert schedule["chargingRateUnit"] == unit
    assert abs(at_s(schedule["scheduleStart"]) - now_s) <= DEVIATION_S
    assert schedule["chargingSchedulePeriod"][0]["startPeriod"] == 0
    return schedule


def limits(schedule: Payload, since: str, unit: str = "A") -> Iterator[tuple[int, float]]:
    """(seconds after `since`, limit as in the profiles) of each period; the first one says 0."""
    x_s = round(at_s(schedule["scheduleStart"]) - at_s(since))
    for period in schedule["chargingSchedulePeriod"]:
        begin = period["startPeriod"]
        yield begin and begin + x_s, period["limit"] / MULTIPLIER[unit]
