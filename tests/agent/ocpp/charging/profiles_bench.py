"""Profiles of block K, and a bench that drives them as the router does."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from agent.core.effects import Log, Save
from agent.core.events import (
    CurrentLimited,
    Now,
    Started,
    StopCause,
    Tick,
    TransactionEnded,
    TransactionStarted,
)
from agent.ocpp import messages
from agent.ocpp.blocks import k_smart_charging as k
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.messages import format_time, parse_time
from drivers.contract import Permit

BOOT_UTC_S = parse_time("2026-03-02T10:00:00Z")  # a Monday


def at(mono_s: float, utc_offset_s: float = BOOT_UTC_S, utc_known: bool = True) -> Now:
    return Now(
        mono_s=mono_s,
        utc_offset_s=utc_offset_s,
        utc_known=utc_known,
        boot_id="boot",
        permit=Permit(0),
        random=lambda: 0.5,
        new_id=lambda: "id",
    )


def utc(mono_s: float) -> str:
    return format_time(BOOT_UTC_S + mono_s)


class Bench:
    """The block as the router drives it; every message is checked by its schema."""

    def __init__(self, evses: int = 2, phases: int = 3) -> None:
        self.now = at(1000.0)
        self.transactions: dict[int, str] = {}
        self.hardware_a = {0: 63.0, **dict.fromkeys(range(1, evses + 1), 32.0)}
        self.saved: dict[str, str] = {}
        self.limits: dict[int, float | None] = {}
        self.logged: list[str] = []
        self.phases = phases
        self.evse_ids = tuple(range(1, evses + 1))
        self.is_ready = True
        """Drivers are authorised, EVs connected."""
        self.granted_start: int | None = None
        self.awaited_starts: set[int] = {41, 42, 43}
        self.profiles = k.ChargingProfiles(self.evse_ids, 230.0, {})
        self.variables = DeviceModel(k.VARIABLES, [(e, (1,)) for e in self.evse_ids], {})

    @property
    def view(self) -> Any:
        grant = SimpleNamespace(remote_start_id=self.granted_start) if self.is_ready else None
        evses = [SimpleNamespace(evse_id=n, grant=grant, connected=True) for n in self.evse_ids]
        station = SimpleNamespace(
            evses={evse.evse_id: evse for evse in evses},
            granting=SimpleNamespace(awaits_start=self.awaited_starts.__contains__),
            evse_ids=self.evse_ids,
            transaction_id=self.transactions.get,
            hardware_limit_a=self.hardware_a.__getitem__,
        )
        facts = SimpleNamespace(voltage_v=230.0, phases=lambda evse_id: self.phases)
        return SimpleNamespace(
            station=station, facts=facts, profiles=self.profiles, variables=self.variables
        )

    def take(self, events: Iterable[object], effects: Iterable[object]) -> list[object]:
        for effect in effects:
            if isinstance(effect, Save):
                assert effect.key.startswith("profile/")
                if effect.value is None:
                    self.saved.pop(effect.key, None)
                else:
                    self.saved[effect.key] = effect.value
            else:
                assert isinstance(effect, Log)
                self.logged.append(effect.text)
        for event in events:
            assert isinstance(event, CurrentLimited)
            self.limits[event.evse_id] = event.limit_a
        return list(events)

    def tell(self, event: object) -> list[object]:
        found = k.ON_EVENT[type(event)](event, self.view, self.now)
        return self.take(found.events, found.effects)

    def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        messages.validate_request(action, payload)
        answer = k.INCOMING[action](payload, self.view, self.now)
        messages.validate_response(action, answer.payload)
        for event in answer.events:
            self.tell(event)
        self.stream = answer.stream
        return answer.payload

    def set(self, evse_id: int, profile: dict[str, Any]) -> str:
        """ "Accepted", or the reason of the refusal."""
        answer = self.call("SetChargingProfile", {"evseId": evse_id, "chargingProfile": profile})
        if answer["status"] == "Accepted":
            return "Accepted"
        assert answer["status"] == "Rejected"
        reason: str = answer["statusInfo"]["reasonCode"]
        return reason

    def clear(self, **payload: Any) -> str:
        status: str = self.call("ClearChargingProfile", payload)["status"]
        return status

    def reports(self, evse_id: int | None = None, **criteria: Any) -> list[dict[str, Any]]:
        """What GetChargingProfiles leads to; empty when it finds none."""
        request: dict[str, Any] = {"requestId": 7, "chargingProfile": criteria}
        if evse_id is not None:
            request["evseId"] = evse_id
        status = self.call("GetChargingProfiles", request)["status"]
        if status == "NoProfiles":
            assert self.stream is None
            return []
        assert status == "Accepted"
        found, cursor = [], self.stream.cursor
        while cursor is not None:
            action, report, cursor = self.stream.next_part(cursor)
            messages.validate_request(action, report)
            assert report["requestId"] == 7
            assert report["chargingLimitSource"] == "CSO"
            assert report["tbc"] == (cursor is not None)
            found.append(report)
        return found

    def reported_ids(self, evse_id: int | None = None, **criteria: Any) -> list[int]:
        reports = self.reports(evse_id, **criteria)
        return [each["id"] for report in reports for each in report["chargingProfile"]]

    def schedule(self, evse_id: int, duration_s: int, unit: str = "A") -> list[tuple[int, float]]:
        answer = self.call(
            "GetCompositeSchedule",
            {"evseId": evse_id, "duration": duration_s, "chargingRateUnit": unit},
        )
        assert answer["status"] == "Accepted"
        schedule = answer["schedule"]
        assert schedule["evseId"] == evse_id
        assert schedule["duration"] == duration_s
        assert schedule["chargingRateUnit"] == unit
        assert schedule["scheduleStart"] == format_time(self.now.utc_s())
        return [(p["startPeriod"], p["limit"]) for p in schedule["chargingSchedulePeriod"]]

    def start(self, evse_id: int, name: str, remote_start_id: int | None = None) -> None:
        self.transactions[evse_id] = name
        self.tell(TransactionStarted(evse_id, name, self.now.mono_s, remote_start_id))

    def end(self, evse_id: int) -> None:
        self.tell(TransactionEnded(evse_id, self.transactions.pop(evse_id)))

    def run_until(self, mono_s: float) -> list[tuple[float, int, float | None]]:
        """Follows the deadlines; returns (time, EVSE, limit) of each change."""
        seen = []
        for _ in range(1000):
            due_s = self.profiles.deadline(self.now)
            if due_s is None or due_s > mono_s:
                break
            assert due_s > self.now.mono_s
            self.now = at(due_s)
            seen += [(round(due_s, 2), e.evse_id, e.limit_a) for e in self.tell(Tick())]
        else:
            raise AssertionError("the deadlines never come to an end")
        self.now = at(mono_s)
        return seen

    def reboot(self, *before: object) -> None:
        """The process starts anew; `before` are facts told ahead of Started."""
        self.profiles = k.ChargingProfiles(self.evse_ids, 230.0, {"meta/x": "", **self.saved})
        self.limits = {}
        for event in (*before, Started(StopCause.REBOOT, "ApplicationReset")):
            self.tell(event)


def profile(
    profile_id: int = 1,
    *periods: tuple[int, float],
    purpose: str = "TxDefaultProfile",
    kind: str = "Absolute",
    level: int = 0,
    begin: str | None = utc(1000),
    unit: str = "A",
    duration: int | None = None,
    phases: int | None = 3,
    **more: Any,
) -> dict[str, Any]:
    schedule: dict[str, Any] = {
        "id": 1,
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [
            {"startPeriod": start, "limit": limit, **({"numberPhases": phases} if phases else {})}
            for start, limit in periods or ((0, 6.0),)
        ],
    }
    if duration is not None:
        schedule["duration"] = duration
    if kind != "Relative" and begin is not None:
        schedule["startSchedule"] = begin
    return {
        "id": profile_id,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **more,
    }


def tx_profile(profile_id: int, transaction: str, *periods: tuple[int, float], **more: Any) -> Any:
    return profile(profile_id, *periods, purpose="TxProfile", transactionId=transaction, **more)


def max_profile(profile_id: int, *periods: tuple[int, float], **more: Any) -> Any:
    return profile(profile_id, *periods, purpose="ChargingStationMaxProfile", **more)


def long_profile(count: int) -> dict[str, Any]:
    return profile(1, *[(60 * i, 6.0) for i in range(count)])


def start_profile(**more: Any) -> dict[str, Any]:
    return profile(**{"profile_id": 9, "purpose": "TxProfile", "kind": "Relative", **more})
