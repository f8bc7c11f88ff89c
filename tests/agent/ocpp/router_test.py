"""Frames in, frames out: boot, slots, statuses, remote commands and reports, on the sim bench."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import Announce, AskCsms, Dial, Log, Save
from agent.core.events import IdToken, Now, TokenUnanswered
from agent.csms.link import Credentials, Link
from agent.errors import LinkError
from agent.ocpp import router
from agent.ocpp.block import Answer
from agent.ocpp.router import BLOCKS, ON_RESPONSE, OUTGOING
from drivers.contract import Permit
from hil.parts.csms import Cut, Delayed, Refused, Silent, StationError
from hil.scenarios.day import begin, drained, tx_profile
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"
QUICK_RETRY = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "5",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
}


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(**{"evse_count": 1} | bench) as sim:
            await test(sim)

    run_virtual(scene())


def actions(bench: SimBench) -> list[str]:
    return [call.action for call in bench.csms.calls]


def boot_answer(bench: SimBench, status: str, interval: int) -> dict[str, Any]:
    return {"currentTime": bench.csms.utc(), "interval": interval, "status": status}


async def booted(bench: SimBench) -> None:
    await bench.csms.wait_for("StatusNotification")
    await drained(bench)


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


# --- the outbox over the wire ---------------------------------------------------------------------


def test_an_unanswered_event_is_sent_again_with_the_same_id_and_content() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        answers = [Cut()]
        bench.csms.answer["TransactionEvent"] = lambda p: answers.pop() if answers else None
        await begin(bench, 1, CARD)
        await drained(bench)
        first, again = [c for c in bench.csms.calls if c.action == "TransactionEvent"][:2]
        assert first.message_id == again.message_id
        assert again.payload == first.payload | {"offline": True}
        bench.csms.check()

    run(scene, variables=QUICK_RETRY)


def test_a_refused_event_is_tried_in_growing_steps_then_set_aside_and_the_next_goes() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.csms.gaps_allowed = True
        bench.csms.answer["TransactionEvent"] = lambda p: (
            Refused("InternalError") if p["seqNo"] == 0 else None
        )
        await begin(bench, 1, CARD)
        await bench.csms.wait_for("TransactionEvent", lambda p: p["seqNo"] == 1, timeout_s=200)
        tries = [c for c in bench.csms.calls if c.payload.get("seqNo") == 0]
        assert len({call.message_id for call in tries}) == 1
        steps = [round(b.at_s - a.at_s) for a, b in pairwise(tries)]
        assert steps == [7, 14]
        assert bench.agent.status()["set_aside"] == 1

    run(
        scene,
        variables={
            "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
            "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "7",
        },
    )


def test_a_driver_does_not_wait_behind_a_long_queue() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await begin(bench, 1, CARD)
        await bench.network.drop()
        await asyncio.sleep(20_000)
        assert bench.agent.status()["queue"] > 300
        bench.csms.answer["TransactionEvent"] = Delayed(2.0)
        await bench.network.accept()
        await bench.csms.wait_connected()
        bench.plug_in(2)
        await asyncio.sleep(5)
        bench.swipe("04D4E5F6")
        swiped_s = asyncio.get_running_loop().time()
        await bench.csms.wait_for("Authorize", lambda p: p["idToken"]["idToken"] == "04D4E5F6")
        assert asyncio.get_running_loop().time() - swiped_s < 3
        assert bench.agent.status()["queue"] > 100

    run(scene, evse_count=2)


def test_events_and_heartbeats_pass_between_the_parts_of_a_report() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.csms.answer["NotifyReport"] = Delayed(20.0)
        await begin(bench, 1, CARD)
        bench.csms.forget()
        await bench.csms.call("GetBaseReport", {"requestId": 5, "reportBase": "FullInventory"})
        await bench.csms.wait_for("NotifyReport", lambda part: not part["tbc"], timeout_s=500)
        during = actions(bench)
        during = during[during.index("NotifyReport") :]
        assert {"TransactionEvent", "Heartbeat"} <= set(during)
        bench.csms.check()

    variables = {
        "SampledDataCtrlr.TxUpdatedInterval": "10",
        "OCPPCommCtrlr.HeartbeatInterval": "30",
    }

    async def often(bench: SimBench) -> None:
        bench.csms.interval_s = 15
        await scene(bench)

    run(often, variables=variables)


def test_the_answer_leaves_before_what_follows_from_it() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.csms.trace.clear()
        await bench.csms.call("GetBaseReport", {"requestId": 5, "reportBase": "FullInventory"})
        await bench.csms.call("ChangeAvailability", {"operationalStatus": "Inoperative"})
        await asyncio.sleep(5)
        frames = [json.loads(frame) for _, way, frame in bench.csms.trace if way == "<"]
        kinds = [frame[2] if frame[0] == 2 else "answer" for frame in frames]
        assert kinds.index("answer") < kinds.index("NotifyReport")
        assert kinds.index("StatusNotification") > 1

    run(scene)


# --- commands -------------------------------------------------------------------------------------


def test_a_remote_start_and_stop_are_told_with_their_reasons() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.plug_in(1)
        await asyncio.sleep(5)
        token = {"idToken": "APP", "type": "Central"}
        start = {"idToken": token, "remoteStartId": 17, "evseId": 1}
        assert (await bench.csms.call("RequestStartTransaction", start))["status"] == "Accepted"
        first = await bench.csms.wait_for("TransactionEvent")
        assert (first["triggerReason"], first["transactionInfo"]["remoteStartId"]) == (
            "RemoteStart",
            17,
        )
        await bench.until(lambda: bench.connector().get("charging_state") == "Charging")
        assert (await bench.csms.call("RequestStartTransaction", start))["status"] == "Rejected"
        unknown = {"transactionId": "nobody"}
        assert (await bench.csms.call("RequestStopTransaction", unknown))["status"] == "Rejected"
        stop = {"transactionId": first["transactionInfo"]["transactionId"]}
        assert (await bench.csms.call("RequestStopTransaction", stop))["status"] == "Accepted"
        last = await bench.csms.wait_for("TransactionEvent", lambda p: p["eventType"] == "Ended")
        assert (last["triggerReason"], last["transactionInfo"]["stoppedReason"]) == (
            "RemoteStop",
            "Remote",
        )
        assert bench.board.connector(1, 1).drawn_a == 0.0
        bench.csms.check()

    run(scene)


@pytest.mark.parametrize(
    ("evse", "status"),
    [
        (None, "Accepted"),
        ({"id": 1}, "Accepted"),
        ({"id": 1, "connectorId": 1}, "Accepted"),
        ({"id": 0}, "Accepted"),
        ({"id": 0, "connectorId": 1}, "Rejected"),
        ({"id": 1, "connectorId": 2}, "Rejected"),
        ({"id": 9}, "Rejected"),
        ({"id": -1}, "Rejected"),
    ],
)
def test_availability_is_changed_where_the_place_exists(
    evse: dict[str, int] | None, status: str
) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        change = {"operationalStatus": "Inoperative"} | ({"evse": evse} if evse else {})
        assert (await bench.csms.call("ChangeAvailability", change))["status"] == status
        await asyncio.sleep(2)
        seen = "Unavailable" if status == "Accepted" else "Available"
        assert bench.connector()["status"] == seen
        assert bench.csms.of("StatusNotification")[-1]["connectorStatus"] == seen
        await bench.power_cut()
        await bench.start()
        await bench.csms.wait_for("StatusNotification", lambda s: s["connectorStatus"] == seen)

    run(scene)


def test_inoperative_waits_for_the_end_of_a_transaction_without_a_blip() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await begin(bench, 1, CARD)
        change = {"operationalStatus": "Inoperative", "evse": {"id": 1}}
        assert (await bench.csms.call("ChangeAvailability", change))["status"] == "Scheduled"
        await asyncio.sleep(100)
        assert bench.connector()["charging_state"] == "Charging"
        count = len(bench.csms.of("StatusNotification"))
        bench.plug_out(1)
        await bench.until(lambda: bench.connector()["status"] == "Unavailable")
        await asyncio.sleep(5)
        told = [s["connectorStatus"] for s in bench.csms.of("StatusNotification")[count:]]
        assert told == ["Unavailable"]
        assert (await bench.csms.call("ChangeAvailability", change))["status"] == "Accepted"

    run(scene)


def test_a_cleared_cache_knows_no_card_offline() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await begin(bench, 1, CARD)
        bench.swipe(CARD)
        await bench.until(lambda: "transaction_id" not in bench.connector())
        bench.plug_out(1)
        assert (await bench.csms.call("ClearCache"))["status"] == "Accepted"
        await bench.network.drop()
        await asyncio.sleep(30)
        bench.plug_in(1)
        await asyncio.sleep(5)
        bench.swipe(CARD)
        await asyncio.sleep(60)
        assert "transaction_id" not in bench.connector()

    run(scene)


def test_a_profile_lowers_what_is_offered_and_clearing_it_gives_it_back() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await begin(bench, 1, CARD)
        profile = tx_profile(str(bench.connector()["transaction_id"]), 7.0)
        assert (await bench.csms.call("SetChargingProfile", profile))["status"] == "Accepted"
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a == 7.0, limit_s=10)
        assert bench.connector()["offered_a"] == 7.0
        kept = [e for e in bench.effects if isinstance(e, Save) and e.key == "profile/1"]
        assert len(kept) == 1, "written more than once"
        clear = {"chargingProfileId": 1}
        assert (await bench.csms.call("ClearChargingProfile", clear))["status"] == "Accepted"
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a == 16.0, limit_s=30)
        bench.csms.check()

    run(scene)


@pytest.mark.parametrize(
    ("action", "code"),
    [("MakeCoffee", "NotImplemented"), ("PublishFirmware", "NotSupported")],
)
def test_unknown_and_unsupported_actions_differ(action: str, code: str) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await bench.csms.send_text(json.dumps([2, "x", action, {}]))
        await asyncio.sleep(1)
        assert [error[1] for error in bench.csms.errors] == [code]

    run(scene)


def test_a_handler_that_fails_is_an_internal_error_and_changed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(payload: Any, view: Any, now: Any) -> Any:
        raise KeyError("bug")

    def unsendable(payload: Any, view: Any, now: Any) -> Any:
        return Answer({"status": float("nan")})

    async def scene(bench: SimBench) -> None:
        await booted(bench)
        for handler in (broken, unsendable):
            monkeypatch.setitem(router.INCOMING, "ClearCache", handler)  # type: ignore[arg-type]
            with pytest.raises(StationError) as refused:
                await bench.csms.call("ClearCache")
            assert refused.value.code == "InternalError"
        await begin(bench, 1, CARD)

    run(scene)


def test_no_two_blocks_claim_the_same_action_or_effect() -> None:
    assert len(OUTGOING) == sum(len(block.OUTGOING) for block in BLOCKS)
    assert len(ON_RESPONSE) == sum(len(block.ON_RESPONSE) for block in BLOCKS)
    names = [action for block in BLOCKS for action in block.INCOMING]
    assert len(names) == len(set(names))


def test_a_card_asked_about_while_offline_is_judged_without_the_csms() -> None:
    token = IdToken(CARD, "ISO14443")
    view: Any = SimpleNamespace(connection=SimpleNamespace(online=False))
    now = Now(1.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
    made = router.Router(view).translate(AskCsms(token), now)
    assert made == [Announce(TokenUnanswered(token))]


def test_a_csms_that_talks_nonsense_cannot_fill_the_journal() -> None:
    lines: list[str] = []

    async def scene(bench: SimBench) -> None:
        await booted(bench)
        for number in range(500):
            await bench.csms.send_text("no frame")
            await bench.csms.send_text(f'[3,"unknown-{number}",{{}}]')
            await bench.csms.send_text(f'[2,"call-{number}","NoSuchAction",{{}}]')
        await asyncio.sleep(10)
        assert len(lines) < 50
        assert any("bad frame" in line for line in lines)
        assert len(bench.csms.errors) >= 500, "each is answered all the same"

    run(scene, on_effect=lambda e: lines.append(e.text) if isinstance(e, Log) else None)
