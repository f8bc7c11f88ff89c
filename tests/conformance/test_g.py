"""Part 6, block G: connector status and ChangeAvailability at every level."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hil.cases import Scene, play
from hil.conformance import CARD, Octt

Payload = dict[str, Any]
Place = tuple[int, int]

TRANSACTION_DURATION_S = 120.0
SETTLE_S = 5.0
ALL: tuple[Place, ...] = ((1, 1), (1, 2), (2, 1), (2, 2))
EVSE: tuple[Place, ...] = ((1, 1), (1, 2))
CONNECTOR: tuple[Place, ...] = ((1, 1),)

starts = pytest.mark.parametrize("start", ["PowerPathClosed", "EVConnected", "Authorized"])
stops = pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected", "Authorized"])
boots = pytest.mark.parametrize("boot", ["Reset", "power cycle"])


def case(scene: Scene, **options: Any) -> None:
    """A station of two EVSEs with two connectors each has booted and plays the scene."""
    play(scene, connector_count=2, **options)


# --- helpers --------------------------------------------------------------------------------------


def place_of(octt: Octt, level: str) -> Payload:
    """The field evse of a ChangeAvailability for station, EVSE or connector."""
    if level == "station":
        return {}
    return {"evse": octt.evse if level == "connector" else {"id": octt.evse_id}}


async def change(octt: Octt, level: str, operational_status: str) -> str:
    octt.csms.forget()
    request = {"operationalStatus": operational_status} | place_of(octt, level)
    return str((await octt.call("ChangeAvailability", request))["status"])


async def told(octt: Octt, since: int) -> dict[Place, list[str]]:
    """Statuses by connector, in their order, of what the CSMS heard after its `since` first."""
    await asyncio.sleep(SETTLE_S)
    found: dict[Place, list[str]] = {}
    for payload in octt.csms.of("StatusNotification")[since:]:
        place = (payload["evseId"], payload["connectorId"])
        found.setdefault(place, []).append(payload["connectorStatus"])
    return found


def each(places: tuple[Place, ...], status: str) -> dict[Place, list[str]]:
    return {place: [status] for place in places}


def heard(octt: Octt) -> int:
    return len(octt.csms.of("StatusNotification"))


async def unavailable(octt: Octt, level: str, places: tuple[Place, ...]) -> None:
    """Reusable state Unavailable: exactly the connectors that belong to it say so."""
    since = heard(octt)
    assert await change(octt, level, "Inoperative") == "Accepted"
    assert await told(octt, since) == each(places, "Unavailable")


async def available_again(octt: Octt, level: str, places: tuple[Place, ...]) -> None:
    since = heard(octt)
    assert await change(octt, level, "Operative") == "Accepted"
    assert await told(octt, since) == each(places, "Available")
    octt.csms.forget()


async def unchanged(
    octt: Octt, level: str, operational_status: str, places: tuple[Place, ...]
) -> None:
    """Asked for what is so already: accepted, and all connectors are told; `places` are off."""
    since = heard(octt)
    assert await change(octt, level, operational_status) == "Accepted"
    assert await told(octt, since) == each(ALL, "Available") | each(places, "Unavailable")


async def rebooted(octt: Octt, boot: str) -> dict[Place, list[str]]:
    """Booted, by Reset or by the mains switch; the statuses that followed the boot."""
    bench = octt.bench
    if boot == "Reset":
        await octt.accepted("Reset", {"type": "Immediate"})
        octt.csms.forget()
        since = heard(octt)
        await bench.restarted()
    else:
        octt.csms.forget()
        since = heard(octt)
        await bench.power_cut()
        await asyncio.sleep(30)
        await bench.start()
    await octt.expect("BootNotification")
    event = await octt.expect("SecurityEventNotification")
    assert event["type"] in ("StartupOfTheDevice", "ResetOrReboot")
    return await told(octt, since)


async def stays_off(octt: Octt) -> None:
    """Nobody can charge at the connector under test, and nobody is told otherwise."""
    since = heard(octt)
    octt.bench.plug_in(octt.evse_id, octt.connector_id)
    octt.bench.swipe()
    await octt.expect_none("TransactionEvent")
    octt.bench.plug_out(octt.evse_id, octt.connector_id)
    assert await told(octt, since) == {}


async def availability_state(octt: Octt, component: str, evse: Payload) -> str:
    named = {"name": component} | ({"evse": evse} if evse else {})
    item = {"component": named, "variable": {"name": "AvailabilityState"}}
    answer = await octt.call("GetVariables", {"getVariableData": [item]})
    (result,) = answer["getVariableResult"]
    assert result["attributeStatus"] == "Accepted", result
    return str(result["attributeValue"])


# --- status of a connector ------------------------------------------------------------------------


@starts
def test_TC_G_01_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        since = heard(octt)
        await octt.ev_connected_pre_session()
        assert await told(octt, since) == {(1, 1): ["Occupied"]}, "siblings are not reported"
        assert await availability_state(octt, "Connector", octt.evse) == "Occupied"
        assert await availability_state(octt, "EVSE", {"id": 1}) == "Occupied"
        assert await availability_state(octt, "EVSE", {"id": 2}) == "Available"

    case(scene)


@starts
def test_TC_G_02_CS(start: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start)
        await octt.ev_connected_pre_session()
        since = heard(octt)
        octt.bench.plug_out(octt.evse_id, octt.connector_id)
        assert await told(octt, since) == {(1, 1): ["Available"]}
        assert await availability_state(octt, "Connector", octt.evse) == "Available"
        assert await availability_state(octt, "EVSE", {"id": 1}) == "Available"

    case(scene)


# --- to inoperative and back ----------------------------------------------------------------------


def test_TC_G_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "EVSE", EVSE)
        assert await availability_state(octt, "EVSE", {"id": 1}) == "Unavailable"
        assert await availability_state(octt, "ChargingStation", {}) == "Available"
        await stays_off(octt)

    case(scene)


def test_TC_G_04_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "EVSE", EVSE)
        await available_again(octt, "EVSE", EVSE)
        await octt.energy_transfer_started()

    case(scene)


def test_TC_G_05_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "station", ALL)
        assert await availability_state(octt, "ChargingStation", {}) == "Unavailable"
        await stays_off(octt)

    case(scene)


def test_TC_G_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "station", ALL)
        await available_again(octt, "station", ALL)
        await octt.energy_transfer_started()

    case(scene)


def test_TC_G_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "connector", CONNECTOR)
        assert await availability_state(octt, "Connector", octt.evse) == "Unavailable"
        assert await availability_state(octt, "EVSE", {"id": 1}) == "Available"
        await stays_off(octt)

    case(scene)


def test_TC_G_08_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "connector", CONNECTOR)
        await available_again(octt, "connector", CONNECTOR)
        await octt.energy_transfer_started()

    case(scene)


# --- to what is so already ------------------------------------------------------------------------


def test_TC_G_09_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unchanged(octt, "EVSE", "Operative", ())

    case(scene)


def test_TC_G_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "EVSE", EVSE)
        await unchanged(octt, "EVSE", "Inoperative", EVSE)

    case(scene)


def test_TC_G_12_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unchanged(octt, "station", "Operative", ())

    case(scene)


def test_TC_G_13_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "station", ALL)
        await unchanged(octt, "station", "Inoperative", ALL)

    case(scene)


def test_TC_G_15_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unchanged(octt, "connector", "Operative", ())

    case(scene)


def test_TC_G_16_CS() -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "connector", CONNECTOR)
        await unchanged(octt, "connector", "Inoperative", CONNECTOR)

    case(scene)


# --- with an ongoing transaction ------------------------------------------------------------------


async def scheduled(
    octt: Octt, level: str, at_once: tuple[Place, ...], at_the_end: tuple[Place, ...], stop: str
) -> None:
    """Inoperative while the connector under test charges: the others follow at once, it follows
    when its transaction has ended, without having been Available in between."""
    await octt.configure(stop=stop)
    await octt.energy_transfer_started()
    since = heard(octt)
    assert await change(octt, level, "Inoperative") == "Scheduled"
    assert await told(octt, since) == each(at_once, "Unavailable")
    await asyncio.sleep(TRANSACTION_DURATION_S)
    assert octt.bench.board.connector(*CONNECTOR[0]).drawn_a > 0, "goes on charging"
    since = heard(octt)
    for step in (octt.stop_authorized, octt.ev_connected_post_session, unplugged(octt)):
        assert octt.transaction_id is not None
        await step()
        if octt.transaction_id is None:
            break
        assert await told(octt, since) == {}
    assert await told(octt, since) == each(at_the_end, "Unavailable")


def unplugged(octt: Octt) -> Callable[[], Awaitable[None]]:
    async def step() -> None:
        octt.bench.plug_out(octt.evse_id, octt.connector_id)
        event = await octt.expect_event(
            triggerReason="EVCommunicationLost", chargingState="Idle", eventType="Ended"
        )
        assert event["transactionInfo"].get("stoppedReason", "Local") == "Local", event

    return step


@stops
def test_TC_G_11_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await scheduled(octt, "EVSE", ((1, 2),), ((1, 1),), stop)

    case(scene)


@stops
def test_TC_G_14_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await scheduled(octt, "station", ((1, 2), (2, 1), (2, 2)), ((1, 1),), stop)

    case(scene)


@stops
def test_TC_G_17_CS(stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await scheduled(octt, "connector", (), ((1, 1),), stop)

    case(scene)


# --- across a reboot ------------------------------------------------------------------------------


@boots
def test_TC_G_18_CS(boot: str) -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "EVSE", EVSE)
        await unchanged(octt, "EVSE", "Inoperative", EVSE)
        assert await rebooted(octt, boot) == each(ALL, "Available") | each(EVSE, "Unavailable")
        await stays_off(octt)

    case(scene)


@boots
def test_TC_G_19_CS(boot: str) -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "connector", CONNECTOR)
        assert await rebooted(octt, boot) == each(ALL, "Available") | each(CONNECTOR, "Unavailable")
        await stays_off(octt)

    case(scene)


@boots
def test_TC_G_21_CS(boot: str) -> None:
    async def scene(octt: Octt) -> None:
        await unavailable(octt, "station", ALL)
        assert await rebooted(octt, boot) == each(ALL, "Unavailable")
        await stays_off(octt)

    case(scene)


# --- a lock that does not close -------------------------------------------------------------------


def check_lock_event(payload: Payload, value: str) -> None:
    """G05.FR.02, as TC_G_20 validates it."""
    (event,) = payload["eventData"]
    assert event["trigger"] == "Delta"
    assert event["component"]["name"] == "ConnectorPlugRetentionLock"
    assert event["component"]["evse"] == {"id": 1, "connectorId": 1}
    assert event["variable"] == {"name": "Problem"}
    assert event["actualValue"] == value


async def lock_problem(octt: Octt) -> str:
    named = {"name": "ConnectorPlugRetentionLock", "evse": octt.evse}
    item = {"component": named, "variable": {"name": "Problem"}}
    (result,) = (await octt.call("GetVariables", {"getVariableData": [item]}))["getVariableResult"]
    return str(result["attributeValue"])


def test_TC_G_20_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.board.pilots["pilot1"].lock_jammed = True
        await octt.ev_connected_pre_session()
        assert await lock_problem(octt) == "false"
        await octt.configure(start="Authorized")
        await octt.authorized()
        check_lock_event(await octt.expect("NotifyEvent"), "true")
        assert await lock_problem(octt) == "true"
        await asyncio.sleep(30)
        assert octt.bench.board.connector(1, 1).offered_a == 0.0
        assert octt.bench.board.connector(1, 1).drawn_a == 0.0
        octt.bench.board.pilots["pilot1"].lock_jammed = False
        octt.bench.plug_out()
        check_lock_event(await octt.expect("NotifyEvent"), "false")
        assert await lock_problem(octt) == "false"
        first, second = (p["eventData"][0]["eventId"] for p in octt.csms.of("NotifyEvent"))
        assert first != second

    case(scene, socket=True)


def test_a_station_waits_for_a_driver_who_has_yet_to_plug_in() -> None:
    """G04.FR.06: the transaction runs already, though nobody knows at which EVSE."""

    async def scene(octt: Octt) -> None:
        await octt.configure(start="Authorized")
        octt.bench.swipe(CARD)
        await octt.expect_event(eventType="Started", triggerReason="Authorized")
        answer = await octt.call("ChangeAvailability", {"operationalStatus": "Inoperative"})
        assert answer == {"status": "Scheduled"}

    case(scene)


def test_a_lock_that_failed_while_the_csms_was_away_is_told_later() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "true")
        octt.bench.board.pilots["pilot1"].lock_jammed = True
        await octt.offline()
        octt.bench.plug_in()
        octt.bench.swipe()
        await asyncio.sleep(30)
        await octt.online()
        check_lock_event(await octt.expect("NotifyEvent"), "true")
        await octt.offline()
        await octt.online()
        await octt.expect_none("NotifyEvent")

    case(scene, socket=True)
