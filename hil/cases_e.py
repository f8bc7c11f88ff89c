"""What the conformance cases of block E share."""

from typing import Any

from hil import cases
from hil.cases import Scene
from hil.conformance import Octt

TIMEOUT_S = 40
"""<Configured ev_connection_timeout>"""
DURATION_S = 35
"""<Configured transaction duration>"""


def play(
    scene: Scene, *, start: str | None = None, stop: str | None = None, **bench_options: Any
) -> None:
    """Runs a case on a station that has booted and has these start and stop points."""

    async def whole(octt: Octt) -> None:
        await octt.configure(start=start, stop=stop)
        await scene(octt)

    cases.play(whole, **bench_options)
