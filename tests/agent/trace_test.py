"""`chargepoint trace` through its command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli, trace
from agent.console import ConsoleError, NotRunning
from tests.agent.probe_test import file_in

CALL = {
    "ok": True,
    "time": "2026-11-23T10:20:30.123Z",
    "direction": "sent",
    "kind": "call",
    "action": "Heartbeat",
    "message_id": "m-1",
    "payload": {},
}


def service(monkeypatch: pytest.MonkeyPatch, *days: list[dict[str, Any]] | Exception) -> None:
    """What each connection brings; after the last the technician has seen enough."""
    left = iter(days)

    def follow(path: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        assert request == {"cmd": "trace", "devices": False}
        day = next(left, KeyboardInterrupt())
        if isinstance(day, BaseException):
            raise day
        yield from day

    monkeypatch.setattr(trace, "follow", follow)
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, "10:20:30.123Z -> Heartbeat m-1 {}"),
        (
            {"direction": "heard", "kind": "result", "payload": {"a": "ü"}},
            '10:20:30.123Z <- Heartbeat m-1 result {"a":"ü"}',
        ),
        (
            {"action": None, "kind": "error", "payload": ["X", "y", {}], "note": "odd"},
            '10:20:30.123Z -> ? m-1 error ["X","y",{}] (odd)',
        ),
        ({"payload": {"a": "\x1b[2J\x9b"}}, '10:20:30.123Z -> Heartbeat m-1 {"a":"\\u001b[2J"}'),
    ],
)
def test_a_frame_is_one_line(changed: dict[str, Any], shown: str) -> None:
    assert trace.line(CALL | changed) == shown


def test_the_link_is_told_between_the_frames() -> None:
    told = {"time": "2026-11-23T10:20:30.123Z", "direction": "link", "text": "closed: gone"}
    assert trace.line(told) == "10:20:30.123Z -- closed: gone"


def test_frames_are_printed_as_they_come_and_over_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service(
        monkeypatch, [CALL], NotRunning("nothing listens"), NotRunning("nothing listens"), [CALL]
    )
    assert cli.main(["trace", file_in(tmp_path)]) == 130
    out = capsys.readouterr()
    assert out.out.splitlines() == [trace.line(CALL)] * 2
    assert out.err.count("nothing listens") == 1
    assert out.err.count("waiting until it is back") == 2


def test_json_is_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service(monkeypatch, [CALL])
    assert cli.main(["trace", file_in(tmp_path), "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {k: v for k, v in CALL.items() if k != "ok"}


def test_without_the_service_the_next_step_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["trace", file_in(tmp_path)]) == 1
    assert "systemctl start chargepoint" in capsys.readouterr().err


def test_a_refusal_at_the_begin_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service(monkeypatch, ConsoleError("4 others trace; end one"))
    assert cli.main(["trace", file_in(tmp_path)]) == 1
    assert "end one" in capsys.readouterr().err
