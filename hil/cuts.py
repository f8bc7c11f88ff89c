"""Power cuts at every step of a day: what is left at each is started again and judged.

A cut loses the process and nothing else: at each primitive effect the disk, the world and the
store of the CSMS are kept as they are, and in a loop of its own the station comes back on them.
"""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec import Struct

from hil.parts.csms import Received
from hil.scenarios.day import SHORT_HOUR_S, drained, whole_day
from hil.sim import START_UTC_S, SimBench
from hil.verdict import Evidence, Verdict, judge
from hil.virtual_time import run_virtual

AWAY_S = 20.0
"""How long the power is gone."""
BOOTED_S = 5.0
"""The loop's clock counts from boot: after a cut it begins again."""
AFTER_S = 45.0
"""How long the station is watched once it is back and drained."""
SUPPLY_A = 40.0
VARIABLES = {
    "SampledDataCtrlr.TxUpdatedInterval": "60",
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "2",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "1",
}

LeaveDisk = Callable[[Path, Path], None]
"""(data directory of the running station, empty directory): what a cut now would leave."""


class Cut(Struct, frozen=True):
    """One cut and what came of it."""

    number: int
    effect: str
    at_s: float
    verdict: Verdict
    resent: int
    """Messages that came twice: those in flight at the cut."""
    problems: tuple[str, ...]


def files_as_they_are(source: Path, target: Path) -> None:
    """A cut of the process alone: the page cache lives on."""
    for path in source.glob("chargepoint.db*"):
        (target / path.name).write_bytes(path.read_bytes())


def every_cut(
    leave_disk: LeaveDisk = files_as_they_are,
    *,
    day: Callable[[SimBench, float], Any] = whole_day,
    wanted: Callable[[int], bool] = lambda number: True,
) -> Iterator[Cut]:
    """Lives one short day, and for each step of it the life after a cut there.

    Steps are the primitive effects of the agent, and each arrival of a message at the CSMS,
    when it is stored there and the station does not know yet.
    """
    cuts: list[Cut] = []
    before_wh: list[float] = []
    bench: SimBench
    counter = iter(range(1, 1_000_000))

    def cut_here(step: object) -> None:
        number = next(counter)
        if wanted(number):
            name = type(step).__name__
            if isinstance(step, Received):
                name = f"arrival of {step.action}"
            cuts.append(_Moment(bench, number, name, leave_disk).live_on(tuple(before_wh)))

    async def live() -> None:
        nonlocal bench
        bench = SimBench(supply_a=SUPPLY_A, variables=VARIABLES, on_effect=cut_here)
        bench.csms.on_call = cut_here
        before_wh.extend(bench.board.meter(evse_id).energy_wh for evse_id in (1, 2))
        async with bench:
            await day(bench, SHORT_HOUR_S)

    run_virtual(live())
    yield from cuts


class _Moment:
    """All that outlives a cut, copied at the moment of an effect."""

    def __init__(self, bench: SimBench, number: int, effect: str, leave_disk: LeaveDisk) -> None:
        self.number, self.effect = number, effect
        self.at_s = asyncio.get_running_loop().time()
        bench.board.live.catch_up()
        self.world = deepcopy(bench.board.world.snapshot())
        self.csms = bench.csms
        self.online = bench.network.state
        self._directory = tempfile.TemporaryDirectory()
        leave_disk(bench.directory, Path(self._directory.name))

    def live_on(self, before_wh: tuple[float, ...]) -> Cut:
        """Another loop in another thread; ours stands still meanwhile."""
        found: list[Cut | BaseException] = []

        def run() -> None:
            try:
                found.append(run_virtual(self._live_on(before_wh), start_s=BOOTED_S))
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self._directory.cleanup()
        if isinstance(found[0], BaseException):
            text = f"cut {self.number} after {self.effect} at {self.at_s:.2f} s"
            raise AssertionError(f"{text}: {found[0]!r}") from found[0]
        return found[0]

    async def _live_on(self, before_wh: tuple[float, ...]) -> Cut:
        bench = SimBench(
            supply_a=SUPPLY_A,
            variables=VARIABLES,
            directory=self._directory.name,
            seed=1000 + self.number,
            utc_at_zero_s=START_UTC_S + self.at_s + AWAY_S - BOOTED_S,
        )
        bench.csms.continue_from(self.csms)
        bench.board.live.catch_up()
        bench.board.world.restore(self.world)
        known = len(bench.csms.calls)
        async with bench:
            await bench.until(lambda: bench.agent.status()["link"] == "online")
            await drained(bench)
            await asyncio.sleep(AFTER_S)
            await drained(bench)
            after_wh = [bench.board.meter(evse_id).energy_wh for evse_id in (1, 2)]
            status = bench.agent.status()
        verdict = judge(
            Evidence(
                calls=bench.csms.calls,
                meters_wh=dict(enumerate(zip(before_wh, after_wh, strict=True), start=1)),
                waiting=status["queue"],
                set_aside=status["set_aside"],
                violations=bench.csms.violations,
            )
        )
        calls = bench.csms.calls
        resent = _resent(calls)
        problems = [*verdict.problems, *_problems(calls[:known], calls[known:], resent)]
        return Cut(self.number, self.effect, self.at_s, verdict, len(resent), tuple(problems))


def _events(calls: list[Received]) -> list[Received]:
    return [call for call in calls if call.action == "TransactionEvent"]


def _resent(calls: list[Received]) -> list[tuple[Received, Received]]:
    first: dict[str, Received] = {}
    pairs = []
    for call in _events(calls):
        if call.message_id in first:
            pairs.append((first[call.message_id], call))
        first.setdefault(call.message_id, call)
    return pairs


def _problems(
    before: list[Received], after: list[Received], resent: list[tuple[Received, Received]]
) -> Iterator[str]:
    """At most the one in flight comes twice, unchanged but for `offline`; the flags are right."""
    ids_before = {call.message_id for call in _events(before)}
    twice = [again for _, again in resent if again.message_id in ids_before]
    if len([again for again in twice if again in after]) > 1:
        yield f"{len(twice)} events came twice, at most the one in flight may"
    for first, again in resent:
        if _bare(first) != _bare(again):
            yield f"{again.message_id} changed when it was sent again"
    seen = {
        (call.payload["transactionInfo"]["transactionId"], call.payload["seqNo"]): call.message_id
        for call in _events(before)
    }
    for call in _events(after):
        key = (call.payload["transactionInfo"]["transactionId"], call.payload["seqNo"])
        if seen.setdefault(key, call.message_id) != call.message_id:
            yield f"seqNo {key[1]} of {key[0]} came with two message ids"
        if not call.payload.get("offline"):
            yield f"{call.message_id} waited while the station was off, but is not offline"


def _bare(call: Received) -> dict[str, Any]:
    return {key: value for key, value in call.payload.items() if key != "offline"}
