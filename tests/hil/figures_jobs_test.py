"""`make bench ARGS="--parts jobs"`: how long slow work holds up the loop."""

import asyncio
import time

import pytest

from agent.jobs import firmware
from hil.figures_jobs import JobStalls, Stalls, job_figures, measure_jobs


def test_each_step_is_measured_once() -> None:
    found = asyncio.run(measure_jobs(megabytes=2, idle_s=0.05))
    assert found.megabytes == 2
    for stalls in (found.idle, found.fetch, found.verify):
        assert stalls.took_s > 0
    assert found.idle.turns > 0


def test_what_holds_up_the_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that sleeps in the loop, as it were."""

    def blocks(self: object, order: object, task: object) -> None:
        loop.call_soon_threadsafe(time.sleep, 0.1)
        time.sleep(0.2)

    async def measure() -> JobStalls:
        nonlocal loop
        loop = asyncio.get_running_loop()
        return await measure_jobs(megabytes=1, idle_s=0.05)

    loop: asyncio.AbstractEventLoop
    monkeypatch.setattr(firmware.FirmwareFiles, "verify", blocks)
    assert asyncio.run(measure()).verify.worst_s >= 0.09


def test_the_figures_name_the_worst_turn() -> None:
    found = JobStalls(Stalls(0.001, 9, 1.0), Stalls(0.02, 5, 2.0), Stalls(0.06, 5, 1.0), 50)
    idle, fetch, verify = (figure.line() for figure in job_figures(found))
    assert "1.00 ms" in idle
    assert "20.00 ms  aim <= 50: met" in fetch
    assert "NOT met" in verify
