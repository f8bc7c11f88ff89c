import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.core.effects import Dial
from agent.core.events import LinkOpened
from agent.csms.link import Credentials, connect_websocket
from agent.csms.session import Session
from hil.parts.csms import BenchCsms, Cut, Delayed, Refused, Silent, StationError
from hil.parts.csms_server import CsmsServer, serve_websocket
from hil.virtual_time import run_virtual

T = "2026-11-22T10:00:00.123Z"
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "m", "vendorName": "v"}}
STATUS = {"timestamp": T, "connectorStatus": "Available", "evseId": 1, "connectorId": 1}


def event(seq_no: int, kind: str = "Updated", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "eventType": kind,
        "timestamp": T,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "t1"},
    }
    return {**body, **changes}


class Station:
    """The other end of a BenchCsms, frame by frame."""

    def __init__(self, boot: bool = True) -> None:
        self.csms = BenchCsms(read_utc=lambda: 1795341600.0)
        self.got: list[Any] = []
        self.was_cut = False
        self.answers: dict[str, Any] = {}
        self.number = 0
        self.attach()
        if boot:
            self.csms.boot_status = "Accepted"

    def attach(self) -> None:
        self.link = self.csms.attach(self.receive, self.cut)

    def cut(self) -> None:
        self.was_cut = True
        self.csms.detach(self.link)

    async def receive(self, text: str) -> None:
        frame = json.loads(text)
        self.got.append(frame)
        if len(frame) == 4 and frame[2] in self.answers:
            answer = self.answers[frame[2]]
            self.csms.feed(answer if isinstance(answer, str) else json.dumps([3, frame[1], answer]))

    async def say(self, action: str, payload: Any, message_id: str | None = None) -> Any:
        """Send a CALL, let the bench work, return the last frame it sent."""
        self.number += 1
        self.csms.feed(json.dumps([2, message_id or f"s{self.number}", action, payload]))
        await asyncio.sleep(0.01)
        return self.got[-1] if self.got else None


def virtual(test: Callable[[], Any]) -> Callable[[], None]:
    """Run an async test in virtual time."""

    def run() -> None:
        run_virtual(test())

    run.__name__ = test.__name__
    return run


@virtual
async def test_a_good_station_is_answered_and_not_blamed() -> None:
    station = Station(boot=False)
    answer = await station.say("BootNotification", BOOT)
    assert answer == [
        3,
        "s1",
        {"currentTime": "2026-11-22T10:00:00.000Z", "interval": 300, "status": "Accepted"},
    ]
    assert (await station.say("StatusNotification", STATUS))[2] == {}
    assert (await station.say("Heartbeat", {}))[2] == {"currentTime": "2026-11-22T10:00:00.000Z"}
    token = {"idToken": "04AABBCC", "type": "ISO14443"}
    authorize = await station.say("Authorize", {"idToken": token})
    assert authorize[2] == {"idTokenInfo": {"status": "Accepted"}}
    begin = {"timestamp": T, "sampledValue": [{"value": 1.5}]}
    started = event(0, "Started", idToken=token, meterValue=[begin])
    assert (await station.say("TransactionEvent", started))[2]["idTokenInfo"]
    assert (await station.say("TransactionEvent", event(1)))[2] == {}
    await station.say("TransactionEvent", event(2, "Ended"))
    data = {"vendorId": "v", "data": {"any": [None, {}, []], "timestamp": "soon"}}
    await station.say("DataTransfer", data)
    station.csms.check()
    assert [e["seqNo"] for e in station.csms.transactions["t1"]] == [0, 1, 2]
    assert station.csms.of("StatusNotification") == [STATUS]
    assert station.csms.calls[0].message_id == "s1"


BAD: list[tuple[str, str]] = [
    ("{}", "no OCPP-J frame"),
    ("[2", "unreadable"),
    ('[2,"x","Heartbeat"]', "no OCPP-J frame"),
    ('[2,7,"Heartbeat",{}]', "message id"),
    (f'[2,"{"x" * 37}","Heartbeat",{{}}]', "message id"),
    ('[2,"x","Heartbeat",{"a":NaN}]', "NaN"),
    ('[2,"x","Heartbeat",{"customData":{"vendorId":"a","vendorId":"b"}}]', "twice"),
    ('[2,"x","Heartbeat",[]]', "not an object"),
    ('[2,"x","Heartbeat",null]', "not an object"),
    ('[2,"x","Heartbeat",{"a":1}]', "FormatViolation"),
    ('[2,"x","Nonsense",{}]', "NotImplemented"),
    ('[2,"x","\\u0000",{}]', "bench"),
    ('[2,"x","SecurityEventNotification",{"type":"a"}]', "ProtocolError"),
    ('[3,"unasked",{}]', "never called"),
    ('[4,"x","FormationViolation","",{}]', "no error code"),
    ('[4,"x","InternalError",""]', "5 elements"),
    (json.dumps([4, "x", "InternalError", "d" * 256, {}]), "255"),
    ('[4,"x","InternalError","",null]', "details"),
    ('[7,"x",{}]', "no OCPP-J frame"),
]


@pytest.mark.parametrize(("frame", "word"), BAD)
def test_a_bad_frame_is_blamed_and_survived(frame: str, word: str) -> None:
    async def run() -> None:
        station = Station()
        station.csms.feed(frame)
        await asyncio.sleep(0.01)
        assert any(word in line for line in station.csms.violations), station.csms.violations
        station.attach()
        assert (await station.say("Heartbeat", {}))[0] == 3

    run_virtual(run())


BAD_VALUES: list[tuple[dict[str, Any], str]] = [
    ({**STATUS, "timestamp": "2026-11-22T10:00:00"}, "timestamp"),
    ({**STATUS, "timestamp": "2026-11-22T11:00:00+01:00"}, "timestamp"),
    ({**STATUS, "timestamp": "2026-11-22T10:00:00.1234Z"}, "timestamp"),
    ({**STATUS, "timestamp": "@12.000"}, "timestamp"),
    ({**STATUS, "customData": None}, "null"),
]


@pytest.mark.parametrize(("payload", "word"), BAD_VALUES)
def test_a_value_that_the_schema_lets_pass_is_blamed(payload: dict[str, Any], word: str) -> None:
    async def run() -> None:
        station = Station()
        await station.say("StatusNotification", payload)
        assert any(word in line for line in station.csms.violations), station.csms.violations

    run_virtual(run())


@virtual
async def test_times_inside_meter_values_and_empty_objects_are_seen() -> None:
    station = Station()
    value = {"value": 1, "unitOfMeasure": {}}
    meter = {"timestamp": "now", "sampledValue": [value]}
    await station.say("TransactionEvent", event(0, "Started", meterValue=[meter]))
    text = "\n".join(station.csms.violations)
    assert "meterValue[0].timestamp is 'now'" in text
    assert "unitOfMeasure is empty" in text


SEQUENCES: list[tuple[list[dict[str, Any]], str]] = [
    ([event(1, "Started")], "seqNo 1 follows -1"),
    ([event(0)], "Updated as event number 1"),
    ([event(0, "Started"), event(2)], "seqNo 2 follows 0"),
    ([event(0, "Started"), event(0)], "seqNo 0 follows 0"),
    ([event(0, "Started"), event(1, "Started")], "Started as event number 2"),
    ([event(0, "Started"), event(1, "Ended"), event(2)], "after Ended"),
]


@pytest.mark.parametrize(("events", "word"), SEQUENCES)
def test_a_broken_sequence_of_events_is_blamed(events: list[dict[str, Any]], word: str) -> None:
    async def run() -> None:
        station = Station()
        for body in events:
            await station.say("TransactionEvent", body)
        assert any(word in line for line in station.csms.violations), station.csms.violations

    run_virtual(run())


@virtual
async def test_a_resend_on_a_new_link_is_fine_and_counted_once() -> None:
    station = Station()
    station.csms.answer["TransactionEvent"] = Cut()
    await station.say("TransactionEvent", event(0, "Started"), "m1")
    assert station.was_cut
    assert not station.csms.is_connected
    station.attach()
    del station.csms.answer["TransactionEvent"]
    await station.say("TransactionEvent", event(0, "Started", offline=True), "m1")
    station.attach()
    await station.say("TransactionEvent", event(0, "Started", offline=True), "m1")
    station.csms.check()
    assert len(station.csms.transactions["t1"]) == 1
    await station.say("TransactionEvent", event(0, "Started"), "m1")
    assert "answered on this link" in station.csms.violations[0]
    await station.say("TransactionEvent", event(1), "m1")
    assert "used before" in station.csms.violations[-1]


@virtual
async def test_a_second_call_before_the_answer_is_blamed_but_not_after_the_timeout() -> None:
    station = Station()
    station.csms.answer["Heartbeat"] = Silent()
    await station.say("Heartbeat", {})
    await asyncio.sleep(31)
    await station.say("Heartbeat", {})
    station.csms.check()
    await station.say("StatusNotification", STATUS)
    assert "was not answered" in station.csms.violations[0]


@virtual
async def test_nothing_may_come_before_the_boot_was_accepted() -> None:
    station = Station(boot=False)
    assert (await station.say("Heartbeat", {}))[2] == "SecurityError"
    assert len(station.csms.violations) == 1
    station.csms.answer["BootNotification"] = lambda payload: {
        "currentTime": T,
        "interval": 10,
        "status": "Pending",
    }
    await station.say("BootNotification", BOOT)
    await station.say("Heartbeat", {})
    assert len(station.csms.violations) == 2
    station.answers["TriggerMessage"] = {"status": "Accepted"}
    await station.csms.call("TriggerMessage", {"requestedMessage": "Heartbeat"})
    await station.say("Heartbeat", {})
    assert len(station.csms.violations) == 2
    station.csms.expect_boot()
    await station.say("Heartbeat", {})
    assert len(station.csms.violations) == 3


@virtual
async def test_answers_can_be_changed_delayed_and_refused() -> None:
    station = Station()
    station.csms.answer["Authorize"] = {"idTokenInfo": {"status": "Blocked"}}
    token = {"idToken": {"idToken": "a", "type": "Central"}}
    assert (await station.say("Authorize", token))[2]["idTokenInfo"]["status"] == "Blocked"
    station.csms.answer["Authorize"] = Refused("GenericError", "no")
    assert (await station.say("Authorize", token))[2:4] == ["GenericError", "no"]
    station.csms.answer["Authorize"] = lambda payload: Delayed(5.0)
    before = len(station.got)
    await station.say("Authorize", token)
    assert len(station.got) == before
    await asyncio.sleep(5)
    assert len(station.got) == before + 1
    station.csms.answer["Authorize"] = lambda payload: None
    assert (await station.say("Authorize", token))[2]["idTokenInfo"]["status"] == "Accepted"


@virtual
async def test_a_late_answer_does_not_cross_over_to_a_new_link() -> None:
    station = Station()
    station.csms.answer["Heartbeat"] = Delayed(5.0)
    await station.say("Heartbeat", {})
    station.attach()
    await asyncio.sleep(10)
    assert station.got == []


@virtual
async def test_a_call_brings_the_answer_or_says_why_not() -> None:
    station = Station()
    station.answers["ClearCache"] = {"status": "Accepted"}
    assert await station.csms.call("ClearCache") == {"status": "Accepted"}
    station.answers["ClearCache"] = {"status": "Perhaps"}
    await station.csms.call("ClearCache")
    assert "ClearCache response" in station.csms.violations[0]
    station.answers["Reset"] = '[4,"csms-3","NotSupported","not here",{}]'
    with pytest.raises(StationError, match="not here") as caught:
        await station.csms.call("Reset", {"type": "OnIdle"})
    assert caught.value.code == "NotSupported"
    with pytest.raises(TimeoutError, match="GetLog"):
        await station.csms.call("GetLog", {}, timeout_s=3)
    asyncio.get_running_loop().call_later(1, station.cut)
    with pytest.raises(ConnectionError, match="broke"):
        await station.csms.call("GetReport", {"requestId": 0})
    with pytest.raises(ConnectionError, match="not connected"):
        await station.csms.call("ClearCache")


@virtual
async def test_wait_for_looks_back_and_forward_and_gives_each_call_once() -> None:
    station = Station()
    await station.say("TransactionEvent", event(0, "Started"))
    await station.say("TransactionEvent", event(1))
    csms = station.csms
    assert (await csms.wait_for("TransactionEvent"))["seqNo"] == 0
    assert (await csms.wait_for("TransactionEvent", lambda p: p["seqNo"] == 1))["seqNo"] == 1
    coming = asyncio.ensure_future(csms.wait_for("TransactionEvent"))
    await asyncio.sleep(1)
    assert not coming.done()
    await station.say("TransactionEvent", event(2))
    assert (await coming)["seqNo"] == 2
    await station.say("Heartbeat", {})
    csms.forget()
    with pytest.raises(TimeoutError, match="no Heartbeat within 9 s"):
        await csms.wait_for("Heartbeat", timeout_s=9)


@virtual
async def test_hostile_frames_can_be_sent_and_their_callerrors_are_kept() -> None:
    station = Station()
    await station.csms.send_text("[]")
    station.csms.feed('[4,"-1","RpcFrameworkError","?",{}]')
    assert station.csms.errors == [("-1", "RpcFrameworkError", "?")]
    station.csms.check()


# --- on a real socket -------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[CsmsServer]:
    server = await serve_websocket(BenchCsms(), login=("CS001", "correct-horse-battery"))
    yield server
    await server.close()


def dial(server: CsmsServer, user: str = "CS001") -> Any:
    url = server.url.replace("//", f"//{user}:correct-horse-battery@")
    return connect(f"{url}/CS001", subprotocols=["ocpp2.0.1"], proxy=None)  # type: ignore[list-item]


async def test_a_station_on_a_socket_is_answered(server: CsmsServer) -> None:
    async with dial(server) as socket:
        await socket.send(json.dumps([2, "1", "BootNotification", BOOT]))
        assert json.loads(await socket.recv())[2]["status"] == "Accepted"
        assert socket.subprotocol == "ocpp2.0.1"
    await server._csms.wait_connected(False, 10)
    server._csms.check()
    assert server.handshakes[0][0] == "/ocpp/CS001"


async def test_a_wrong_name_is_refused(server: CsmsServer) -> None:
    with pytest.raises(InvalidStatus, match="401"):
        await dial(server, user="other")


async def test_a_dropped_server_cuts_refuses_and_accepts_again(server: CsmsServer) -> None:
    async with dial(server) as socket:
        await server.drop()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        with pytest.raises(OSError, match="Connect call failed"):
            await dial(server)
        await server.accept()
        async with dial(server):
            await server._csms.wait_connected(timeout_s=10)


async def test_cut_as_an_answer_breaks_the_socket(server: CsmsServer) -> None:
    server._csms.answer["BootNotification"] = Cut()
    async with dial(server) as socket:
        await socket.send(json.dumps([2, "1", "BootNotification", BOOT]))
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_the_session_of_the_agent_talks_to_the_server(server: CsmsServer) -> None:
    events: asyncio.Queue[Any] = asyncio.Queue()
    session = Session(
        connect_websocket, lambda slot: Credentials("correct-horse-battery"), events.put_nowait
    )
    session.dial(Dial(1, f"{server.url}/CS001", "CS001", 1, 10.0, 0.0))
    async with asyncio.timeout(20):
        assert await events.get() == LinkOpened(1)
        session.send(json.dumps([2, "1", "BootNotification", BOOT]))
        assert json.loads((await events.get()).text)[2]["status"] == "Accepted"
        await server.drop()
        assert "without a goodbye" in (await events.get()).reason
        session.dial(Dial(1, f"{server.url}/CS001", "CS001", 1, 10.0, 0.0))
        assert "nothing listens" in (await events.get()).reason
    await session.close()
    server._csms.check()
