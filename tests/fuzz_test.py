"""What `make fuzz` does for long, here for a moment; and that it would notice."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core.effects import Save
from agent.core.events import IdToken
from agent.core.evse_facts import Grant
from agent.guard import Guard
from agent.ocpp import router, rpc
from agent.ocpp.block import Answer, CallError
from hil.fuzz import fire
from hil.fuzz_frames import Thrown
from hil.fuzz_station import Failing, Tally, Target

FRAMES = 500
"""Four times: the workers of the suite share them."""


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_spoiled_frames_are_answered_or_dropped_and_change_nothing(seed: int) -> None:
    tally = fire(FRAMES, seed)
    assert tally.thrown >= FRAMES
    assert min(tally.accepted, tally.refused, tally.dropped, tally.answers) > 0


def thrown_at(*frames: str) -> Tally:
    with Target() as target:
        for frame in frames:
            target.throw(Thrown(frame))
    return target.tally


REFUSED = '[2,"r","ChangeAvailability",{"operationalStatus":"Inoperative","evse":{"id":7}}]'
CLEAR = '[2,"c","ClearCache",{}]'


def test_the_frames_of_this_file_are_no_failure_by_themselves() -> None:
    tally = thrown_at(REFUSED, CLEAR)
    assert (tally.refused, tally.accepted, tally.stops) == (1, 1, 1)


def planted(monkeypatch: pytest.MonkeyPatch, action: str, handler: Callable[..., Any]) -> None:
    monkeypatch.setitem(router.INCOMING, action, handler)


def test_a_handler_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "ClearCache", lambda payload, view, now: 1 / 0)
    with pytest.raises(Failing, match="a handler failed"):
        thrown_at(CLEAR)


def test_a_refusal_that_saves_something_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer({"status": "Rejected"}, effects=(Save("evil", "1"),))
    planted(monkeypatch, "ClearCache", lambda payload, view, now: answer)
    with pytest.raises(Failing, match="by a frame refused"):
        thrown_at(CLEAR)


def test_a_refusal_that_changes_the_memory_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(payload: Any, view: Any, now: Any) -> Answer:
        view.station.policy = replace(view.station.policy, time_source="")
        raise CallError("GenericError", "refused")

    planted(monkeypatch, "ClearCache", handler)
    with pytest.raises(Failing, match=r"policy\.time_source changed"):
        thrown_at(CLEAR)


def keeps_a_grant(view: Any) -> None:
    view.station.evses[2].grant = Grant(IdToken("04", "ISO14443"), None, 1e9)


def keeps_a_percentage(view: Any) -> None:
    view.firmware.percent = 50


def keeps_an_upload(view: Any) -> None:
    view.uploads.percent = 50


def keeps_a_slot(view: Any) -> None:
    dialling = view.connection._dialling
    dialling.slots = (*dialling.slots, dialling.slots[0])


REFUSAL = Answer({"status": "Rejected"})
VERSION = '[2,"v","GetLocalListVersion",{}]'


@pytest.mark.parametrize(
    "fault", [keeps_a_grant, keeps_a_percentage, keeps_an_upload, keeps_a_slot]
)
@pytest.mark.parametrize(
    ("frame", "action", "answer"),
    [
        (CLEAR, "ClearCache", REFUSAL),
        (VERSION, "GetLocalListVersion", Answer({"versionNumber": 0})),
    ],
    ids=["refused", "only asked"],
)
def test_memory_of_any_room_is_looked_at(
    fault: Callable[[Any], None],
    frame: str,
    action: str,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(payload: Any, view: Any, now: Any) -> Answer:
        fault(view)
        return answer

    planted(monkeypatch, action, handler)
    with pytest.raises(Failing, match="changed from"):
        thrown_at(frame)


def test_an_answer_too_many_and_one_too_few_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    good = router.Router._call
    for kept in (0, 2):

        def spoiled(self: Any, call: Any, now: Any, kept: int = kept) -> list[object]:
            found = good(self, call, now)
            sent = [effect for effect in found if isinstance(effect, ef.SendFrame)]
            return [effect for effect in found if effect not in sent] + sent * kept

        monkeypatch.setattr(router.Router, "_call", spoiled)
        with pytest.raises(Failing, match="one answer is due"):
            thrown_at(CLEAR)


def test_a_guard_that_leaves_the_stop_to_the_inbox_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = Guard.see_pilot

    def late(self: Guard, *seen: Any) -> None:
        asyncio.get_running_loop().call_soon(good, self, *seen)

    target = Target()
    target.throw(Thrown(CLEAR))
    monkeypatch.setattr(Guard, "see_pilot", late)
    with pytest.raises(Failing, match="waited behind frames"):
        target.__exit__(None)


def test_current_above_the_supply_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Guard.allow
    monkeypatch.setattr(
        Guard, "allow", lambda self, place, limit_a, permit: good(self, place, 45.0, permit)
    )
    with pytest.raises(Failing, match="A offered"):
        thrown_at(CLEAR)


def test_an_answer_that_breaks_the_schema_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "result", lambda message_id, payload: f'[3,"{message_id}",{{"x":1}}]')
    with pytest.raises(Failing, match="response"):
        thrown_at(CLEAR)


def test_hostile_numbers_depth_and_texts_one_by_one() -> None:
    """Each at each place of one good frame, so that no seed must find them."""
    data = {"setVariableData": [{"attributeValue": "1", "component": {}, "variable": {}}]}
    text = json.dumps([2, "h", "SetVariables", data])
    hostile = [
        "1e999",
        "-1e999",
        "NaN",
        "9" * 5000,
        '"\\ud800"',
        "[" * 5000,
        '{"a":' * 5000,
        "\x00",
    ]
    frames = [text.replace(spot, bad, 1) for bad in hostile for spot in ('"1"', "{}", '"h"', "2")]
    thrown_at(*frames)


def test_a_refused_certificate_may_end_the_request_that_it_answered() -> None:
    """A02.FR.07; found by the long run."""
    asked = '[2,"t","TriggerMessage",{"requestedMessage":"SignChargingStationCertificate"}]'
    chain = '{"certificateType":"ChargingStationCertificate","certificateChain":"x"}'
    tally = thrown_at(asked, *[f'[2,"c{n}","CertificateSigned",{chain}]' for n in range(3)])
    assert tally.refused == 3
