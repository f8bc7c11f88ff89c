"""`make powercut`: the real agent is killed at random instants, hundreds of times, while cars
charge, events drain and the network comes and goes; then every event and every Wh is counted."""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import Callable, Sequence

from agent.errors import ChargepointError
from hil.desk import EVSE_IDS, BenchError
from hil.powercut_bench import PowercutBench
from hil.powercut_plan import Kill, kills
from hil.powercut_scene import Scene
from hil.verdict import Verdict, judge

KILLS = 200
QUIET_WITHIN_S = 120.0
PROGRESS_S = 10.0
PROBLEMS_SHOWN = 20
STOPPED_BY_USER = 130

Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """0 only when nothing was lost, doubled, reordered or given away without a reason."""
    parser = argparse.ArgumentParser(
        prog="python -m hil.powercut",
        description="Kills the agent at random instants and counts what the CSMS got.",
    )
    parser.add_argument("--kills", type=int, default=KILLS, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the schedule; a random one when left out")
    parser.add_argument("--keep", action="store_true", help="keep charger.yaml, log and data")
    arguments = parser.parse_args(argv)
    if arguments.kills < 1:
        parser.error("--kills must be at least 1")
    seed = random.randrange(100_000) if arguments.seed is None else arguments.seed
    try:
        return asyncio.run(_powercut(arguments.kills, seed, keep=arguments.keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("power cuts: stopped; nothing was compared")
        return STOPPED_BY_USER


async def _powercut(number: int, seed: int, *, keep: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    print(f"seed {seed}: {number} kills; again with --seed {seed} --kills {number}", flush=True)
    bench = PowercutBench()
    bench.keep_directory = keep
    try:
        async with bench:
            verdict = await play(bench, tuple(kills(seed, number)), seed, _print)
            if verdict.problems or keep:
                bench.keep_directory = True
                _write_calls(bench)
    except (BenchError, ChargepointError, OSError) as error:
        print(f"power cuts: FAILED: {error}")
        return 1
    return conclude(bench, verdict, _print)


async def play(bench: PowercutBench, plan: Sequence[Kill], seed: int, say: Say) -> Verdict:
    """The kills, then a quiet end, then the judge. Raises BenchError."""
    watching = asyncio.create_task(bench.watch_link())
    telling = asyncio.create_task(_tell(bench, len(plan), say))
    try:
        await bench.boot(booted_s=20.0)
        async with Scene(bench, seed):
            for kill in plan:
                await bench.wait_for(kill)
                await bench.cut(kill)
        await bench.wait_until(lambda: is_quiet(bench), "an empty queue", QUIET_WITHIN_S)
        status = await bench.status()
        exit_code = await bench.stop_agent()
    finally:
        for task in (watching, telling):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return judge(bench.evidence(status, exit_code))


async def is_quiet(bench: PowercutBench) -> bool:
    """Online, nothing waits, nobody charges, and no transaction that the CSMS knows lacks its end:
    the end of one found at the start waits for the meter, with nothing in the queue."""
    try:
        status = await bench.status()
    except ChargepointError:
        return False  # it has just been started
    rows = [row for row in status["connectors"] if row["evse_id"] in EVSE_IDS]
    idle = all(row["status"] == "Available" and "transaction_id" not in row for row in rows)
    books = bench.csms.transactions.values()
    ended = all(events[-1]["eventType"] == "Ended" for events in books)
    return idle and ended and status["link"] == "online" and status["queue"] == 0


async def _tell(bench: PowercutBench, number: int, say: Say) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while True:
        await asyncio.sleep(PROGRESS_S)
        events = sum(len(events) for events in bench.csms.transactions.values())
        say(
            f"{loop.time() - began_s:6.0f} s: {bench.kills} of {number} kills, "
            f"{events} events of {len(bench.csms.transactions)} transactions, "
            f"network cut {bench.network_cuts} times"
        )


def _print(text: str) -> None:
    print(text, flush=True)


def _write_calls(bench: PowercutBench) -> None:
    """What the CSMS got, for whoever looks for the reason."""
    with (bench.directory / "calls.jsonl").open("w") as file:
        for call in bench.csms.calls:
            file.write(json.dumps([call.at_s, call.message_id, call.action, call.payload]) + "\n")


def conclude(bench: PowercutBench, verdict: Verdict, say: Say) -> int:
    """Says what came of it, the figures last; the exit status."""
    breaks = bench.kills + bench.network_cuts
    problems = list(verdict.problems)
    if verdict.resent > breaks:
        problems.append(f"{verdict.resent} events were sent again, but only {breaks} links broke")
    for problem in problems[:PROBLEMS_SHOWN]:
        say(f"power cuts: FAILED: {problem}")
    if len(problems) > PROBLEMS_SHOWN:
        say(f"power cuts: FAILED: and {len(problems) - PROBLEMS_SHOWN} more")
    if bench.keep_directory:
        say(f"power cuts: kept {bench.directory}: agent.log, calls.jsonl, data")
    say(
        f"energy: billed {verdict.billed_wh} Wh + given away {verdict.given_away_wh} Wh "
        f"(closed by the controller itself after its power came back) "
        f"= {verdict.billed_wh + verdict.given_away_wh} Wh; metered {verdict.metered_wh} Wh"
    )
    say(
        f"sent again: {verdict.resent} events, at most the one in flight at each of "
        f"{bench.kills} kills and {bench.network_cuts} cuts of the network; "
        "same message id, seqNo and content but `offline`"
    )
    say(
        f"power cuts: {bench.kills}, events {verdict.recorded}, lost {verdict.lost}, "
        f"doubled {verdict.doubled}, reordered {verdict.reordered}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
