"""Who may use a line next: orders first, then views of controllers, then everybody else."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum


class Rank(IntEnum):
    """Who overtakes whom; within a rank they go in the order they came."""

    ORDER = 0
    """A write of a controller: it may be a stop."""
    VIEW = 1
    """A read of a controller."""
    OTHER = 2


class Turns:
    """One user at a time. Cancelling while waiting is safe."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[Rank, deque[asyncio.Future[None]]] = {rank: deque() for rank in Rank}

    @asynccontextmanager
    async def taken(self, rank: Rank = Rank.OTHER) -> AsyncIterator[None]:
        """The line is yours within; a higher rank overtakes all that wait, but no exchange."""
        if self._taken:
            await self._wait(self._waiting[rank])
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, queue: "deque[asyncio.Future[None]]") -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """The next one that still waits has it; it stays taken in between."""
        for queue in self._waiting.values():
            while queue:
                next_one = queue.popleft()
                if not next_one.done():
                    next_one.set_result(None)
                    return
        self._taken = False
