import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from agent import log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(log, "_secrets", set())
    monkeypatch.delenv(log.LEVEL_VARIABLE, raising=False)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in log.TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("level", "prefix"),
    [("critical", "<2>"), ("error", "<3>"), ("warning", "<4>"), ("info", "<6>"), ("debug", "<7>")],
)
def test_each_level_has_its_syslog_priority(level: str, prefix: str) -> None:
    out = io.StringIO()
    log.set_up("debug", out)
    getattr(logging.getLogger("x"), level)("hello %d", 7)
    assert out.getvalue() == f"{prefix}x: hello 7\n"


def test_a_record_is_one_line_even_with_a_traceback_or_a_forged_text() -> None:
    out = io.StringIO()
    log.set_up(stream=out)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("x").exception("bad\n<2>forged\r\x1b[2J")
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.startswith("<3>x: bad\\n<2>forged\\r\\x1b[2J")
    assert "ValueError" in text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_hidden_secret_appears_nowhere(stream: io.StringIO) -> None:
    log.set_up("debug", stream)
    log.hide("s3cret/with slash")
    try:
        raise ValueError("wss://me:s3cret%2Fwith%20slash@csms")
    except ValueError:
        logging.getLogger("x").exception("password %s", "s3cret/with slash")
    assert "s3cret" not in stream.getvalue()
    assert stream.getvalue().count(log.MASK) >= 2


def test_hiding_nothing_masks_nothing() -> None:
    log.hide("")
    assert log.masked("abc") == "abc"


def test_a_terminal_gets_time_and_level() -> None:
    out = Terminal()
    log.set_up(stream=out)
    logging.getLogger("x").warning("careful")
    assert "WARNING x: careful\n" in out.getvalue()
    assert not out.getvalue().startswith("<")


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.LEVEL_VARIABLE, "error")
    out = io.StringIO()
    log.set_up(stream=out)
    logging.getLogger("x").warning("no")
    log.set_up("warning", out)
    logging.getLogger("x").warning("yes")
    assert out.getvalue() == "<4>x: yes\n"


def test_an_unknown_level_is_named_and_info_is_used() -> None:
    out = io.StringIO()
    log.set_up("loud", out)
    logging.getLogger("x").info("still here")
    assert "'LOUD'" in out.getvalue()
    assert "still here" in out.getvalue()


def test_libraries_talk_at_debug_only() -> None:
    out = io.StringIO()
    log.set_up("info", out)
    logging.getLogger("websockets.client").info("chatter")
    assert out.getvalue() == ""
    log.set_up("debug", out)
    logging.getLogger("websockets.client").info("chatter")
    assert "chatter" in out.getvalue()


def test_a_login_in_a_url_stands_in_no_line() -> None:
    shown = log.masked("ftp://me:s3cret@host/x and 'https://you@host' and ws://host/a@b")
    assert shown == "ftp://***@host/x and 'https://***@host' and ws://host/a@b"


def test_a_password_with_signs_that_nobody_encoded_is_not_shown_by_half() -> None:
    shown = log.masked('{"a":"ftp://me:p@ss\'word@host/x","b":"http://host","c":"you@there"}')
    assert shown == '{"a":"ftp://***@host/x","b":"http://host","c":"you@there"}'


def test_a_crash_is_one_masked_line_of_the_highest_priority() -> None:
    out = io.StringIO()
    log.set_up(stream=out)
    log.hide("s3cret-s3cret")
    try:
        raise ValueError("s3cret-s3cret")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    assert out.getvalue().startswith("<2>")
    assert "send the journal" in out.getvalue()
    assert "Traceback" in out.getvalue()
    assert "s3cret" not in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_a_crash_in_a_thread_is_masked_as_well() -> None:
    out = io.StringIO()
    log.set_up(stream=out)
    log.hide("s3cret-s3cret")
    thread = threading.Thread(target=int, args=("s3cret-s3cret",))
    thread.start()
    thread.join()
    assert "ValueError" in out.getvalue()
    assert "s3cret" not in out.getvalue()


def test_the_newest_warnings_are_kept_masked_and_bounded() -> None:
    log.set_up("info", io.StringIO())
    log.hide("a-long-secret")
    logger = logging.getLogger("x")
    logger.info("not kept")
    for number in range(log.ERRORS_KEPT + 5):
        logger.warning("error %d with a-long-secret\nand a second line", number)
    logger.error("y" * 5000)
    rows = log.last_errors.rows()
    assert len(rows) == log.ERRORS_KEPT
    assert rows[-1]["text"] == "y" * log.LONGEST_ERROR
    assert rows[-1]["level"] == "ERROR"
    assert rows[-2]["text"] == f"error {log.ERRORS_KEPT + 4} with ***\\nand a second line"
    assert rows[-2]["name"] == "x"


@pytest.mark.parametrize("secret", ['quoted"secret-letters', "back\\slash-letters", "grün-geheim"])
def test_a_secret_is_masked_as_json_writes_it(secret: str) -> None:
    log.hide(secret)
    for ensure_ascii in (True, False):
        text = json.dumps({"at": secret}, ensure_ascii=ensure_ascii)
        assert log.masked(text) == '{"at": "***"}'
