"""A real SFTP server on loopback: it is known by its key, and by nothing else."""

import base64
import hmac
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from agent.jobs import Canceled, JobError, Task
from agent.jobs import sftp as module
from agent.jobs.sftp_child import MEMORY_BYTES, KnownHosts, Refused
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


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(CONTENT)
    return path


def test_a_letter_box_takes_a_log_though_it_shows_nothing(
    server: SftpServer, known: str, task: Task, log: Path
) -> None:
    server.is_letter_box = True
    put(server.url + "logs/log.zip", log, task, known)
    assert (server.root / "logs" / "log.zip").read_bytes() == CONTENT


def test_a_log_that_is_not_all_there_has_not_arrived(
    server: SftpServer, known: str, task: Task, log: Path
) -> None:
    server.loses_bytes = 1
    with pytest.raises(JobError, match=f"{len(CONTENT) - 1} of {len(CONTENT)}.*room") as raised:
        put(server.url + "logs/", log, task, known)
    assert raised.value.cause == "UploadFailure"


# --- who the server is ----------------------------------------------------------------------------


def test_a_server_whose_key_is_not_known_hears_no_password(
    server: SftpServer, task: Task, tmp_path: Path
) -> None:
    """The technician gets the fingerprint to ask for, and where which line goes."""
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    with pytest.raises(JobError) as raised:
        get(server.url + "firmware", tmp_path / "file", task, str(empty))
    told = str(raised.value)
    assert server.key.fingerprint in told
    assert str(empty) in told
    assert f"`ssh-keyscan -p {server.port} 127.0.0.1`" in told
    assert "sesame" not in told
    assert server.logins == 0
    assert not (tmp_path / "file").exists()


def test_a_server_with_another_key_than_before_hears_no_password(
    server: SftpServer, task: Task, tmp_path: Path
) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(server.known_hosts(paramiko.ECDSAKey.generate()))
    with pytest.raises(JobError, match="another key") as raised:
        get(server.url + "firmware", tmp_path / "file", task, str(other))
    assert server.key.fingerprint in str(raised.value)
    assert server.logins == 0


OURS, STRANGERS = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()


def line(names: str, key: Any = OURS) -> str:
    return f"{names} {key.get_name()} {key.get_base64()}"


def hashed(name: str, salt: bytes = bytes(20)) -> str:
    """As `ssh-keyscan -H` writes it."""
    digest = hmac.digest(salt, name.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        ([line("host")], ""),
        ([line("other,HOST")], ""),
        (["# comment", "", line("host").replace(" ", "\t") + " a comment"], ""),
        ([line(hashed("host"))], ""),
        ([line("host", STRANGERS), line("host")], ""),
        (["host ssh-ed25519 nonsense", "host", line("host")], ""),
        ([], "is not in"),
        ([line("other")], "is not in"),
        ([line("[host]:2222")], "is not in"),
        ([line(hashed("other"))], "is not in"),
        ([line("|1|nonsense")], "is not in"),
        (["@cert-authority " + line("host")], "is not in"),
        ([line("host", STRANGERS)], "another key"),
        (["@revoked " + line("*"), line("host")], "revoked"),
        ([line("host"), "@revoked " + line("other")], "revoked"),
        (["", line("host")[:-9]], r"its line 2 is no key"),
        (["host ssh-ed25519 AAAA"], r"its line 1 is no key"),
        (["host"], r"its line 1 is no key"),
    ],
)
def test_what_the_technicians_file_says_of_a_server(
    tmp_path: Path, lines: list[str], refusal: str
) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("".join(f"{one}\n" for one in lines))
    known = KnownHosts(str(path), "host", 22)
    if not refusal:
        known.check(OURS)
        return
    with pytest.raises(Refused, match=refusal):
        known.check(OURS)


def test_the_kind_of_key_that_is_known_is_asked_for_first(tmp_path: Path) -> None:
    """A server has several; a known one must not be missed for a newer kind."""
    path = tmp_path / "known_hosts"
    path.write_text(line("host", paramiko.RSAKey.generate(1024)))
    types = ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256")
    asked = KnownHosts(str(path), "host", 22).preferred(types)
    assert asked[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    assert sorted(asked) == sorted(types)


def test_a_keys_file_that_is_gone_is_named(
    server: SftpServer, log: Path, task: Task, tmp_path: Path
) -> None:
    """It is ours, not the server's: nothing is denied."""
    with pytest.raises(JobError, match=r"nowhere cannot be read .*; correct it") as raised:
        put(server.url + "logs/", log, task, str(tmp_path / "nowhere"))
    assert raised.value.cause == "UploadFailure"


def test_without_keys_of_servers_there_is_no_sftp(task: Task, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="known_hosts_file"):
        get("sftp://127.0.0.1/firmware", tmp_path / "file", task, None)


def test_without_the_package_the_next_step_is_told(
    known: str, server: SftpServer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(JobError, match=r"chargepoint\[sftp\]"):
        get(server.url + "firmware", tmp_path / "file", task, known)


# --- what the server lets us do -------------------------------------------------------------------


def test_a_wrong_password_is_told_as_one(
    server: SftpServer, known: str, task: Task, log: Path
) -> None:
    url = server.url.replace("open%20sesame", "wrong")
    with pytest.raises(JobError, match="correct name and password") as raised:
        put(url + "logs/", log, task, known)
    assert raised.value.cause == "PermissionDenied"


def test_a_login_that_is_cut_off_is_not_denied(
    server: SftpServer, known: str, task: Task, log: Path
) -> None:
    server.hangs_up = True
    with pytest.raises(JobError, match="look into the server's log") as raised:
        put(server.url + "logs/", log, task, known)
    assert raised.value.cause == "UploadFailure"


def test_a_file_that_may_not_be_written_is_denied(
    server: SftpServer, known: str, task: Task, log: Path
) -> None:
    server.is_closed = True
    with pytest.raises(JobError, match=r"/logs/: Permission denied; correct") as raised:
        put(server.url + "logs/", log, task, known)
    assert raised.value.cause == "PermissionDenied"


def test_a_file_that_is_not_there_is_named(
    server: SftpServer, known: str, task: Task, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match=r"/nothing: No such file; correct the path"):
        get(server.url + "nothing", tmp_path / "file", task, known)


# --- a server that hangs --------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"sftp://me:secret@127.0.0.1:{listener.getsockname()[1]}/f"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that were started."""
    found: list[Any] = []
    start = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        found.append(start(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return found


def test_a_server_that_hangs_is_left(
    silent: str,
    known: str,
    task: Task,
    log: Path,
    programs: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the library waits for, without end in places."""
    monkeypatch.setattr(module, "PATIENCE_S", 2 * module.POLL_S)
    with pytest.raises(JobError, match=r"nothing moved for .*; look into") as raised:
        put(silent, log, task, known)
    assert raised.value.cause == "UploadFailure"
    assert [program.returncode for program in programs] == [-9]


def test_a_transfer_that_is_canceled_ends_while_the_server_hangs(
    silent: str, known: str, task: Task, tmp_path: Path, programs: list[Any]
) -> None:
    class Left(Task):
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 3:
                self.cancel()
            super().check()

    with pytest.raises(Canceled):
        get(silent, tmp_path / "file", Left(lambda step, percent: None), known)
    assert [program.returncode for program in programs] == [-9]


def test_a_server_fills_no_memory_but_that_of_a_program_and_this_has_its_bound(
    silent: str, known: str, tmp_path: Path, programs: list[Any]
) -> None:
    """It may begin before its key is known; nobody reads the password among the programs."""

    class Looked(Task):
        def check(self) -> None:
            super().check()
            limits = Path(f"/proc/{programs[0].pid}/limits").read_text()
            if f" {MEMORY_BYTES} " in limits:
                self.cancel()

    with pytest.raises(Canceled):
        get(silent, tmp_path / "file", Looked(lambda step, percent: None), known)
    assert "secret" not in " ".join(programs[0].args)
