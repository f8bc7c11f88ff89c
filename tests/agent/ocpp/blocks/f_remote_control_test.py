"""Block F: which EVSE a remote start gets, and who is refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agent.core.events import IdToken, Now, StartRequested, StopRequested
from agent.core.policy import Policy
from agent.ocpp.blocks import f_remote_control
from agent.ocpp.charging.profiles import ChargingProfiles, StartProfileSet
from agent.ocpp.messages import validate_request, validate_response
from agent.ocpp.view import Facts
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
TOKEN = {"idToken": "APP", "type": "Central"}
PERIOD = {"startPeriod": 0, "limit": 8.0}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": [{"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [PERIOD]}],
}


def evse(evse_id: int, *, free: bool = True, connected: bool = False, **more: Any) -> Any:
    values = {"transaction": None, "ending": None} | more
    return SimpleNamespace(evse_id=evse_id, free=free, connected=connected, **values)


def view_of(*evses: Any, accepted: bool = True, has_room: bool = True) -> Any:
    def evse_of(transaction_id: str) -> Any:
        return next(
            (e for e in evses if e.transaction and e.transaction.transaction_id == transaction_id),
            None,
        )

    policy = Policy(master_pass_group_id="POLICE")

    def running(transaction_id: str) -> Any:
        found = evse_of(transaction_id)
        return found.transaction if found is not None else None

    station = SimpleNamespace(
        evses={e.evse_id: e for e in evses},
        evse_ids=[e.evse_id for e in evses],
        evse_of=evse_of,
        running=running,
        policy=policy,
        granting=SimpleNamespace(
            has_room=lambda free: bool(free) and has_room, unplaced=lambda: None
        ),
    )
    return SimpleNamespace(
        station=station,
        connection=SimpleNamespace(accepted=accepted),
        profiles=ChargingProfiles((1, 2), 230.0),
        variables=SimpleNamespace(value=lambda component, variable: "true"),
        facts=Facts("i", "v", "m"),
    )


def start(view: Any, now: Now = NOW, **more: Any) -> Any:
    payload = {"idToken": TOKEN, "remoteStartId": 17} | more
    validate_request("RequestStartTransaction", payload)
    answer = f_remote_control.INCOMING["RequestStartTransaction"](payload, view, now)
    validate_response("RequestStartTransaction", dict(answer.payload))
    return answer


def reason(answer: Any) -> str:
    """Accepted, or why it is Rejected."""
    if answer.payload["status"] == "Accepted":
        return "Accepted"
    assert answer.payload["status"] == "Rejected"
    return str(answer.payload["statusInfo"]["reasonCode"])


@pytest.mark.parametrize(
    ("evses", "evse_id", "found"),
    [
        ([evse(1)], 1, 1),
        ([evse(1), evse(2)], 2, 2),
        ([evse(1)], 2, "UnknownEvse"),
        ([evse(1, free=False)], 1, "TxInProgress"),
        ([evse(1)], None, 1),
        ([evse(1), evse(2)], None, 0),
        ([evse(1, free=False), evse(2, free=False)], None, "TxInProgress"),
        ([evse(1), evse(2, connected=True)], None, 2),
        ([evse(1, connected=True), evse(2, connected=True)], None, "TxInProgress"),
        ([evse(1, free=False), evse(2)], None, 2),
    ],
)
def test_a_start_goes_to_the_named_evse_or_the_only_one_it_can_mean(
    evses: list[Any], evse_id: int | None, found: int | str
) -> None:
    """`found`: the EVSE, or the reason of the refusal."""
    answer = start(view_of(*evses), **({"evseId": evse_id} if evse_id else {}))
    if isinstance(found, str):
        assert reason(answer) == found
        assert answer.events == ()
    else:
        assert answer.payload == {"status": "Accepted"}
        token = IdToken("APP", "Central")
        assert answer.events == (StartRequested(found, token, None, 17),)


def test_the_last_free_evse_is_kept_for_a_transaction_that_has_none_yet() -> None:
    assert reason(start(view_of(evse(1), has_room=False))) == "TxInProgress"
    assert start(view_of(evse(1), has_room=False), evseId=1).payload == {"status": "Accepted"}


def test_a_start_anywhere_needs_a_place_that_nobody_waits_for_and_carries_no_profile() -> None:
    both = evse(1), evse(2)
    assert reason(start(view_of(*both, has_room=False))) == "TxInProgress"
    assert reason(start(view_of(*both), chargingProfile=PROFILE)) == "MissingParam"


@pytest.mark.parametrize(("group", "said"), [("POLICE", "InvalidIdToken"), ("FAMILY", "Accepted")])
def test_a_master_pass_starts_nothing(group: str, said: str) -> None:
    group_token = {"idToken": group, "type": "Central"}
    answer = start(view_of(evse(1)), evseId=1, groupIdToken=group_token)
    assert reason(answer) == said


def test_nobody_is_started_before_the_boot_was_accepted() -> None:
    assert reason(start(view_of(evse(1), accepted=False), evseId=1)) == "CSNotAccepted"


def test_a_transaction_that_waits_for_its_token_is_named() -> None:
    running = SimpleNamespace(started=True, transaction_id="t-1")
    answer = start(view_of(evse(1, transaction=running)), evseId=1)
    assert answer.payload == {"status": "Accepted", "transactionId": "t-1"}


def test_a_profile_is_bound_before_the_start_and_a_bad_one_refuses_it() -> None:
    answer = start(view_of(evse(1)), evseId=1, chargingProfile=PROFILE)
    assert answer.events[0] == StartProfileSet(1, 17, PROFILE)
    assert isinstance(answer.events[1], StartRequested)
    bad = PROFILE | {"chargingProfilePurpose": "TxDefaultProfile"}
    refused = start(view_of(evse(1)), evseId=1, chargingProfile=bad)
    assert refused.payload["status"] == "Rejected"
    assert refused.payload["statusInfo"]["reasonCode"] == "InvalidProfile"
    assert refused.events == ()


@pytest.mark.parametrize(
    ("transaction_id", "ending", "accepted", "said"),
    [
        ("t-1", None, True, "Accepted"),
        ("t-2", None, True, "TxNotFound"),
        ("t-1", "ending", True, "TxNotFound"),
        ("t-1", None, False, "CSNotAccepted"),
    ],
)
def test_a_stop_needs_a_running_transaction(
    transaction_id: str, ending: str | None, accepted: bool, said: str
) -> None:
    running = SimpleNamespace(transaction_id="t-1")
    view = view_of(evse(1, transaction=running, ending=ending), accepted=accepted)
    stop = f_remote_control.INCOMING["RequestStopTransaction"]
    answer = stop({"transactionId": transaction_id}, view, NOW)
    assert reason(answer) == said
    assert answer.events == ((StopRequested("t-1"),) if said == "Accepted" else ())


def test_a_start_that_waited_for_the_disk_longer_than_anybody_waits_for_it_is_refused() -> None:
    view = view_of(evse(1, connected=True))
    assert reason(start(view, replace(NOW, happened_s=NOW.mono_s - 31.0))) == "InternalError"
    assert reason(start(view, replace(NOW, happened_s=NOW.mono_s - 12.0))) == "Accepted"
