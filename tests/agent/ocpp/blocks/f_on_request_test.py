"""Block F through frames: what unlocking and asked-for messages do beside the standard's cases."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hil.scenarios.day import drained
from hil.sim import SimBench
from hil.virtual_time import run_virtual

PLACE = {"evseId": 1, "connectorId": 1}


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def scene() -> None:
        async with SimBench(**({"evse_count": 1} | options)) as bench:
            await test(bench)
            bench.csms.check()

    run_virtual(scene())


async def booted(bench: SimBench) -> None:
    await bench.csms.wait_for("StatusNotification")
    await drained(bench)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def trigger(bench: SimBench, message: str, **evse: int) -> str:
    request: dict[str, Any] = {"requestedMessage": message} | ({"evse": evse} if evse else {})
    return str((await bench.csms.call("TriggerMessage", request))["status"])


# --- unlock ---------------------------------------------------------------------------------------


def test_a_lock_that_does_not_move_is_told_after_a_while() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.plug_in()
        bench.swipe()
        await bench.csms.wait_for("TransactionEvent")
        await asyncio.sleep(10)
        pilot = bench.board.pilots["pilot1"]
        pilot.lock_jammed = True
        bench.swipe()
        await bench.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")
        asked_s = now_s()
        assert await bench.csms.call("UnlockConnector", PLACE) == {"status": "UnlockFailed"}
        assert 4.0 < now_s() - asked_s < 8.0
        pilot.lock_jammed = False
        assert await bench.csms.call("UnlockConnector", PLACE) == {"status": "Unlocked"}
        assert not pilot.locked

    run(scene, socket=True)


def test_a_fixed_cable_has_nothing_to_unlock() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        answer = await bench.csms.call("UnlockConnector", PLACE)
        info = {"reasonCode": "FixedCable"}
        assert answer == {"status": "UnlockFailed", "statusInfo": info}

    run(scene)


def test_a_plug_under_voltage_is_not_unlocked() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.plug_in()
        bench.swipe()
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a > 0)
        bench.board.weld(1, 1)
        bench.swipe()
        await bench.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")
        assert (await bench.csms.call("UnlockConnector", PLACE))["status"] == "UnlockFailed"
        await asyncio.sleep(60)
        assert bench.board.pilots["pilot1"].locked

    run(scene, socket=True)


def test_nothing_flows_before_the_plug_is_locked_and_not_after_it_came_loose() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        pilot = bench.board.pilots["pilot1"]
        pilot.lock_jammed = True
        bench.plug_in()
        bench.swipe()
        await bench.csms.wait_for("TransactionEvent")
        await asyncio.sleep(120)
        assert bench.board.energy_wh(1) == 1_000_000.0
        pilot.lock_jammed = False
        bench.plug_out()
        await bench.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")
        bench.plug_in()
        bench.swipe()
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a > 0)
        assert pilot.locked
        pilot.lock_jammed, pilot.locked = True, False
        pilot.lock(True)
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a == 0, limit_s=10)
        await asyncio.sleep(60)
        assert not bench.board.connector(1, 1).closed

    run(scene, socket=True)


def test_a_plug_that_could_not_be_locked_is_tried_again_in_the_same_session() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        pilot = bench.board.pilots["pilot1"]
        pilot.lock_jammed = True
        bench.plug_in()
        bench.swipe()
        await asyncio.sleep(30)
        bench.plug_out()
        await asyncio.sleep(5)
        pilot.lock_jammed = False
        bench.plug_in()
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a > 0)
        assert pilot.locked
        assert len(bench.csms.transactions) == 1

    lasting = {"TxCtrlr.StopTxOnEVSideDisconnect": "false", "TxCtrlr.TxStopPoint": "Authorized"}
    run(scene, socket=True, variables=lasting)


def test_another_call_is_answered_while_the_lock_moves() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.board.pilots["pilot1"].lock_jammed = True
        bench.board.pilots["pilot1"].locked = True
        unlock = asyncio.create_task(bench.csms.call("UnlockConnector", PLACE))
        await asyncio.sleep(1)
        assert await trigger(bench, "Heartbeat") == "Accepted"
        assert not unlock.done()
        assert await unlock == {"status": "UnlockFailed"}

    run(scene, socket=True)


def test_a_question_dies_with_its_link() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.board.pilots["pilot1"].lock_jammed = True
        bench.board.pilots["pilot1"].locked = True
        unlock = asyncio.create_task(bench.csms.call("UnlockConnector", PLACE))
        await asyncio.sleep(1)
        await bench.network.drop()
        with pytest.raises(ConnectionError):
            await unlock
        mark = len(bench.csms.trace)
        await bench.network.accept()
        await bench.csms.wait_connected(timeout_s=3)
        await asyncio.sleep(10)
        frames = [text for _, way, text in list(bench.csms.trace)[mark:] if way == "<"]
        assert not [text for text in frames if text.startswith("[3,")]

    soon = {
        "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
        "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    }
    run(scene, socket=True, variables=soon)


def test_whoever_ends_his_charge_can_take_his_cable_though_the_transaction_goes_on() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        pilot = bench.board.pilots["pilot1"]
        bench.plug_in()
        assert not pilot.locked
        bench.swipe()
        await bench.until(lambda: pilot.locked)
        await asyncio.sleep(30)
        bench.swipe()
        await bench.until(lambda: not pilot.locked)
        bench.plug_out()
        await bench.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")

    points = {"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": "EVConnected"}
    run(scene, socket=True, variables=points)


# --- messages on request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "evse", "status"),
    [
        ("TransactionEvent", {}, "Rejected"),
        ("TransactionEvent", {"id": 1}, "Rejected"),
        ("MeterValues", {"id": 2}, "Rejected"),
        ("StatusNotification", {"id": 1, "connectorId": 2}, "Rejected"),
        ("StatusNotification", {"id": 1}, "Accepted"),
        ("SignV2GCertificate", {}, "NotImplemented"),
        ("PublishFirmwareStatusNotification", {}, "NotImplemented"),
    ],
)
def test_only_what_will_be_sent_is_promised(
    message: str, evse: dict[str, int], status: str
) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        count = len(bench.csms.of(message))
        assert await trigger(bench, message, **evse) == status
        await asyncio.sleep(5)
        assert len(bench.csms.of(message)) == count + (status == "Accepted")

    run(scene)


@pytest.mark.parametrize(
    ("message", "evse_id", "reason"),
    [
        ("BootNotification", 1, "InvalidMessageSeq"),
        ("MeterValues", 9, "NotFound"),
        ("StatusNotification", 9, "UnknownConnectorId"),
        ("TransactionEvent", 1, "TxNotFound"),
    ],
)
def test_what_is_not_promised_has_a_reason(message: str, evse_id: int, reason: str) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        request = {"requestedMessage": message, "evse": {"id": evse_id}}
        answer = await bench.csms.call("TriggerMessage", request)
        assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": reason}}

    run(scene)


def test_meter_values_are_not_promised_where_nothing_of_them_is_wanted() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        assert await trigger(bench, "MeterValues") == "Rejected"

    run(scene, variables={"AlignedDataCtrlr.Measurands": ""})


def test_asked_for_values_are_signed_where_aligned_ones_are() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        assert await trigger(bench, "MeterValues") == "Accepted"
        told = await bench.csms.wait_for("MeterValues")
        assert any("signedMeterValue" in v for v in told["meterValue"][0]["sampledValue"])

    run(scene, signs=True, variables={"AlignedDataCtrlr.SignReadings": "true"})


def test_a_status_without_a_place_is_that_of_all_connectors() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        count = len(bench.csms.of("StatusNotification"))
        assert await trigger(bench, "StatusNotification") == "Accepted"
        await asyncio.sleep(5)
        places = [(p["evseId"], p["connectorId"]) for p in bench.csms.of("StatusNotification")]
        assert places[count:] == [(1, 1), (2, 1)]

    run(scene, evse_count=2)


def test_while_pending_the_csms_gets_what_it_asks_for_and_a_boot_at_once() -> None:
    async def scene(bench: SimBench) -> None:
        pending = {"currentTime": bench.csms.utc(), "interval": 3600, "status": "Pending"}
        bench.csms.answer["BootNotification"] = pending
        await bench.csms.wait_for("BootNotification")
        await asyncio.sleep(1)
        assert await trigger(bench, "StatusNotification", id=1, connectorId=1) == "Accepted"
        await bench.csms.wait_for("StatusNotification", timeout_s=5)
        assert await trigger(bench, "TransactionEvent", id=1) == "Rejected"
        del bench.csms.answer["BootNotification"]
        assert await trigger(bench, "BootNotification") == "Accepted"
        await bench.csms.wait_for("BootNotification", timeout_s=5)
        await bench.csms.wait_for("SecurityEventNotification", timeout_s=5)

    run(scene)
