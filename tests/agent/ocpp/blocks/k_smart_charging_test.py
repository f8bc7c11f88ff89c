"""Block K: profiles set, cleared and reported by the CSMS, its variables."""

import pytest

from agent.ocpp.block import CallError
from agent.ocpp.blocks import k_smart_charging as k
from agent.ocpp.device_model import VariablesSet
from tests.agent.ocpp.charging.profiles_bench import Bench, long_profile, max_profile, profile

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
