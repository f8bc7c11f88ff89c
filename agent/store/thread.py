"""The one thread in which the database is touched."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")
_Given = tuple[asyncio.Future[Any], Callable[[], Any]]


class StoreThread:
    """Carries work out one by one, in the order it was given, for the loop that made it.

    A commit for each answer of a draining queue goes through here, so that little lies between:
    a counter of the kernel each way, which counts what was given and what was done
    (`concurrent.futures` has a lock and a future of its own for each call, `call_soon_threadsafe`
    writes to a socket and reads it twice). It holds up no process that ends by an error before the
    store is closed: a commit that is cut off is no commit.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._given: deque[_Given | None] = deque()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._under_way = 0
        self._is_stopped = False
        self._gave = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self._did = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop.add_reader(self._did, self._heard)
        self._thread = Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def carry_out(self, work: Callable[[], _T]) -> _T:
        """Its result or error. Cancelling leaves it to be carried out, only the result is lost."""
        outcome: asyncio.Future[_T] = self._loop.create_future()
        self._under_way += 1
        self._give((outcome, work))
        return await outcome

    def stop(self) -> None:
        """After all that was given before; nobody waits for that here. Twice is no error."""
        if not self._is_stopped:
            self._is_stopped = True
            self._give(None)
            self._let_go()

    def _give(self, work: _Given | None) -> None:
        self._given.append(work)
        os.eventfd_write(self._gave, 1)

    def _let_go(self) -> None:
        """Of the thread's counter, once it counts nothing any more."""
        if self._is_stopped and not self._under_way:
            self._loop.remove_reader(self._did)
            os.close(self._did)

    def _run(self) -> None:
        while (given := self._next()) is not None:
            outcome, work = given
            try:
                self._done.append((outcome, work(), None))
            except BaseException as error:
                self._done.append((outcome, None, error))
            os.eventfd_write(self._did, 1)
        os.close(self._gave)

    def _next(self) -> _Given | None:
        os.eventfd_read(self._gave)
        return self._given.popleft()

    def _heard(self) -> None:
        """Ends the wait for work that was carried out; who was cancelled does not wait any more."""
        for _ in range(os.eventfd_read(self._did)):
            outcome, result, error = self._done.popleft()
            self._under_way -= 1
            if outcome.cancelled():
                continue
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)
        self._let_go()
