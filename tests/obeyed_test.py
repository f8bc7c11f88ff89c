"""What the CSMS sets in OCPPCommCtrlr changes what the station does."""

import asyncio
from itertools import pairwise

import pytest

from hil.conformance import Octt
from hil.parts.csms import Refused
from hil.sim import SimBench
from hil.virtual_time import run_virtual


def test_heartbeats_follow_the_heartbeat_interval() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("OCPPCommCtrlr", "HeartbeatInterval", "40")
            await asyncio.sleep(200)
            times = [call.at_s for call in bench.csms.calls if call.action == "Heartbeat"]
            assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx(
                [40.0] * (len(times) - 1), abs=1.0
            )
            assert len(times) >= 4

    run_virtual(scene())


def test_the_next_link_is_pinged_as_the_ping_interval_says() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("OCPPCommCtrlr", "WebSocketPingInterval", "7")
            await octt.offline()
            await octt.online()
            first, *_, last = (dial.ping_interval_s for _, dial, _ in bench.network.dials)
            assert (first, last) == (30, 7)

    run_virtual(scene())


def test_a_refused_event_is_tried_as_often_and_as_far_apart_as_set() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            for name, value in (("MessageAttempts", "3"), ("MessageAttemptInterval", "20")):
                await octt.set_variable("OCPPCommCtrlr", name, value, "TransactionEvent")
            await octt.configure(start="EVConnected")
            bench.csms.answer["TransactionEvent"] = Refused("InternalError")
            bench.plug_in()
            await asyncio.sleep(300)
            events = [call for call in bench.csms.calls if call.action == "TransactionEvent"]
            times = [call.at_s for call in events if call.message_id == events[0].message_id]
            waits = [later - earlier for earlier, later in pairwise(times)]
            assert waits == pytest.approx([20.0, 40.0], abs=1.0)

    run_virtual(scene())


def test_a_random_wait_stays_within_its_range() -> None:
    """RetryBackOffRandomRange, on top of RetryBackOffWaitMinimum."""

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            for name, value in (
                ("RetryBackOffWaitMinimum", "10"),
                ("RetryBackOffRandomRange", "4"),
                ("RetryBackOffRepeatTimes", "0"),
            ):
                await octt.set_variable("OCPPCommCtrlr", name, value)
            await bench.network.drop()
            await asyncio.sleep(600)
            times = [at_s for at_s, _, _ in bench.network.dials][1:]
            waits = [later - earlier for earlier, later in pairwise(times)]
            assert all(9.9 < wait_s < 14.2 for wait_s in waits), waits
            first_wait_s = waits[0]
            assert waits == pytest.approx([first_wait_s] * len(waits), abs=0.2)
            assert first_wait_s > 10.05

    run_virtual(scene())
