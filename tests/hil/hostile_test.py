"""A CSMS that means harm or is broken: the station answers by the book and charges afterwards."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hil.parts.csms import Delayed, Refused, Silent
from hil.scenarios.day import begin, charge_by_card, drained
from hil.sim import SimBench
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"
DEEP = "[" * 100_000
LONG = json.dumps([2, "long", "DataTransfer", {"vendorId": "x", "data": "y" * 300_000}])

REFUSED_FRAMES = {
    "not JSON": ("hello", "-1", {"RpcFrameworkError", "FormatViolation"}),
    "empty": ("", "-1", {"RpcFrameworkError", "FormatViolation"}),
    "not a list": ('{"a":1}', "-1", {"RpcFrameworkError"}),
    "a number": ("7", "-1", {"RpcFrameworkError"}),
    "null": ("null", "-1", {"RpcFrameworkError"}),
    "empty list": ("[]", "-1", {"RpcFrameworkError"}),
    "type is text": ('["2","1","Reset",{}]', "1", {"RpcFrameworkError", "MessageTypeNotSupported"}),
    "unknown type": ('[9,"1","x",{}]', "1", {"MessageTypeNotSupported"}),
    "type of OCPP 2.1": ('[6,"1","x",{}]', "1", {"MessageTypeNotSupported"}),
    "too short": ('[2,"1","Reset"]', "1", {"RpcFrameworkError"}),
    "too long": ('[2,"1","ClearCache",{},{}]', "1", {"RpcFrameworkError"}),
    "action is a list": ('[2,"1",["a"],{}]', "1", {"RpcFrameworkError", "FormatViolation"}),
    "action is an object": ('[2,"1",{"a":1},{}]', "1", {"RpcFrameworkError", "FormatViolation"}),
    "id is a number": ('[2,1,"ClearCache",{}]', "-1", {"RpcFrameworkError"}),
    "id is empty": ('[2,"","ClearCache",{}]', "-1", {"RpcFrameworkError"}),
    "id is too long": (f'[2,"{"x" * 37}","ClearCache",{{}}]', "-1", {"RpcFrameworkError"}),
    "payload is a list": ('[2,"1","ClearCache",[]]', "1", {"FormatViolation"}),
    "payload is text": ('[2,"1","ClearCache","x"]', "1", {"FormatViolation"}),
    "NaN": ('[2,"1","DataTransfer",{"vendorId":"x","data":NaN}]', "1", {"FormatViolation"}),
    "infinity": ('[2,"1","DataTransfer",{"vendorId":"x","data":1e999}]', "1", {"FormatViolation"}),
    "doubled field": ('[2,"1","ClearCache",{"a":1,"a":2}]', "1", {"FormatViolation"}),
    "half a surrogate": (r'[2,"1","ClearCache",{"a":"\ud800"}]', "1", {"FormatViolation"}),
    "deep": (DEEP, "-1", {"RpcFrameworkError", "FormatViolation"}),
    "deep payload": (f'[2,"1","ClearCache",{DEEP}', "1", {"FormatViolation"}),
    "over 256 KiB": (LONG, "long", {"FormatViolation"}),
    "unknown action": ('[2,"1","MakeCoffee",{}]', "1", {"NotImplemented"}),
    "action of OCPP 1.6": ('[2,"1","RemoteStartTransaction",{}]', "1", {"NotImplemented"}),
    "action of the station": ('[2,"1","Heartbeat",{}]', "1", {"NotSupported"}),
    "field missing": (
        '[2,"1","RequestStopTransaction",{}]',
        "1",
        {"OccurrenceConstraintViolation"},
    ),
    "wrong type": (
        '[2,"1","RequestStopTransaction",{"transactionId":7}]',
        "1",
        {"TypeConstraintViolation"},
    ),
    "value not in the list": (
        '[2,"1","ChangeAvailability",{"operationalStatus":"Maybe"}]',
        "1",
        {"PropertyConstraintViolation"},
    ),
    "text too long": (
        f'[2,"1","RequestStopTransaction",{{"transactionId":"{"x" * 37}"}}]',
        "1",
        {"PropertyConstraintViolation"},
    ),
    "foreign field": ('[2,"1","ClearCache",{"evil":1}]', "1", {"FormatViolation"}),
    "empty list in it": (
        '[2,"1","GetVariables",{"getVariableData":[]}]',
        "1",
        {"OccurrenceConstraintViolation"},
    ),
}

DROPPED_FRAMES = {
    "answer to nobody": '[3,"nobody",{}]',
    "error for nobody": '[4,"nobody","InternalError","",{}]',
    "error without anything": '[4,"nobody"]',
    "answer without an id": "[3]",
    "answer with a number as id": "[3,7,{}]",
    "error to a frame that had no id": '[4,"-1","RpcFrameworkError","",{}]',
    "deep answer": f'[3,"nobody",{DEEP}',
    "long answer": json.dumps([3, "nobody", {"x": "y" * 300_000}]),
}


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1, **bench) as sim:
            await test(sim)

    run_virtual(scene())


async def booted(bench: SimBench) -> None:
    await bench.csms.wait_for("StatusNotification")


async def charges(bench: SimBench) -> None:
    """A whole session still works and every event of it arrives."""
    before = set(bench.csms.transactions)
    await charge_by_card(bench, 1, CARD, 600)
    await drained(bench)
    (new,) = set(bench.csms.transactions) - before
    kinds = [event["eventType"] for event in bench.csms.transactions[new]]
    assert (kinds[0], kinds[-1]) == ("Started", "Ended")


def test_bad_frames_of_every_kind_get_their_error_and_the_station_charges_on() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        for name, (frame, message_id, codes) in REFUSED_FRAMES.items():
            bench.csms.errors.clear()
            await bench.csms.send_text(frame)
            await asyncio.sleep(1)
            assert len(bench.csms.errors) == 1, (name, bench.csms.errors)
            got_id, code, description = bench.csms.errors[0]
            assert got_id == message_id, name
            assert code in codes, (name, code)
            assert len(description) <= 255
        for name, frame in DROPPED_FRAMES.items():
            bench.csms.errors.clear()
            await bench.csms.send_text(frame)
            await asyncio.sleep(1)
            assert bench.csms.errors == [], name
        assert len(bench.network.dials) == 1
        await charges(bench)
        bench.csms.check()

    run(scene)


def test_bad_frames_while_charging_do_not_disturb_the_session() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        await begin(bench, 1, CARD)
        for frame, _, _ in REFUSED_FRAMES.values():
            await bench.csms.send_text(frame)
        for frame in DROPPED_FRAMES.values():
            await bench.csms.send_text(frame)
        await asyncio.sleep(60)
        assert bench.connector()["charging_state"] == "Charging"
        assert bench.board.connector(1, 1).drawn_a == 16.0

    run(scene)


@pytest.mark.parametrize("when", ["dialling", "before the boot", "pending"])
def test_calls_before_the_boot_was_accepted_are_answered_and_start_nothing(when: str) -> None:
    async def scene(bench: SimBench) -> None:
        boots: list[Any] = [Delayed(20), None]
        if when == "pending":
            boots = [{"currentTime": bench.csms.utc(), "interval": 30, "status": "Pending"}, None]
        bench.csms.answer["BootNotification"] = lambda payload: boots.pop(0) if boots else None
        await bench.csms.wait_connected()
        if when != "dialling":
            await bench.csms.wait_for("BootNotification")
            await asyncio.sleep(1)
        token = {"idToken": "APP", "type": "Central"}
        start = {"idToken": token, "remoteStartId": 1, "evseId": 1}
        bench.plug_in(1)
        answer = await bench.csms.call("RequestStartTransaction", start)
        assert answer["status"] == "Rejected"
        get = {"getVariableData": [_variable("OCPPCommCtrlr", "OfflineThreshold")]}
        answer = await bench.csms.call("GetVariables", get)
        assert answer["getVariableResult"][0]["attributeStatus"] == "Accepted"
        bench.plug_out(1)
        await booted(bench)
        bench.csms.check()
        await charges(bench)

    run(scene)


def _variable(component: str, name: str) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}}


def test_a_csms_that_refuses_everything_but_the_boot_does_not_stall_the_queue() -> None:
    async def scene(bench: SimBench) -> None:
        actions = (
            "StatusNotification SecurityEventNotification TransactionEvent Authorize Heartbeat"
        )
        for action in actions.split():
            bench.csms.answer[action] = Refused("NotImplemented")
        await booted(bench)
        bench.csms.answer["Authorize"] = None
        await begin(bench, 1, CARD)
        await asyncio.sleep(3600)
        bench.plug_out(1)
        await drained(bench)
        assert bench.agent.status()["set_aside"] > 2
        for action in actions.split():
            bench.csms.answer.pop(action)
        bench.csms.gaps_allowed = True
        await charges(bench)

    run(
        scene,
        variables={
            "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "2",
            "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "1",
        },
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"idTokenInfo": {"status": "accepted"}},
        {"idTokenInfo": 5},
        {"idTokenInfo": {}},
        {"idTokenInfo": None},
        {"totalCost": "free"},
        {"tariff": {"energy": 1}, "idTokenInfo": {"status": "Accepted", "color": "red"}},
        {"idTokenInfo": {"status": "Accepted", "cacheExpiryDateTime": "next week"}},
        {"idTokenInfo": {"status": "Accepted", "cacheExpiryDateTime": "9999-12-31T23:59:59Z"}},
        {"updatedPersonalMessage": {"format": "ASCII", "content": "x" * 512}},
    ],
)
def test_a_strange_answer_to_an_event_is_an_answer(answer: dict[str, Any]) -> None:
    async def scene(bench: SimBench) -> None:
        bench.csms.answer["TransactionEvent"] = answer
        await booted(bench)
        await charges(bench)
        sent = bench.csms.of("TransactionEvent")
        assert len(sent) == sum(len(events) for events in bench.csms.transactions.values())
        assert bench.agent.status()["set_aside"] == 0

    run(scene)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"idTokenInfo": {"status": "Maybe"}},
        {"idTokenInfo": []},
        {"idTokenInfo": {"status": None}},
        Silent(),
        Refused("GenericError"),
    ],
)
def test_an_authorize_answer_that_cannot_be_used_leaves_the_reader_working(answer: Any) -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.csms.answer["Authorize"] = answer
        bench.plug_in(1)
        await asyncio.sleep(5)
        bench.swipe(CARD)
        await asyncio.sleep(90)
        assert "transaction_id" not in bench.connector()
        bench.csms.answer["Authorize"] = None
        bench.swipe(CARD)
        await bench.until(lambda: bench.connector().get("charging_state") == "Charging")

    run(scene)


def test_a_late_answer_full_of_nonsense_is_survived() -> None:
    async def scene(bench: SimBench) -> None:
        answers: list[Any] = [Delayed(34, {"idTokenInfo": 5})]
        bench.csms.answer["TransactionEvent"] = lambda p: answers.pop(0) if answers else None
        await booted(bench)
        await charges(bench)
        assert bench.agent.status()["set_aside"] == 0
        ids = [call.message_id for call in bench.csms.calls if call.action == "TransactionEvent"]
        assert len(ids) == len(set(ids)), "the late answer was an answer"

    run(scene, variables={"OCPPCommCtrlr.WebSocketPingInterval": "5"})


@pytest.mark.parametrize(
    "time",
    [
        "2026-09-21T14:13:20",
        "2026-09-21T16:13:20.5+02:00",
        "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ],
)
def test_any_current_time_is_survived_in_boot_and_heartbeat(time: str) -> None:
    async def scene(bench: SimBench) -> None:
        bench.csms.answer["BootNotification"] = {
            "currentTime": time,
            "interval": 10,
            "status": "Accepted",
        }
        bench.csms.answer["Heartbeat"] = {"currentTime": time}
        await booted(bench)
        await charges(bench)
        years = {event["timestamp"][:4] for event in bench.csms.of("TransactionEvent")}
        assert years == {"2026"}

    run(scene)


@pytest.mark.parametrize("time", ["yesterday", "", 7, None])
def test_a_boot_answer_without_a_time_is_none_and_asked_for_again(time: Any) -> None:
    async def scene(bench: SimBench) -> None:
        boot = {"currentTime": time, "interval": 10, "status": "Accepted"}
        boots: list[Any] = [boot, boot, None]
        bench.csms.answer["BootNotification"] = lambda payload: boots.pop(0) if boots else None
        await bench.csms.wait_for("StatusNotification", timeout_s=300)
        assert len(bench.csms.of("BootNotification")) == 3
        await charges(bench)

    run(scene)


@pytest.mark.parametrize("interval", [-5, 0, 10**12])
def test_any_boot_interval_is_survived(interval: int) -> None:
    async def scene(bench: SimBench) -> None:
        bench.csms.interval_s = interval
        await booted(bench)
        await asyncio.sleep(3 * 86_400)
        beats = len(bench.csms.of("Heartbeat"))
        assert 1 <= beats <= 3 * 86_400 / 60
        await charges(bench)

    run(scene)


def test_a_burst_of_a_hundred_commands_is_answered_in_order() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        get = {"getVariableData": [_variable("OCPPCommCtrlr", "OfflineThreshold")]}
        calls = [asyncio.create_task(bench.csms.call("GetVariables", get)) for _ in range(200)]
        answers = await asyncio.gather(*calls)
        assert all(a["getVariableResult"][0]["attributeStatus"] == "Accepted" for a in answers)
        replies = [f for _, way, f in bench.csms.trace if way == "<" and f.startswith("[3,")]
        numbers = [int(json.loads(frame)[1].removeprefix("csms-")) for frame in replies]
        assert numbers == sorted(numbers)
        assert len(bench.network.dials) == 1

    run(scene)


def test_a_set_value_is_seen_by_a_get_sent_right_after_it() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        name = _variable("OCPPCommCtrlr", "OfflineThreshold")
        for value in ("301", "302"):
            set_one = {"setVariableData": [name | {"attributeValue": value}]}
            get = {"getVariableData": [name]}
            setting = asyncio.create_task(bench.csms.call("SetVariables", set_one))
            await asyncio.sleep(0)
            answer = await bench.csms.call("GetVariables", get)
            assert (await setting)["setVariableResult"][0]["attributeStatus"] == "Accepted"
            assert answer["getVariableResult"][0]["attributeValue"] == value

    run(scene)


def test_numbers_written_with_a_point_zero_survive_a_power_cut() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        bench.plug_in(1)
        await asyncio.sleep(5)
        token = '{"idToken":"APP","type":"Central"}'
        start = f'{{"idToken":{token},"remoteStartId":17.0,"evseId":1.0}}'
        await bench.csms.send_text(f'[2,"f","RequestStartTransaction",{start}]')
        await bench.until(lambda: bench.connector().get("charging_state") == "Charging")
        await asyncio.sleep(600)
        await bench.power_cut()
        await bench.start()
        await bench.until(lambda: any(e["eventType"] == "Ended" for e in events(bench)))
        assert events(bench)[0]["transactionInfo"]["remoteStartId"] == 17
        assert [event["seqNo"] for event in events(bench)] == list(range(len(events(bench))))

    run(scene)


def events(bench: SimBench) -> list[Any]:
    return [event for events in bench.csms.transactions.values() for event in events]


def test_two_hours_with_a_link_that_breaks_at_every_frame_lose_nothing() -> None:
    async def scene(bench: SimBench) -> None:
        await booted(bench)
        before_wh = bench.board.meter(1).energy_wh
        await begin(bench, 1, CARD)
        for number in range(240):
            await asyncio.sleep(30 + number % 7 * 0.005)
            bench.network.cut()
        bench.plug_out(1)
        await bench.until(lambda: "transaction_id" not in bench.connector())
        await drained(bench)
        meters_wh = {1: (before_wh, bench.board.meter(1).energy_wh)}
        assert judge(Evidence(calls=bench.csms.calls, meters_wh=meters_wh)).problems == ()

    run(scene)


@pytest.mark.parametrize("answer", [[], [[]], "x", {"customData": json.loads("[" * 70 + "]" * 70)}])
def test_an_answer_to_an_event_that_cannot_be_read_is_one(answer: Any) -> None:
    """The row has arrived: sent again it would be counted twice."""

    async def scene(bench: SimBench) -> None:
        bench.csms.answer["TransactionEvent"] = answer
        await booted(bench)
        await charges(bench)
        await asyncio.sleep(3600)
        ids = [call.message_id for call in bench.csms.calls if call.action == "TransactionEvent"]
        assert len(ids) == len(set(ids))
        assert bench.agent.status()["set_aside"] == 0
        bench.csms.check()

    run(scene)
