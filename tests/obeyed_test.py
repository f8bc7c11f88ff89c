"""What the CSMS sets changes what the station does, where no case of Part 6 shows it.

Which test shows it of which variable stands in obeyed.csv, checked by obeyed_table_test.py.
"""

import asyncio
from itertools import pairwise

import pytest

from hil.conformance import Octt
from hil.parts.csms import Refused, Silent, StationError
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


@pytest.mark.parametrize(
    ("range_s", "shortest_s", "longest_s"), [(0, 10.0, 10.2), (3000, 30.0, 3010.0)]
)
def test_a_random_wait_stays_within_its_range(
    range_s: int, shortest_s: float, longest_s: float
) -> None:
    """RetryBackOffRandomRange, on top of RetryBackOffWaitMinimum, never doubled."""

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            for name, value in (
                ("RetryBackOffWaitMinimum", "10"),
                ("RetryBackOffRandomRange", str(range_s)),
                ("RetryBackOffRepeatTimes", "0"),
            ):
                await octt.set_variable("OCPPCommCtrlr", name, value)
            await bench.network.drop()
            await asyncio.sleep(20_000)
            times = [at_s for at_s, _, _ in bench.network.dials][1:]
            waits = [later - earlier for earlier, later in pairwise(times)]
            assert len(waits) >= 4
            assert all(9.9 < wait_s < longest_s for wait_s in waits), waits
            assert max(waits) > shortest_s, waits
            assert waits == pytest.approx([waits[0]] * len(waits), abs=0.2)

    run_virtual(scene())


@pytest.mark.parametrize("timeout_s", [7, 20])
def test_a_csms_that_says_nothing_is_left_after_the_message_timeout(timeout_s: int) -> None:
    """MessageTimeout is the file's to set; a network profile has its own (TC_B_45)."""

    async def scene() -> None:
        variables = {
            "OCPPCommCtrlr.MessageTimeout[Default]": str(timeout_s),
            "OCPPCommCtrlr.WebSocketPingInterval": "0",  # no pong says that somebody is there
        }
        async with SimBench(variables=variables) as bench:
            octt = Octt(bench)
            await octt.booted()
            bench.csms.answer["Heartbeat"] = Silent()
            await octt.set_variable("OCPPCommCtrlr", "HeartbeatInterval", "40")
            await octt.expect("Heartbeat")
            sent_s = asyncio.get_running_loop().time()
            await bench.csms.wait_connected(False)
            waited_s = asyncio.get_running_loop().time() - sent_s
            assert waited_s == pytest.approx(timeout_s, abs=1.0)

    run_virtual(scene())


def test_what_needs_a_reboot_changes_nothing_before_it() -> None:
    """SetVariables says RebootRequired for NetworkConfigurationPriority; TC_B_45 restarts."""
    profile = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "ws://other.invalid/ocpp",
        "messageTimeout": 25,
        "securityProfile": 1,
        "ocppInterface": "Wired0",
    }
    item = {
        "attributeValue": "2,1",
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "NetworkConfigurationPriority"},
    }

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            slot = {"configurationSlot": 2, "connectionData": profile}
            await octt.accepted("SetNetworkProfile", slot)
            answer = await octt.call("SetVariables", {"setVariableData": [item]})
            (result,) = answer["setVariableResult"]
            assert result["attributeStatus"] == "RebootRequired"
            await octt.offline()
            await octt.online()
            await asyncio.sleep(300)
            urls = {dial.url for _, dial, _ in bench.network.dials}
            assert len(bench.network.dials) > 1
            assert urls == {"ws://csms.invalid/ocpp/SIM-1"}

    run_virtual(scene())


# --- who may charge -----------------------------------------------------------------------------


def test_without_authorization_whoever_plugs_in_charges() -> None:
    """AuthCtrlr.Enabled."""

    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            octt = Octt(bench)
            await octt.booted()
            bench.plug_in()
            await octt.expect_status("Occupied")
            await octt.expect_none("TransactionEvent")
            bench.plug_out()
            await octt.expect_status("Available")
            await octt.set_variable("AuthCtrlr", "Enabled", "false")
            bench.plug_in()
            await octt.expect_event(eventType="Started")
            await octt.expect_event(eventType="Updated", chargingState="Charging")
            assert not octt.csms.of("Authorize")

    run_virtual(scene())


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_offline_the_cache_answers_only_where_it_may(allowed: str) -> None:
    """AuthCtrlr.LocalAuthorizeOffline."""

    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("AuthCtrlr", "LocalAuthorizeOffline", allowed)
            await octt.token_cached()
            await octt.offline()
            bench.plug_in()
            bench.swipe()
            await asyncio.sleep(30)
            assert bench.board.connector(1, 1).closed is (allowed == "true")

    run_virtual(scene())


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_a_card_that_was_judged_is_asked_for_again_where_there_is_no_cache(enabled: str) -> None:
    """AuthCacheCtrlr.Enabled."""

    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("AuthCtrlr", "LocalPreAuthorize", "true")
            await octt.set_variable("AuthCacheCtrlr", "Enabled", enabled)
            await octt.token_cached()
            bench.swipe()
            await asyncio.sleep(30)
            assert len(octt.csms.of("Authorize")) == (1 if enabled == "true" else 2)

    run_virtual(scene())


@pytest.mark.parametrize("timeout_s", [15, 200])
def test_who_plugs_nothing_in_is_waited_for_as_long_as_set(timeout_s: int) -> None:
    """TxCtrlr.EVConnectionTimeOut."""

    async def scene() -> None:
        quiet = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
        async with SimBench(evse_count=1, variables=quiet) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.configure(start="Authorized", stop="Authorized")
            await octt.set_variable("TxCtrlr", "EVConnectionTimeOut", str(timeout_s))
            await octt.authorized()
            await octt.expect_none("TransactionEvent", for_s=timeout_s - 1.0)
            ended = await octt.expect_event(eventType="Ended", triggerReason="EVConnectTimeout")
            assert ended["transactionInfo"]["stoppedReason"] == "Timeout"

    run_virtual(scene())


# --- how much -----------------------------------------------------------------------------------


def test_a_charging_profile_counts_only_while_smart_charging_is_enabled() -> None:
    """SmartChargingCtrlr.Enabled."""
    schedule = {
        "id": 1,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 8.0}],
    }
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": [schedule],
    }
    request = {"evseId": 1, "chargingProfile": profile}

    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("SmartChargingCtrlr", "Enabled", "false")
            with pytest.raises(StationError) as refused:
                await octt.call("SetChargingProfile", request)
            assert refused.value.code == "NotSupported"
            await octt.set_variable("SmartChargingCtrlr", "Enabled", "true")
            await octt.accepted("SetChargingProfile", request)

    run_virtual(scene())
