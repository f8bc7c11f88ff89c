"""`chargepoint demo`: a charger, two meters, cars, cards and a CSMS on this machine.

The agent runs as installed, in its own process; the end is an independent count of what was
sold and what was told.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import ChargepointError
from hil.demo_view import View
from hil.desk import EVSE_IDS, METER_START_WH, BenchError, DeskBench
from hil.parts.csms import StationError
from hil.scenarios.first_charge import first_charge
from hil.verdict import Evidence, judge

LONGEST_S = 240.0
"""The scene takes about a minute; a machine that needs longer than this is no desk."""
STOPPED_BY_USER = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Plays the scene; 0 only when everything that was recorded was delivered and billed."""
    parser = argparse.ArgumentParser(
        prog="chargepoint demo",
        description="Three charges on a simulated desk, with the real agent; about a minute.",
    )
    parser.add_argument("--keep", action="store_true", help="keep charger.yaml, log and data")
    arguments = parser.parse_args(argv)
    view = View()
    try:
        return asyncio.run(_demo(view, keep=arguments.keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        view.result("demo: stopped; nothing was compared")
        return STOPPED_BY_USER


async def _demo(view: View, *, keep: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    bench = DeskBench(say=view.say)
    bench.keep_directory = keep
    try:
        async with bench, asyncio.timeout(LONGEST_S):
            evidence = await _play(bench, view)
            verdict = judge(evidence)
            bench.keep_directory = keep or bool(verdict.problems)
    except (BenchError, StationError, ChargepointError, OSError) as error:
        return _failed(view, [str(error) or f"not done after {LONGEST_S:g} s"], bench.agent_log)
    if keep:
        view.result(f"demo: kept {bench.directory}")
    if verdict.problems:
        return _failed(view, [*verdict.problems, verdict.line], bench.agent_log)
    view.result(f"demo: {verdict.line}")
    return 0


async def _play(bench: DeskBench, view: View) -> Evidence:
    """The scene, then the agent is stopped in peace: what counts is what stands after that."""
    await bench.start_agent()
    following = asyncio.create_task(view.follow(bench))
    try:
        transactions = await first_charge(bench)
        status = await bench.status()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    exit_code = await bench.stop_agent()
    return Evidence(
        calls=tuple(bench.csms.calls),
        violations=tuple(bench.csms.violations),
        transactions=transactions,
        meters_wh={n: (METER_START_WH[n], bench.energy_wh(n)) for n in EVSE_IDS},
        outages=tuple(bench.outages),
        utc_offset_s=bench.utc_offset_s,
        waiting=status["queue"],
        set_aside=status["set_aside"],
        thinned=status["thinned"],
        exit_code=exit_code,
    )


def _failed(view: View, problems: Sequence[str], agent_log: Path) -> int:
    for problem in problems:
        view.result(f"demo: FAILED: {problem}")
    look = f"read {agent_log}, " if agent_log.exists() else ""
    view.result(f"demo: FAILED: {look}mend what is named and run the demo again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
