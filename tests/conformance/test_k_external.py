"""Part 6, block K, with an external system that limits the station: a local energy manager."""

import asyncio

from agent.local_limit import limited
from agent.settings import EnergyManager
from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

PURPOSE = "ChargingStationExternalConstraints"


def test_TC_K_52_CS() -> None:
    async def play() -> None:
        async with SimBench(energy_manager=EnergyManager()) as bench:
            octt = Octt(bench)
            await octt.booted()
            agent = bench.agent
            limited(agent.view.station, agent.runtime.post, {"cmd": "limit", "limit_a": 13.0})
            await asyncio.sleep(1)
            request = {"requestId": 77, "chargingProfile": {"chargingProfilePurpose": PURPOSE}}
            await octt.accepted("GetChargingProfiles", request)
            profiles = []
            more = True
            while more:
                report = await octt.expect("ReportChargingProfiles")
                assert report["requestId"] == 77
                profiles += report["chargingProfile"]
                more = report["tbc"]
            assert {profile["chargingProfilePurpose"] for profile in profiles} == {PURPOSE}
            limits = [p["chargingSchedule"][0]["chargingSchedulePeriod"] for p in profiles]
            assert [[period["limit"] for period in periods] for periods in limits] == [[13.0]]
            bench.csms.check()

    run_virtual(play())
