"""What may be installed: each rule of K01 by tables. Ids of cases stand where a row follows one."""

from typing import Any

import pytest

from agent.ocpp.blocks import k_smart_charging as k
from tests.agent.ocpp.charging.profiles_bench import (
    Bench,
    at,
    long_profile,
    max_profile,
    profile,
    start_profile,
    tx_profile,
    utc,
)


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
