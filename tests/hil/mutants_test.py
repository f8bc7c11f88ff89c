"""The mutants' machinery: what it makes of a frame, and that it tells noticed from not noticed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.mutants_frames import NOT_SENT, added, changed, other_value, rules, values
from hil.mutants_plan import (
    ROOT,
    Field,
    Mutant,
    Recording,
    field,
    matches,
    plan,
    read_explained,
    read_validations,
)
from hil.mutants_tamper import Tamper, corrupted

EVENT = "TransactionEventRequest"
ENDED = {
    "eventType": "Ended",
    "triggerReason": "RemoteStop",
    "offline": True,
    "seqNo": 3,
    "timestamp": "2026-09-21T14:13:20.000Z",
    "transactionInfo": {"transactionId": "tx-9", "stoppedReason": "Remote"},
    "meterValue": [{"sampledValue": [{"value": 1.5}, {"value": 2, "context": "Transaction.End"}]}],
}
SCENES = """
from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual


async def unlock():
    async with SimBench() as bench:
        await Octt(bench).booted()
        answer = await bench.csms.call("UnlockConnector", {"evseId": 1, "connectorId": 9})
        bench.csms.check()
        return answer


def test_TC_F_10_CS():
    assert run_virtual(unlock())["status"] == "UnknownConnector"


def test_TC_F_06_CS():
    assert "status" in run_virtual(unlock())
"""
VALIDATED = """case,message,fields
TC_F_10_CS,UnlockConnectorResponse,status=UnknownConnector !statusInfo
TC_F_06_CS,UnlockConnectorResponse,status=UnknownConnector
"""


def test_a_field_is_changed_taken_away_and_added_wherever_it_stands() -> None:
    path = "meterValue.sampledValue.value"
    assert values(ENDED, path) == [1.5, 2]
    assert values(changed(ENDED, path, lambda value: value + 1), path) == [2.5, 3]
    assert "offline" not in changed(ENDED, "offline", lambda value: NOT_SENT)
    without = changed(ENDED, "meterValue.sampledValue", lambda value: NOT_SENT)
    assert without["meterValue"] == [{}]
    more = added(ENDED, "meterValue.sampledValue.context", "Trigger")
    assert values(more, "meterValue.sampledValue.context") == ["Trigger", "Trigger"]
    assert ENDED["seqNo"] == 3


@pytest.mark.parametrize(
    ("path", "value", "other"),
    [
        ("offline", True, False),
        ("seqNo", 3, 4),
        ("timestamp", ENDED["timestamp"], "2026-09-21T15:13:20.000Z"),
        ("transactionInfo.transactionId", "tx-9", "tx-0"),
        ("eventType", "Ended", "Updated"),
    ],
)
def test_another_value_is_one_that_the_schema_takes(
    path: str, value: object, other: object
) -> None:
    found = other_value(value, rules(EVENT)[path], ("Started",))
    assert found == other


def test_a_frame_is_like_a_validation_when_every_named_value_stands_in_it() -> None:
    assert matches(ENDED, [field("eventType=Started|Ended"), field("!idToken")])
    assert matches(ENDED, [field("meterValue.sampledValue.context=Transaction.End")])
    assert matches(ENDED, [field("evse.id=1|")])
    assert not matches(ENDED, [field("evse.id=1")])
    assert not matches(ENDED, [field("eventType=Updated")])
    assert field("a.b=C|") == Field("a.b", ("C",), may_be_absent=True)


def test_only_the_validated_value_is_replaced_and_by_none_that_is_allowed() -> None:
    where = (field("transactionInfo.stoppedReason=Remote|Reboot"),)
    mutant = Mutant("any", "other", EVENT, "transactionInfo.stoppedReason", where)
    new = corrupted(ENDED, mutant)["transactionInfo"]["stoppedReason"]
    assert new in rules(EVENT)[mutant.path].members
    assert new not in ("Remote", "Reboot")


def test_a_mutant_is_made_once_and_meets_only_the_tests_it_touches_fastest_first() -> None:
    slow = Recording("slow", "TC_E_21_CS", 2.0, {EVENT: [ENDED]}, set(), set())
    fast = Recording("fast", "TC_E_21_CS", 1.0, {EVENT: [ENDED]}, set(), set())
    other = Recording("other", "TC_E_22_CS", 0.1, {EVENT: [ENDED]}, set(), set())
    made = plan([slow, fast, other], [v for v in read_validations() if v.case_id == "TC_E_21_CS"])
    by_key = {mutant.key: mutant for mutant in made}
    assert len(by_key) == len(made)
    mine = [m for m in made if m.case_id == "TC_E_21_CS" and m.path == "eventType"]
    assert [(m.kind, m.tests) for m in mine] == [("other", ("fast", "slow"))]
    assert by_key[f"any: {EVENT} unsent"].tests == ("other", "fast", "slow")


def test_every_validated_field_is_one_of_its_message() -> None:
    wrong = [
        (found.case_id, wanted.path)
        for found in read_validations()
        for wanted in found.fields
        if wanted.path not in rules(found.message)
    ]
    assert wrong == []
    with (ROOT / "tests/conformance/cases.csv").open() as file:
        cases = {row["id"] for row in csv.DictReader(file)}
    named = {found.case_id for found in read_validations()}
    assert {name for name in named if not name.startswith("state ")} <= cases
    assert all(read_explained().values())


class AnsweringLink:
    """What the tamper needs of a link."""

    def __init__(self) -> None:
        self.unseen: list[str] = []

    def answer_usually(self, text: str) -> None:
        self.unseen.append(text)


def frame(*parts: object) -> str:
    return json.dumps(parts)


BEAT, STATUS = frame(2, "1", "Heartbeat", {}), frame(2, "2", "StatusNotification", {})
ANSWER, STATUS_ANSWER = frame(3, "1", {"currentTime": "now"}), frame(3, "2", {})


def test_a_call_sent_twice_is_answered_twice_before_the_station_goes_on() -> None:
    tamper = Tamper(Mutant("any", "twice", "HeartbeatRequest"))
    assert list(tamper.from_station(AnsweringLink(), BEAT)) == [BEAT]
    assert tamper.to_station(ANSWER) == (None, frame(2, "1-2", "Heartbeat", {}))
    assert tamper.to_station(frame(3, "1-2", {})) == (ANSWER, None)


def test_a_late_call_comes_after_the_next_one() -> None:
    tamper, link = Tamper(Mutant("any", "late", "HeartbeatRequest")), AnsweringLink()
    assert list(tamper.from_station(link, BEAT)) == []
    assert link.unseen == [BEAT]
    assert list(tamper.from_station(link, STATUS)) == [STATUS]
    assert tamper.to_station(STATUS_ANSWER) == (None, BEAT)
    assert tamper.to_station(ANSWER) == (STATUS_ANSWER, None)


def test_a_refused_call_never_arrives_and_what_is_no_call_does() -> None:
    tamper = Tamper(Mutant("any", "refused", "ResetRequest"))
    arrives, answer = tamper.to_station(frame(2, "7", "Reset", {}))
    assert arrives is None
    assert json.loads(answer or "")[:3] == [4, "7", "NotSupported"]
    for text in (frame(2, "8", "ClearCache", {}), "no frame", frame(2, [], "Reset"), "{}", ANSWER):
        assert tamper.to_station(text) == (text, None)


def run_mutants(directory: Path) -> tuple[int, list[str]]:
    words = ["--memory", str(directory / "memory.json"), "--action", "UnlockConnector"]
    words += ["--validated", str(directory / "validated.csv"), str(directory / "test_f.py")]
    done = subprocess.run(
        [sys.executable, "-m", "hil.mutants", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_test_that_looks_kills_its_mutants_and_one_that_does_not_is_listed(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_f.py").write_text(SCENES)
    (tmp_path / "validated.csv").write_text(VALIDATED)
    code, lines = run_mutants(tmp_path)
    missed = [line.split(" (")[0] for line in lines if line.startswith("not noticed")]
    where = "where status=UnknownConnector"
    assert missed == [
        f"not noticed: TC_F_06_CS: UnlockConnectorResponse status other {where}",
        f"not noticed: TC_F_10_CS: UnlockConnectorResponse statusInfo added {where}",
    ], "\n".join(lines)
    assert lines[-1] == "mutants: 4 made, 2 killed, 2 not noticed"
    assert code == 1
    (_, again) = run_mutants(tmp_path)
    assert any(line.startswith("4 mutants, 4 known") for line in again)
    assert again[-1] == lines[-1]
