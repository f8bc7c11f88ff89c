"""How a case of the standard is played: a booted station, a scene, then a look at the frames."""

from collections.abc import Awaitable, Callable
from typing import Any

from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

Scene = Callable[[Octt], Awaitable[None]]

QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}
"""No periodic events between those of a case."""


def play(
    scene: Scene,
    *,
    boots: bool = True,
    variables: dict[str, str] | None = None,
    **bench_options: Any,
) -> None:
    """The scene with an Octt at EVSE 1, after the station has booted; every frame by its schema."""

    async def whole() -> None:
        async with SimBench(variables=QUIET | (variables or {}), **bench_options) as bench:
            octt = Octt(bench)
            if boots:
                await octt.booted()
            await scene(octt)
            bench.csms.check()

    run_virtual(whole())
