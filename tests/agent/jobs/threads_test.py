"""Threads for slow work: told in the loop, canceled for good, never more than a few."""

import asyncio
import threading
from collections.abc import Callable

from msgspec import Struct

from agent.core.jobs import JobDone, JobFailed, JobMoved
from agent.jobs import JobError, Jobs, Task
from agent.jobs.threads import LONGEST_TEXT, LOST, THREADS, WAITING


class Order(Struct, frozen=True):
    run: Callable[[Task], object]


class Heard:
    """Collects what a room posts; `until(n)` waits for the n-th event."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.threads: set[str] = set()
        self._more = asyncio.Event()
        self.jobs = Jobs({Order: lambda order, task: order.run(task)}, self._post)

    def _post(self, event: object) -> None:
        self.threads.add(threading.current_thread().name)
        self.events.append(event)
        self._more.set()

    async def until(self, count: int) -> list[object]:
        while len(self.events) < count:
            self._more.clear()
            await self._more.wait()
        return self.events


def failing(task: Task) -> object:
    raise JobError("NotFound", "nothing there")


def moving(task: Task) -> object:
    for percent in (0, 50, 50, 100):
        task.moved("reading", percent)
    return "all"


async def test_what_a_job_tells_arrives_in_the_loop_in_its_order() -> None:
    heard = Heard()
    heard.jobs.start("a", Order(moving))
    assert await heard.until(4) == [
        JobMoved("a", "reading", 0),
        JobMoved("a", "reading", 50),
        JobMoved("a", "reading", 100),
        JobDone("a", "all"),
    ]
    assert heard.threads == {threading.main_thread().name}


async def test_a_failure_has_a_cause_and_a_bug_is_one_too() -> None:
    heard = Heard()
    heard.jobs.start("a", Order(failing))
    assert await heard.until(1) == [JobFailed("a", "NotFound", "nothing there")]
    heard.jobs.start("b", Order(lambda task: {}["no"]))
    assert (await heard.until(2))[1] == JobFailed("b", "InternalError", "KeyError; see the journal")


async def test_what_a_server_says_does_not_fill_the_journal() -> None:
    def talkative(task: Task) -> object:
        raise JobError("UploadFailure", "no " * 30_000)

    heard = Heard()
    heard.jobs.start("a", Order(talkative))
    (failed,) = await heard.until(1)
    assert isinstance(failed, JobFailed)
    assert len(failed.text) == LONGEST_TEXT


async def test_nothing_is_heard_of_a_canceled_job() -> None:
    heard, ended = Heard(), threading.Event()

    def run(task: Task) -> object:
        try:
            task.wait(60)
        finally:
            ended.set()
        return "too late"

    heard.jobs.start("a", Order(run))
    heard.jobs.cancel("a")
    await asyncio.to_thread(ended.wait)
    heard.jobs.start("b", Order(lambda task: 2))
    assert await heard.until(1) == [JobDone("b", 2)]


async def test_only_a_few_run_at_once_and_the_queue_is_bounded() -> None:
    heard, go = Heard(), threading.Event()
    running: list[int] = []

    def run(task: Task) -> object:
        running.append(1)
        go.wait()
        return None

    for number in range(THREADS + WAITING):
        heard.jobs.start(str(number), Order(run))
    heard.jobs.start("one too many", Order(run))
    assert [event.cause for event in heard.events] == ["Busy"]
    heard.jobs.cancel(str(THREADS))
    assert len(running) <= THREADS
    go.set()
    await heard.until(THREADS + WAITING)
    done = {event.job_id for event in heard.events[1:]}
    assert done == {str(n) for n in range(THREADS + WAITING)} - {str(THREADS)}


async def test_canceled_jobs_that_hang_do_not_keep_the_next_ones_waiting() -> None:
    """In a call that nothing ends, as of a server that says a byte now and then."""
    heard, release = Heard(), threading.Event()
    for number in range(THREADS):
        heard.jobs.start(f"hangs {number}", Order(lambda task: release.wait()))
    heard.jobs.start("waits", Order(lambda task: "went on"))
    heard.jobs.cancel("hangs 0")
    assert await heard.until(1) == [JobDone("waits", "went on")]
    for number in range(1, THREADS):
        heard.jobs.cancel(f"hangs {number}")
    for number in range(LOST - THREADS):
        heard.jobs.start(f"more {number}", Order(lambda task: release.wait()))
        heard.jobs.cancel(f"more {number}")
    heard.jobs.start("last", Order(lambda task: "there is an end"))
    assert (await heard.until(2))[1] == JobDone("last", "there is an end")
    for number in range(THREADS):
        heard.jobs.start(f"full {number}", Order(lambda task: release.wait()))
        heard.jobs.cancel(f"full {number}")
    heard.jobs.start("too many", Order(lambda task: "never before the others end"))
    assert len(heard.jobs._running) == THREADS + LOST
    release.set()
    assert (await heard.until(3))[2] == JobDone("too many", "never before the others end")
    await heard.jobs.close()


async def test_an_order_that_nobody_carries_out_fails() -> None:
    heard = Heard()
    heard.jobs.start("a", "an order")
    assert heard.events == [
        JobFailed("a", "NotSupported", "this station has no job for it"),
    ]


async def test_close_ends_all() -> None:
    heard = Heard()
    for number in range(THREADS + 1):
        heard.jobs.start(str(number), Order(lambda task: task.wait(60)))
    await heard.jobs.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("job ")]
    assert heard.events == []
