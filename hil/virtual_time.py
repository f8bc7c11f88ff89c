"""An event loop whose clock jumps to the next deadline, so that a day of waiting takes a moment."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
Grace = float | Callable[[], float]


class NothingToWaitFor(RuntimeError):
    """Every task waits, and no timer or ready handle is left that could wake one."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop that never sleeps: when nothing is ready, its time jumps.

    File descriptors are polled; before each jump they get `fd_grace_s` of real time to become
    ready (ptys pass bytes on a little later than they were written); a function says how much now.
    """

    def __init__(self, start_s: float = 0.0, fd_grace_s: Grace = 0.0) -> None:
        self._virtual_s = start_s
        super().__init__(_JumpingSelector(self._jump, fd_grace_s))

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_s

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Arguments]], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        """At once: the clock would not wait for a thread."""
        done: asyncio.Future[Result] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def _jump(self, timeout_s: float | None) -> None:
        if timeout_s is None:
            raise NothingToWaitFor(self._who_waits())
        self._virtual_s += timeout_s

    def _who_waits(self) -> str:
        names = sorted(
            f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"
            for task in asyncio.all_tasks(self)
        )
        return (
            f"nothing left to wait for at {self._virtual_s:.3f} s, but {len(names)} tasks wait: "
            f"{', '.join(names[:12])}. Give the bench a timer, or find what never wakes them "
            "(threads do not count: do their work inline)."
        )


class _JumpingSelector(selectors.DefaultSelector):
    """Polls for real; when nothing is ready, passes on the wait it was asked for."""

    def __init__(self, jump: Any, fd_grace_s: Grace) -> None:
        super().__init__()
        self._jump = jump
        self._fd_grace_s = fd_grace_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Ready files now; without any, the clock has jumped by `timeout`."""
        waits = timeout is None or timeout > 0
        has_files_of_ours = len(self.get_map()) > 1  # one is the loop's own wake-up pipe
        grace = self._fd_grace_s if waits and has_files_of_ours else 0
        grace_s = grace() if callable(grace) else grace
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(grace_s)
        if waits and not ready:
            self._jump(timeout)
        return ready


def run_virtual(
    coro: Coroutine[Any, Any, Result], *, start_s: float = 0.0, fd_grace_s: Grace = 0.0
) -> Result:
    """Runs a coroutine in virtual time and returns its result.

    Raises NothingToWaitFor where a real loop would hang for ever.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start_s, fd_grace_s)) as runner:
        return runner.run(coro)
