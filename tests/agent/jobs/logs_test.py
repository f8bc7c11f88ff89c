"""What the CSMS gets of the logs: the span it asked for, no secrets, nothing left behind."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agent import log as journal
from agent.core.jobs import UploadLog
from agent.jobs import UPLOADS, JobError, Task
from agent.jobs import logs as module
from agent.jobs.logs import Logs

SECRET = "a-secret-of-16-characters"
LINES = [
    json.dumps({"time": f"2026-01-0{day}T00:00:00.000+00:00", "type": f"Event{day}"}) + "\n"
    for day in (1, 2, 3)
]
DAY_2_S = 1_767_312_000.0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []

    def send(url: str, path: Path, name: str, task: Task, context: Any) -> None:
        found.append(path.read_bytes())
        if "refused" in url:
            raise JobError("PermissionDenied", "no")

    monkeypatch.setattr(module, "send", send)
    return found


def upload(directory: Path, log_type: str, **order: Any) -> None:
    (directory / "security.log").write_text("".join(LINES))
    report = {"status": {"link": "online"}, "url": "https://me:pw@host/", "kept": SECRET}
    logs = Logs(directory, lambda: report, lambda: None)  # type: ignore[arg-type, return-value]
    url = order.pop("url", "https://files.invalid/")
    task = Task(lambda step, percent: None)
    logs.upload(UploadLog(url, "log.bin", log_type, **order), task)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({}, LINES),
        ({"oldest_s": DAY_2_S}, LINES[1:]),
        ({"latest_s": DAY_2_S}, LINES[:2]),
    ],
)
def test_the_security_log_of_a_span(
    tmp_path: Path, sent: list[bytes], span: dict[str, float], expected: list[str]
) -> None:
    upload(tmp_path, "SecurityLog", **span)
    assert sent == ["".join(expected).encode()]


def test_a_bundle_holds_report_journal_and_security_log_without_secrets(
    tmp_path: Path, sent: list[bytes]
) -> None:
    journal.hide(SECRET)
    upload(tmp_path, "DiagnosticsLog")
    path = tmp_path / "got.zip"
    path.write_bytes(sent[0])
    with zipfile.ZipFile(path) as bundle:
        parts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert set(parts) == {"report.json", "journal.txt", "security.log"}
    assert json.loads(parts["report.json"])["status"] == {"link": "online"}
    assert parts["security.log"] == "".join(LINES)
    whole = "".join(parts.values())
    assert SECRET not in whole
    assert "me:pw" not in whole


def test_nothing_is_left_of_an_upload(tmp_path: Path, sent: list[bytes]) -> None:
    upload(tmp_path, "SecurityLog")
    with pytest.raises(JobError):
        upload(tmp_path, "SecurityLog", url="https://refused.invalid/")
    assert list((tmp_path / UPLOADS).iterdir()) == []
