"""`make fuzz`: a long fire of spoiled frames on the simulated station, then spoiled bytes on each
driver's line, with its progress."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings

from hil import fuzz_bytes
from hil.fuzz_frames import Thrown, thrown
from hil.fuzz_station import Tally, Target

MANY = 100_000
PER_SEED = 1_000
PER_DEVICE = 200
"""Spoiled answers of each device."""
ROUNDS = 5


def fire(count: int, first_seed: int, say: Callable[[str], None] = lambda line: None) -> Tally:
    """Throws so many frames; each thousand is drawn from a seed of its own. Raises Failing."""
    with Target() as target:
        for number in range(0, count, PER_SEED):
            _volley(target, min(PER_SEED, count - number), first_seed + number // PER_SEED)
            say(target.tally.line())
    return target.tally


def _volley(target: Target, count: int, of_seed: int) -> None:
    @seed(of_seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(thrown())
    def throw(frame: Thrown) -> None:
        target.throw(frame)

    throw()


def scramble(rounds: int, first_seed: int, say: Callable[[str], None] = lambda line: None) -> int:
    """Each device's answers, so many rounds; returns how many were spoiled. Raises Failing."""
    spoiled = 0
    for number in range(first_seed, first_seed + rounds):
        for device in fuzz_bytes.DEVICES:
            heard = fuzz_bytes.play(device, number, enough=PER_DEVICE)
            spoiled += heard.spoiled
            say(f"round {number - first_seed + 1} of {rounds}, {heard.line()}")
    return spoiled


def main(argv: Sequence[str] | None = None) -> int:
    """0: every property held for every frame; an exception names the frame and its seed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="over the devices' lines")
    parser.add_argument("--seed", type=int, default=1, help="of the first thousand, and round")
    arguments = parser.parse_args(argv)
    logging.disable(logging.ERROR)
    tally = fire(arguments.frames, arguments.seed, _say)
    print(f"fuzz: frames: nothing found; {tally.line()}", flush=True)
    spoiled = scramble(arguments.rounds, arguments.seed, _say)
    print(
        f"fuzz: bytes: nothing found; {spoiled} spoiled answers and bursts of edges of "
        f"{len(fuzz_bytes.DEVICES)} devices"
    )
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
