"""The alarm in virtual time: it rings when it is due, however often that was moved."""

import asyncio
from collections.abc import Callable

import pytest

from agent.alarm import Alarm
from hil.virtual_time import run_virtual

Steps = list[tuple[float, Callable[[Alarm], None]]]


@pytest.mark.parametrize(
    ("steps", "rings_s"),
    [
        ([(0.0, lambda a: a.set(5.0))], [5.0]),
        ([(0.0, lambda a: a.set(5.0)), (3.0, lambda a: a.set(5.0))], [8.0]),
        ([(0.0, lambda a: a.set(5.0)), (1.0, lambda a: a.set(1.0))], [2.0]),
        ([(0.0, lambda a: a.set(5.0)), (1.0, lambda a: a.stop())], []),
        ([(0.0, lambda a: a.set(5.0)), (1.0, lambda a: a.close())], []),
        (
            [(0.0, lambda a: a.set(5.0)), (1.0, lambda a: a.stop()), (2.0, lambda a: a.set(9.0))],
            [11.0],
        ),
        ([(0.0, lambda a: a.set(1.0)), (4.0, lambda a: a.set(1.0))], [1.0, 5.0]),
        ([(0.0, lambda a: a.set(0.0))], [0.0]),
    ],
)
def test_it_rings_once_when_it_is_due(steps: Steps, rings_s: list[float]) -> None:
    async def scene() -> list[float]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        rung: list[float] = []
        alarm = Alarm(lambda: rung.append(loop.time() - began_s))
        for at_s, step in steps:
            await asyncio.sleep(began_s + at_s - loop.time())
            step(alarm)
        await asyncio.sleep(60)
        return rung

    assert run_virtual(scene()) == pytest.approx(rings_s)


def test_a_time_that_moves_on_all_the_time_takes_one_timer() -> None:
    async def scene() -> int:
        loop = asyncio.get_running_loop()
        alarm = Alarm(lambda: None)
        for _ in range(100):
            alarm.set(10.0)
            await asyncio.sleep(0.001)
            alarm.stop()
        timers: list[object] = loop._scheduled  # type: ignore[attr-defined]
        return len(timers)

    assert run_virtual(scene()) == 1
