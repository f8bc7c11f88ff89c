"""A whole day at a station with two EVSEs: sessions, a limit, an outage, a remote start."""

import asyncio
from typing import Any

from hil.sim import SimBench

CARD_A = "04A1B2C3"
CARD_B = "04D4E5F6"
HOUR_S = 3600.0
SHORT_HOUR_S = 90.0
"""The same day told in minutes, for those who live it a thousand times."""


def tx_profile(transaction_id: str, limit_a: float) -> dict[str, Any]:
    """SetChargingProfile for EVSE 1: one absolute-less period for the running transaction."""
    period = {"startPeriod": 0, "limit": limit_a}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "transactionId": transaction_id,
        "chargingSchedule": [schedule],
    }
    return {"evseId": 1, "chargingProfile": profile}


async def whole_day(bench: SimBench, hour_s: float = HOUR_S) -> None:
    """24 hours; leaves no session open and the station online with an empty queue."""
    start_s = asyncio.get_running_loop().time()
    await bench.csms.wait_for("StatusNotification")
    await charge_by_card(bench, 1, CARD_A, hour_s)
    await two_at_once(bench, hour_s)
    await limited(bench, hour_s)
    await through_an_outage(bench, hour_s)
    await remotely(bench, hour_s)
    await card_first(bench, hour_s)
    rest_s = start_s + 24 * hour_s - asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, rest_s))
    await drained(bench)


async def drained(bench: SimBench) -> None:
    await bench.until(lambda: bench.agent.status()["queue"] == 0)


async def begin(bench: SimBench, evse_id: int, card: str, **ev: Any) -> None:
    """Plug, card, and wait until the EV is charging."""
    bench.plug_in(evse_id, **ev)
    await asyncio.sleep(5)
    bench.swipe(card)
    await bench.until(lambda: bench.connector(evse_id).get("charging_state") == "Charging")


async def end(bench: SimBench, evse_id: int, card: str) -> None:
    """Card, wait for the end, unplug."""
    bench.swipe(card)
    await bench.until(lambda: "transaction_id" not in bench.connector(evse_id))
    bench.plug_out(evse_id)
    await bench.until(lambda: bench.connector(evse_id)["status"] == "Available")


async def charge_by_card(bench: SimBench, evse_id: int, card: str, for_s: float) -> None:
    await begin(bench, evse_id, card)
    await asyncio.sleep(for_s)
    await end(bench, evse_id, card)


async def two_at_once(bench: SimBench, hour_s: float) -> None:
    """Two EVs that want more than the supply gives."""
    await begin(bench, 1, CARD_A, current_a=32.0)
    await begin(bench, 2, CARD_B, current_a=32.0)
    await asyncio.sleep(3 * hour_s)
    bench.plug_out(1)
    await bench.until(lambda: bench.connector(1)["status"] == "Available")
    await asyncio.sleep(hour_s)
    await end(bench, 2, CARD_B)


async def limited(bench: SimBench, hour_s: float) -> None:
    """The CSMS lowers the running transaction to 8 A."""
    await begin(bench, 1, CARD_A)
    transaction_id = str(bench.connector(1)["transaction_id"])
    answer = await bench.csms.call("SetChargingProfile", tx_profile(transaction_id, 8.0))
    assert answer["status"] == "Accepted", answer
    await bench.until(lambda: bench.board.connector(1, 1).drawn_a == 8.0)
    await asyncio.sleep(hour_s)
    await end(bench, 1, CARD_A)


async def through_an_outage(bench: SimBench, hour_s: float) -> None:
    """Ten hours offline: one session ends in it, another lies wholly inside."""
    await begin(bench, 1, CARD_A)
    await asyncio.sleep(hour_s / 6)
    await bench.network.drop()
    await asyncio.sleep(2 * hour_s)
    await end(bench, 1, CARD_A)
    await begin(bench, 2, CARD_B)
    await asyncio.sleep(7 * hour_s)
    await end(bench, 2, CARD_B)
    await bench.network.accept()
    await drained(bench)


async def remotely(bench: SimBench, hour_s: float) -> None:
    bench.plug_in(2)
    await asyncio.sleep(5)
    token = {"idToken": "APP-USER-1", "type": "Central"}
    start = {"idToken": token, "remoteStartId": 17, "evseId": 2}
    answer = await bench.csms.call("RequestStartTransaction", start)
    assert answer["status"] == "Accepted", answer
    await bench.until(lambda: bench.connector(2).get("charging_state") == "Charging")
    await asyncio.sleep(hour_s)
    transaction_id = bench.connector(2)["transaction_id"]
    answer = await bench.csms.call("RequestStopTransaction", {"transactionId": transaction_id})
    assert answer["status"] == "Accepted", answer
    await bench.until(lambda: "transaction_id" not in bench.connector(2))
    bench.plug_out(2)
    await bench.until(lambda: bench.connector(2)["status"] == "Available")


async def card_first(bench: SimBench, hour_s: float) -> None:
    """The transaction begins with the card, before anybody knows at which EVSE; one driver goes
    away again, another one plugs in."""
    await set_start_point(bench, "Authorized")
    bench.swipe(CARD_A)
    await asyncio.sleep(5)
    bench.swipe(CARD_A)
    await asyncio.sleep(5)
    bench.swipe(CARD_B)
    await asyncio.sleep(5)
    bench.plug_in(2)
    await bench.until(lambda: bench.connector(2).get("charging_state") == "Charging")
    await asyncio.sleep(hour_s)
    await end(bench, 2, CARD_B)
    await set_start_point(bench, "PowerPathClosed")


async def set_start_point(bench: SimBench, value: str) -> None:
    item = {
        "attributeValue": value,
        "component": {"name": "TxCtrlr"},
        "variable": {"name": "TxStartPoint"},
    }
    answer = await bench.csms.call("SetVariables", {"setVariableData": [item]})
    assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted", answer
