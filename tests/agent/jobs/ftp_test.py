"""A real FTP server on loopback, and some that are none: what they say ends a transfer, no more."""

import ftplib
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.jobs import JobError, Task
from agent.jobs.transfer import fetch, send
from hil.parts.file_servers import Ftp, serving

CONTENT = bytes(range(256)) * 1024
LARGEST = 10 * len(CONTENT)


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


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.zip"
    path.write_bytes(CONTENT)
    return path


def get(url: str, path: Path, task: Task, largest: int = LARGEST) -> None:
    fetch(url, path, task, lambda: None, largest)  # type: ignore[arg-type, return-value]


def put(url: str, path: Path, task: Task) -> None:
    send(url, path, "log.zip", task, lambda: None)  # type: ignore[arg-type, return-value]


def refusing(really: Any, command: str, answer: str) -> Any:
    """What `ftplib` makes of a server that has no such command."""

    def say(self: ftplib.FTP, line: str = "") -> Any:
        if line.startswith(command):
            raise ftplib.error_perm(answer)
        return really(self, line)

    return say


def test_ftp_goes_on_too(ftp: str, tmp_path: Path, task: Task) -> None:
    path = tmp_path / "f.bin"
    get(f"{ftp}/firmware", path, task)
    path.write_bytes(CONTENT[:1000])
    get(f"{ftp}/firmware", path, task)
    assert path.read_bytes() == CONTENT


def test_ftp_does_not_go_on_where_nothing_marks_the_file(
    ftp: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files may well have the same size."""
    monkeypatch.setattr(ftplib.FTP, "voidcmd", refusing(ftplib.FTP.voidcmd, "MDTM", "500 what"))
    path = tmp_path / "f.bin"
    get(f"{ftp}/firmware", path, task)
    path.write_bytes(b"another firmware")
    get(f"{ftp}/firmware", path, task)
    assert path.read_bytes() == CONTENT


def test_an_ftp_server_without_sizes_is_fetched_from(
    ftp: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ftplib.FTP, "sendcmd", refusing(ftplib.FTP.sendcmd, "SIZE", "500 what"))
    get(f"{ftp}/firmware", tmp_path / "f.bin", task)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_an_ftp_server_that_cannot_go_on_gives_the_whole_file_to_the_next_try(
    ftp: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.bin"
    get(f"{ftp}/firmware", path, task)
    path.write_bytes(CONTENT[:1000])
    monkeypatch.setattr(ftplib.FTP, "sendcmd", refusing(ftplib.FTP.sendcmd, "REST", "502 no"))
    with pytest.raises(JobError, match="502 no"):
        get(f"{ftp}/firmware", path, task)
    get(f"{ftp}/firmware", path, task)
    assert path.read_bytes() == CONTENT


def test_why_an_ftp_download_was_broken_off_is_told_whatever_the_server_says_of_that(
    ftp: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ftplib.FTP, "quit", refusing(ftplib.FTP.quit, "", "426 aborted"))
    with pytest.raises(JobError, match="larger than 1000 bytes"):
        get(f"{ftp}/firmware", tmp_path / "f.bin", task, 1000)


def test_an_ftp_server_that_sends_more_than_it_said_is_stopped(
    ftp: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room on the disk was looked at for what it said."""
    monkeypatch.setattr(ftplib.FTP, "size", lambda self, name: 1000)
    with pytest.raises(JobError, match="more than the 1000 bytes"):
        get(f"{ftp}/firmware", tmp_path / "f.bin", task)
    assert (tmp_path / "f.bin").stat().st_size <= 1000


def test_an_ftp_server_that_never_ends_its_greeting_is_left(tmp_path: Path, task: Task) -> None:
    def talk(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            while True:
                connection.sendall(b"220-welcome\r\n" * 1000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=talk, args=(listener,), daemon=True).start()
        with pytest.raises(JobError, match="more than 100 lines"):
            get(f"ftp://127.0.0.1:{listener.getsockname()[1]}/f", tmp_path / "f.bin", task)


@pytest.mark.parametrize("place", ["/logs/", "/logs", "/logs/log.zip"])
def test_ftp_takes_a_log_into_a_directory_or_as_a_file(
    ftp: str, tmp_path: Path, log: Path, task: Task, place: str
) -> None:
    put(ftp + place, log, task)
    assert (tmp_path / "ftp/logs/log.zip").read_bytes() == CONTENT


def test_a_wrong_ftp_password_is_permission_denied(ftp: str, log: Path, task: Task) -> None:
    with pytest.raises(JobError) as error:
        put(ftp.replace("pass%20word", "wrong") + "/logs/", log, task)
    assert error.value.cause == "PermissionDenied", error.value


def test_a_server_that_ends_the_connection_is_told_as_such(tmp_path: Path, task: Task) -> None:
    def talk(listener: socket.socket) -> None:
        listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=talk, args=(listener,), daemon=True).start()
        with pytest.raises(JobError, match="ended the connection; look into"):
            get(f"ftp://127.0.0.1:{listener.getsockname()[1]}/f", tmp_path / "f.bin", task)


def test_a_server_that_repeats_the_password_does_not_bring_it_into_the_journal(
    log: Path, task: Task
) -> None:
    def talk(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw", newline="\r\n") as lines:
            said = ""
            while not said.startswith("PASS"):
                lines.write("331 go on\n" if said else "220 welcome\n")
                lines.flush()
                said = lines.readline().strip()
            lines.write(f"530 nobody is let in by {said}\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=talk, args=(listener,), daemon=True).start()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(JobError, match=r"530 nobody is let in by PASS \*\*\*") as error:
            put(f"ftp://me:pass%20word@{place}/logs/", log, task)
    assert error.value.cause == "PermissionDenied"
