"""The sim bench: whole agent, real frames, virtual time."""

import time

import pytest

from hil.scenarios.day import whole_day
from hil.sim import SimBench
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual


def test_a_whole_day_with_two_evses_ends_with_every_watt_hour_billed() -> None:
    async def day() -> None:
        async with SimBench(supply_a=40.0) as bench:
            before_wh = [bench.board.meter(e).energy_wh for e in (1, 2)]
            await whole_day(bench)
            after_wh = [bench.board.meter(e).energy_wh for e in (1, 2)]
            status = bench.agent.status()
            evidence = Evidence(
                calls=bench.csms.calls,
                meters_wh=dict(enumerate(zip(before_wh, after_wh, strict=True), start=1)),
                transactions=9,
                waiting=status["queue"],
                set_aside=status["set_aside"],
                violations=bench.csms.violations,
            )
            verdict = judge(evidence)
            assert verdict.problems == ()
            assert verdict.metered_wh > 100_000
            assert (verdict.lost, verdict.doubled, verdict.reordered) == (0, 0, 0)

    began_s = time.perf_counter()
    run_virtual(day())
    print(f"a day took {time.perf_counter() - began_s:.1f} s")


@pytest.mark.parametrize("evse_count", [1, 2])
def test_a_station_boots_and_tells_each_connector(evse_count: int) -> None:
    async def boot() -> None:
        async with SimBench(evse_count=evse_count) as bench:
            await bench.until(lambda: len(bench.csms.of("StatusNotification")) == evse_count)
            assert bench.csms.calls[0].action == "BootNotification"
            bench.csms.check()

    run_virtual(boot())
