"""What the CSMS gets of the logs: the span it asked for, no secrets, nothing left behind."""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
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
REPORT = {"status": {"link": "online"}, "url": "https://me:pw@host/", "kept": SECRET}
DAY_2_S = 1_767_312_000.0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []

    def send(url: str, path: Path, name: str, task: Task, *trust: Any) -> None:
        found.append(path.read_bytes())
        if "refused" in url:
            raise JobError("PermissionDenied", "no")

    monkeypatch.setattr(module, "send", send)
    return found


def upload(directory: Path, log_type: str, **order: Any) -> None:
    (directory / "security.log").write_text("".join(LINES))
    report = order.pop("report", REPORT)
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


def test_a_log_is_not_written_where_there_is_hardly_room_for_what_is_sold(
    tmp_path: Path, sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(JobError, match="no room") as error:
        upload(tmp_path, "DiagnosticsLog")
    assert error.value.cause == "UploadFailure"
    assert sent == []


def test_each_try_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was canceled may still be at it when the next one of the same second begins."""

    def send(url: str, path: Path, name: str, task: Task, *trust: Any) -> None:
        paths.append(path)
        if len(paths) == 1:
            upload(tmp_path, "SecurityLog")
        assert path.read_text() == "".join(LINES)

    paths: list[Path] = []
    monkeypatch.setattr(module, "send", send)
    upload(tmp_path, "SecurityLog")
    assert len(set(paths)) == 2


def test_the_security_log_is_sent_without_secrets(tmp_path: Path, sent: list[bytes]) -> None:
    journal.hide(SECRET)
    LINES.append(json.dumps({"type": "X", "info": f"at {SECRET}"}) + "\n")
    try:
        upload(tmp_path, "SecurityLog")
    finally:
        LINES.pop()
    assert SECRET not in sent[0].decode()
    assert len(sent[0].splitlines()) == len(LINES) + 1


# --- the journal and the bounds of a bundle -------------------------------------------------------


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A stand-in that says what `code` prints, and keeps its arguments in the file returned."""

    def make(code: str) -> Path:
        said = tmp_path / "arguments"
        program = tmp_path / "bin/journalctl"
        program.parent.mkdir()
        keep = f"import sys; open({str(said)!r}, 'w').write(' '.join(sys.argv[1:]))"
        program.write_text(f"#!{sys.executable}\n{keep}\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        return said

    return make


def part(sent: list[bytes], name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(sent[0])) as bundle:
        return bundle.read(name)


def test_the_journal_of_the_service_and_the_span_is_in_the_bundle(
    tmp_path: Path, sent: list[bytes], journalctl: Callable[[str], Path]
) -> None:
    journal.hide(SECRET)
    said = journalctl(f"print('contactor opened'); print('dialled with {SECRET} ftp://a:b@h')")
    upload(tmp_path, "DiagnosticsLog", oldest_s=DAY_2_S, latest_s=DAY_2_S + 60)
    text = part(sent, "journal.txt").decode()
    assert text == "contactor opened\ndialled with *** ftp://***@h\n"
    words = said.read_text()
    assert "--unit chargepoint.service" in words
    assert f"--since @{DAY_2_S:.0f} --until @{DAY_2_S + 60:.0f}" in words


def test_a_journal_that_cannot_be_read_says_so(
    tmp_path: Path, sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    upload(tmp_path, "DiagnosticsLog")
    assert part(sent, "journal.txt").startswith(b"no journal: ")


def test_a_journal_that_hangs_is_ended(
    tmp_path: Path,
    sent: list[bytes],
    journalctl: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "JOURNAL_S", 1.0)
    journalctl("import time; print('so far', flush=True); time.sleep(600)")
    upload(tmp_path, "DiagnosticsLog")
    assert part(sent, "journal.txt") in (b"so far\n", b"")


def test_a_long_journal_is_cut_at_its_old_end_between_two_lines(
    tmp_path: Path, sent: list[bytes], journalctl: Callable[[str], Path]
) -> None:
    """Half a line could hold half a secret."""
    journal.hide(SECRET)
    journalctl(f"for i in range(120000): print('{SECRET}', 'number', i)")
    upload(tmp_path, "DiagnosticsLog")
    text = part(sent, "journal.txt").decode()
    lines = text.splitlines()
    assert lines[-1] == "*** number 119999"
    assert {line.partition(" ")[0] for line in lines} == {"***"}
    assert 1000 < len(lines) < 120_000


def test_a_bundle_of_the_worst_contents_stays_in_its_bounds(
    tmp_path: Path, sent: list[bytes], journalctl: Callable[[str], Path]
) -> None:
    """Nothing of it can be compressed."""
    noise = Random(5)
    journalctl("import os\nfor _ in range(6000): print(os.urandom(500).hex())")
    LINES.append(noise.randbytes(module.SECURITY_BYTES).hex() + "\n")
    try:
        report = {"status": noise.randbytes(module.REPORT_BYTES).hex()}
        upload(tmp_path, "DiagnosticsLog", report=report)
    finally:
        LINES.pop()
    assert len(sent[0]) <= module.MOST_BYTES
    for name, most in (
        ("report.json", module.REPORT_BYTES),
        ("journal.txt", module.JOURNAL_BYTES),
        ("security.log", module.SECURITY_BYTES),
    ):
        assert len(part(sent, name)) <= most, name
    assert len(part(sent, "report.json")) == module.REPORT_BYTES
    assert part(sent, "security.log").endswith(module.CUT)
