"""Real servers on loopback: what is fetched and sent arrives whole, and nothing else is opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.jobs import Canceled, JobError, Task, pieces
from agent.jobs import ftp as ftp_module
from agent.jobs import web as web_module
from agent.jobs.threads import LONGEST_TEXT
from agent.jobs.transfer import fetch, send
from hil.parts.file_servers import Ftp, Web, serving

CONTENT = bytes(range(256)) * 1024
LARGEST = 10 * len(CONTENT)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web(CONTENT)) as server:
        yield server


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "ftp"
    (root / "logs").mkdir(parents=True)
    (root / "firmware").write_bytes(CONTENT)
    server = Ftp(root)
    with serving(server.server):
        yield server.url


@pytest.fixture
def task() -> Task:
    return Task(lambda step, percent: None)


def no_context() -> Any:
    return None


def get(url: str, path: Path, task: Task, largest: int = LARGEST) -> None:
    fetch(url, path, task, no_context, largest)


def put(url: str, path: Path, task: Task) -> None:
    send(url, path, "log.zip", task, no_context)


# --- downloading ----------------------------------------------------------------------------------


def test_a_download_that_was_cut_goes_on_where_it_ended(
    web: Web, tmp_path: Path, task: Task
) -> None:
    path = tmp_path / "f.bin"
    web.cut_after = 100_000
    with pytest.raises(JobError, match="ended at 100000 of 262144"):
        get(f"{web.url}/firmware", path, task)
    web.cut_after = None
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == CONTENT
    assert web.ranges == [None, "bytes=100000-"]


def test_another_file_of_that_name_is_fetched_whole(web: Web, tmp_path: Path, task: Task) -> None:
    path = tmp_path / "f.bin"
    web.cut_after = 100_000
    with pytest.raises(JobError):
        get(f"{web.url}/firmware", path, task)
    web.cut_after, web.etag = None, '"two"'
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "text"),
    [("/nothing", "404"), ("", "404")],
)
def test_what_is_not_there_is_not_fetched(
    web: Web, tmp_path: Path, task: Task, place: str, text: str
) -> None:
    with pytest.raises(JobError, match=text) as error:
        get(web.url + place, tmp_path / "f.bin", task)
    assert error.value.cause == "DownloadFailed"
    assert not (tmp_path / "f.bin").exists()


def test_every_failure_ends_with_the_next_step_however_much_the_server_says(
    web: Web, log: Path, tmp_path: Path, task: Task
) -> None:
    path = tmp_path / "f.bin"

    def failing(url: str, largest: int = LARGEST) -> str:
        with pytest.raises(JobError) as error:
            get(url, path, task, largest)
        path.unlink(missing_ok=True)
        return str(error.value).partition("; ")[2]

    web.moves |= {"/away": "ftp://x/", "/round": "/round"}
    assert failing(f"{web.url}/nothing") == "check the address, the network and the server"
    assert failing("http://127.0.0.1:1/f") == "check the address, the network and the server"
    assert failing(f"{web.url}/away") == "correct the address that the CSMS names"
    assert failing(f"{web.url}/round") == "correct the address that the CSMS names"
    assert failing(f"{web.url}/firmware", 1000) == "see firmware.largest_mb in charger.yaml"
    assert failing("gopher://x/f") == "have the CSMS name HTTP(S), FTP(S) or SFTP"
    web.cut_after = 1000
    assert failing(f"{web.url}/firmware") == "another try goes on from there"
    web.refuses, web.reason = {"PUT": 507}, "x; y" * 999
    with pytest.raises(JobError) as error:
        put(f"{web.url}/logs", log, task)
    assert str(error.value).endswith("; check the address, the network and the server")
    assert len(str(error.value)) < LONGEST_TEXT


@pytest.mark.parametrize(
    "place", ["file:///etc/hostname", "ftp://127.0.0.1:9/firmware", "gopher://x/", "//["]
)
def test_a_download_is_not_sent_on_out_of_http(
    web: Web, tmp_path: Path, task: Task, place: str
) -> None:
    web.moves["/away"] = place
    with pytest.raises(JobError) as error:
        get(f"{web.url}/away", tmp_path / "f.bin", task)
    assert error.value.cause == "DownloadFailed"
    assert not (tmp_path / "f.bin").exists()


def test_a_download_that_is_sent_on_keeps_its_login_to_the_host_it_is_for(
    web: Web, tmp_path: Path, task: Task
) -> None:
    web.moves["/here"] = "/firmware"
    with_login = web.url.replace("//", "//me:secret@")
    get(f"{with_login}/here", tmp_path / "f.bin", task)
    assert [headers.get("Authorization") for _, headers in web.asked] == ["Basic bWU6c2VjcmV0"] * 2
    with serving(Web(CONTENT)) as other:
        web.moves["/there"] = f"{other.url}/firmware"
        get(f"{with_login}/there", tmp_path / "g.bin", task)
        ((_, headers),) = other.asked
    assert (tmp_path / "g.bin").read_bytes() == CONTENT
    assert "Authorization" not in headers


def test_a_download_that_is_sent_on_for_ever_ends(web: Web, tmp_path: Path, task: Task) -> None:
    web.moves["/round"] = "/round"
    with pytest.raises(JobError, match="on and on"):
        get(f"{web.url}/round", tmp_path / "f.bin", task)
    assert len(web.asked) == web_module.MOST_MOVES + 1


def test_a_part_that_was_not_asked_for_is_not_taken(web: Web, tmp_path: Path, task: Task) -> None:
    path = tmp_path / "f.bin"
    web.cut_after = 100_000
    with pytest.raises(JobError):
        get(f"{web.url}/firmware", path, task)
    web.cut_after, web.shifts_parts = None, 50_000
    with pytest.raises(JobError, match="another part"):
        get(f"{web.url}/firmware", path, task)
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == CONTENT


def test_a_part_of_one_file_is_never_gone_on_with_as_another(
    web: Web, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that found no room lies between: the part is of the old file, what is there the new."""
    path = tmp_path / "f.bin"
    web.cut_after = 100_000
    with pytest.raises(JobError):
        get(f"{web.url}/firmware", path, task)
    web.cut_after, web.etag, web.content = None, '"two"', bytes(reversed(CONTENT))
    with monkeypatch.context() as full:
        full.setattr(pieces, "RESERVE_BYTES", 1 << 60)
        with pytest.raises(JobError, match="no room"):
            get(f"{web.url}/firmware", path, task)
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == web.content


def test_a_part_that_is_shorter_than_asked_for_is_not_taken_for_the_rest(
    web: Web, tmp_path: Path, task: Task
) -> None:
    """RFC 9110 14.2 lets a server send less; what the whole file has stands in Content-Range."""
    path = tmp_path / "f.bin"
    web.cut_after = 100_000
    with pytest.raises(JobError):
        get(f"{web.url}/firmware", path, task)
    web.cut_after, web.longest_part = None, 50_000
    with pytest.raises(JobError, match="ended at 150000 of 262144"):
        get(f"{web.url}/firmware", path, task)
    web.longest_part = None
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == CONTENT


def test_a_file_that_was_whole_before_a_power_cut_is_not_a_failure(
    web: Web, tmp_path: Path, task: Task
) -> None:
    path = tmp_path / "f.bin"
    get(f"{web.url}/firmware", path, task)
    get(f"{web.url}/firmware", path, task)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"", bytes(5), b"\xff\xfe", b"x" * 300])
def test_what_a_power_cut_leaves_of_a_mark_does_not_stand_in_the_way(
    web: Web, ftp: str, tmp_path: Path, task: Task, left: bytes
) -> None:
    path = tmp_path / "f.bin"
    for url in (web.url, ftp):
        path.write_bytes(b"old")
        path.with_suffix(".mark").write_bytes(left)
        get(f"{url}/firmware", path, task)
        assert path.read_bytes() == CONTENT
    assert web.ranges == [None]


@pytest.mark.parametrize("url", ["http://me:sec/ret@host/f", "ftp://host:x/f", "http://[::1/f"])
def test_an_address_that_is_none_is_not_repeated(tmp_path: Path, task: Task, url: str) -> None:
    """A password that was not percent-encoded may be anywhere in it."""
    with pytest.raises(JobError, match=r"no URL; have .* percent-encoded") as error:
        get(url, tmp_path / "f.bin", task)
    assert error.value.cause == "DownloadFailed"
    with pytest.raises(JobError, match="no URL") as error:
        put(url, tmp_path / "f.bin", task)
    assert error.value.cause == "UploadFailure"
    assert "sec" not in str(error.value)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "dummy://x/y", "/etc/hostname"])
def test_no_other_scheme_is_opened(tmp_path: Path, task: Task, url: str) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(JobError) as error:
        get(url, tmp_path / "f.bin", task)
    assert error.value.cause == "DownloadFailed"
    with pytest.raises(JobError) as error:
        put(url, tmp_path / "x", task)
    assert error.value.cause == "NotSupportedOperation"


def test_what_is_too_large_or_finds_no_room_is_not_fetched(
    web: Web, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.bin"
    with pytest.raises(JobError, match="larger than 1000 bytes"):
        get(f"{web.url}/firmware", path, task, 1000)
    monkeypatch.setattr(pieces, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(JobError, match="no room"):
        get(f"{web.url}/firmware", path, task)
    assert not path.exists()


def test_a_server_that_does_not_say_how_much_is_stopped_in_time(
    web: Web, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.bin"
    web.hides_length = True
    with pytest.raises(JobError, match="larger than 100000 bytes"):
        get(f"{web.url}/firmware", path, task, 100_000)
    assert path.stat().st_size <= 100_000
    path.unlink()
    left = iter([pieces.RESERVE_BYTES * 2] * 3 + [pieces.RESERVE_BYTES])
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=next(left)))
    with pytest.raises(JobError, match="no room"):
        get(f"{web.url}/firmware", path, task)
    assert path.stat().st_size < len(CONTENT)


def test_a_canceled_download_ends(web: Web, tmp_path: Path) -> None:
    task = Task(lambda step, percent: None)
    task.cancel()
    with pytest.raises(Canceled):
        get(f"{web.url}/firmware", tmp_path / "f.bin", task)


# --- uploading ------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.zip"
    path.write_bytes(CONTENT)
    return path


def test_a_log_is_put_into_a_directory_with_the_login_of_the_url(
    web: Web, log: Path, task: Task
) -> None:
    put(web.url.replace("//", "//me:se%20cret@") + "/logs/", log, task)
    ((method, path, headers, body),) = web.got
    assert (method, path, body) == ("PUT", "/logs/log.zip", CONTENT)
    assert headers["Authorization"] == "Basic bWU6c2UgY3JldA=="
    assert "me" not in headers["Host"]


def test_where_nothing_can_be_put_it_is_posted_with_its_name(
    web: Web, log: Path, task: Task
) -> None:
    web.refuses["PUT"] = 405
    put(f"{web.url}/logs", log, task)
    _, (method, path, headers, body) = web.got
    assert (method, path, body) == ("POST", "/logs", CONTENT)
    assert headers["Content-Type"] == "application/octet-stream"
    assert 'filename="log.zip"' in headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (400, "BadMessage"),
        (401, "PermissionDenied"),
        (403, "PermissionDenied"),
        (501, "NotSupportedOperation"),
        (507, "UploadFailure"),
    ],
)
def test_a_refused_upload_says_why(web: Web, log: Path, task: Task, code: int, cause: str) -> None:
    web.refuses = {"PUT": code, "POST": code}
    with pytest.raises(JobError) as error:
        put(f"{web.url}/logs", log, task)
    assert error.value.cause == cause


@pytest.mark.parametrize("code", [301, 302, 307])
def test_an_upload_that_is_sent_on_has_not_arrived(
    web: Web, log: Path, task: Task, code: int
) -> None:
    """A page to log in, for one; what `urllib` makes of it is a GET of that page."""
    web.moves = {}
    for refuses in ({"PUT": code}, {"PUT": 405, "POST": code}):
        web.refuses = refuses
        with pytest.raises(JobError, match="correct the address") as error:
            put(f"{web.url}/logs", log, task)
        assert error.value.cause == "UploadFailure"
    assert web.asked == []


def test_a_page_that_tells_of_the_upload_is_not_looked_at(web: Web, log: Path, task: Task) -> None:
    web.refuses = {"PUT": 405, "POST": 303}
    put(f"{web.url}/logs", log, task)
    assert web.got[-1][3] == CONTENT
    assert web.asked == []


@pytest.mark.parametrize("scheme", ["ftp", "http"])
def test_a_log_that_we_cannot_read_ourselves_was_not_denied_by_the_server(
    web: Web, ftp: str, log: Path, task: Task, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "log")

    for module in (ftp_module, web_module):
        monkeypatch.setattr(module, "open", refuse, raising=False)
    with pytest.raises(JobError, match=r"Permission denied.*; check owner and mode") as error:
        put({"ftp": ftp, "http": web.url}[scheme] + "/logs/", log, task)
    assert error.value.cause == "UploadFailure"
