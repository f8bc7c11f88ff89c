"""The scene before a foreign CSMS: boot, card, charge, offline, back, remote stop."""

from collections.abc import Mapping
from typing import Any, Protocol

from agent.errors import ChargepointError
from drivers.sim.connector import Ev
from hil.desk import EVSE_IDS, METER_START_WH, DeskBench
from hil.interop.compare import Kept, Sold
from hil.interop.wire import Wire
from hil.parts import proxy as weather
from hil.parts.proxy import FaultProxy

CARD = "04A2B3C4D5E680"
CAR = Ev(current_a=32.0, phases=3)
LEFT, RIGHT = 1, 2
SOLD_WH = 40.0
TRANSACTIONS = 2
BACK_WITHIN_S = 60.0


class Side(Protocol):
    """A foreign CSMS."""

    name: str
    path: str
    """Of the URL in charger.yaml."""
    password: str | None

    async def start(self) -> int:
        """Installs and starts it; returns the port on loopback. Raises InteropError."""

    async def stop_transaction(self, transaction_id: str) -> None:
        """Stops by the CSMS's own means. Raises InteropError unless the station accepts."""

    async def kept(self) -> Kept: ...

    async def stop(self) -> None:
        """Ends all its processes; also after a failed or half start."""


async def play(bench: DeskBench, side: Side, proxy: FaultProxy, wire: Wire) -> Sold:
    """Two transactions: one ends offline, the other begins so. Raises what bench and side raise."""
    bench.say("the charger is switched on")
    await bench.start_agent()
    await bench.wait_until(lambda: _is(bench, link="online", boot="Accepted"), "an accepted boot")
    bench.say(f"a car plugs in at EVSE {LEFT}, its driver shows a card")
    await _begin(bench, LEFT)
    await _sell(bench, LEFT)
    bench.say("the network is cut; the car charges on")
    await proxy.begin(weather.REFUSE)
    await bench.wait_until(lambda: _is_offline(bench), "the loss of the link")
    await _sell(bench, LEFT)
    bench.say("the card ends the charge, with no CSMS to ask")
    await bench.swipe(CARD)
    await bench.wait_until(lambda: _has_no_transaction(bench, LEFT), "the end of that charge")
    bench.plug_out(LEFT)
    bench.say(f"the same card starts another car at EVSE {RIGHT}")
    await _begin(bench, RIGHT)
    transaction_id = str((await bench.connector(RIGHT))["transaction_id"])
    await _sell(bench, RIGHT)
    bench.say(f"the network is back; {await bench.queue_length()} events wait")
    await proxy.end()
    await bench.wait_until(lambda: _is(bench, link="online", queue=0), "the drain", BACK_WITHIN_S)
    await _sell(bench, RIGHT)
    bench.say("the CSMS stops that charge")
    await side.stop_transaction(transaction_id)
    await bench.wait_until(lambda: _has_no_transaction(bench, RIGHT), "the end by remote stop")
    bench.plug_out(RIGHT)
    await bench.wait_until(lambda: _is_available(bench, RIGHT), "an EVSE that is free again")
    await bench.wait_until(lambda: _is(bench, queue=0), "an empty queue", BACK_WITHIN_S)
    status = await bench.status()
    exit_code = await bench.stop_agent()
    return Sold(
        calls=tuple(wire.calls),
        refused=(*wire.refused, *wire.refused_upgrades()),
        meters_wh={n: (METER_START_WH[n], bench.energy_wh(n)) for n in EVSE_IDS},
        transactions=TRANSACTIONS,
        waiting=status["queue"],
        set_aside=status["set_aside"],
        exit_code=exit_code,
    )


async def _begin(bench: DeskBench, evse_id: int) -> None:
    bench.plug_in(evse_id, CAR)
    await bench.wait_until(lambda: _has_car(bench, evse_id), f"a car at EVSE {evse_id}")
    await bench.swipe(CARD)
    await bench.wait_until(lambda: bench.drawn_a(evse_id) > 0, f"current at EVSE {evse_id}")


async def _sell(bench: DeskBench, evse_id: int) -> None:
    before_wh = bench.energy_wh(evse_id)
    await bench.wait_until(
        lambda: bench.energy_wh(evse_id) >= before_wh + SOLD_WH, f"{SOLD_WH:g} Wh at {evse_id}"
    )


async def _is(bench: DeskBench, **wanted: Any) -> bool:
    try:
        status: Mapping[str, Any] = await bench.status()
    except ChargepointError:
        return False
    return wanted.items() <= status.items()


async def _is_offline(bench: DeskBench) -> bool:
    return not await _is(bench, link="online")


async def _has_car(bench: DeskBench, evse_id: int) -> bool:
    return bool((await bench.connector(evse_id))["status"] == "Occupied")


async def _is_available(bench: DeskBench, evse_id: int) -> bool:
    return bool((await bench.connector(evse_id))["status"] == "Available")


async def _has_no_transaction(bench: DeskBench, evse_id: int) -> bool:
    return "transaction_id" not in await bench.connector(evse_id)
