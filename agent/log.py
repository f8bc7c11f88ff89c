"""Log lines for the journal: one line a record, a syslog priority in front, no secrets."""

import json
import logging
import os
import re
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO
from urllib.parse import quote

LEVEL_VARIABLE = "CHARGEPOINT_LOG"
MASK = "***"
HUMAN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL = "%(name)s: %(message)s"
TALKATIVE = ("websockets", "pymodbus", "asyncio", "ocpp")
"""Libraries whose records below WARNING are shown at level DEBUG only."""

URL_LOGIN = re.compile(r"://[^/\s\"]*@")
"""Name and password in a URL, as a CSMS may name one for an upload: up to the last @ before a
path, as the transfer reads it."""

ERRORS_KEPT = 100
LONGEST_ERROR = 1000
"""Characters of one; a trace is in the journal."""

SHORTEST_SECRET = 6
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """From now on `secret` (also percent-encoded, or as JSON writes it) appears in no log line.

    What is too short to be a secret is ignored: hiding it would make every line unreadable.
    """
    if len(secret) >= SHORTEST_SECRET:
        as_json = (json.dumps(secret, ensure_ascii=plain)[1:-1] for plain in (True, False))
        _secrets.update((secret, quote(secret, safe=""), *as_json))


def masked(text: str) -> str:
    """`text` without the hidden secrets, and without logins in URLs."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return URL_LOGIN.sub(f"://{MASK}@", text)


class HumanFormat(logging.Formatter):
    """For a terminal: time, level, text, tracebacks on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class JournalFormat(logging.Formatter):
    """For the journal: `<N>` (syslog priority) and exactly one line."""

    def format(self, record: logging.LogRecord) -> str:
        text = masked(super().format(record))
        return f"<{priority(record.levelno)}>{_one_line(text)}"


class LastErrors(logging.Handler):
    """Keeps the newest warnings and errors, masked, for whoever asks what went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[dict[str, str]] = deque(maxlen=ERRORS_KEPT)
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = masked(_one_line(self.format(record)))[:LONGEST_ERROR]
        row = {"time": time, "level": record.levelname, "name": record.name, "text": text}
        self._kept.append(row)

    def rows(self) -> list[dict[str, str]]:
        """Oldest first, masked by what is known as a secret by now."""
        return [{**row, "text": masked(row["text"])} for row in tuple(self._kept)]


def priority(level: int) -> int:
    """Syslog priority of a logging level: 2 critical, 3 error, 4 warning, 6 info, 7 debug."""
    if level >= logging.CRITICAL:
        return 2
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7


last_errors = LastErrors()
"""Of this process, once `set_up` was called."""


def set_up(level: str | None = None, stream: TextIO | None = None) -> None:
    """Sends all records to `stream` (stderr); `level` wins over $CHARGEPOINT_LOG, default INFO.

    A crash goes there too: its trace is masked like any other line.
    """
    stream = sys.stderr if stream is None else stream
    asked = (level or os.environ.get(LEVEL_VARIABLE) or "INFO").upper()
    number = logging.getLevelNamesMapping().get(asked)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanFormat(HUMAN) if stream.isatty() else JournalFormat(JOURNAL))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.addHandler(last_errors)
    root.setLevel(logging.INFO if number is None else number)
    sys.excepthook, threading.excepthook = _crash, _thread_crash
    for name in TALKATIVE:
        quiet = logging.NOTSET if number == logging.DEBUG else logging.WARNING
        logging.getLogger(name).setLevel(quiet)
    if number is None:
        logging.getLogger(__name__).warning(
            "there is no log level %r; use DEBUG, INFO, WARNING or ERROR", asked
        )


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The end of the process by a bug; an interrupt from the keyboard is none."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical(
        "the agent ends by a bug; send the journal to the maker", exc_info=(kind, error, trace)
    )


def _thread_crash(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        _crash(arguments.exc_type, error, arguments.exc_traceback)


def _one_line(text: str) -> str:
    """Line ends and other control characters spelled out, so that no text can forge a record."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
