"""K11 to K13: what a local energy manager allows, as the CSMS hears of it and asks for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.local_limit import limited
from agent.settings import EnergyManager
from hil.conformance import Octt
from hil.parts.csms import Refused, Silent
from hil.sim import SimBench
from hil.virtual_time import run_virtual

MANAGER = EnergyManager(silent_s=3600, failsafe_a=8.0)
EMS: dict[str, Any] = {"chargingLimitSource": "EMS"}
PURPOSE = "ChargingStationExternalConstraints"


def case(scene: Callable[[Octt], Awaitable[None]]) -> None:
    """Booted, and the fail-safe current of the start was told."""

    async def play() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            octt = Octt(bench)
            await octt.booted()
            assert await octt.expect("NotifyChargingLimit") == {"chargingLimit": EMS}
            await scene(octt)
            bench.csms.check()

    run_virtual(play())


def say(octt: Octt, limit_a: float | None, evse_id: int = 0) -> None:
    agent = octt.bench.agent
    request = {"cmd": "limit", "limit_a": limit_a, "evse_id": evse_id}
    limited(agent.view.station, agent.runtime.post, request)


def count(octt: Octt, action: str) -> int:
    return len([call for call in octt.csms.calls if call.action == action])


# --- told ---------------------------------------------------------------------------------------


def test_a_limit_is_told_and_its_end() -> None:
    async def scene(octt: Octt) -> None:
        say(octt, 16.0)
        assert await octt.expect("NotifyChargingLimit") == {"chargingLimit": EMS}
        say(octt, 12.0, 2)
        assert await octt.expect("NotifyChargingLimit") == {"chargingLimit": EMS, "evseId": 2}
        say(octt, None)
        assert await octt.expect("ClearedChargingLimit") == EMS
        say(octt, None, 2)
        assert await octt.expect("ClearedChargingLimit") == EMS | {"evseId": 2}
        await octt.expect_none("NotifyChargingLimit", for_s=600.0)

    case(scene)


def test_what_changed_by_less_than_its_significance_is_not_told() -> None:
    """K11.FR.02, K12.FR.02: more than LimitChangeSignificance of what was told last."""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "LimitChangeSignificance", "20.0")
        say(octt, 10.0)
        await octt.expect("NotifyChargingLimit")
        for limit_a in (11.0, 9.0, 12.0, 8.0):
            say(octt, limit_a)
            await octt.expect_none("NotifyChargingLimit")
        say(octt, 12.1)
        await octt.expect("NotifyChargingLimit")

    case(scene)


def test_a_charge_whose_rate_changes_is_told_by_significance() -> None:
    async def scene(octt: Octt) -> None:
        say(octt, None)
        await octt.energy_transfer_started()
        say(octt, 20.0)
        await octt.expect_event(
            eventType="Updated", triggerReason="ChargingRateChanged", chargingState="Charging"
        )
        await octt.set_variable("SmartChargingCtrlr", "LimitChangeSignificance", "50.0")
        say(octt, 12.0)
        say(octt, 10.0)
        await octt.expect_none("TransactionEvent")
        say(octt, 9.9)
        await octt.expect_event(eventType="Updated", triggerReason="ChargingRateChanged")

    async def play() -> None:
        quiet = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
        async with SimBench(energy_manager=MANAGER, variables=quiet) as bench:
            octt = Octt(bench)
            await octt.booted()
            await scene(octt)
            bench.csms.check()

    run_virtual(play())


def test_schedules_are_told_where_they_are_wanted() -> None:
    """K11.FR.03, K12.FR.03"""

    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "NotifyChargingLimitWithSchedules", "true")
        say(octt, 10.19, 1)
        told = await octt.expect("NotifyChargingLimit")
        (schedule,) = told["chargingSchedule"]
        assert schedule["chargingRateUnit"] == "A"
        (period,) = schedule["chargingSchedulePeriod"]
        assert period == {"startPeriod": 0, "limit": 10.1, "numberPhases": 3}

    case(scene)


def test_what_changed_while_offline_is_told_at_the_next_link() -> None:
    async def scene(octt: Octt) -> None:
        say(octt, 16.0)
        await octt.expect("NotifyChargingLimit")
        await octt.offline()
        say(octt, 10.0)
        say(octt, None)
        say(octt, 12.0, 1)
        await octt.online()
        assert await octt.expect("ClearedChargingLimit") == EMS
        assert await octt.expect("NotifyChargingLimit") == {"chargingLimit": EMS, "evseId": 1}
        await asyncio.sleep(5)
        await octt.offline()
        await octt.online()
        await octt.expect_none("NotifyChargingLimit", for_s=120.0)

    case(scene)


def test_what_was_lost_with_the_link_is_told_again() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["NotifyChargingLimit"] = Silent()
        say(octt, 16.0)
        await octt.expect("NotifyChargingLimit")
        await octt.offline()
        del octt.csms.answer["NotifyChargingLimit"]
        await octt.online()
        assert await octt.expect("NotifyChargingLimit") == {"chargingLimit": EMS}

    case(scene)


def test_a_csms_that_refuses_is_not_asked_again_for_the_same() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["NotifyChargingLimit"] = Refused("NotSupported")
        say(octt, 16.0)
        await octt.expect("NotifyChargingLimit")
        await octt.expect_none("NotifyChargingLimit", for_s=600.0)
        say(octt, 10.0)
        await octt.expect("NotifyChargingLimit")

    case(scene)


def test_a_manager_that_changes_its_mind_all_the_time_is_told_as_often_as_the_csms_answers() -> (
    None
):
    async def scene(octt: Octt) -> None:
        octt.csms.answer["NotifyChargingLimit"] = Silent()
        before = count(octt, "NotifyChargingLimit")
        for number in range(200):
            say(octt, 10.0 + number % 7)
            await asyncio.sleep(0.05)
        del octt.csms.answer["NotifyChargingLimit"]
        await asyncio.sleep(120)
        say(octt, 30.0)
        await asyncio.sleep(5)
        assert count(octt, "NotifyChargingLimit") == before + 2

    case(scene)


def test_what_changed_while_the_csms_thought_follows_its_answer() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "NotifyChargingLimitWithSchedules", "true")
        for limit_a in (16.0, 12.0, 10.0):
            say(octt, limit_a)
        told = [await octt.expect("NotifyChargingLimit") for _ in range(2)]
        schedules = [message["chargingSchedule"][0] for message in told]
        limits = [schedule["chargingSchedulePeriod"][0]["limit"] for schedule in schedules]
        assert limits == [16.0, 10.0]
        await octt.expect_none("NotifyChargingLimit")

    case(scene)


# --- asked --------------------------------------------------------------------------------------


async def reported(octt: Octt, **wanted: Any) -> list[dict[str, Any]]:
    evse = {"evseId": wanted.pop("evse_id")} if "evse_id" in wanted else {}
    request = {"requestId": 5, "chargingProfile": wanted} | evse
    answer = await octt.call("GetChargingProfiles", request)
    if answer["status"] == "NoProfiles":
        return []
    found: list[dict[str, Any]] = []
    more = True
    while more:
        report = await octt.expect("ReportChargingProfiles")
        found.append(report)
        more = report["tbc"]
    return found


def tx_default(profile_id: int, limit_a: float) -> dict[str, Any]:
    schedule = {
        "id": 1,
        "startSchedule": "2026-01-01T00:00:00Z",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit_a}],
    }
    profile = {
        "id": profile_id,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule],
    }
    return {"evseId": 1, "chargingProfile": profile}


def test_limits_are_reported_as_profiles_of_their_own_source() -> None:
    """K09, K11.FR.06, K12.FR.05"""

    async def scene(octt: Octt) -> None:
        await octt.accepted("SetChargingProfile", tx_default(1, 20.0))
        say(octt, 16.0)
        say(octt, 10.0, 1)
        await asyncio.sleep(1)
        reports = await reported(octt, stackLevel=0)
        seen = [
            (r["evseId"], r["chargingLimitSource"], [p["id"] for p in r["chargingProfile"]])
            for r in reports
        ]
        assert seen == [(0, "EMS", [-1]), (1, "CSO", [1]), (1, "EMS", [-2])]
        (station,) = await reported(octt, chargingProfilePurpose=PURPOSE, evse_id=0)
        (profile,) = station["chargingProfile"]
        assert profile["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 16.0
        (cso,) = await reported(octt, chargingLimitSource=["CSO"])
        assert cso["chargingLimitSource"] == "CSO"
        (ems,) = await reported(octt, chargingLimitSource=["EMS"], evse_id=1)
        assert [p["id"] for p in ems["chargingProfile"]] == [-2]
        assert await reported(octt, chargingLimitSource=["SO"]) == []
        say(octt, None)
        await asyncio.sleep(1)
        assert await reported(octt, chargingProfileId=[-1]) == []

    case(scene)


@pytest.mark.parametrize("criteria", [{"chargingProfilePurpose": PURPOSE}, {"evseId": 0}])
def test_no_csms_clears_or_replaces_them(criteria: dict[str, Any]) -> None:
    """K10.FR.08, FR.09, K01.FR.05"""

    async def scene(octt: Octt) -> None:
        request = {"chargingProfileCriteria": criteria}
        assert (await octt.call("ClearChargingProfile", request))["status"] == "Unknown"
        request = {"chargingProfileId": -1}
        assert (await octt.call("ClearChargingProfile", request))["status"] == "Unknown"
        answer = await octt.call("SetChargingProfile", tx_default(-1, 20.0))
        assert answer["status"] == "Rejected"
        assert answer["statusInfo"]["reasonCode"] == "InvalidValue"
        (report,) = await reported(octt, chargingProfilePurpose=PURPOSE)
        assert [p["id"] for p in report["chargingProfile"]] == [-1]

    case(scene)


def test_a_composite_schedule_has_them_in_it() -> None:
    """K08.FR.04, SC.01"""

    async def scene(octt: Octt) -> None:
        async def shown(evse_id: int) -> float:
            request = {"evseId": evse_id, "duration": 60, "chargingRateUnit": "A"}
            answer = await octt.accepted("GetCompositeSchedule", request)
            (period,) = answer["schedule"]["chargingSchedulePeriod"]
            return float(period["limit"])

        assert await shown(0) == 8.0
        say(octt, 40.0)
        say(octt, 10.0, 1)
        await asyncio.sleep(1)
        assert (await shown(0), await shown(1), await shown(2)) == (40.0, 10.0, 32.0)
        await octt.accepted("SetChargingProfile", tx_default(1, 7.0))
        assert await shown(1) == 7.0
        say(octt, None)
        say(octt, None, 1)
        await asyncio.sleep(1)
        assert (await shown(0), await shown(1)) == (39.0, 7.0)

    case(scene)


@pytest.mark.parametrize(("manager", "value"), [(MANAGER, "true"), (None, "false")])
def test_a_station_says_whether_others_may_steer_it(manager: Any, value: str) -> None:
    async def play() -> None:
        async with SimBench(energy_manager=manager) as bench:
            octt = Octt(bench)
            await octt.booted()
            found = await octt.get_variable("SmartChargingCtrlr", "ExternalControlSignalsEnabled")
            assert found["attributeValue"] == value

    run_virtual(play())
