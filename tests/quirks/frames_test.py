"""What real back ends say, a test for each habit: the station charges, bills and recovers.

The CSMS is played through text frames, in virtual time.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from itertools import cycle, pairwise
from typing import Any

import pytest

from agent.core import effects as ef
from agent.ocpp.messages import parse_time
from drivers.contract import SerialReaderOptions
from drivers.readers.serial_line import found
from drivers.readers.uid import converted
from hil.parts.csms import BenchCsms, Cut, Delayed, Refused, StationError
from hil.scenarios.day import begin, drained, end
from hil.sim import SimBench
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"
OTHER_CARD = "04D4E5F6"
ACCEPTED = {"status": "Accepted"}
TOKEN = {"idToken": "APP-1", "type": "Central"}
START = {"idToken": TOKEN, "remoteStartId": 1, "evseId": 1}
Scene = Callable[[SimBench], Coroutine[Any, Any, None]]


def play(scene: Scene, **options: Any) -> None:
    async def whole() -> None:
        async with SimBench(**options) as bench:
            await scene(bench)

    run_virtual(whole())


async def booted(bench: SimBench, within_s: float = 60.0) -> None:
    await bench.csms.wait_for("StatusNotification", timeout_s=within_s)


async def charge(bench: SimBench, evse_id: int = 1, card: str = CARD, for_s: float = 600) -> None:
    await begin(bench, evse_id, card)
    await asyncio.sleep(for_s)
    await end(bench, evse_id, card)


async def check(bench: SimBench, set_aside: int = 0) -> None:
    """Every event has come once and in order, and what was billed is what was metered."""
    await drained(bench)
    meters = {n: (1_000_000.0, bench.board.meter(n).energy_wh) for n in (1, 2)}
    evidence = Evidence(
        calls=bench.csms.calls,
        meters_wh=meters,
        violations=bench.csms.violations,
        set_aside=bench.agent.status()["set_aside"] - set_aside,
    )
    verdict = judge(evidence)
    assert verdict.problems == ()
    assert verdict.billed_wh > 0


def journal(bench: SimBench) -> str:
    return "\n".join(e.text for e in bench.effects if isinstance(e, ef.Log))


def variable(component: str, name: str) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}}


def answers_in_order(csms: BenchCsms) -> list[str]:
    """Message ids of the station's answers, as they came."""
    frames = [json.loads(frame) for _, way, frame in csms.trace if way == "<"]
    return [frame[1] for frame in frames if frame[0] in (3, 4)]


# --- answers to the station's CALLs -----------------------------------------------------------


def test_only_one_of_several_parallel_calls_is_answered() -> None:
    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        csms.forgets_parallel_calls = True
        slow = Delayed(3.0)
        for action in ("StatusNotification", "Authorize", "TransactionEvent", "Heartbeat"):
            csms.answer[action] = slow
        await booted(bench)
        await asyncio.gather(charge(bench, 1, CARD), charge(bench, 2, OTHER_CARD))
        await check(bench)
        assert len({call.message_id for call in csms.calls}) == len(csms.calls), "one was resent"

    play(scene)


def test_boot_is_pending_for_long_then_a_base_report_with_request_id_0() -> None:
    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        pending = {"currentTime": csms.utc(), "interval": 300, "status": "Pending"}
        answers: list[Any] = [pending, pending, None]
        csms.answer["BootNotification"] = lambda payload: answers.pop(0)
        await csms.wait_for("BootNotification")
        report = {"requestId": 0, "reportBase": "FullInventory"}
        assert await csms.call("GetBaseReport", report) == ACCEPTED
        parts = [await csms.wait_for("NotifyReport")]
        while parts[-1].get("tbc"):
            parts.append(await csms.wait_for("NotifyReport"))
        assert {part["requestId"] for part in parts} == {0}
        assert [part["seqNo"] for part in parts] == list(range(len(parts)))
        await booted(bench, within_s=700)
        boots = [call.at_s for call in csms.calls if call.action == "BootNotification"]
        assert all(300 <= later - at < 310 for at, later in pairwise(boots))
        await charge(bench)
        await check(bench)

    play(scene)


@pytest.mark.parametrize("zone", ["", "+02:00", "-07:30", "Z"])
def test_current_time_comes_without_a_zone_or_with_an_offset(zone: str) -> None:
    """The board's own clock is wrong by a day; the events carry the time of the CSMS."""

    def told(bench: SimBench) -> str:
        sign, hours, minutes = (zone + "+00:00")[:1], zone[1:3] or "0", zone[4:6] or "0"
        shift_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
        shift_s = 0 if zone in ("", "Z") else shift_s
        csms = bench.csms
        csms.clock_error_s = shift_s
        text = csms.utc().removesuffix("Z") + zone
        csms.clock_error_s = 0.0
        return text

    async def scene(bench: SimBench) -> None:
        bench.csms.answer["BootNotification"] = lambda payload: {
            "currentTime": told(bench), "interval": 60, **ACCEPTED,
        }  # fmt: skip
        bench.csms.answer["Heartbeat"] = lambda payload: {"currentTime": told(bench)}
        await booted(bench)
        await charge(bench)
        await check(bench)
        calls = [call for call in bench.csms.calls if call.action == "TransactionEvent"]
        zero_s = bench.utc_s() - asyncio.get_running_loop().time()
        for call in calls:
            assert abs(parse_time(call.payload["timestamp"]) - zero_s - call.at_s) < 2

    play(scene, clock_error_s=-86_400.0)


@pytest.mark.parametrize("code", ["NotImplemented", "InternalError", "GenericError"])
@pytest.mark.parametrize(
    "action", ["SecurityEventNotification", "MeterValues", "StatusNotification"]
)
def test_a_call_answered_by_callerror_does_not_stall_the_queue(action: str, code: str) -> None:
    async def scene(bench: SimBench) -> None:
        bench.csms.answer[action] = Refused(code)
        await booted(bench)
        await charge(bench)
        waited_s = bench.agent.status()["queue"]
        assert waited_s == 0, "what was sold waits behind what nobody takes"
        refused = bench.agent.status()["set_aside"]
        assert refused == (1 if action == "SecurityEventNotification" else 0)
        if action == "MeterValues":
            assert len(bench.csms.of("MeterValues")) >= 10
        await check(bench, set_aside=refused)

    idle = {"AlignedDataCtrlr.Interval": "60", "AlignedDataCtrlr.SendDuringIdle": "false"}
    play(scene, variables=idle if action == "MeterValues" else None)


@pytest.mark.parametrize("code", ["NotImplemented", "InternalError", "GenericError"])
def test_a_transaction_event_answered_by_callerror_is_set_aside_and_told(code: str) -> None:
    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        csms.answer["TransactionEvent"] = lambda p: Refused(code) if p["seqNo"] == 1 else None
        await booted(bench)
        await charge(bench)
        await drained(bench)
        tries = [
            c for c in csms.calls if c.action == "TransactionEvent" and c.payload["seqNo"] == 1
        ]
        assert len(tries) == 5, "MessageAttempts"
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(tries)]
        assert [round(gap / 10) for gap in gaps] == [1, 2, 3, 4], "MessageAttemptInterval grows"
        assert len({call.message_id for call in tries}) == 1
        assert bench.agent.status()["set_aside"] == 1
        assert "chargepoint queue --set-aside" in journal(bench)
        await check(bench, set_aside=1)

    play(scene)


PRINTED = {
    b"04A1B2C3": "04A1B2C3",
    b"04:a1:b2:c3:d4:e5:f6": "04A1B2C3D4E5F6",
    b" 04 A1 B2 C3 ": "04A1B2C3",
    b"04-a1-b2-c3": "04A1B2C3",
}


@pytest.mark.parametrize("line", PRINTED)
@pytest.mark.parametrize("refusal", ["an error", "a status"])
def test_an_id_token_that_is_not_8_or_14_hex_digits_is_refused(line: bytes, refusal: str) -> None:
    """A reader as it is configured by default gives the numbers that such a CSMS takes."""
    options = SerialReaderOptions(port="/dev/null")
    card = converted(found(line, re.compile(options.pattern)), options)
    assert card == PRINTED[line]

    def judge_token(payload: dict[str, Any]) -> Any:
        if re.fullmatch("[0-9A-F]{8}|[0-9A-F]{14}", payload["idToken"]["idToken"]):
            return None
        invalid = {"idTokenInfo": {"status": "Invalid"}}
        return Refused("PropertyConstraintViolation") if refusal == "an error" else invalid

    async def scene(bench: SimBench) -> None:
        bench.csms.answer["Authorize"] = judge_token
        await booted(bench)
        bench.plug_in(1)
        await asyncio.sleep(5)
        bench.swipe("04:A1")
        await asyncio.sleep(60)
        assert "transaction_id" not in bench.connector()
        bench.plug_out(1)
        await asyncio.sleep(5)
        await charge(bench, card=card)
        await check(bench)

    play(scene)


def test_a_resent_event_would_be_counted_twice() -> None:
    """Answered, then cut; cut before the answer; answered: again and again."""
    answered: set[str] = set()

    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        fates = cycle(["answered, then cut", "cut", "answered"])

        def answer(payload: dict[str, Any]) -> Any:
            call, fate = csms.calls[-1], next(fates)
            assert call.message_id not in answered, "an event that was answered came again"
            if fate == "cut":
                return Cut()
            answered.add(call.message_id)
            if fate == "answered, then cut":
                asyncio.get_running_loop().call_later(0.5, bench.network.cut)
            return None

        csms.answer["TransactionEvent"] = answer
        await booted(bench)
        await charge(bench, for_s=1800)
        await check(bench)
        events = [call for call in csms.calls if call.action == "TransactionEvent"]
        sent = {(call.message_id, call.payload["seqNo"]) for call in events}
        assert len(sent) == len(answered), "an event changed its id or its number"
        assert len(events) > len(sent) + 5

    play(scene, variables={"OCPPCommCtrlr.RetryBackOffWaitMinimum": "5"})


def test_fields_of_ocpp_2_1_in_an_answer_lose_no_authorisation() -> None:
    async def scene(bench: SimBench) -> None:
        tariff = {"tariffId": "T1", "currency": "EUR", "energy": {"prices": [{"priceKwh": 0.4}]}}
        info = {"idTokenInfo": ACCEPTED | {"loyalty": 7}}
        bench.csms.answer["Authorize"] = info | {"tariff": tariff}
        bench.csms.answer["TransactionEvent"] = lambda payload: (
            (info if "idToken" in payload else {}) | {"transactionLimit": {"maxEnergy": 1.0}}
        )
        await booted(bench)
        await charge(bench)
        await check(bench)
        assert "Authorize answer: data has unknown tariff" in journal(bench)

    play(scene)


# --- CALLs of the CSMS ------------------------------------------------------------------------


def test_calls_come_before_the_boot_was_answered() -> None:
    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        csms.answer["BootNotification"] = Delayed(20)
        bench.plug_in(1)
        await csms.wait_connected()
        get = {"getVariableData": [variable("OCPPCommCtrlr", "OfflineThreshold")]}
        got, started, stopped = await asyncio.gather(
            csms.call("GetVariables", get),
            csms.call("RequestStartTransaction", START),
            csms.call("RequestStopTransaction", {"transactionId": "nobody"}),
        )
        assert got["getVariableResult"][0]["attributeStatus"] == "Accepted"
        assert (started["status"], stopped["status"]) == ("Rejected", "Rejected")
        assert answers_in_order(csms) == ["csms-1", "csms-2", "csms-3"]
        assert {call.action for call in csms.calls} == {"BootNotification"}
        assert bench.board.connector(1, 1).drawn_a == 0
        bench.plug_out(1)
        await booted(bench)
        await charge(bench)
        await check(bench)

    play(scene)


def test_update_firmware_from_a_dummy_location_is_refused() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        firmware = {"location": "dummy://dummy", "retrieveDateTime": bench.csms.utc()}
        try:
            answer = await bench.csms.call("UpdateFirmware", {"requestId": 1, "firmware": firmware})
            refusal = answer["status"]
        except StationError as error:
            refusal = error.code
        assert refusal in ("Rejected", "NotSupported")
        await asyncio.sleep(600)
        trigger = {"requestedMessage": "FirmwareStatusNotification"}
        assert (await bench.csms.call("TriggerMessage", trigger))["status"] == "Accepted"
        status = await bench.csms.wait_for("FirmwareStatusNotification")
        assert status == {"status": "Idle"}
        assert len(bench.csms.of("FirmwareStatusNotification")) == 1
        assert len(bench.csms.of("BootNotification")) == 1
        await charge(bench)
        await check(bench)

    play(scene)


def test_a_station_max_profile_that_is_relative_is_rejected_with_a_reason() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        period = {"startPeriod": 0, "limit": 6.0}
        schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        profile = {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "ChargingStationMaxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": [schedule],
        }
        request = {"evseId": 0, "chargingProfile": profile}
        answer = await bench.csms.call("SetChargingProfile", request)
        assert answer["status"] == "Rejected"
        assert answer["statusInfo"]["reasonCode"] == "InvalidProfile"
        await begin(bench, 1, CARD)
        assert bench.board.connector(1, 1).drawn_a == 16.0
        await asyncio.sleep(600)
        await end(bench, 1, CARD)
        await check(bench)

    play(scene)


@pytest.mark.parametrize(("evse_id", "limit_a"), [(1, 32.0), (0, 63.0)])
def test_a_composite_schedule_is_asked_for_without_a_profile(evse_id: int, limit_a: float) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        request = {"evseId": evse_id, "duration": 86_400}
        answer = await bench.csms.call("GetCompositeSchedule", request)
        assert answer["status"] == "Accepted"
        schedule = answer["schedule"]
        assert (schedule["evseId"], schedule["duration"]) == (evse_id, 86_400)
        (period,) = schedule["chargingSchedulePeriod"]
        assert (period["startPeriod"], period["limit"]) == (0, limit_a)
        await charge(bench)
        await check(bench)

    play(scene)


def test_all_queued_commands_come_at_once_after_a_reconnect() -> None:
    async def scene(bench: SimBench) -> None:
        csms = bench.csms
        await booted(bench)
        await begin(bench, 1, CARD)
        await bench.network.drop()
        await asyncio.sleep(3600)
        await bench.network.accept()
        await csms.wait_connected()
        get = {"getVariableData": [variable("OCPPCommCtrlr", "OfflineThreshold")]}
        put = {"setVariableData": [get["getVariableData"][0] | {"attributeValue": "77"}]}
        queued: list[tuple[str, dict[str, Any]]] = [
            ("GetBaseReport", {"requestId": 5, "reportBase": "FullInventory"}),
            ("SetVariables", put),
            ("GetVariables", get),
            ("RequestStartTransaction", START | {"evseId": 2}),
            ("ChangeAvailability", {"operationalStatus": "Operative"}),
            ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
            ("GetCompositeSchedule", {"evseId": 1, "duration": 60}),
            ("ClearCache", {}),
            ("GetTransactionStatus", {}),
            ("DataTransfer", {"vendorId": "nobody"}),
        ] * 5
        began_s = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(csms.call(*each) for each in queued))
        assert asyncio.get_running_loop().time() - began_s < 10
        numbers = [int(each.removeprefix("csms-")) for each in answers_in_order(csms)]
        assert len(numbers) == len(queued)
        # this one has to ask the disk, the others need not wait for that
        at_once = [n for n in numbers if queued[n - 1][0] != "GetTransactionStatus"]
        assert at_once == sorted(at_once)
        (value,) = answers[2]["getVariableResult"]
        assert value["attributeValue"] == "77"
        assert bench.connector(1)["charging_state"] == "Charging"
        await drained(bench)
        await end(bench, 1, CARD)
        await check(bench)

    play(scene)


@pytest.mark.parametrize(
    "message_id", ["1", "0", "x" * 36, "a b", 'quo"te\\', "{}", "ключ-☃", "-7"]
)
def test_message_ids_are_no_uuids(message_id: str) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.plug_in(1)
        await asyncio.sleep(5)
        call = bench.csms.call("RequestStartTransaction", START, message_id=message_id)
        assert (await call)["status"] == "Accepted"
        await bench.until(lambda: bench.connector().get("charging_state") == "Charging")
        await asyncio.sleep(600)
        bench.plug_out(1)
        await bench.until(lambda: "transaction_id" not in bench.connector())
        await check(bench)

    play(scene)
