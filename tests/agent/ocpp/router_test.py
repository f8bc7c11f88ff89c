"""Frames in, frames out: commands to blocks, and what follows from them, on the sim bench."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import Announce, AskCsms, Log, Save
from agent.core.events import IdToken, Now, TokenUnanswered
from agent.ocpp import router
from agent.ocpp.block import Answer
from agent.ocpp.router import BLOCKS, ON_RESPONSE, OUTGOING
from drivers.contract import Permit
from hil.parts.csms import StationError
from hil.scenarios.day import begin, tx_profile
from hil.sim import SimBench
from tests.agent.ocpp.router_bench import CARD, booted, run

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
