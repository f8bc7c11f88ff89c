import asyncio
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent import console
from agent.console import Console, ConsoleError, ask, follow, may_ask
from agent.errors import ChargepointError


async def slow(request: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"echo": request["text"]}


def refuse(_: dict[str, Any]) -> dict[str, Any]:
    raise ChargepointError("the meter is gone; check its cable")


def crash(_: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError


async def count(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """Up to `to`; then it fails, or goes on in silence."""
    FOLLOWED.append("begun")
    try:
        for number in range(request.get("to", 3)):
            yield {"number": number, "text": "x" * request.get("long", 1)}
        if request.get("fails"):
            raise ChargepointError("no more; look elsewhere")
        await asyncio.Event().wait()
    finally:
        FOLLOWED.append("ended")


FOLLOWED: list[str] = []
COMMANDS: dict[str, console.Command] = {
    "status": lambda _: {"link": "up"},
    "slow": slow,
    "refuse": refuse,
    "crash": crash,
    "odd": lambda _: {"value": {1, 2}},
    "big": lambda _: {"text": "x" * 1_000_000},
    "count": count,
}


@contextlib.asynccontextmanager
async def running(path: str) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(Console(path, COMMANDS).run())
    await asyncio.sleep(0)  # its first step binds and listens
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "console.sock")


async def asked(path: str, request: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.to_thread(ask, path, request, 30)


def raw(path: str, data: bytes) -> list[dict[str, Any]]:
    """What the console answers to these bytes until it hangs up or we do."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := sock.recv(65_536):
                received += chunk
    return [json.loads(line) for line in received.splitlines()]


async def test_a_command_is_answered(path: str) -> None:
    async with running(path):
        assert await asked(path, {"cmd": "status"}) == {"ok": True, "link": "up"}
        assert await asked(path, {"cmd": "slow", "text": "hi"}) == {"ok": True, "echo": "hi"}
        assert len((await asked(path, {"cmd": "big"}))["text"]) == 1_000_000


async def until_ended() -> None:
    for _ in range(600):
        if FOLLOWED[-1:] == ["ended"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the command goes on")


def first_of(path: str, request: dict[str, Any], count: int) -> list[dict[str, Any]]:
    answers = follow(path, request, 30)
    try:
        return [next(answers) for _ in range(count)]
    finally:
        answers.close()  # type: ignore[attr-defined]


async def test_what_is_followed_comes_line_by_line_until_the_client_leaves(path: str) -> None:
    FOLLOWED.clear()
    async with running(path):
        told = await asyncio.to_thread(first_of, path, {"cmd": "count"}, 3)
        await until_ended()
        assert (await asked(path, {"cmd": "status"}))["ok"] is True
    assert [one["number"] for one in told] == [0, 1, 2]


async def test_a_follower_that_takes_nothing_is_let_go(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FOLLOWED.clear()
    monkeypatch.setattr(console, "IDLE_S", 0.05)
    async with running(path):
        reader, writer = await asyncio.open_unix_connection(path, limit=100)
        writer.write(b'{"cmd": "count", "to": 100, "long": 1000000}\n')
        await until_ended()
        writer.close()
        assert reader is not None


async def test_what_ends_with_an_error_says_so(path: str) -> None:
    async with running(path):
        with pytest.raises(ConsoleError, match="look elsewhere"):
            await asyncio.to_thread(first_of, path, {"cmd": "count", "fails": True}, 4)


async def test_a_console_that_ends_lets_its_followers_go(path: str) -> None:
    FOLLOWED.clear()
    async with running(path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"cmd": "count"}\n')
        assert b'"ok": true' in await reader.readline()
    assert b'"number": 2' in await reader.read()
    await until_ended()
    writer.close()


async def test_one_connection_may_ask_often(path: str) -> None:
    async with running(path):
        answers = await asyncio.to_thread(raw, path, b'{"cmd": "status"}\n' * 3)
    assert [answer["ok"] for answer in answers] == [True] * 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\n", "one JSON object"),
        (b"hello\n", "one JSON object"),
        (b"\xff\xfe\n", "one JSON object"),
        (b"[" * 60_000 + b"\n", "one JSON object"),
        (b"[]\n", '"cmd" is missing'),
        (b'{"cmd": 1}\n', '"cmd" is missing'),
        (b'{"cmd": "nonsense"}\n', "use: status, slow"),
        (b'{"cmd": "refuse"}\n', "check its cable"),
        (b'{"cmd": "crash"}\n', "internal error"),
        (b'{"cmd": "odd"}\n', "no JSON"),
        (b"x" * 100_000, "longer than"),
    ],
)
async def test_bad_input_is_answered_and_ends_nothing(path: str, data: bytes, said: str) -> None:
    async with running(path) as task:
        answers = await asyncio.to_thread(raw, path, data)
        assert [answer["ok"] for answer in answers] == [False]
        assert said in answers[0]["error"]
        assert not task.done()
        assert (await asked(path, {"cmd": "status"}))["ok"] is True


async def test_a_refused_request_is_an_error_for_the_asker(path: str) -> None:
    async with running(path):
        with pytest.raises(ConsoleError, match="check its cable"):
            await asked(path, {"cmd": "refuse"})


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_console(path: str) -> None:
    async with running(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert os.listdir(os.path.dirname(path)) == []


async def test_a_dead_socket_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with running(path):
        assert (await asked(path, {"cmd": "status"}))["ok"] is True


async def test_a_living_socket_is_left_alone(path: str) -> None:
    async with running(path):
        with pytest.raises(ConsoleError, match="another process listens"):
            await Console(path, COMMANDS).run()
        assert (await asked(path, {"cmd": "status"}))["ok"] is True


def test_what_is_no_socket_is_left_alone(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(ConsoleError, match="is no socket"):
        asyncio.run(Console(path, COMMANDS).run())
    assert Path(path).read_text() == "precious"


@pytest.mark.parametrize(("path", "said"), [("/" + "x" * 107, "108 bytes"), ("/no/where", "check")])
async def test_a_path_that_cannot_be_bound_is_a_clear_error(path: str, said: str) -> None:
    with pytest.raises(ConsoleError, match=said):
        await Console(path, COMMANDS).run()


async def test_a_stranger_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "peer", lambda _: (12345, frozenset({12345})))
    async with running(path):
        with pytest.raises(ConsoleError, match="may not ask"):
            await asked(path, {"cmd": "status"})


Logins = list[tuple[str, bool]]


@contextlib.asynccontextmanager
async def guarded(path: str, told: Logins) -> AsyncIterator[None]:
    """A console that tells who comes."""
    commands = COMMANDS | {"service": lambda _: {}, "queue": lambda _: {}, "probe": lambda _: {}}
    commands["limit"] = commands["probe"]
    console_ = Console(path, commands, lambda user, accepted: told.append((user, accepted)))
    task = asyncio.create_task(console_.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


ME = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"


@pytest.mark.parametrize(
    ("request_", "is_login"),
    [
        ({"cmd": "status"}, False),
        ({"cmd": "probe"}, False),
        ({"cmd": "limit"}, False),
        ({"cmd": "probe", "cards": True}, True),
        ({"cmd": "queue"}, True),
        ({"cmd": "service"}, True),
        ({"cmd": "nonsense"}, False),
    ],
)
async def test_who_orders_or_sees_cards_is_told_of_who_looks_is_not(
    path: str, request_: dict[str, Any], is_login: bool
) -> None:
    told: Logins = []
    async with guarded(path, told):
        for _ in range(2):
            with contextlib.suppress(ConsoleError):
                await asked(path, request_)
    assert told == ([(ME, True)] if is_login else [])


async def test_a_visit_is_told_of_once_in_ten_minutes_for_each_user(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Logins = []
    users = [0, 12345, 0, 12345, 23456]
    monkeypatch.setattr(console, "peer", lambda _: (users.pop(0), frozenset({12345})))
    async with guarded(path, told):
        for _ in range(4):
            with contextlib.suppress(ConsoleError):
                await asked(path, {"cmd": "service"})
        assert told == [("root", True), ("uid 12345", False)]
        monkeypatch.setattr(console, "LOGIN_S", 0.0)
        with pytest.raises(ConsoleError, match="may not ask"):
            await asked(path, {"cmd": "status"})
        assert told[2:] == [("uid 23456", False)]


async def test_the_peer_is_known_by_user_and_groups() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        uid, groups = console.peer(one)
    assert uid == os.geteuid()
    assert groups >= {os.getegid(), *os.getgroups()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may join a group at will")
def test_the_peer_is_known_by_its_further_groups(path: str) -> None:
    with console.bind(path) as listener:
        listener.setblocking(True)
        code = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); s.recv(1)"
        with subprocess.Popen([sys.executable, "-c", code, path], extra_groups=[54321]):
            sock, _ = listener.accept()
            with sock:
                assert 54321 in console.peer(sock)[1]


def test_root_the_service_and_its_group_may_ask() -> None:
    stranger = max(os.geteuid(), os.getegid()) + 1
    assert may_ask(0, frozenset({stranger}))
    assert may_ask(os.geteuid(), frozenset({stranger}))
    assert may_ask(stranger, frozenset({os.getegid()}))
    assert not may_ask(stranger, frozenset({stranger}))


async def test_too_many_clients_are_told(path: str) -> None:
    async with running(path):
        held = [await asyncio.open_unix_connection(path) for _ in range(console.CLIENTS)]
        with pytest.raises(ConsoleError, match="are connected"):
            await asked(path, {"cmd": "status"})
        for _, writer in held:
            writer.close()


async def test_a_client_that_hangs_up_is_forgotten(path: str) -> None:
    async with running(path):
        for _ in range(console.CLIENTS + 5):
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
            assert (await asked(path, {"cmd": "status"}))["ok"] is True


def test_asking_a_service_that_does_not_run_says_so(path: str) -> None:
    with pytest.raises(ConsoleError, match="the service does not run"):
        ask(path, {"cmd": "status"})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(ConsoleError, match="the service does not run"):
        ask(path, {"cmd": "status"})


def test_asking_one_that_is_silent_ends(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen()
        with pytest.raises(ConsoleError, match="no answer"):
            ask(path, {"cmd": "status"}, timeout_s=0.05)


def test_the_console_stands_in_the_data_directory_unless_told() -> None:
    assert console.socket_path("/var/lib/chargepoint", None) == "/var/lib/chargepoint/console.sock"
    assert console.socket_path("/var/lib/chargepoint", "/run/c.sock") == "/run/c.sock"
