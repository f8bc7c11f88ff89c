"""What the conformance cases of block E share."""

from collections.abc import Awaitable, Callable
from typing import Any

from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
TIMEOUT_S = 40
"""<Configured ev_connection_timeout>"""
DURATION_S = 35
"""<Configured transaction duration>"""


def play(
    scene: Callable[[Octt], Awaitable[None]],
    *,
    start: str | None = None,
    stop: str | None = None,
    **bench: Any,
) -> None:
    """Runs a case on a station that has booted and has these start and stop points."""

    async def whole() -> None:
        variables = QUIET | bench.pop("variables", {})
        async with SimBench(variables=variables, **bench) as station:
            octt = Octt(station)
            await octt.booted()
            await octt.configure(start=start, stop=stop)
            await scene(octt)
            station.csms.check()

    run_virtual(whole())
