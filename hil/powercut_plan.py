"""When power goes and comes back, and when the network does: drawn from a seed, nothing else."""

import random
from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

WARM_IN_A_ROW = 2
"""Three crashes within ten minutes and the agent stops selling: that is another test's matter."""


class Moment(StrEnum):
    """What a kill waits for after the start of the process, before its own `after_s`."""

    START = "start-up"
    OPEN = "open of the database"
    RUN = "run"
    LONG_RUN = "long run"
    IN_FLIGHT = "event in flight"


SHARES = {
    Moment.START: (13, (0.0, 0.8)),
    Moment.OPEN: (6, (0.0, 0.05)),
    Moment.RUN: (48, (0.3, 2.8)),
    Moment.LONG_RUN: (15, (3.0, 5.2)),
    Moment.IN_FLIGHT: (18, (0.0, 0.02)),
}
"""Share in hundred, and the range of `after_s`."""


class Kill(Struct, frozen=True):
    """One SIGKILL."""

    moment: Moment
    after_s: float
    cold: bool
    """The board's power goes, too: the next process runs on another boot."""
    controllers: bool
    """So does that of the controllers."""
    down_s: float
    """Until the next process is started."""
    booted_s: float
    """What the board's clock says then, if it is another boot."""


def kills(seed: int, number: int) -> Iterator[Kill]:
    """`number` kills; equal seeds give equal kills."""
    chance = random.Random(f"kills {seed}")
    moments, shares = list(SHARES), [share for share, _ in SHARES.values()]
    warm = 0
    for _ in range(number):
        (moment,) = chance.choices(moments, shares)
        after_s = chance.uniform(*SHARES[moment][1])
        cold = chance.random() < 0.75
        controllers = chance.random() < 0.3
        warm = 0 if cold or warm == WARM_IN_A_ROW else warm + 1
        yield Kill(
            moment=moment,
            after_s=after_s,
            cold=warm == 0,
            controllers=warm == 0 and controllers,
            down_s=chance.uniform(1.0, 3.0) if chance.random() < 0.1 else chance.uniform(0.0, 0.2),
            booted_s=chance.uniform(5.0, 90.0),
        )


def network(seed: int) -> Iterator[tuple[float, float]]:
    """(s with a network, s without) for ever; now and then an outage of many boots."""
    chance = random.Random(f"network {seed}")
    while True:
        long = chance.random() < 0.06
        up_s = chance.uniform(2.0, 20.0) if long else chance.uniform(0.5, 9.0)
        down_s = chance.uniform(15.0, 30.0) if long else chance.uniform(0.1, 4.0)
        yield up_s, down_s
