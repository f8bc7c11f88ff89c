"""A serial cable for benches: a pseudo-terminal whose slave end the agent opens."""

import asyncio
import os
import tty
from collections.abc import Callable

READ_SIZE = 4096


class PtyPort:
    """The device's end of a serial line.

    Bytes from the agent come to `on_bytes` in the loop's thread. With `link`, a symbolic link
    always points to the present slave, as udev names do. Like a UART, it drops what nobody
    reads. Use `open` inside a running loop.
    """

    def __init__(self, link: str | None = None) -> None:
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self._link = link
        self._master: int | None = None
        self._slave: int | None = None
        self._slave_path = ""

    @property
    def path(self) -> str:
        """What belongs into the agent's configuration."""
        return self._link or self._slave_path

    @property
    def plugged(self) -> bool:
        return self._master is not None

    def open(self) -> None:
        """Plugs the cable in. Raises OSError when the system has no pseudo-terminals left."""
        if self._master is not None:
            return
        self._master, self._slave = os.openpty()
        # Our own slave descriptor keeps the line up while the agent restarts.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._slave_path = os.ttyname(self._slave)
        if self._link is not None:
            draft = f"{self._link}.new"
            os.symlink(self._slave_path, draft)
            os.replace(draft, self._link)
        asyncio.get_running_loop().add_reader(self._master, self._on_readable)

    def write(self, data: bytes) -> None:
        """Sends to the agent; what does not fit the line's buffer is lost."""
        if self._master is not None:
            try:
                os.write(self._master, data)
            except BlockingIOError:
                return

    def unplug(self) -> None:
        """Pulls the cable: the agent's end hangs up, the link is gone."""
        if self._master is None or self._slave is None:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = None
        if self._link is not None:
            os.unlink(self._link)

    def replug(self) -> None:
        """Pulls the cable and plugs it in again; the slave may get another name."""
        self.unplug()
        self.open()

    def _on_readable(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self.on_bytes(data)
