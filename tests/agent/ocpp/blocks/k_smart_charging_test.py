"""Smart charging: profiles in, limits out. Ids of test cases stand where a test follows one."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.effects import Log, Save
from agent.core.events import (
    ClockSet,
    CurrentLimited,
    Now,
    Started,
    StopCause,
    Tick,
    TransactionEnded,
    TransactionStarted,
)
from agent.ocpp import messages
from agent.ocpp.block import CallError
from agent.ocpp.blocks import k_smart_charging as k
from agent.ocpp.device_model import DeviceModel, VariablesSet
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
        self.profiles = k.ChargingProfiles(self.evse_ids, 230.0, {})
        self.variables = DeviceModel(k.VARIABLES, [(e, (1,)) for e in self.evse_ids], {})

    @property
    def view(self) -> Any:
        station = SimpleNamespace(
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


# --- setting (K01) ------------------------------------------------------------------------------


def test_tc_k_01_a_default_profile_of_one_evse_is_installed_and_reported_as_sent() -> None:
    bench = Bench()
    sent = profile(5, (0, 6.0), (60, 8.5), duration=300, customData={"vendorId": "x"})
    assert bench.set(1, sent) == "Accepted"
    (report,) = bench.reports(chargingProfileId=[5])
    assert report["evseId"] == 1
    assert report["chargingProfile"] == [sent]
    assert bench.limits == {1: 6.0}


def test_tc_k_10_a_default_profile_of_the_station_acts_on_all_and_stays_with_it() -> None:
    bench = Bench()
    assert bench.set(0, profile(5)) == "Accepted"
    (report,) = bench.reports(chargingProfileId=[5])
    assert (report["evseId"], report["tbc"]) == (0, False)
    assert bench.limits == {1: 6.0, 2: 6.0}
    assert bench.reported_ids(evse_id=1) == []


def test_tc_k_04_a_profile_of_a_known_id_replaces_the_one_before() -> None:
    bench = Bench()
    bench.set(1, profile(5, (0, 6.0)))
    assert bench.set(1, profile(5, (0, 10.0))) == "Accepted"
    (report,) = bench.reports(chargingProfileId=[5])
    assert report["chargingProfile"] == [profile(5, (0, 10.0))]
    assert bench.limits == {1: 10.0}


def test_times_of_another_zone_are_reported_in_utc() -> None:
    bench = Bench()
    sent = profile(begin="2026-03-02T11:00:00+01:00", validFrom="2026-03-02T10:00:00.123456Z")
    assert bench.set(1, sent) == "Accepted"
    (report,) = bench.reports()
    (held,) = report["chargingProfile"]
    assert held["chargingSchedule"][0]["startSchedule"] == "2026-03-02T10:00:00.000Z"
    assert held["validFrom"] == "2026-03-02T10:00:00.123Z"


def long_profile(count: int) -> dict[str, Any]:
    return profile(1, *[(60 * i, 6.0) for i in range(count)])


def twice(sent: dict[str, Any]) -> dict[str, Any]:
    return {**sent, "chargingSchedule": sent["chargingSchedule"] * 2}


def on_phase(sent: dict[str, Any], phase: int) -> dict[str, Any]:
    sent["chargingSchedule"][0]["chargingSchedulePeriod"][0]["phaseToUse"] = phase
    return sent


def begun(sent: dict[str, Any]) -> dict[str, Any]:
    sent["chargingSchedule"][0]["startSchedule"] = utc(1000)
    return sent


REFUSED = {
    "TC_K_14 an EVSE that is not there": (3, profile(), "UnknownEvse"),
    "a negative EVSE": (-1, profile(), "UnknownEvse"),
    "TC_K_02 a TxProfile without a transaction": (1, tx_profile(1, "nobody"), "TxNotFound"),
    "TC_K_16 a TxProfile of another transaction": (2, tx_profile(1, "nobody"), "TxNotFound"),
    "TC_K_11 a TxProfile for all": (0, tx_profile(1, "tx2"), "InvalidValue"),
    "a TxProfile that names no transaction": (2, profile(purpose="TxProfile"), "MissingParam"),
    "a station limit on an EVSE": (1, max_profile(1), "InvalidValue"),
    "a relative station limit": (0, max_profile(1, kind="Relative"), "InvalidProfile"),
    "external constraints from the CSMS": (
        0,
        profile(purpose="ChargingStationExternalConstraints"),
        "InvalidProfile",
    ),
    "a stack level too high": (1, profile(level=10), "InvalidStackLevel"),
    "a stack level below zero": (1, profile(level=-1), "InvalidStackLevel"),
    "two schedules": (1, twice(profile()), "TooManyElements"),
    "too many periods": (1, long_profile(101), "TooManyElements"),
    "a first period that is late": (1, profile(1, (5, 6.0)), "InvalidSchedule"),
    "periods out of order": (1, profile(1, (0, 6.0), (9, 7.0), (8, 8.0)), "InvalidSchedule"),
    "two periods at once": (1, profile(1, (0, 6.0), (9, 7.0), (9, 8.0)), "InvalidSchedule"),
    "a negative limit": (1, profile(1, (0, -1.0)), "InvalidSchedule"),
    "no duration at all": (1, profile(duration=0), "InvalidSchedule"),
    "an absolute profile without a start": (1, profile(begin=None), "InvalidSchedule"),
    "a relative profile with a start": (1, begun(profile(kind="Relative")), "InvalidSchedule"),
    "a recurring profile that does not say how": (
        1,
        profile(kind="Recurring"),
        "InvalidProfile",
    ),
    "fewer phases than are wired": (1, profile(phases=1), "UnsupportedParam"),
    "more phases than there are": (1, profile(phases=4), "InvalidSchedule"),
    "a choice of phase": (1, on_phase(profile(phases=1), 2), "UnsupportedParam"),
    "a time that is none": (1, profile(validTo="0001-01-01T00:00:00+23:59"), "InvalidValue"),
    "an end before the beginning": (
        1,
        profile(validFrom=utc(2000), validTo=utc(2000)),
        "InvalidProfile",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_profile_against_the_rules_is_refused_and_changes_nothing(case: str) -> None:
    evse_id, sent, reason = REFUSED[case]
    bench = Bench()
    bench.start(2, "tx2")
    assert bench.set(evse_id, sent) == reason
    assert bench.reports() == []
    assert bench.limits == {}
    assert bench.saved == {}


ACCEPTED = {
    "TC_K_19 daily": (1, profile(kind="Recurring", recurrencyKind="Daily")),
    "weekly": (1, profile(kind="Recurring", recurrencyKind="Weekly")),
    "relative": (1, profile(kind="Relative")),
    "TC_K_03 a station limit": (0, max_profile(1)),
    "TC_K_60 a TxProfile of the running transaction": (2, tx_profile(1, "tx2", kind="Relative")),
    "no number of phases": (1, profile(phases=None)),
    "the highest stack level": (1, profile(level=9)),
    "as many periods as fit": (1, long_profile(100)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_profile_by_the_rules_is_installed(case: str) -> None:
    evse_id, sent = ACCEPTED[case]
    bench = Bench()
    bench.start(2, "tx2")
    assert bench.set(evse_id, sent) == "Accepted"
    (report,) = bench.reports(evse_id)
    assert report["chargingProfile"] == [sent]


def test_more_phases_than_are_wired_are_taken_for_those_that_are() -> None:
    bench = Bench(phases=1)
    assert bench.set(1, profile(1, (0, 6900.0), unit="W", phases=3)) == "Accepted"
    assert bench.limits == {1: 10.0}
    assert bench.schedule(1, 60, "W") == [(0, 2300.0)]


DUPLICATES = {
    "the same place and level": ((1, profile(1)), (1, profile(2)), "DuplicateProfile"),
    "another level": ((1, profile(1)), (1, profile(2, level=1)), "Accepted"),
    "another EVSE": ((1, profile(1)), (2, profile(2)), "Accepted"),
    "the station over an EVSE": ((1, profile(1)), (0, profile(2)), "DuplicateProfile"),
    "an EVSE under the station": ((0, profile(1)), (1, profile(2)), "DuplicateProfile"),
    "the station over an EVSE at another time": (
        (1, profile(1, validTo=utc(2000))),
        (0, profile(2, validFrom=utc(2000))),
        "DuplicateProfile",
    ),
    "one after the other": (
        (1, profile(1, validTo=utc(2000))),
        (1, profile(2, validFrom=utc(2000))),
        "Accepted",
    ),
    "one second of overlap": (
        (1, profile(1, validTo=utc(2001))),
        (1, profile(2, validFrom=utc(2000))),
        "DuplicateProfile",
    ),
    "another purpose": ((0, profile(1)), (0, max_profile(2)), "Accepted"),
    "the same transaction": (
        (2, tx_profile(1, "tx2")),
        (2, tx_profile(2, "tx2")),
        "DuplicateProfile",
    ),
}


@pytest.mark.parametrize("case", DUPLICATES)
def test_two_profiles_of_one_purpose_and_level_do_not_stand_together(case: str) -> None:
    first, second, expected = DUPLICATES[case]
    bench = Bench()
    bench.start(2, "tx2")
    assert bench.set(*first) == "Accepted"
    assert bench.set(*second) == expected


def test_a_full_house_refuses_unless_one_has_expired() -> None:
    bench = Bench()
    for i in range(32):
        window = {"validFrom": utc(1000 * i), "validTo": utc(1000 * (i + 1))}
        assert bench.set(1, profile(i, **window)) == "Accepted"
    bench.clear(chargingProfileId=0)
    bench.set(1, profile(99, validFrom=utc(90_000), validTo=utc(91_000)))
    assert bench.set(1, profile(100, level=1)) == "TooManyElements"
    assert bench.set(1, profile(99, validFrom=utc(92_000))) == "Accepted"
    bench.now = at(3000.0, utc_known=False)
    assert bench.set(1, profile(100, level=1)) == "TooManyElements"
    bench.now = at(3000.0)
    assert bench.set(1, profile(100, level=1)) == "Accepted"
    ids = bench.reported_ids()
    assert len(ids) == 32
    assert 1 not in ids
    assert {2, 99, 100} <= set(ids)
    assert bench.saved.keys() == {f"profile/{i}" for i in ids}


def disabled(bench: Bench) -> Bench:
    names = {"name": "SmartChargingCtrlr"}, {"name": "Enabled"}
    change = bench.variables.judge(*names, "Actual", "false").change
    assert change is not None
    bench.variables.handle(VariablesSet((change,)))
    return bench


def test_while_disabled_no_profile_is_taken_but_those_there_stay_in_force() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0)))
    disabled(bench)
    with pytest.raises(CallError) as refused:
        bench.set(1, profile(1, (0, 16.0)))
    assert refused.value.code == "NotSupported"
    assert bench.reported_ids() == [1]
    assert bench.limits == {1: 6.0}


def test_tc_k_38_while_disabled_the_profile_of_a_start_request_is_ignored() -> None:
    """The charge itself: tests/conformance/test_f.py."""
    assert k.is_enabled(Bench().view)
    bench = disabled(Bench())
    assert not k.is_enabled(bench.view)


def test_the_variables_tell_what_the_rules_enforce() -> None:
    bench = Bench()
    bench.set(1, profile(1))

    def value(name: str, **instance: str) -> str | None:
        component = {"name": "SmartChargingCtrlr"}
        variable = {"name": name, **instance}
        return bench.variables.get(component, variable, "Actual", bench.view, bench.now)[1]

    assert value("Entries", instance="ChargingProfiles") == "1"
    assert bench.set(1, profile(2, level=int(value("ProfileStackLevel") or 0))) == "Accepted"
    assert bench.set(2, long_profile(int(value("PeriodsPerSchedule") or 0))) == "Accepted"
    assert value("RateUnit") == "A,W"


# --- what applies -------------------------------------------------------------------------------


def test_a_schedule_is_followed_edge_by_edge() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 8.0), (100, 6.0), (200, 12.0), duration=300, begin=utc(1050)))
    assert bench.limits == {}
    assert bench.run_until(5000) == [
        (1050.0, 1, 8.0),
        (1150.0, 1, 6.0),
        (1250.0, 1, 12.0),
        (1350.0, 1, None),
    ]
    assert bench.profiles.deadline(bench.now) is None


def test_a_higher_level_rules_and_its_gaps_fall_through() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0)))
    bench.set(1, profile(2, (0, 20.0), level=1, duration=60, begin=utc(1100)))
    bench.set(1, profile(3, (0, 30.0), level=2, validFrom=utc(1120), validTo=utc(1140)))
    assert bench.run_until(5000) == [
        (1100.0, 1, 20.0),
        (1120.0, 1, 30.0),
        (1140.0, 1, 20.0),
        (1160.0, 1, 6.0),
    ]


def test_a_daily_schedule_comes_back_and_rests_between() -> None:
    bench = Bench(evses=1)
    bench.set(
        1,
        profile(
            1, (0, 6.0), kind="Recurring", recurrencyKind="Daily", duration=3600, begin=utc(1000)
        ),
    )
    day = 86_400
    assert bench.run_until(1000 + 2 * day + 10) == [
        (4600.0, 1, None),
        (1000.0 + day, 1, 6.0),
        (4600.0 + day, 1, None),
        (1000.0 + 2 * day, 1, 6.0),
    ]


def test_a_weekly_schedule_of_the_past_applies_on_its_day() -> None:
    bench = Bench(evses=1)
    sunday = "2020-01-05T00:00:00Z"
    bench.set(
        1,
        profile(1, kind="Recurring", recurrencyKind="Weekly", duration=86_400, begin=sunday),
    )
    assert bench.limits == {}
    monday_to_sunday_s = parse_time("2026-03-08T00:00:00Z") - BOOT_UTC_S
    assert bench.run_until(monday_to_sunday_s + 90_000) == [
        (monday_to_sunday_s, 1, 6.0),
        (monday_to_sunday_s + 86_400, 1, None),
    ]


def test_a_recurring_schedule_without_an_end_repeats_seamlessly() -> None:
    bench = Bench(evses=1)
    plan = ((0, 6.0), (40_000, 16.0))
    bench.set(1, profile(1, *plan, kind="Recurring", recurrencyKind="Daily"))
    assert bench.run_until(1000 + 90_000) == [(41_000.0, 1, 16.0), (87_400.0, 1, 6.0)]


def test_a_relative_schedule_begins_with_the_transaction() -> None:
    bench = Bench(evses=1)
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative", duration=120))
    assert bench.limits == {1: 6.0}
    assert bench.run_until(2000) == []
    bench.start(1, "tx1")
    assert bench.run_until(3000) == [(2060.0, 1, 16.0), (2120.0, 1, None)]


def test_a_relative_schedule_that_comes_later_still_counts_from_the_start() -> None:
    bench = Bench(evses=1)
    bench.start(1, "tx1")
    bench.now = at(1100.0)
    bench.set(1, tx_profile(1, "tx1", (0, 6.0), (60, 16.0), (200, 20.0), kind="Relative"))
    assert bench.limits == {1: 16.0}
    assert bench.run_until(3000) == [(1200.0, 1, 20.0)]


def test_a_tx_profile_rules_over_the_default_even_when_it_allows_more() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, profile(1, (0, 6.0)))
    bench.set(1, tx_profile(2, "tx1", (0, 20.0), duration=60))
    assert bench.limits == {1: 20.0}
    assert bench.run_until(2000) == [(1060.0, 1, 6.0)]


def test_a_tx_profile_dies_with_its_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.start(2, "tx2")
    bench.set(1, tx_profile(1, "tx1", (0, 7.0)))
    bench.set(2, tx_profile(2, "tx2", (0, 8.0)))
    bench.end(1)
    assert bench.limits == {1: None, 2: 8.0}
    assert bench.reported_ids() == [2]
    assert bench.saved.keys() == {"profile/2"}


def test_the_station_limit_bounds_every_evse_and_the_whole() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 16.0)))
    bench.set(0, max_profile(2, (0, 10.0)))
    assert bench.limits == {0: 10.0, 1: 10.0, 2: 10.0}


def test_watts_become_amperes_of_each_phase() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6900.0), unit="W", phases=None))
    assert bench.limits == {1: 10.0}
    single = Bench(phases=1)
    single.set(1, profile(1, (0, 2300.0), unit="W", phases=1))
    assert single.limits == {1: 10.0}


def test_a_clock_that_is_set_moves_the_schedule_but_not_the_transaction() -> None:
    bench = Bench(evses=2)
    bench.start(2, "tx2")
    bench.set(1, profile(1, (0, 6.0), begin=utc(5000)))
    bench.set(2, tx_profile(2, "tx2", (0, 8.0), (3000, 9.0), kind="Relative"))
    assert bench.limits == {2: 8.0}
    bench.now = at(1000.0, BOOT_UTC_S + 4000)
    bench.tell(ClockSet(BOOT_UTC_S + 5000, 1000.0))
    assert bench.limits == {1: 6.0, 2: 8.0}
    due_s = bench.profiles.deadline(bench.now)
    assert due_s == pytest.approx(4000.0, abs=0.01)


def test_a_limit_is_told_once() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 6.0)))
    assert bench.run_until(2000) == []
    assert bench.tell(Tick()) == []


def test_an_idle_evse_needs_no_deadline_for_a_relative_schedule() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative"))
    assert bench.profiles.deadline(bench.now) is None


def test_ids_written_as_fractions_are_the_same_ids() -> None:
    bench = Bench()
    bench.set(1, profile(5))
    assert bench.set(1, {**profile(5, (0, 7.0)), "id": 5.0, "stackLevel": 0.0}) == "Accepted"
    assert bench.saved.keys() == {"profile/5"}
    bench.reboot()
    assert bench.limits == {1: 7.0}


def test_a_timer_that_fires_a_little_early_still_finds_the_edge_passed() -> None:
    bench = Bench(evses=1)
    bench.set(1, profile(1, (0, 6.0), (1, 7.0), (2, 8.0), begin=utc(1500)))
    seen = []
    for _ in range(3):
        due_s = bench.profiles.deadline(bench.now)
        assert due_s is not None
        bench.now = at(due_s - 0.0005)
        seen += [event.limit_a for event in bench.tell(Tick())]
    assert seen == [6.0, 7.0, 8.0]
    assert bench.profiles.deadline(bench.now) is None


def test_fractions_of_a_second_in_a_schedule_do_not_matter() -> None:
    bench = Bench()
    begin = format_time(BOOT_UTC_S + 1060.7)
    bench.set(1, profile(1, begin=begin, validTo=format_time(BOOT_UTC_S + 1100.9)))
    assert bench.schedule(1, 300) == [(0, 32.0), (60, 6.0), (100, 32.0)]


def test_an_end_told_late_does_not_end_the_next_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.start(1, "tx2")
    bench.set(1, tx_profile(1, "tx2", (0, 6.0), (900, 9.0), kind="Relative"))
    bench.tell(TransactionEnded(1, "tx1"))
    assert bench.limits == {1: 6.0}
    assert bench.profiles.deadline(bench.now) == pytest.approx(1900, abs=0.01)


def test_a_profile_does_not_pass_to_the_next_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, tx_profile(1, "tx1", (0, 6.0)))
    bench.start(1, "tx2")
    assert bench.limits == {1: None}


LIMITS = st.sampled_from([6.0, 10.0, 16.0])
PURPOSES = ("TxDefaultProfile", "TxProfile", "ChargingStationMaxProfile")


@st.composite
def any_profile(draw: st.DrawFn, profile_id: int) -> tuple[int, dict[str, Any]]:
    purpose = draw(st.sampled_from(PURPOSES))
    kinds = ["Absolute", "Recurring"] + ["Relative"] * (purpose != PURPOSES[2])
    kind = draw(st.sampled_from(kinds))
    starts = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    periods = [(start, draw(LIMITS)) for start in (0, *starts)]
    valid = draw(st.none() | st.tuples(st.integers(900, 1300), st.integers(1, 300)))
    more: dict[str, Any] = {}
    if valid is not None:
        more |= {"validFrom": utc(valid[0]), "validTo": utc(sum(valid))}
    if kind == "Recurring":
        more["recurrencyKind"] = "Daily"
    if purpose == "TxProfile":
        more["transactionId"] = "tx1"
    begin = utc(draw(st.integers(900, 1300)) - 86_400 * draw(st.integers(0, 2)))
    return 0 if purpose == PURPOSES[2] else 1, profile(
        profile_id,
        *periods,
        purpose=purpose,
        kind=kind,
        level=profile_id,
        duration=draw(st.none() | st.integers(1, 400)),
        begin=begin,
        **more,
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(*(any_profile(i) for i in range(5))))
def test_deadlines_and_composite_schedule_agree_with_the_limit_of_every_second(
    profiles: tuple[tuple[int, dict[str, Any]], ...],
) -> None:
    bench = Bench(evses=1)
    bench.start(1, "tx1")
    for evse_id, sent in profiles:
        assert bench.set(evse_id, sent) == "Accepted"
    anchor_s = bench.profiles.anchor_s(1, bench.now)
    schedule = dict(bench.schedule(1, 600))
    shown: float | None = None
    for second in range(600):
        bench.run_until(1000 + second + 0.002)
        limit = bench.profiles.limit(1, BOOT_UTC_S + 1000 + second, anchor_s)
        limit_a = None if limit is None else limit.current_a
        assert bench.limits.get(1) == limit_a
        shown = schedule.get(second, shown)
        assert shown == min(32.0, limit_a or 32.0)


# --- over a restart -----------------------------------------------------------------------------


def test_tc_k_13_profiles_outlive_a_restart() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    sent = profile(5, (0, 6.0), validFrom=utc(0), validTo=utc(90_000), level=3)
    bench.set(2, sent)
    bench.set(0, max_profile(6, (0, 20.0)))
    bench.set(1, tx_profile(7, "tx1"))
    bench.reboot()
    assert bench.limits == {0: 20.0, 1: 20.0, 2: 6.0}
    (report,) = bench.reports(chargingProfileId=[5])
    assert (report["evseId"], report["chargingProfile"]) == (2, [sent])
    assert bench.reported_ids() == [6, 5]
    assert bench.saved.keys() == {"profile/5", "profile/6"}


def test_the_profile_of_a_transaction_that_goes_on_is_kept() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, tx_profile(7, "tx1", (0, 6.0), (500, 9.0), kind="Relative"))
    bench.now = at(10.0, BOOT_UTC_S + 1590)
    bench.reboot(TransactionStarted(1, "tx1", at_s=-590.0))
    assert bench.limits == {1: 9.0}
    assert bench.saved.keys() == {"profile/7"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"evseId":1,"chargingProfile":{}}',
        '{"evseId":1,"chargingProfile":{"chargingSchedule":[]}}',
        '{"evseId":1,"chargingProfile":{"chargingSchedule":null}}',
    ],
)
def test_a_saved_profile_that_cannot_be_read_is_dropped_aloud(text: str) -> None:
    bench = Bench()
    bench.set(1, profile(5))
    bench.saved["profile/8"] = text
    bench.reboot()
    assert bench.reported_ids() == [5]
    assert bench.saved.keys() == {"profile/5"}
    (line,) = bench.logged
    assert "profile/8" in line


def test_a_profile_of_an_evse_that_was_removed_is_dropped_aloud() -> None:
    bench = Bench()
    bench.set(2, profile(5))
    bench.evse_ids = (1,)
    bench.reboot()
    assert bench.reports() == []
    assert "there is no EVSE 2" in bench.logged[0]


# --- clearing (K10) -----------------------------------------------------------------------------


def stocked() -> Bench:
    bench = Bench()
    bench.set(0, max_profile(1, (0, 20.0)))
    bench.set(1, profile(2, (0, 6.0), level=1))
    bench.set(2, profile(3, (0, 7.0), level=1))
    bench.set(2, profile(4, (0, 8.0), level=2))
    return bench


CLEARED = {
    "TC_K_05 by id": ({"chargingProfileId": 2}, {1, 3, 4}),
    "TC_K_08 by an unknown id": ({"chargingProfileId": 9}, None),
    "TC_K_06, TC_K_24 by purpose and level": (
        {
            "chargingProfileCriteria": {
                "chargingProfilePurpose": "TxDefaultProfile",
                "stackLevel": 1,
            }
        },
        {1, 4},
    ),
    "TC_K_07 by a pair that is not there": (
        {
            "chargingProfileCriteria": {
                "chargingProfilePurpose": "ChargingStationMaxProfile",
                "stackLevel": 1,
            }
        },
        None,
    ),
    "by EVSE": ({"chargingProfileCriteria": {"evseId": 2}}, {1, 2}),
    "of the station only": ({"chargingProfileCriteria": {"evseId": 0}}, {2, 3, 4}),
    "by all three": (
        {
            "chargingProfileCriteria": {
                "evseId": 2,
                "stackLevel": 2,
                "chargingProfilePurpose": "TxDefaultProfile",
            }
        },
        {1, 2, 3},
    ),
    "all": ({}, set()),
}


@pytest.mark.parametrize("case", CLEARED)
def test_profiles_are_cleared(case: str) -> None:
    payload, left = CLEARED[case]
    bench = stocked()
    assert bench.clear(**payload) == ("Unknown" if left is None else "Accepted")
    assert set(bench.reported_ids()) == ({1, 2, 3, 4} if left is None else left)
    assert bench.saved.keys() == {f"profile/{i}" for i in bench.reported_ids()}


def test_tc_k_09_clearing_a_default_lifts_the_limit_of_a_running_transaction() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), duration=400))
    bench.start(1, "tx1")
    assert bench.schedule(1, 300) == [(0, 6.0)]
    criteria = {"chargingProfilePurpose": "TxDefaultProfile"}
    assert bench.clear(chargingProfileCriteria=criteria) == "Accepted"
    assert bench.limits == {1: None}
    assert bench.schedule(1, 300) == [(0, 32.0)]


# --- reporting (K09) ----------------------------------------------------------------------------

FOUND = {
    "TC_K_29 of the station": (0, {}, [1]),
    "TC_K_30 of an EVSE": (2, {}, [3, 4]),
    "TC_K_31 all": (None, {}, [1, 2, 3, 4]),
    "TC_K_32 by id": (None, {"chargingProfileId": [1, 4, 9]}, [1, 4]),
    "TC_K_33 by EVSE and level": (2, {"stackLevel": 2}, [4]),
    "TC_K_34 by our only source": (1, {"chargingLimitSource": ["EMS", "CSO"]}, [2]),
    "TC_K_34 by a source without profiles": (1, {"chargingLimitSource": ["EMS"]}, []),
    "TC_K_35 by purpose": (2, {"chargingProfilePurpose": "TxDefaultProfile"}, [3, 4]),
    "TC_K_36 by purpose and level": (
        None,
        {"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 1},
        [2, 3],
    ),
    "of an EVSE that is not there": (9, {}, []),
    "external constraints": (
        None,
        {"chargingProfilePurpose": "ChargingStationExternalConstraints"},
        [],
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_profiles_are_reported(case: str) -> None:
    evse_id, criteria, ids = FOUND[case]
    assert stocked().reported_ids(evse_id, **criteria) == ids


def test_a_long_report_comes_in_parts() -> None:
    bench = Bench()
    for i in range(10):
        bench.set(1 + i % 2, profile(i, level=i // 2))
    reports = bench.reports()
    assert [(r["evseId"], len(r["chargingProfile"])) for r in reports] == [
        (1, 4),
        (1, 1),
        (2, 4),
        (2, 1),
    ]


def test_a_report_shows_what_was_installed_when_it_was_asked_for() -> None:
    bench = stocked()
    request = {"requestId": 7, "chargingProfile": {}}
    stream = k.INCOMING["GetChargingProfiles"](request, bench.view, bench.now).stream
    assert stream is not None
    bench.clear()
    assert stream.next_part(0)[1]["chargingProfile"][0]["id"] == 1


# --- the composite schedule (K08) ---------------------------------------------------------------


def test_tc_k_39_without_profiles_it_is_the_hardware() -> None:
    bench = Bench()
    assert bench.schedule(1, 300) == [(0, 32.0)]
    assert bench.schedule(0, 300) == [(0, 63.0)]
    assert bench.schedule(1, 300, "W") == [(0, 22_080.0)]
    assert bench.schedule(0, 300, "W") == [(0, 43_470.0)]


def test_tc_k_40_stack_levels_are_merged() -> None:
    for unit, factor in (("A", 1), ("W", 690)):
        bench = Bench()
        low = [(start, limit * factor) for start, limit in ((0, 6.0), (100, 8.0), (200, 10.0))]
        high = [(start, limit * factor) for start, limit in ((0, 7.0), (100, 9.0))]
        window = {"validFrom": utc(995), "validTo": utc(1406)}
        bench.set(1, profile(1, *low, duration=405, unit=unit, **window))
        bench.set(1, profile(2, *high, duration=150, level=1, unit=unit, **window))
        bench.now = at(1010.0)
        assert bench.schedule(1, 350, unit) == [
            (0, 7.0 * factor),
            (90, 9.0 * factor),
            (140, 8.0 * factor),
            (190, 10.0 * factor),
        ]


def test_tc_k_41_purposes_are_merged() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    default = zip((0, 60, 120, 180, 260), (6.0, 10.0, 8.0, 15.0, 8.0), strict=True)
    own = zip((0, 50, 140, 200, 240), (8.0, 11.0, 16.0, 6.0, 12.0), strict=True)
    bench.set(0, max_profile(1, (0, 10.0), duration=86_400))
    bench.set(1, profile(2, *default, duration=300, validTo=utc(1401)))
    bench.set(1, tx_profile(3, "tx1", *own, duration=260, validTo=utc(1401)))
    assert bench.schedule(1, 400) == [
        (0, 8.0),
        (50, 10.0),
        (200, 6.0),
        (240, 10.0),
        (260, 8.0),
        (300, 10.0),
    ]


def test_tc_k_21_a_profile_begins_with_its_validity() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), kind="Relative", validFrom=utc(1300)))
    assert bench.schedule(1, 400) == [(0, 32.0), (300, 6.0)]


def test_tc_k_22_a_profile_ends_with_its_validity_on_each_evse_and_in_sum() -> None:
    bench = Bench()
    bench.set(0, profile(1, (0, 6.0), validFrom=utc(990), validTo=utc(1300)))
    assert bench.schedule(0, 400) == [(0, 12.0), (300, 63.0)]
    assert bench.schedule(1, 400) == [(0, 6.0), (300, 32.0)]
    assert bench.schedule(2, 400) == [(0, 6.0), (300, 32.0)]


def test_tc_k_23_a_profile_begins_with_its_schedule() -> None:
    bench = Bench()
    bench.set(1, profile(1, begin=utc(1060), validFrom=utc(1050), validTo=utc(1400)))
    assert bench.schedule(1, 300) == [(0, 32.0), (60, 6.0)]


def test_tc_k_28_a_default_is_taken_up_by_a_running_transaction() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    assert bench.set(1, profile(1, (0, 6.0), duration=301)) == "Accepted"
    assert bench.schedule(1, 300) == [(0, 6.0)]


def test_the_station_limit_bounds_the_sum() -> None:
    bench = Bench()
    bench.set(0, max_profile(1, (0, 40.0), (60, 80.0)))
    assert bench.schedule(0, 300) == [(0, 40.0), (60, 63.0)]


def test_a_profile_never_lifts_the_hardware() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 999_999.0), unit="W"))
    assert bench.schedule(1, 300) == [(0, 32.0)]


def test_an_idle_evse_is_shown_as_if_a_transaction_began() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative", duration=90))
    assert bench.schedule(1, 300) == [(0, 6.0), (60, 16.0), (90, 32.0)]


def test_a_running_transaction_is_shown_from_where_it_is() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.set(1, profile(1, (0, 6.0), (60, 16.0), kind="Relative"))
    bench.now = at(1050.0)
    assert bench.schedule(1, 300) == [(0, 6.0), (10, 16.0)]


def test_a_limit_is_shown_with_one_digit_and_never_rounded_up() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 6000.0), unit="W"))
    bench.set(2, profile(2, (0, 6000.0), unit="W"))
    assert bench.schedule(1, 60) == [(0, 8.6)]
    assert bench.schedule(0, 60) == [(0, 17.3)]
    assert bench.schedule(1, 60, "W") == [(0, 6000.0)]


def test_without_a_unit_the_answer_is_in_amperes() -> None:
    answer = Bench().call("GetCompositeSchedule", {"evseId": 1, "duration": 60})
    assert answer["schedule"]["chargingRateUnit"] == "A"


@pytest.mark.parametrize(
    ("evse_id", "duration_s", "reason"),
    [(3, 300, "UnknownEvse"), (1, 0, "ValueOutOfRange"), (1, 10**9, "ValueOutOfRange")],
)
def test_tc_k_47_a_schedule_that_cannot_be_told_is_refused(
    evse_id: int, duration_s: int, reason: str
) -> None:
    request = {"evseId": evse_id, "duration": duration_s, "chargingRateUnit": "A"}
    answer = Bench().call("GetCompositeSchedule", request)
    assert answer["status"] == "Rejected"
    assert answer["statusInfo"]["reasonCode"] == reason
    assert "schedule" not in answer


def test_a_schedule_with_too_many_edges_is_told_as_far_as_they_reach() -> None:
    bench = Bench(evses=1)
    steps = [(900 * i, 6.0 + i % 2) for i in range(96)]
    bench.set(1, profile(1, *steps, kind="Recurring", recurrencyKind="Daily"))
    request = {"evseId": 1, "duration": 30 * 86_400, "chargingRateUnit": "A"}
    schedule = bench.call("GetCompositeSchedule", request)["schedule"]
    assert len(schedule["chargingSchedulePeriod"]) == 1024
    assert schedule["duration"] == 1024 * 900


# --- a profile with the start request (K05, F01, F02) -------------------------------------------


def start_profile(**more: Any) -> dict[str, Any]:
    return profile(**{"profile_id": 9, "purpose": "TxProfile", "kind": "Relative", **more})


def test_tc_k_37_the_profile_of_a_start_request_belongs_to_its_transaction() -> None:
    bench = Bench()
    sent = start_profile()
    assert k.check_start_profile(sent, 1, bench.view, bench.now) is None
    bench.tell(k.StartProfileSet(1, 42, sent))
    assert bench.reports() == []
    assert bench.saved == {}
    bench.start(1, "tx1", remote_start_id=42)
    assert bench.limits == {1: 6.0}
    (report,) = bench.reports(chargingProfileId=[9])
    assert report["chargingProfile"] == [{**sent, "transactionId": "tx1"}]
    bench.end(1)
    assert bench.limits == {1: None}
    assert bench.reports() == []


def test_it_is_bound_at_once_when_the_transaction_runs_already() -> None:
    bench = Bench()
    bench.start(1, "tx1")
    bench.tell(k.StartProfileSet(1, 42, start_profile()))
    assert bench.limits == {1: 6.0}
    assert bench.reported_ids(1) == [9]


def test_it_holds_before_the_transaction_starts_but_lifts_no_default() -> None:
    bench = Bench()
    bench.set(1, profile(1, (0, 8.0)))
    bench.tell(k.StartProfileSet(1, 42, start_profile(unit="W", phases=None)))
    assert bench.limits[1] == pytest.approx(6.0 / 690)
    bench.tell(k.StartProfileSet(1, 43, profile(9, (0, 20.0), purpose="TxProfile")))
    assert bench.limits[1] == 8.0
    bench.start(1, "tx1", remote_start_id=43)
    assert bench.limits[1] == 20.0


def test_it_does_not_go_to_a_transaction_that_somebody_else_started() -> None:
    for other in (None, 41):
        bench = Bench()
        bench.tell(k.StartProfileSet(1, 42, start_profile()))
        bench.start(1, "tx1", remote_start_id=other)
        assert bench.limits == {1: None}
        bench.end(1)
        bench.start(1, "tx2", remote_start_id=42)
        assert bench.reports() == []


def test_it_is_forgotten_for_an_evse_that_is_not_there() -> None:
    bench = Bench()
    bench.tell(k.StartProfileSet(3, 42, start_profile()))
    bench.start(3, "tx1", remote_start_id=42)
    assert bench.reports() == []


@pytest.mark.parametrize(
    ("sent", "evse_id", "reason"),
    [
        (profile(9), 1, "InvalidProfile"),
        (start_profile(transactionId="tx1"), 1, "InvalidProfile"),
        (start_profile(), 3, "UnknownEvse"),
        (begun(start_profile()), 1, "InvalidSchedule"),
        (twice(start_profile()), 1, "TooManyElements"),
    ],
)
def test_a_start_request_with_an_invalid_profile_is_refused(
    sent: dict[str, Any], evse_id: int, reason: str
) -> None:
    bench = Bench()
    refusal = k.check_start_profile(sent, evse_id, bench.view, bench.now)
    assert refusal is not None
    assert refusal["reasonCode"] == reason
