import asyncio
import itertools
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.health import Health


class Manager:
    """Stands in for systemd: the receiving end of sd_notify."""

    def __init__(self, address: str) -> None:
        self.name = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.settimeout(10)

    def receive(self) -> str:
        return self.sock.recv(4096).decode()

    def empty(self) -> bool:
        self.sock.setblocking(False)
        try:
            self.sock.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = request.param == "path"
    one = Manager(str(tmp_path / "notify") if path else f"@chargepoint-{uuid.uuid4()}")
    yield one
    one.sock.close()


async def receive(manager: Manager) -> str:
    return await asyncio.to_thread(manager.receive)


async def stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_ready_and_stopping_are_told(manager: Manager) -> None:
    health = Health(manager.name, None)
    health.ready("idle,\nall well")
    assert manager.receive() == "READY=1\nSTATUS=idle, all well"
    health.stopping()
    assert manager.receive() == "STOPPING=1"


async def test_the_watchdog_is_fed_while_guard_and_loop_move(manager: Manager) -> None:
    count = itertools.count()

    def moved() -> tuple[int, int]:
        n = next(count)
        return n, n

    health = Health(manager.name, 20_000)
    task = asyncio.create_task(health.run(moved, lambda: "fine"))
    assert await receive(manager) == "WATCHDOG=1\nSTATUS=fine"
    assert await receive(manager) == "WATCHDOG=1"
    await stop(task)


@pytest.mark.parametrize(
    ("guard", "loop", "named"), [(0, 1, "guard"), (1, 0, "loop"), (0, 0, "guard and loop")]
)
async def test_the_watchdog_starves_when_one_of_them_stands_still(
    guard: int, loop: int, named: str, manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    checks = itertools.count()
    enough = asyncio.Event()

    def moved() -> tuple[int, int]:
        n = next(checks)
        if n == 4:
            enough.set()
        return n * guard, n * loop

    task = asyncio.create_task(Health(manager.name, 10_000).run(moved, lambda: ""))
    await asyncio.wait_for(enough.wait(), 30)
    await stop(task)
    assert manager.empty()
    assert f"watchdog not fed: {named} stands still" in caplog.text


async def test_a_status_is_told_again_only_when_it_changes(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.health.STATUS_INTERVAL_S", 0.01)
    texts = iter(["a", "a", "b", "x" * 5000])
    task = asyncio.create_task(
        Health(manager.name, None).run(lambda: (0, 0), lambda: next(texts, "end"))
    )
    assert await receive(manager) == "STATUS=a"
    assert await receive(manager) == "STATUS=b"
    assert len(await receive(manager)) < 600
    await stop(task)


async def test_without_a_manager_nothing_happens() -> None:
    health = Health(None, None)
    health.ready()
    await health.run(lambda: (0, 0), lambda: "x")


def test_a_manager_that_is_gone_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    health = Health(str(tmp_path / "gone"), None)
    with caplog.at_level(logging.WARNING):
        health.ready()
        health.stopping()
    assert caplog.text.count("cannot be told") == 1


async def test_the_environment_sets_it_up(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000"}
    count = itertools.count()
    health = Health.from_environment({**environ, "WATCHDOG_PID": str(os.getpid())})
    task = asyncio.create_task(health.run(lambda: (next(count), next(count)), lambda: ""))
    assert await receive(manager) == "WATCHDOG=1"
    await stop(task)


async def test_a_watchdog_meant_for_another_process_is_left_alone(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    checks = itertools.count()
    health = Health.from_environment(environ)
    task = asyncio.create_task(health.run(lambda: (next(checks), 0), lambda: ""))
    await asyncio.sleep(0.05)
    await stop(task)
    assert next(checks) == 1
