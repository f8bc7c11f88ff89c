"""Servers that keep a connection busy for nothing, or silent: no job stays with them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.jobs import Canceled, JobError, Task
from agent.jobs import watch as module
from agent.jobs.transfer import fetch, send

Talk = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(talk: Talk) -> Iterator[int]:
    """Its port; each connection is a thread's."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)
            over.wait(60)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()


def slowly(begin: bytes, forever: bytes) -> Talk:
    """So many bytes a second that no timeout of a socket is reached, for ever."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(begin)
        pause = threading.Event()
        while not pause.wait(0.02):
            connection.sendall(forever)

    return talk


def silent(connection: socket.socket) -> None:
    pass


def get(scheme: str, port: int, directory: Path, task: Task) -> None:
    url = f"{scheme}://127.0.0.1:{port}/f"
    fetch(url, directory / "f.bin", task, lambda: None, 1 << 20)  # type: ignore[arg-type, return-value]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    monkeypatch.setattr(module, "POLL_S", 0.05)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("scheme", "begin", "forever"),
    [
        ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("http", HEAD + b"X: ", b"x"),
        ("http", HEAD + b"\r\n", b"x"),
        ("http", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        ("http", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
        ("ftp", b"220-", b"x"),
    ],
)
def test_a_server_that_speaks_for_ever_and_says_nothing_is_left(
    tmp_path: Path, scheme: str, begin: bytes, forever: bytes
) -> None:
    task = Task(lambda step, percent: None)
    with (
        server(slowly(begin, forever)) as port,
        pytest.raises(JobError, match=r"nothing moved for .*; look into the server's log") as error,
    ):
        get(scheme, port, tmp_path, task)
    assert error.value.cause == "DownloadFailed"


@pytest.mark.parametrize("scheme", ["http", "ftp"])
@pytest.mark.parametrize("is_upload", [False, True])
def test_a_transfer_that_nobody_wants_any_more_does_not_wait_for_the_server(
    tmp_path: Path, scheme: str, is_upload: bool
) -> None:
    task = Task(lambda step, percent: None)
    log = tmp_path / "log"
    log.write_bytes(b"x")

    def cancel(connection: socket.socket) -> None:
        task.cancel()

    def transfer(port: int) -> None:
        if is_upload:
            url = f"{scheme}://127.0.0.1:{port}/f"
            send(url, log, "f", task, lambda: None)  # type: ignore[arg-type, return-value]
        else:
            get(scheme, port, tmp_path, task)

    with server(cancel) as port, pytest.raises(Canceled):
        transfer(port)


def test_who_is_slow_and_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of the patience pass before each step; then twice for less than one."""
    clock_s = 0.0
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock_s)
    ours, theirs = socket.socketpair()
    watch = module.Watch(Task(lambda step, percent: None))

    def later(share: float) -> None:
        nonlocal clock_s
        clock_s += share * module.PATIENCE_S

    heard: list[bytes] = []

    def transfer() -> None:
        with watch:
            for _ in range(5):
                later(0.75)
                watch.passed(module.LEAST_BYTES)
                later(0.75)
                threading.Event().wait(0.01)
                watch.hold(ours)
            theirs.sendall(b"there")
            heard.append(ours.recv(9))
            for _ in range(2):
                later(0.75)
                watch.passed(1)
            heard.append(ours.recv(9))

    with ours, theirs, pytest.raises(TimeoutError):
        transfer()
    assert heard == [b"there", b""]
