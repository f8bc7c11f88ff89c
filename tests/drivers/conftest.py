"""A pty whose far end a test scripts: the place where a real device would be."""

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Callable

import pytest


class FarEnd:
    """The device's side of a serial cable. `on_bytes` is called with what the driver sends."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self._plugged = True
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        self.on_bytes(data)

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def hang_up(self) -> None:
        if self._plugged:
            self._plugged = False
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._slave)
            os.close(self._master)


@pytest.fixture
async def far_end() -> AsyncIterator[FarEnd]:
    end = FarEnd()
    yield end
    end.hang_up()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Waits until a condition holds, for at most 20 s; a busy machine is no failure."""

    async def wait(condition: Callable[[], object], what: str = "") -> None:
        for _ in range(4000):
            if condition():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never happened: {what or condition}")

    return wait
