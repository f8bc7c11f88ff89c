"""Rows, reports and answers over the wire: their order, and what is sent again."""

import asyncio
import json
from itertools import pairwise

from hil.parts.csms import Cut, Delayed, Refused
from hil.scenarios.day import begin, drained
from hil.sim import SimBench
from tests.agent.ocpp.router_bench import CARD, QUICK_RETRY, actions, booted, run

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
