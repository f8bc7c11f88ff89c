"""A real SFTP server on loopback: it is known by its key, and by nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from agent.jobs import JobError, Task
from agent.jobs.transfer import fetch, send
from hil.parts.sftp_server import SftpServer

CONTENT = bytes(range(256)) * 1024
LARGEST = 10 * len(CONTENT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    root = tmp_path / "there"
    (root / "logs").mkdir(parents=True)
    (root / "firmware").write_bytes(CONTENT)
    with SftpServer(root) as running:
        yield running


@pytest.fixture
def known(tmp_path: Path, server: SftpServer) -> str:
    path = tmp_path / "known_hosts"
    path.write_text(server.known_hosts())
    return str(path)


@pytest.fixture
def task() -> Task:
    return Task(lambda step, percent: None)


def get(url: str, path: Path, task: Task, known: str | None, largest: int = LARGEST) -> None:
    fetch(url, path, task, lambda: None, largest, known)  # type: ignore[arg-type, return-value]


def put(url: str, path: Path, task: Task, known: str | None) -> None:
    send(url, path, "log.zip", task, lambda: None, known)  # type: ignore[arg-type, return-value]


def test_a_file_arrives_whole(server: SftpServer, known: str, task: Task, tmp_path: Path) -> None:
    get(server.url + "firmware", tmp_path / "file", task, known)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_download_that_was_cut_goes_on_where_it_ended(
    server: SftpServer, known: str, task: Task, tmp_path: Path
) -> None:
    server.cut_at = len(CONTENT) // 2
    with pytest.raises(JobError, match="download from 127"):
        get(server.url + "firmware", tmp_path / "file", task, known)
    have = (tmp_path / "file").stat().st_size
    assert 0 < have < len(CONTENT)
    server.offsets.clear()
    get(server.url + "firmware", tmp_path / "file", task, known)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert min(server.offsets) == have


def test_a_part_of_another_file_is_not_gone_on_with(
    server: SftpServer, known: str, task: Task, tmp_path: Path
) -> None:
    server.cut_at = len(CONTENT) // 2
    with pytest.raises(JobError):
        get(server.url + "firmware", tmp_path / "file", task, known)
    (server.root / "firmware").write_bytes(CONTENT[::-1] + b"!")
    get(server.url + "firmware", tmp_path / "file", task, known)
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1] + b"!"


def test_a_file_that_is_too_large_is_refused(
    server: SftpServer, known: str, task: Task, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match="larger than 1000 bytes"):
        get(server.url + "firmware", tmp_path / "file", task, known, largest=1000)


@pytest.mark.parametrize("where", ["logs/", "logs", "logs/log.zip"])
def test_a_log_is_put_under_its_name(
    server: SftpServer, known: str, task: Task, tmp_path: Path, where: str
) -> None:
    log = tmp_path / "log"
    log.write_bytes(CONTENT)
    put(server.url + where, log, task, known)
    assert (server.root / "logs" / "log.zip").read_bytes() == CONTENT


def test_a_server_whose_key_is_not_known_hears_no_password(
    server: SftpServer, task: Task, tmp_path: Path
) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    with pytest.raises(JobError, match="ssh-keyscan") as raised:
        get(server.url + "firmware", tmp_path / "file", task, str(empty))
    assert "sesame" not in str(raised.value)
    assert not (tmp_path / "file").exists()


def test_a_server_with_another_key_than_before_is_refused(
    server: SftpServer, task: Task, tmp_path: Path
) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(server.known_hosts(paramiko.ECDSAKey.generate()))
    with pytest.raises(JobError, match="another key"):
        get(server.url + "firmware", tmp_path / "file", task, str(other))


def test_a_wrong_password_is_told_as_one(
    server: SftpServer, known: str, task: Task, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x")
    url = server.url.replace("open%20sesame", "wrong")
    with pytest.raises(JobError) as raised:
        put(url + "logs/", log, task, known)
    assert raised.value.cause == "PermissionDenied"


def test_without_keys_of_servers_there_is_no_sftp(task: Task, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="known_hosts_file"):
        get("sftp://127.0.0.1/firmware", tmp_path / "file", task, None)


def test_without_the_package_the_next_step_is_told(
    known: str, server: SftpServer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(JobError, match=r"chargepoint\[sftp\]"):
        get(server.url + "firmware", tmp_path / "file", task, known)


def test_a_keys_file_that_is_gone_is_named(server: SftpServer, task: Task, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nowhere"):
        get(server.url + "firmware", tmp_path / "file", task, str(tmp_path / "nowhere"))
