"""Threads for slow work: bounded in number, cancelable, heard of only through the loop."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from agent.core.jobs import JobDone, JobFailed, JobMoved

log = logging.getLogger(__name__)

THREADS = 3
"""Jobs that run at once; the others wait."""
LOST = 8
"""Threads beside them whose job was canceled and that hang in a call: a server that says a byte now
and then must not keep the next update waiting."""
WAITING = 16
"""Jobs that may wait; one more fails with the cause Busy."""
STOP_S = 5.0
"""How long a stop waits for all threads; those that hang in a call die with the process."""
LONGEST_TEXT = 400
"""Characters that a failure may have: a server's own words may be in it."""


class Canceled(Exception):
    """The job is not wanted any more; raised in its thread by `Task.check` and `Task.wait`."""


class JobError(Exception):
    """A job that came to nothing. `cause`: one word for programs."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Task:
    """What a job sees of its own run. All methods are safe to call from its thread."""

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self._tell = tell
        self._canceled = threading.Event()
        self._told: tuple[str, int] | None = None

    def cancel(self) -> None:
        self._canceled.set()

    @property
    def is_canceled(self) -> bool:
        return self._canceled.is_set()

    def check(self) -> None:
        """Raises Canceled once the job is not wanted any more."""
        if self.is_canceled:
            raise Canceled

    def wait(self, seconds: float) -> None:
        """Sleeps; raises Canceled as soon as the job is not wanted any more."""
        if self._canceled.wait(seconds):
            raise Canceled

    def moved(self, step: str, percent: int = -1) -> None:
        """Tells progress, whole percents only once. Raises Canceled as `check` does."""
        self.check()
        if self._told != (step, percent):
            self._told = (step, percent)
            self._tell(step, percent)


Work = Callable[[Any, Task], object]
"""Carries out one order; returns what JobDone tells."""


class Jobs:
    """Runs orders by their type. Belongs to the loop: all methods are called there."""

    def __init__(self, works: Mapping[type, Work], post: Callable[[object], None]) -> None:
        self._works = works
        self._post = post
        self._running: dict[str, tuple[Task, threading.Thread]] = {}
        self._waiting: deque[tuple[str, object]] = deque()

    def start(self, job_id: str, order: object) -> None:
        """Runs the order at once, or when another job has ended."""
        if type(order) not in self._works:
            log.error("no job carries out %s", type(order).__name__)
            self._post(JobFailed(job_id, "NotSupported", "this station has no job for it"))
        elif self._has_room():
            self._begin(job_id, order)
        elif len(self._waiting) < WAITING:
            self._waiting.append((job_id, order))
        else:
            self._post(JobFailed(job_id, "Busy", "too many jobs wait; try again later"))

    def cancel(self, job_id: str) -> None:
        """Nothing more is heard of the job, whether it runs, waits or is long over."""
        self._waiting = deque(one for one in self._waiting if one[0] != job_id)
        if job_id in self._running:
            self._running[job_id][0].cancel()
        self._go_on()

    async def close(self) -> None:
        """Cancels all jobs and waits a little for their threads. Not to be canceled itself."""
        self._waiting.clear()
        threads = [thread for _, thread in self._running.values()]
        for task, _ in self._running.values():
            task.cancel()
        await asyncio.gather(*(asyncio.to_thread(thread.join, STOP_S) for thread in threads))

    def _begin(self, job_id: str, order: object) -> None:
        loop = asyncio.get_running_loop()

        def tell(event: object, *, is_last: bool = False) -> None:
            try:
                loop.call_soon_threadsafe(self._heard, job_id, event, is_last)
            except RuntimeError:
                log.info("job %s ended after the loop", job_id)

        task = Task(lambda step, percent: tell(JobMoved(job_id, step, percent)))
        work = self._works[type(order)]

        def run() -> None:
            tell(_outcome(job_id, work, order, task), is_last=True)

        thread = threading.Thread(target=run, name=f"job {job_id}", daemon=True)
        self._running[job_id] = task, thread
        thread.start()

    def _heard(self, job_id: str, event: object, is_last: bool) -> None:
        task, _ = self._running[job_id]
        if is_last:
            del self._running[job_id]
        if event is not None and not task.is_canceled:
            self._post(event)
        if is_last:
            self._go_on()

    def _has_room(self) -> bool:
        wanted = sum(not task.is_canceled for task, _ in self._running.values())
        return wanted < THREADS and len(self._running) < THREADS + LOST

    def _go_on(self) -> None:
        while self._waiting and self._has_room():
            self._begin(*self._waiting.popleft())


def _outcome(job_id: str, work: Work, order: object, task: Task) -> object:
    """JobDone, JobFailed, or None for a job that was canceled."""
    try:
        return JobDone(job_id, work(order, task))
    except Canceled:
        return None
    except JobError as error:
        return JobFailed(job_id, error.cause, str(error)[:LONGEST_TEXT])
    except Exception as error:
        log.exception("job %s (%s) failed", job_id, type(order).__name__)
        return JobFailed(job_id, "InternalError", f"{type(error).__name__}; see the journal")
