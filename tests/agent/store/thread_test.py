"""The thread of the database: what is given is carried out in order and told once, and the thread
leaves nothing open behind it."""

import asyncio
import os
from collections.abc import Iterator
from threading import Event, get_ident

import pytest

from agent.store.thread import StoreThread

LIMIT_S = 30.0


class Gate:
    """Holds the thread up until it is opened."""

    def __init__(self) -> None:
        self._opened, self._reached = Event(), Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._opened.wait(LIMIT_S)

    def open(self) -> None:
        self._opened.set()

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, LIMIT_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
async def thread() -> StoreThread:
    return StoreThread()


def counters() -> int:
    """Of the kernel, that this process holds open."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and "eventfd" in os.readlink(link) for link in links)


async def ended(thread: StoreThread) -> None:
    await asyncio.to_thread(thread._thread.join, LIMIT_S)


async def test_work_is_carried_out_beside_the_loop_in_the_order_it_was_given(
    thread: StoreThread,
) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        assert get_ident() != loops
        return number

    loops = get_ident()
    numbers = range(200)
    told = await asyncio.gather(*(thread.carry_out(lambda n=n: work(n)) for n in numbers))
    assert told == done == list(numbers)
    thread.stop()


async def test_an_error_is_told_to_who_gave_the_work_and_the_next_is_carried_out(
    thread: StoreThread,
) -> None:
    def fail() -> None:
        raise ValueError("as it was said")

    failing = asyncio.create_task(thread.carry_out(fail))
    following = asyncio.create_task(thread.carry_out(lambda: "well"))
    with pytest.raises(ValueError, match="as it was said"):
        await failing
    assert await following == "well"
    thread.stop()


async def test_work_of_who_was_cancelled_is_carried_out_and_told_to_nobody(
    thread: StoreThread, gate: Gate
) -> None:
    done: list[str] = []
    first = asyncio.create_task(thread.carry_out(gate.wait))
    second = asyncio.create_task(thread.carry_out(lambda: done.append("second")))
    await gate.is_reached()
    for task in (first, second):
        task.cancel()
    gate.open()
    assert await thread.carry_out(lambda: "third") == "third"
    assert done == ["second"]
    assert first.cancelled()
    assert second.cancelled()
    thread.stop()


async def test_after_the_last_work_nothing_is_left_open(gate: Gate) -> None:
    before = counters()
    thread = StoreThread()
    assert counters() == before + 2
    task = asyncio.create_task(thread.carry_out(gate.wait))
    await gate.is_reached()
    thread.stop()
    thread.stop()
    assert counters() == before + 2, "the work that is under way must still be told"
    gate.open()
    await task
    await ended(thread)
    assert counters() == before


async def test_a_thread_that_had_nothing_to_do_leaves_nothing_open() -> None:
    before = counters()
    thread = StoreThread()
    thread.stop()
    thread.stop()
    await ended(thread)
    assert counters() == before
