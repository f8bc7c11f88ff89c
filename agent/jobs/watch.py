"""A thread beside a transfer that cuts its connections: where nothing moves, or nobody wants it.

The timeout of a socket begins anew with each byte: a server that says one now and then, or says
what counts for nothing, would keep a job for ever.
"""

import socket
import threading
import time
from types import TracebackType
from typing import Self

from agent.jobs.threads import Canceled, Task

PATIENCE_S = 120.0
"""For each answer, and for each LEAST_BYTES of a file."""
LEAST_BYTES = 4096
POLL_S = 0.25


class Watch:
    """`with Watch(task) as watch`. Raises TimeoutError or Canceled after a cut, whatever became of
    it in the block: the end of a connection may be the end of a file."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sockets: set[socket.socket] = set()
        self._moved_s = time.monotonic()
        self._bytes = 0
        self._is_over = threading.Event()
        self._has_cut = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def hold(self, connection: socket.socket) -> None:
        """This one is cut, too; making it was a step."""
        self._sockets.add(connection)
        self.moved()

    def moved(self) -> None:
        """A step was taken: an answer is here."""
        self._bytes, self._moved_s = 0, time.monotonic()

    def passed(self, count: int) -> None:
        """So many bytes of the file have come or gone."""
        self._bytes += count
        if self._bytes >= LEAST_BYTES:
            self.moved()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        if not self._has_cut:
            return
        if self._task.is_canceled:
            raise Canceled from error
        text = f"nothing moved for {PATIENCE_S:.0f} s; look into the server's log"
        raise TimeoutError(text) from error

    def _run(self) -> None:
        while not self._is_over.wait(POLL_S):
            if self._task.is_canceled or time.monotonic() - self._moved_s > PATIENCE_S:
                self._has_cut = True
                for connection in tuple(self._sockets):
                    _cut(connection)


def _cut(connection: socket.socket) -> None:
    """Whoever reads or writes there goes on with an error. TLS is not asked: it may be at work."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass  # closed meanwhile
