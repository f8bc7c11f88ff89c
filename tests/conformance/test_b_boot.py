"""Block B of Part 6: cold boot, and away from the CSMS."""

import asyncio

import pytest

from hil.cases import play
from hil.cases_b import (
    REQUEST_ID,
    THRESHOLD,
    all_available,
    base_report,
    get_variables,
    set_variables,
    statuses,
)
from hil.conformance import Octt
from hil.parts.csms import StationError

INTERVAL_S = 20

# --- cold boot ------------------------------------------------------------------------------------


def test_TC_B_01_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.interval_s = 240
        boot = await octt.booted()
        assert boot["reason"] == "PowerUp"
        assert boot["chargingStation"] == {"vendorName": "Bench", "model": "Sim"}
        found = await octt.get_variable("OCPPCommCtrlr", "HeartbeatInterval")
        assert found["attributeValue"] == "240", "as the answer said (B01.FR.04)"

    play(scene, boots=False)


def test_TC_B_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.interval_s = 300
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": 300,
            "status": "Pending",
        }
        await octt.expect("BootNotification")
        (result,) = await set_variables(octt, THRESHOLD | {"attributeValue": "300"})
        assert result["attributeStatus"] == "Accepted"
        (result,) = await get_variables(octt, THRESHOLD)
        assert result["attributeStatus"] == "Accepted"
        assert result["attributeValue"] == "300"
        await base_report(octt, "FullInventory")
        request = {
            "idToken": {"idToken": "04A1B2C3", "type": "ISO14443"},
            "remoteStartId": 1,
            "evseId": 1,
        }
        answer = await octt.call("RequestStartTransaction", request)
        assert answer["status"] == "Rejected"
        calls = [call.action for call in octt.csms.calls]
        assert set(calls) == {"BootNotification", "NotifyReport"}
        before_s = asyncio.get_running_loop().time()
        del octt.csms.answer["BootNotification"]
        await octt.accepted("TriggerMessage", {"requestedMessage": "BootNotification"})
        boot = await octt.expect("BootNotification")
        assert boot["reason"] == "Triggered"
        assert asyncio.get_running_loop().time() - before_s < 200
        await all_available(octt)

    play(scene, boots=False)


def test_TC_B_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": INTERVAL_S,
            "status": "Rejected",
        }
        await octt.expect("BootNotification")
        del octt.csms.answer["BootNotification"]
        await octt.expect("BootNotification")
        first, second = octt.csms.calls[:2]
        assert first.action == second.action == "BootNotification"
        assert second.at_s - first.at_s >= INTERVAL_S
        await all_available(octt)

    play(scene, boots=False)


def test_TC_B_30_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.csms.answer["BootNotification"] = {
            "currentTime": octt.csms.utc(),
            "interval": INTERVAL_S,
            "status": "Rejected",
        }
        await octt.expect("BootNotification")
        await asyncio.sleep(1)
        with pytest.raises(StationError) as caught:
            await octt.call(
                "GetBaseReport", {"requestId": REQUEST_ID, "reportBase": "FullInventory"}
            )
        assert caught.value.code == "SecurityError"

    play(scene, boots=False)


# --- away from the CSMS ---------------------------------------------------------------------------


async def away(octt: Octt, threshold_s: int, wait_s: int) -> None:
    """An EV is plugged in while the link is broken; the first dial afterwards succeeds."""
    await octt.set_variable("OCPPCommCtrlr", "OfflineThreshold", str(threshold_s))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", str(wait_s))
    await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0")
    octt.csms.forget()
    octt.bench.network.cut()
    octt.bench.plug_in()
    await octt.csms.wait_connected()


def test_TC_B_51_CS() -> None:
    async def scene(octt: Octt) -> None:
        await away(octt, 30, 32)
        assert await statuses(octt) == {(1, 1): "Occupied", (2, 1): "Available"}
        await octt.expect_none("StatusNotification")

    play(scene)


def test_TC_B_52_CS() -> None:
    async def scene(octt: Octt) -> None:
        await away(octt, 30, 28)
        await octt.expect_status("Occupied")
        await octt.expect_none("StatusNotification")

    play(scene)


def test_TC_B_57_CS() -> None:
    async def scene(octt: Octt) -> None:
        for name, value in (
            ("NetworkProfileConnectionAttempts", "3"),
            ("RetryBackOffRepeatTimes", "2"),
            ("RetryBackOffRandomRange", "0"),
            ("RetryBackOffWaitMinimum", "10"),
        ):
            await octt.set_variable("OCPPCommCtrlr", name, value)
        network, loop = octt.bench.network, asyncio.get_running_loop()
        cut_s = loop.time()
        network.cut()
        await octt.csms.wait_connected()
        assert network.dials[-1][0] - cut_s > 9.999
        await octt.bench.until(lambda: octt.bench.agent.view.connection.online)
        await asyncio.sleep(5)
        cut_s = loop.time()
        await network.drop()
        await octt.bench.until(lambda: network.dials[-1][0] > cut_s)
        refused_s = network.dials[-1][0]
        assert refused_s - cut_s > 9.999
        await asyncio.sleep(1)
        await network.accept()
        await octt.csms.wait_connected()
        assert network.dials[-1][0] - refused_s > 1.999 * (refused_s - cut_s)
        assert len(octt.csms.of("BootNotification")) == 1

    play(scene)
