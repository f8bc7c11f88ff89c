"""The logs that the CSMS may have (N01): written to a bounded file, sent, and removed again."""

import json
import shutil
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from agent.core.jobs import UploadLog
from agent.jobs import SECURITY_LOG, UPLOADS
from agent.jobs.pieces import CHUNK
from agent.jobs.threads import JobError, Task
from agent.jobs.transfer import send
from agent.jobs.web import Context
from agent.log import masked

REPORT_BYTES, JOURNAL_BYTES, SECURITY_BYTES = 1 << 20, 2 << 20, 1 << 19
"""Of the parts of a bundle, unpacked. The journal's end counts."""
MOST_BYTES = 4 << 20
"""Of a bundle as it is sent."""
RESERVE_BYTES = 2 * MOST_BYTES
"""Room that must be there before a log is written: what was sold comes first."""
CUT = b"... the rest did not fit\n"
JOURNAL_LINES = 20_000
JOURNAL_S = 60.0
"""How long journalctl may take."""

Report = Callable[[], dict[str, Any]]
"""What the station says of itself, without secrets; called from the job's thread."""


class Logs:
    """`report` is the heart of a diagnostics bundle; `unit` names the service in the journal."""

    def __init__(
        self,
        directory: Path,
        report: Report,
        context: Context,
        unit: str = "chargepoint.service",
        known_hosts: str | None = None,
    ) -> None:
        self._directory = directory
        self._report = report
        self._context = context
        self._unit = unit
        self._known_hosts = known_hosts

    def upload(self, order: UploadLog, task: Task) -> None:
        """One try. Raises JobError."""
        try:
            with self._scratch() as file:
                path = Path(file.name)
                task.moved("writing")
                if order.log_type == "SecurityLog":
                    self._write_security(path, order)
                else:
                    self._write_bundle(path, order)
                send(order.url, path, order.file_name, task, self._context, self._known_hosts)
        except OSError as error:
            text = f"the log cannot be written: {error.strerror}; check space (`df -h`)"
            raise JobError("UploadFailure", text) from error

    def _scratch(self) -> "tempfile._TemporaryFileWrapper[bytes]":
        """A file of this try's own, gone when closed: a try that was canceled may still be at work.
        Raises JobError."""
        directory = self._directory / UPLOADS
        directory.mkdir(mode=0o700, exist_ok=True)
        if shutil.disk_usage(directory).free < RESERVE_BYTES:
            text = "no room to write a log; free space in the data directory (`df -h`)"
            raise JobError("UploadFailure", text)
        return tempfile.NamedTemporaryFile(dir=directory)

    def _write_security(self, path: Path, order: UploadLog) -> None:
        source = self._directory / SECURITY_LOG
        with open(path, "w", encoding="utf-8") as file:
            for line in _lines(source):
                if _is_within(line, order):
                    file.write(masked(line))

    def _write_bundle(self, path: Path, order: UploadLog) -> None:
        """At most MOST_BYTES together, were nothing of it to compress."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
            report = json.dumps(self._report(), indent=2, default=str)
            bundle.writestr("report.json", masked(report).encode()[:REPORT_BYTES])
            with bundle.open("journal.txt", "w") as file:
                _write_bounded(file, self._journal(order), JOURNAL_BYTES)
            with bundle.open(SECURITY_LOG, "w") as file:
                _write_bounded(file, _lines(self._directory / SECURITY_LOG), SECURITY_BYTES)

    def _journal(self, order: UploadLog) -> Iterable[str]:
        """The service's own lines, the newest ones; why there are none, where there are none."""
        words = ["journalctl", "--unit", self._unit, "--no-pager", "--output", "short-iso"]
        words += ["--lines", str(JOURNAL_LINES)]
        if order.oldest_s is not None:
            words += ["--since", f"@{order.oldest_s:.0f}"]
        if order.latest_s is not None:
            words += ["--until", f"@{order.latest_s:.0f}"]
        try:
            said = _end_of_output(words, JOURNAL_BYTES * 3 // 4, JOURNAL_S)
        except OSError as error:
            return [f"no journal: {error}\n"]
        return (line.decode(errors="replace") for line in said.splitlines(keepends=True))


def _end_of_output(words: list[str], most_bytes: int, timeout_s: float) -> bytearray:
    """The last whole lines that a program says until it ends or is ended; holds little more."""
    end, is_cut = bytearray(), False
    program = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    timer = threading.Timer(timeout_s, program.kill)
    timer.start()
    try:
        assert program.stdout is not None
        while chunk := program.stdout.read(CHUNK):
            end += chunk
            if len(end) > most_bytes:
                del end[:-most_bytes]
                is_cut = True
    finally:
        timer.cancel()
        program.kill()
        program.communicate()
    # half a line could hold half a secret, which nothing masks
    return end[end.find(b"\n") + 1 :] if is_cut else end


def _write_bounded(file: IO[bytes], lines: Iterable[str], most_bytes: int) -> None:
    """Line by line without secrets; what is beyond the bound is left out and said so."""
    left = most_bytes - len(CUT)
    for line in lines:
        data = masked(line).encode()
        if len(data) > left:
            file.write(CUT)
            return
        left -= len(data)
        file.write(data)


def _lines(path: Path) -> list[str]:
    """Of a bounded file; one that is not there is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(SECURITY_BYTES).splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _is_within(line: str, order: UploadLog) -> bool:
    """By the time that each line carries; one without is kept."""
    try:
        at_s = datetime.fromisoformat(json.loads(line)["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return True
    is_early = order.oldest_s is not None and at_s < order.oldest_s
    return not is_early and (order.latest_s is None or at_s <= order.latest_s)
