"""Who is at the charger while its power comes and goes: two drivers, a back office, a bad network.

Nothing here waits for the station to be well: what does not work is tried again.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Literal

from drivers.sim.connector import Ev
from hil.desk import EVSE_IDS
from hil.parts.csms import Delayed, StationError
from hil.powercut_bench import PowercutBench
from hil.powercut_plan import network

CARDS = {1: "04A1B2C3D4E580", 2: "04F1E2D3C4B580"}
ANSWER_WITHIN_S = 3.0
OFFERED_WITHIN_S = 1.0
"""From a card to a pilot that offers current; then the driver tries again."""
FLOWS_WITHIN_S = 2.0
"""From that to a current, with the controller's self test."""
PATIENCE = 12
LOOK_S = 0.05
SLOW_SHARE, SLOW_S = 0.3, 0.25
"""How often the CSMS takes its time over an event, and how much at most."""


class Scene:
    """`async with Scene(bench, seed):` all of them are busy until the block ends."""

    def __init__(self, bench: PowercutBench, seed: int) -> None:
        self._bench = bench
        self._seed = seed
        self._reader = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        chance = random.Random(f"csms {seed}")

        def pace(payload: Any) -> Delayed | None:
            slow = chance.random() < SLOW_SHARE
            return Delayed(chance.uniform(0.0, SLOW_S)) if slow else None

        bench.csms.answer["TransactionEvent"] = pace

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(self._drive(evse_id)) for evse_id in EVSE_IDS]
        self._tasks.append(asyncio.create_task(self._flap()))

    async def __aexit__(self, *_: object) -> None:
        """The cars leave and the network is there."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for evse_id in EVSE_IDS:
            self._bench.plug_out(evse_id)
        await self._bench.plug_in_network()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _flap(self) -> None:
        for up_s, down_s in network(self._seed):
            await asyncio.sleep(up_s)
            await self._bench.unplug_network()
            await asyncio.sleep(down_s)
            await self._bench.plug_in_network()

    # --- a driver ---------------------------------------------------------------------------------

    async def _drive(self, evse_id: int) -> None:
        chance = random.Random(f"driver {evse_id} {self._seed}")
        while True:
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            current_a = chance.choice((16.0, 32.0, 32.0))
            phases: Literal[1, 3] = chance.choice((1, 3, 3))
            self._bench.plug_in(evse_id, Ev(current_a, phases, chance.uniform(0.05, 0.4)))
            charges = chance.randrange(1, 4)
            for _ in range(PATIENCE):
                if await self._begin(evse_id, chance):
                    await self._charge(evse_id, chance.uniform(0.5, 8.0))
                    charges -= 1
                if not charges:
                    break
            await self._leave(evse_id, chance)

    async def _begin(self, evse_id: int, chance: random.Random) -> bool:
        """A card or an app; true when current flows."""
        if chance.random() < 0.5:
            await self._swipe(evse_id)
        else:
            token = {"idToken": f"APP-{evse_id}", "type": "Central"}
            request = {"evseId": evse_id, "remoteStartId": chance.randrange(1000), "idToken": token}
            await self._call("RequestStartTransaction", request)
        offers = await self._comes(lambda: self._bench.offered_a(evse_id) > 0, OFFERED_WITHIN_S)
        return offers and await self._comes(
            lambda: self._bench.drawn_a(evse_id) > 0, FLOWS_WITHIN_S
        )

    async def _charge(self, evse_id: int, duration_s: float) -> None:
        """Until the driver has enough, or it is over anyway."""
        await self._comes(lambda: self._bench.offered_a(evse_id) == 0, duration_s)

    async def _comes(self, condition: Callable[[], bool], limit_s: float) -> bool:
        for _ in range(round(limit_s / LOOK_S)):
            if condition():
                return True
            await asyncio.sleep(LOOK_S)
        return False

    async def _leave(self, evse_id: int, chance: random.Random) -> None:
        """Ends by card, by the app, or not at all, and pulls the plug: under load, if need be."""
        way = chance.random()
        if way < 0.4:
            await self._swipe(evse_id)
        elif way < 0.7:
            for transaction_id in self._open_transactions():
                await self._call("RequestStopTransaction", {"transactionId": transaction_id})
        await asyncio.sleep(chance.uniform(0.0, 2.0))
        self._bench.plug_out(evse_id)

    async def _swipe(self, evse_id: int) -> None:
        async with self._reader:
            await self._bench.swipe(CARDS[evse_id])

    def _open_transactions(self) -> list[str]:
        books = self._bench.csms.transactions.items()
        return [name for name, events in books if events[-1]["eventType"] != "Ended"]

    async def _call(self, action: str, payload: dict[str, Any]) -> None:
        if self._bench.csms.boot_status == "Accepted":
            with contextlib.suppress(ConnectionError, TimeoutError, StationError):
                await self._bench.csms.call(action, payload, timeout_s=ANSWER_WITHIN_S)
