import asyncio
import os
import threading
import time

import pytest

from hil.virtual_time import NothingToWaitFor, run_virtual


def test_time_starts_where_asked_and_jumps_exactly_to_each_deadline() -> None:
    async def scene() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        for pause_s in (0.25, 3600.0, 36 * 3600.0):
            await asyncio.sleep(pause_s)
            seen.append(loop.time())
        return seen

    assert run_virtual(scene(), start_s=100.0) == [100.0, 100.25, 3700.25, 133300.25]


def test_tasks_wake_in_the_order_of_their_deadlines() -> None:
    async def scene() -> list[str]:
        order: list[str] = []

        async def sleeper(name: str, pause_s: float) -> None:
            await asyncio.sleep(pause_s)
            order.append(name)

        await asyncio.gather(sleeper("c", 3), sleeper("a", 1), sleeper("b", 2))
        return order

    assert run_virtual(scene()) == ["a", "b", "c"]


def test_timeouts_fire_in_virtual_time() -> None:
    async def scene() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5000):
                await asyncio.sleep(9000)
        return asyncio.get_running_loop().time()

    assert run_virtual(scene()) == 5000


@pytest.mark.timeout(20)
def test_waiting_for_what_never_comes_is_an_error_that_names_the_task() -> None:
    async def forgotten() -> None:
        await asyncio.sleep(7)
        await asyncio.Event().wait()

    with pytest.raises(NothingToWaitFor, match=r"at 7\.000 s.*forgotten"):
        run_virtual(forgotten())


def test_a_pipe_written_in_the_loop_is_read_before_time_moves() -> None:
    async def scene() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        got: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(read_end, lambda: got.set_result(os.read(read_end, 10)))
        try:
            os.write(write_end, b"now")
            async with asyncio.timeout(60):
                return await got, loop.time()
        finally:
            loop.remove_reader(read_end)
            os.close(read_end)
            os.close(write_end)

    assert run_virtual(scene()) == (b"now", 0.0)


def test_grace_lets_another_thread_or_pty_deliver_before_a_deadline_passes() -> None:
    async def scene() -> bytes:
        loop = asyncio.get_running_loop()
        master, slave = os.openpty()
        got: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(slave, lambda: got.set_result(os.read(slave, 10)))
        try:
            threading.Timer(0.05, os.write, (master, b"x\n")).start()
            async with asyncio.timeout(0.001):
                return await got
        finally:
            loop.remove_reader(slave)
            os.close(master)
            os.close(slave)

    assert run_virtual(scene(), fd_grace_s=20.0) == b"x\n"


def test_an_exception_of_the_scene_comes_through() -> None:
    async def scene() -> None:
        await asyncio.sleep(1)
        raise KeyError("scene")

    with pytest.raises(KeyError, match="scene"):
        run_virtual(scene())


@pytest.mark.timeout(60)
def test_a_day_with_a_hundred_thousand_wake_ups_takes_no_day() -> None:
    async def scene() -> float:
        for _ in range(100_000):
            await asyncio.sleep(0.864)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(scene()) == pytest.approx(86400)
    print(f"100,000 wake-ups took {time.monotonic() - began:.2f} s")


def test_work_for_a_thread_is_done_at_once() -> None:
    """A jumping clock would not wait for it."""

    async def work() -> tuple[int, float]:
        with pytest.raises(ValueError, match="nonsense"):
            await asyncio.to_thread(int, "nonsense")
        return await asyncio.to_thread(threading.get_ident), asyncio.get_running_loop().time()

    assert run_virtual(work()) == (threading.get_ident(), 0.0)
