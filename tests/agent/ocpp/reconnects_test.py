"""Boots and reconnects through frames: what is told anew, and where it is dialled next."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.core.effects import Dial
from agent.csms.link import Credentials, Link
from agent.errors import LinkError
from hil.parts.csms import Cut, Refused, Silent, StationError
from hil.sim import SimBench
from hil.virtual_time import run_virtual
from tests.agent.ocpp.router_bench import QUICK_RETRY, actions, boot_answer, booted, run

# --- boot -----------------------------------------------------------------------------------------


def test_an_accepted_boot_is_followed_by_the_status_of_each_connector() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await asyncio.sleep(10)
        assert actions(bench)[0] == "BootNotification"
        places = [(s["evseId"], s["connectorId"]) for s in bench.csms.of("StatusNotification")]
        assert places == [(1, 1), (2, 1)]
        kinds = [event["type"] for event in bench.csms.of("SecurityEventNotification")]
        assert kinds == ["StartupOfTheDevice"]
        bench.csms.check()

    run(scene, evse_count=2)


@pytest.mark.parametrize("interval", [0, 20])
def test_while_pending_the_csms_may_look_and_set_and_gets_its_report(interval: int) -> None:
    async def scene(bench: SimBench) -> None:
        boots: list[Any] = [boot_answer(bench, "Pending", interval)]
        bench.csms.answer["BootNotification"] = lambda payload: boots.pop(0) if boots else None
        await bench.csms.wait_for("BootNotification")
        await asyncio.sleep(1)
        report = {"requestId": 0, "reportBase": "FullInventory"}
        assert (await bench.csms.call("GetBaseReport", report))["status"] == "Accepted"
        last = await bench.csms.wait_for("NotifyReport", lambda part: not part["tbc"])
        parts = bench.csms.of("NotifyReport")
        assert [part["seqNo"] for part in parts] == list(range(len(parts)))
        assert last["requestId"] == 0
        start = {"idToken": {"idToken": "A", "type": "Central"}, "remoteStartId": 1, "evseId": 1}
        assert (await bench.csms.call("RequestStartTransaction", start))["status"] == "Rejected"
        assert set(actions(bench)) == {"BootNotification", "NotifyReport"}
        await bench.csms.wait_for("StatusNotification", timeout_s=100)
        boots_at_s = [call.at_s for call in bench.csms.calls if call.action == "BootNotification"]
        assert len(boots_at_s) == 2
        assert boots_at_s[1] - boots_at_s[0] >= (interval or 60)
        bench.csms.check()

    run(scene)


def test_a_rejected_station_is_silent_and_answers_with_a_security_error() -> None:
    async def scene(bench: SimBench) -> None:
        boots: list[Any] = [boot_answer(bench, "Rejected", 120)]
        bench.csms.answer["BootNotification"] = lambda payload: boots.pop(0) if boots else None
        await bench.csms.wait_for("BootNotification")
        await asyncio.sleep(1)
        with pytest.raises(StationError) as refused:
            await bench.csms.call("ClearCache")
        assert refused.value.code == "SecurityError"
        bench.plug_in(1)
        await asyncio.sleep(110)
        assert actions(bench) == ["BootNotification"]
        await bench.csms.wait_for("StatusNotification")
        assert bench.csms.of("StatusNotification")[0]["connectorStatus"] == "Occupied"
        bench.csms.check()

    run(scene)


@pytest.mark.parametrize("answer", [Refused("InternalError"), Silent(), Cut()])
def test_a_boot_without_an_answer_is_sent_again_and_nothing_else(answer: Any) -> None:
    async def scene(bench: SimBench) -> None:
        answers = [answer, answer]
        bench.csms.answer["BootNotification"] = lambda payload: answers.pop() if answers else None
        await bench.csms.wait_for("StatusNotification", timeout_s=600)
        assert actions(bench)[:3] == ["BootNotification"] * 3
        bench.csms.check()

    run(scene, variables=QUICK_RETRY)


# --- reconnects -----------------------------------------------------------------------------------


async def lose_link(bench: SimBench, for_s: float, between: Callable[[], None]) -> list[Any]:
    """StatusNotifications after an outage."""
    await bench.network.drop()
    await asyncio.sleep(for_s / 2)
    between()
    await asyncio.sleep(for_s / 2)
    count = len(bench.csms.of("StatusNotification"))
    await bench.network.accept()
    await bench.csms.wait_connected()
    await asyncio.sleep(5)
    return bench.csms.of("StatusNotification")[count:]


def test_after_a_short_outage_only_changed_statuses_are_told_and_no_boot() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        told = await lose_link(bench, 40, lambda: None)
        assert told == []
        told = await lose_link(bench, 40, lambda: bench.plug_in(2))
        assert [(s["evseId"], s["connectorStatus"]) for s in told] == [(2, "Occupied")]
        assert actions(bench).count("BootNotification") == 1
        bench.csms.check()

    run(scene, evse_count=2, variables=QUICK_RETRY | {"OCPPCommCtrlr.OfflineThreshold": "100"})


def test_after_a_long_outage_every_status_is_told_and_no_boot() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        told = await lose_link(bench, 400, lambda: None)
        assert [s["evseId"] for s in told] == [1, 2]
        assert actions(bench).count("BootNotification") == 1

    run(scene, evse_count=2, variables=QUICK_RETRY | {"OCPPCommCtrlr.OfflineThreshold": "100"})


def test_a_status_that_got_no_answer_is_told_again_at_the_next_connection() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.csms.answer["StatusNotification"] = Cut()
        bench.plug_in(1)
        await bench.csms.wait_for("StatusNotification")
        bench.csms.answer.pop("StatusNotification")
        status = await bench.csms.wait_for("StatusNotification")
        assert status["connectorStatus"] == "Occupied"

    run(scene, variables=QUICK_RETRY)


def test_after_the_attempts_of_one_slot_the_next_is_dialled_booted_and_told_everything() -> None:
    async def scene() -> None:
        bench = SimBench(
            evse_count=2,
            endpoints=("ws://one.invalid", "ws://two.invalid"),
            variables=QUICK_RETRY
            | {
                "OCPPCommCtrlr.NetworkProfileConnectionAttempts": "2",
                "OCPPCommCtrlr.RetryBackOffRepeatTimes": "0",
                "OCPPCommCtrlr.OfflineThreshold": "10000",
            },
        )
        memory, closed = bench.network.connect, {0}

        async def connect(dial: Dial, who: Credentials, on_pong: Callable[[], None]) -> Link:
            link = memory(dial, who, on_pong)
            if dial.slot in closed:
                link.close()
                bench.network.dials.append((asyncio.get_running_loop().time(), dial, who))
                raise LinkError("nothing listens there; start it")
            return await link

        bench.network.connect = connect  # type: ignore[method-assign]
        async with bench:
            await booted(bench)
            assert [dial.slot for _, dial, _ in bench.network.dials] == [0, 0, 1]
            closed.clear()
            closed.add(1)
            bench.csms.forget()
            bench.csms.expect_boot()
            bench.network.cut()
            await bench.csms.wait_for("BootNotification")
            await bench.csms.wait_for("StatusNotification", lambda s: s["evseId"] == 2)
            assert [dial.slot for _, dial, _ in bench.network.dials] == [0, 0, 1, 1, 1, 0]
            bench.csms.check()

    run_virtual(scene())
