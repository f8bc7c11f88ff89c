"""What the tests of frames on the sim bench share."""

from collections.abc import Callable, Coroutine
from typing import Any

from hil.scenarios.day import drained
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"
QUICK_RETRY = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "5",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
}


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(**{"evse_count": 1} | bench) as sim:
            await test(sim)

    run_virtual(scene())


def actions(bench: SimBench) -> list[str]:
    return [call.action for call in bench.csms.calls]


def boot_answer(bench: SimBench, status: str, interval: int) -> dict[str, Any]:
    return {"currentTime": bench.csms.utc(), "interval": interval, "status": status}


async def booted(bench: SimBench) -> None:
    await bench.csms.wait_for("StatusNotification")
    await drained(bench)
