"""The agent's program on a boot of its own: `python -m hil.powercut_agent BOOT_ID ZERO_S VERB ...`

A bench cannot restart the kernel. What the agent sees of a boot is its id, and a monotonic clock
that began near 0; everything else is the agent as it is installed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial


def _since(monotonic: Callable[[], float], zero_s: float) -> float:
    return monotonic() - zero_s


def main(words: list[str]) -> int:
    """`ZERO_S`: what this machine's monotonic clock said when the boot began."""
    boot_id, zero_s, *rest = words
    # Before anything reads the clock: asyncio takes the same one. Not a function, because classes
    # keep it as an attribute and would bind it.
    time.monotonic = partial(_since, time.monotonic, float(zero_s))
    from agent import cli, clock

    clock._boot_id = lambda: boot_id  # type: ignore[assignment]
    return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
