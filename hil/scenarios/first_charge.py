"""Three charges on two EVSEs: with the CSMS, without it, and at its wish.

Knows only the bench: what people and networks do, and what can be seen from outside.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from drivers.sim.connector import Ev
from hil.parts.csms import BenchCsms

Payload = dict[str, Any]

CARD = "04A2B3C4D5E680"
REMOTE_TOKEN = {"idToken": "APP-USER-7", "type": "Central"}
REMOTE_START_ID = 7
CAR = Ev(current_a=32.0, phases=3)
LEFT, RIGHT = 1, 2
FULL_A = 32.0
SHARED_A = 20.0
"""What each of two cars gets of 40 A."""
LOWER_A = 10.0


class Bench(Protocol):
    """What the scene needs; times in s, energy in Wh, current in A per phase."""

    csms: BenchCsms
    say: Callable[[str], None]

    def plug_in(self, evse_id: int, ev: Ev | None = None) -> None: ...

    def plug_out(self, evse_id: int) -> None: ...

    async def swipe(self, uid: str) -> None: ...

    async def cut_network(self) -> None: ...

    async def restore_network(self) -> None: ...

    def offered_a(self, evse_id: int) -> float: ...

    def drawn_a(self, evse_id: int) -> float: ...

    def energy_wh(self, evse_id: int) -> float: ...

    async def connector(self, evse_id: int) -> Mapping[str, Any]:
        """As the station itself tells it: status, and transaction_id while there is one."""

    async def queue_length(self) -> int:
        """Events the station has yet to deliver."""

    async def wait_until(
        self, condition: Callable[[], bool | Awaitable[bool]], what: str, limit_s: float = 30.0
    ) -> None:
        """Raises when `condition` does not come true within `limit_s`."""


async def first_charge(bench: Bench) -> int:
    """Plays the scene; returns how many transactions it made. Raises what the bench raises."""
    await _boot(bench)
    first = await _charge_online(bench)
    await _lower_limit(bench, first)
    second = await _network_away(bench, first)
    third = await _start_remotely(bench, {first, second})
    await _end_by_card(bench, second)
    await _end_remotely(bench, third)
    return 3


async def _boot(bench: Bench) -> None:
    bench.say("the charger is switched on")
    await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "an accepted boot", 60.0)
    await _wait_status(bench, LEFT, "Available")
    await _wait_status(bench, RIGHT, "Available")


async def _charge_online(bench: Bench) -> str:
    bench.say(f"a car plugs in at EVSE {LEFT}")
    bench.plug_in(LEFT, CAR)
    await _wait_status(bench, LEFT, "Occupied")
    bench.say(f"its driver shows card {CARD}")
    await bench.swipe(CARD)
    transaction_id = await _wait_started(bench, set())
    await _wait_drawn(bench, LEFT, FULL_A)
    await bench.wait_until(
        lambda: len(_periodic(bench, transaction_id, FULL_A)) >= 3,
        f"three samples with {FULL_A:g} A on three phases",
    )
    return transaction_id


async def _lower_limit(bench: Bench, transaction_id: str) -> None:
    bench.say(f"the CSMS limits the transaction to {LOWER_A:g} A")
    schedule = {
        "id": 1,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": LOWER_A}],
    }
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "transactionId": transaction_id,
        "chargingSchedule": [schedule],
    }
    payload = {"evseId": LEFT, "chargingProfile": profile}
    await _accepted(bench, "SetChargingProfile", payload)
    await bench.wait_until(
        lambda: bench.offered_a(LEFT) == LOWER_A, f"a pilot that signals {LOWER_A:g} A"
    )
    await bench.wait_until(
        lambda: bool(_periodic(bench, transaction_id, LOWER_A)), f"a sample with {LOWER_A:g} A"
    )


async def _network_away(bench: Bench, first: str) -> str:
    bench.say("the network is cut")
    await bench.cut_network()
    await _charge(bench, LEFT, 10.0)
    bench.say("the driver shows the card again and leaves, with no CSMS to ask")
    await bench.swipe(CARD)
    await _wait_over(bench, LEFT)
    bench.plug_out(LEFT)
    await _wait_seen(bench, LEFT, "Available")

    bench.say(f"the same card starts a second car at EVSE {RIGHT}: accepted before, so known")
    bench.plug_in(RIGHT, CAR)

    async def plugged() -> bool:
        await bench.swipe(CARD)
        return True

    await bench.wait_until(plugged, "a card at the reader")
    await _wait_drawn(bench, RIGHT, FULL_A)
    await _charge(bench, RIGHT, 24.0)

    bench.say(f"the network is back; {await bench.queue_length()} events wait")
    await bench.restore_network()
    second = await _wait_started(bench, {first})
    await _wait_ended(bench, first)
    await _wait_drained(bench)
    return second


async def _start_remotely(bench: Bench, known: set[str]) -> str:
    bench.say(f"a third car plugs in at EVSE {LEFT}; the CSMS starts it remotely")
    bench.plug_in(LEFT, CAR)
    await _wait_status(bench, LEFT, "Occupied")
    request = {"evseId": LEFT, "remoteStartId": REMOTE_START_ID, "idToken": REMOTE_TOKEN}
    await _accepted(bench, "RequestStartTransaction", request)
    transaction_id = await _wait_started(bench, known)
    bench.say("both cars share the supply")
    await bench.wait_until(
        lambda: bench.drawn_a(LEFT) == bench.drawn_a(RIGHT) == SHARED_A,
        f"{SHARED_A:g} A for each of the two cars",
        60.0,
    )
    await _charge(bench, LEFT, 18.0)
    return transaction_id


async def _end_by_card(bench: Bench, second: str) -> None:
    bench.say(f"the driver at EVSE {RIGHT} ends with the card and leaves")
    await bench.swipe(CARD)
    await _wait_ended(bench, second)
    bench.plug_out(RIGHT)
    await _wait_drawn(bench, LEFT, FULL_A)
    await _charge(bench, LEFT, 18.0)


async def _end_remotely(bench: Bench, third: str) -> None:
    bench.say("the CSMS stops the remaining transaction")
    await _accepted(bench, "RequestStopTransaction", {"transactionId": third})
    await _wait_ended(bench, third)
    bench.say("the last car leaves")
    bench.plug_out(LEFT)
    await _wait_status(bench, LEFT, "Available")
    await _wait_status(bench, RIGHT, "Available")
    await _wait_drained(bench)


# --- what to wait for -----------------------------------------------------------------------------


async def _accepted(bench: Bench, action: str, payload: Payload) -> None:
    answer = await bench.csms.call(action, payload)

    def is_accepted() -> bool:
        return bool(answer["status"] == "Accepted")

    await bench.wait_until(is_accepted, f"an accepted {action}, but it was {answer}", 0.0)


async def _wait_status(bench: Bench, evse_id: int, status: str) -> None:
    def told() -> bool:
        found = [s for s in bench.csms.of("StatusNotification") if s["evseId"] == evse_id]
        return bool(found) and found[-1]["connectorStatus"] == status

    await bench.wait_until(told, f"status {status} of EVSE {evse_id} at the CSMS")


async def _wait_seen(bench: Bench, evse_id: int, status: str) -> None:
    async def seen() -> bool:
        return bool((await bench.connector(evse_id))["status"] == status)

    await bench.wait_until(seen, f"EVSE {evse_id} {status} in the station's own view")


async def _wait_started(bench: Bench, known: set[str]) -> str:
    """The transaction the CSMS did not know yet."""
    await bench.wait_until(
        lambda: bool(set(bench.csms.transactions) - known), "a new transaction at the CSMS"
    )
    return next(iter(set(bench.csms.transactions) - known))


async def _wait_ended(bench: Bench, transaction_id: str) -> None:
    await bench.wait_until(
        lambda: bench.csms.transactions[transaction_id][-1]["eventType"] == "Ended",
        f"the end of transaction {transaction_id} at the CSMS",
    )


async def _wait_over(bench: Bench, evse_id: int) -> None:
    async def over() -> bool:
        return "transaction_id" not in await bench.connector(evse_id)

    await bench.wait_until(over, f"the end of the transaction at EVSE {evse_id}")


async def _wait_drawn(bench: Bench, evse_id: int, current_a: float) -> None:
    await bench.wait_until(
        lambda: bench.drawn_a(evse_id) == current_a, f"{current_a:g} A at EVSE {evse_id}"
    )


async def _wait_drained(bench: Bench) -> None:
    async def drained() -> bool:
        return await bench.queue_length() == 0

    await bench.wait_until(drained, "an empty queue")


async def _charge(bench: Bench, evse_id: int, energy_wh: float) -> None:
    """Lets a charge go on until the meter counted so much more."""
    target_wh = bench.energy_wh(evse_id) + energy_wh
    await bench.wait_until(
        lambda: bench.energy_wh(evse_id) >= target_wh, f"{energy_wh:g} Wh at EVSE {evse_id}"
    )


def _periodic(bench: Bench, transaction_id: str, current_a: float) -> list[Payload]:
    """Samples of a transaction that show this current on three phases, within 0.5 A."""
    found = []
    for event in bench.csms.transactions[transaction_id]:
        values = [v for m in event.get("meterValue", ()) for v in m["sampledValue"]]
        amps = [v["value"] for v in values if v.get("measurand") == "Current.Import"]
        if len(amps) == 3 and all(abs(a - current_a) < 0.5 for a in amps):
            found.append(event)
    return found
