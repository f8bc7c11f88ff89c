"""The logs that the CSMS may have (N01): written to a bounded file, sent, and removed again."""

import json
import subprocess
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.core.jobs import UploadLog
from agent.jobs import UPLOADS
from agent.jobs.threads import JobError, Task
from agent.jobs.transfer import Context, send
from agent.log import masked

SECURITY_LOG = "security.log"
MOST_BYTES = 8 * 1024 * 1024
"""Of any one part of a bundle, and of the journal's excerpt."""
JOURNAL_LINES = 20_000
JOURNAL_S = 60.0
"""How long journalctl may take."""

Report = Callable[[], dict[str, Any]]
"""What the station says of itself, without secrets; called from the job's thread."""


class Logs:
    """`report` is the heart of a diagnostics bundle; `unit` names the service in the journal."""

    def __init__(
        self, directory: Path, report: Report, context: Context, unit: str = "chargepoint.service"
    ) -> None:
        self._directory = directory
        self._report = report
        self._context = context
        self._unit = unit

    def upload(self, order: UploadLog, task: Task) -> None:
        """One try. Raises JobError."""
        directory = self._directory / UPLOADS
        path = directory / order.file_name
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            task.moved("writing")
            if order.log_type == "SecurityLog":
                self._write_security(path, order)
            else:
                self._write_bundle(path, order)
            send(order.url, path, order.file_name, task, self._context)
        except OSError as error:
            text = f"the log cannot be written: {error.strerror}; check space (`df -h`)"
            raise JobError("UploadFailure", text) from error
        finally:
            path.unlink(missing_ok=True)

    def _write_security(self, path: Path, order: UploadLog) -> None:
        source = self._directory / SECURITY_LOG
        with open(path, "w", encoding="utf-8") as file:
            for line in _lines(source):
                if _is_within(line, order):
                    file.write(line)

    def _write_bundle(self, path: Path, order: UploadLog) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
            report = json.dumps(self._report(), indent=2, default=str)
            bundle.writestr("report.json", masked(report)[:MOST_BYTES])
            bundle.writestr("journal.txt", masked(self._journal(order))[-MOST_BYTES:])
            security = "".join(line for line in _lines(self._directory / SECURITY_LOG))
            bundle.writestr(SECURITY_LOG, masked(security)[-MOST_BYTES:])

    def _journal(self, order: UploadLog) -> str:
        """The service's own lines; why there are none, where there are none."""
        words = ["journalctl", "--unit", self._unit, "--no-pager", "--output", "short-iso"]
        words += ["--lines", str(JOURNAL_LINES)]
        if order.oldest_s is not None:
            words += ["--since", f"@{order.oldest_s:.0f}"]
        if order.latest_s is not None:
            words += ["--until", f"@{order.latest_s:.0f}"]
        try:
            done = subprocess.run(words, capture_output=True, timeout=JOURNAL_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"no journal: {error}\n"
        return (done.stdout or done.stderr)[-MOST_BYTES:].decode(errors="replace")


def _lines(path: Path) -> list[str]:
    """Of a bounded file; one that is not there is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_BYTES).splitlines(keepends=True)
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
