"""A station with one EVSE, booted, in virtual time."""

from collections.abc import Callable, Coroutine
from typing import Any

from hil.sim import SimBench
from hil.virtual_time import run_virtual


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1, **bench) as sim:
            await sim.csms.wait_for("StatusNotification")
            await test(sim)

    run_virtual(scene())
