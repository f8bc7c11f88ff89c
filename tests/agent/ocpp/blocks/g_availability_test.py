"""Block G: statuses, heartbeats, availability."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import StatusChanged
from agent.core.events import AvailabilityRequested, ClockSet, CsmsReached, Now
from agent.ocpp.blocks import g_availability
from agent.ocpp.messages import validate_request
from drivers.contract import Permit

NOW = Now(1000.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
STATUSES = {(1, 1): "Available", (1, 2): "Occupied", (2, 1): "Faulted"}


class Station:
    """What block G looks at."""

    evse_ids = (1, 2)

    def __init__(self, running: bool = False, operative: bool = True) -> None:
        locks = {place: SimpleNamespace(place=place, lock_failed=False) for place in STATUSES}
        self.evses = {
            evse_id: SimpleNamespace(
                connectors={place[1]: lock for place, lock in locks.items() if place[0] == evse_id}
            )
            for evse_id in self.evse_ids
        }
        self.running = running
        self.operative = operative

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return {1: (1, 2), 2: (1,)}[evse_id]

    def status(self, place: tuple[int, int]) -> str:
        return STATUSES[place]

    def is_busy(self, place: tuple[int, int]) -> bool:
        return self.running and place == (1, 1)

    def runs(self) -> bool:
        return self.running

    def is_operative(self, evse_id: int, connector_id: int = 0) -> bool:
        return self.operative


def view_of(
    station: Station | None = None, *, lost_at_s: float | None = None, booted: bool = False
) -> Any:
    return SimpleNamespace(
        station=station or Station(),
        connection=SimpleNamespace(lost_at_s=lost_at_s, freshly_booted=booted),
        variables=SimpleNamespace(value=lambda *_: "60"),
        told_status={},
        told_locks={},
    )


def told(view: Any) -> list[tuple[int, int]]:
    calls = g_availability.ON_EVENT[CsmsReached](CsmsReached(), view, NOW).effects
    for call in calls:
        assert call.action == "StatusNotification"  # type: ignore[attr-defined]
        validate_request("StatusNotification", call.payload)  # type: ignore[attr-defined]
    payloads = [call.payload for call in calls]  # type: ignore[attr-defined]
    return [(payload["evseId"], payload["connectorId"]) for payload in payloads]


@pytest.mark.parametrize(
    ("lost_at_s", "booted", "count"),
    [
        (None, False, 3),
        (939.0, False, 3),
        (941.0, False, 1),
        (941.0, True, 3),
    ],
)
def test_all_statuses_after_a_boot_or_a_long_outage_else_the_changed(
    lost_at_s: float | None, booted: bool, count: int
) -> None:
    view = view_of(lost_at_s=lost_at_s, booted=booted)
    view.told_status = {(1, 1): "Available", (1, 2): "Available", (2, 1): "Faulted"}
    places = told(view)
    assert len(places) == count
    assert (1, 2) in places
    assert view.told_status == STATUSES


def test_a_change_is_told_with_the_time_it_happened() -> None:
    view = view_of()
    call = g_availability.OUTGOING[StatusChanged](StatusChanged(1, 2, "Faulted", 500.0), view, NOW)
    validate_request("StatusNotification", call.payload)
    assert call.payload["timestamp"] == "2001-09-09T01:55:00.000Z"
    assert view.told_status == {(1, 2): "Faulted"}


@pytest.mark.parametrize(("response", "kept"), [({}, True), (None, False)])
def test_a_status_without_an_answer_counts_as_untold(response: Any, kept: bool) -> None:
    view = view_of()
    view.told_status[1, 1] = "Available"
    request = {"evseId": 1, "connectorId": 1}
    g_availability.ON_RESPONSE["StatusNotification"](request, response, view, NOW)
    assert ((1, 1) in view.told_status) is kept


@pytest.mark.parametrize(
    ("response", "events"),
    [
        ({"currentTime": "2026-01-01T00:00:00"}, (ClockSet(1767225600.0, 1000.0),)),
        ({"currentTime": "1970-01-01T00:00:00Z"}, ()),
        ({"currentTime": "noon"}, ()),
        (None, ()),
    ],
)
def test_a_heartbeat_sets_the_clock_when_it_can_be_believed(
    response: Any, events: tuple[object, ...]
) -> None:
    found = g_availability.ON_RESPONSE["Heartbeat"]({}, response, view_of(), NOW)
    assert found.events == events


@pytest.mark.parametrize(
    ("evse", "running", "operative", "wanted", "said"),
    [
        (None, False, True, "Inoperative", "Accepted"),
        (None, True, True, "Inoperative", "Scheduled"),
        (None, True, False, "Inoperative", "Scheduled"),
        (None, False, False, "Inoperative", "Accepted"),
        (None, True, False, "Operative", "Accepted"),
        ({"id": 1}, True, True, "Inoperative", "Scheduled"),
        ({"id": 1, "connectorId": 1}, True, True, "Inoperative", "Scheduled"),
        ({"id": 1, "connectorId": 2}, True, True, "Inoperative", "Accepted"),
        ({"id": 2}, True, True, "Inoperative", "Accepted"),
        ({"id": 1, "connectorId": 2}, False, True, "Inoperative", "Accepted"),
        ({"id": 2, "connectorId": 2}, False, True, "Inoperative", "UnknownConnectorId"),
        ({"id": 3}, False, True, "Inoperative", "UnknownEvse"),
        ({"id": 0, "connectorId": 1}, False, True, "Inoperative", "UnknownConnectorId"),
    ],
)
def test_availability_is_accepted_scheduled_or_rejected(
    evse: Any, running: bool, operative: bool, wanted: str, said: str
) -> None:
    payload = {"operationalStatus": wanted} | ({"evse": evse} if evse else {})
    view = view_of(Station(running, operative))
    answer = g_availability.INCOMING["ChangeAvailability"](payload, view, NOW)
    place = ((evse or {}).get("id", 0), (evse or {}).get("connectorId", 0))
    asked = AvailabilityRequested(*place, wanted == "Operative")
    if said in ("Accepted", "Scheduled"):
        assert (answer.payload, answer.events) == ({"status": said}, (asked,))
    else:
        refusal = {"status": "Rejected", "statusInfo": {"reasonCode": said}}
        assert (answer.payload, answer.events) == (refusal, ())
