"""ClockCtrlr.TimeSource: whose time the station tells (B01.FR.06)."""

import asyncio

import pytest

from agent.ocpp.messages import parse_time
from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

BOARD_ERROR_S = 1000.0


@pytest.mark.parametrize(
    ("sources", "is_synced", "error_s"),
    [
        ("NTP,Heartbeat", True, BOARD_ERROR_S),
        ("NTP,Heartbeat", False, 0.0),
        ("Heartbeat,NTP", True, 0.0),
        ("Heartbeat", True, 0.0),
        ("NTP", True, BOARD_ERROR_S),
    ],
)
def test_the_first_source_that_has_a_time_counts(
    sources: str, is_synced: bool, error_s: float
) -> None:
    async def scene() -> None:
        async with SimBench(is_synced=is_synced, clock_error_s=BOARD_ERROR_S) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("ClockCtrlr", "TimeSource", sources)
            bench.plug_in()
            await octt.expect_status("Occupied")
            told = await octt.get_variable("ClockCtrlr", "DateTime")
            found_s = parse_time(told["attributeValue"]) - bench.utc_s()
            assert found_s == pytest.approx(error_s, abs=1.0)

    run_virtual(scene())


def test_a_clock_that_ntp_sets_is_told_as_set() -> None:
    """SettingSystemTime: no message of the CSMS says so, the next tick sees it."""

    async def scene() -> None:
        variables = {"ClockCtrlr.TimeSource": "NTP"}
        async with SimBench(
            is_synced=False, clock_error_s=-BOARD_ERROR_S, variables=variables
        ) as bench:
            await Octt(bench).booted()
            await asyncio.sleep(600)
            events = bench.csms.of("SecurityEventNotification")
            assert [event["type"] for event in events] == ["StartupOfTheDevice"]
            await bench.network.drop()
            bench.is_synced, bench.clock_error_s = True, 0.0
            await asyncio.sleep(300)
            assert "SettingSystemTime" in (bench.directory / "security.log").read_text()
            await bench.network.accept()
            await asyncio.sleep(600)
            events = bench.csms.of("SecurityEventNotification")[1:]
            assert [event["type"] for event in events] == ["SettingSystemTime"]
            assert events[0]["techInfo"] == "the time was wrong by 1000 s"

    run_virtual(scene())
