"""`make fuzz`: a long fire of spoiled frames on the simulated station, with its progress."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings

from hil.fuzz_frames import Thrown, thrown
from hil.fuzz_station import Tally, Target

MANY = 100_000
PER_SEED = 1_000


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


def main(argv: Sequence[str] | None = None) -> int:
    """0: every property held for every frame; an exception names the frame and its seed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=MANY)
    parser.add_argument("--seed", type=int, default=1, help="of the first thousand")
    arguments = parser.parse_args(argv)
    logging.disable(logging.ERROR)
    tally = fire(arguments.frames, arguments.seed, lambda line: print(line, flush=True))
    print(f"fuzz: nothing found; {tally.line()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
