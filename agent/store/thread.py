"""The one thread in which the database is touched."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")


class StoreThread:
    """Carries work out one by one, in the order it was given.

    A commit for each answer of a draining queue goes through here: nothing but a queue lies
    between (`concurrent.futures` has a lock and a future of its own for each call). It holds up no
    process that ends by an error before the store is closed: a commit that is cut off is no commit.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def carry_out(self, work: Callable[[], _T]) -> _T:
        """Its result or error. Cancelling leaves it to be carried out, only the result is lost."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[_T] = loop.create_future()

        def carry_out() -> None:
            try:
                tell = partial(_tell, outcome, work(), None)
            except BaseException as error:
                tell = partial(_tell, outcome, None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(tell)

        self._work.put(carry_out)
        return await outcome

    def stop(self) -> None:
        """After all that was given before; nobody waits for that here."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _tell(outcome: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Ends the wait for work that was carried out; who was cancelled does not wait any more."""
    if outcome.cancelled():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
