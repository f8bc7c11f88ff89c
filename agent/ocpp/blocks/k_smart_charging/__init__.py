"""Block K, smart charging: profiles set, reported and cleared by the CSMS (K01 to K10).

The limits reach the core as `CurrentLimited`; EVSE 0 stands for the station as a whole. Those of a
local energy manager (K11 to K13) come from the core and are told to the CSMS; K14 is for local
controllers, and ISO 15118 schedules (K15 to K17) have no source on this hardware yet. What a
profile is, which ones are held and what may be installed stands in `agent.ocpp.charging`.
"""

from itertools import groupby

from agent.core.events import (
    ClockSet,
    CsmsReached,
    FaultRaised,
    LookedUp,
    Now,
    PilotChanged,
    PolicyChanged,
    Started,
    StartRequested,
    Tick,
    TokenAnswered,
    TokenPresented,
    TokenUnanswered,
    TransactionEnded,
    TransactionStarted,
)
from agent.core.local_limit import LocalLimitsChanged
from agent.ocpp.block import (
    Answer,
    CallError,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    Payload,
    Stream,
)
from agent.ocpp.blocks.k_smart_charging import external
from agent.ocpp.blocks.k_smart_charging.composite import composite
from agent.ocpp.charging.external import PURPOSE, SOURCE
from agent.ocpp.charging.profiles import (
    ChargingProfiles,
    ProfilesCleared,
    ProfileSet,
    ReadyToDeliver,
    StartProfileSet,
    StartsLapsed,
)
from agent.ocpp.charging.rules import (
    MAX_PERIODS,
    MAX_PROFILES,
    MAX_STACK_LEVEL,
    check_profile,
    check_start_profile,
    expired,
    is_enabled,
    status_info,
)
from agent.ocpp.charging.schedule import Profile
from agent.ocpp.device_model import Variable
from agent.ocpp.view import View

__all__ = [
    "INCOMING",
    "ON_EVENT",
    "ON_RESPONSE",
    "OUTGOING",
    "VARIABLES",
    "ChargingProfiles",
    "ProfileSet",
    "ProfilesCleared",
    "StartProfileSet",
    "check_start_profile",
]

PROFILES_PER_REPORT = 4
LIMIT_SOURCE = "CSO"
"""chargingLimitSource of every profile a CSMS set."""
MAX_COMPOSITE_S = 366 * 86_400
CHANGES_AN_EVSE = (
    TransactionStarted,
    PilotChanged,
    FaultRaised,
    TokenPresented,
    LookedUp,
    TokenAnswered,
    TokenUnanswered,
    StartRequested,
    PolicyChanged,
    Tick,
)
"""Facts after which a driver may have an authorisation, or have lost it."""


def set_charging_profile(payload: Payload, view: View, now: Now) -> Answer:
    """K01; a full house lets the longest expired profile go for a new one.

    Raises CallError while SmartChargingCtrlr.Enabled is false (K01.FR.29).
    """
    if not is_enabled(view):
        raise CallError("NotSupported", "SmartChargingCtrlr.Enabled is false")
    evse_id, profile = payload["evseId"], payload["chargingProfile"]
    refusal = check_profile(profile, evse_id, view, now)
    if refusal is not None:
        return Answer({"status": "Rejected", "statusInfo": refusal})
    events: list[object] = [ProfileSet(evse_id, profile)]
    others = [other for other in view.profiles.installed if other.profile_id != profile["id"]]
    if len(others) >= MAX_PROFILES:
        gone = [each.profile_id for each in expired(view, now) if each in others]
        events.insert(0, ProfilesCleared((gone[0],)))
    return Answer({"status": "Accepted"}, events=tuple(events))


def clear_charging_profile(payload: Payload, view: View, now: Now) -> Answer:
    """K10: the one with the id, or all that match every given criterion."""
    installed = view.profiles.installed
    if "chargingProfileId" in payload:
        found = [each for each in installed if each.profile_id == payload["chargingProfileId"]]
    else:
        wanted = payload.get("chargingProfileCriteria", {})
        found = [each for each in installed if _matches(each, wanted, wanted.get("evseId"))]
    if not found:
        info = status_info("NotFound", "no installed charging profile matches")
        return Answer({"status": "Unknown", "statusInfo": info})
    ids = tuple(profile.profile_id for profile in found)
    return Answer({"status": "Accepted"}, events=(ProfilesCleared(ids),))


def get_charging_profiles(payload: Payload, view: View, now: Now) -> Answer:
    """K09: the profiles follow as ReportChargingProfiles, per EVSE and a few at a time."""
    wanted = payload["chargingProfile"]
    sources = wanted.get("chargingLimitSource", [LIMIT_SOURCE, SOURCE])
    local = view.profiles.external.profiles(external.phases_of(view), now)
    found = [
        profile
        for profile in (*view.profiles.installed, *local)
        if _matches(profile, wanted, payload.get("evseId"))
        and profile.profile_id in wanted.get("chargingProfileId", [profile.profile_id])
        and _source(profile) in sources
    ]
    if not found:
        info = status_info("NotFound", "no installed charging profile matches")
        return Answer({"status": "NoProfiles", "statusInfo": info})
    return Answer({"status": "Accepted"}, stream=_reports(payload["requestId"], found))


def get_composite_schedule(payload: Payload, view: View, now: Now) -> Answer:
    """K08; without a unit in A."""
    evse_id, duration_s = payload["evseId"], payload["duration"]
    refusal = None
    if evse_id not in (0, *view.station.evse_ids):
        refusal = status_info("UnknownEvse", f"there is no EVSE {evse_id}")
    elif not 0 < duration_s <= MAX_COMPOSITE_S:
        refusal = status_info("ValueOutOfRange", f"duration must be 1 to {MAX_COMPOSITE_S} s")
    if refusal is not None:
        return Answer({"status": "Rejected", "statusInfo": refusal})
    unit = payload.get("chargingRateUnit", "A")
    schedule = composite(evse_id, unit, duration_s, view, now)
    return Answer({"status": "Accepted", "schedule": schedule})


def _matches(profile: Profile, wanted: Payload, evse_id: int | None) -> bool:
    """All criteria that are given hold (K09.FR.04 to 06, K10.FR.04)."""
    return (
        (evse_id is None or profile.evse_id == evse_id)
        and wanted.get("stackLevel", profile.stack_level) == profile.stack_level
        and wanted.get("chargingProfilePurpose", profile.purpose) == profile.purpose
    )


def _source(profile: Profile) -> str:
    """ChargingLimitSourceEnumType"""
    return SOURCE if profile.purpose == PURPOSE else LIMIT_SOURCE


def _reports(request_id: int, profiles: list[Profile]) -> Stream:
    """K09.FR.01, K09.FR.02: one report is of one EVSE and one source."""
    parts: list[list[Profile]] = []
    profiles = sorted(profiles, key=lambda it: (it.evse_id, _source(it), it.profile_id))
    for _, group in groupby(profiles, key=lambda it: (it.evse_id, _source(it))):
        alike = list(group)
        for first in range(0, len(alike), PROFILES_PER_REPORT):
            parts.append(alike[first : first + PROFILES_PER_REPORT])

    def next_part(cursor: int) -> tuple[str, Payload, int | None]:
        part = parts[cursor]
        more = cursor + 1 < len(parts)
        report: Payload = {
            "requestId": request_id,
            "chargingLimitSource": _source(part[0]),
            "evseId": part[0].evse_id,
            "chargingProfile": [profile.payload for profile in part],
            "tbc": more,
        }
        return "ReportChargingProfiles", report, cursor + 1 if more else None

    return Stream(0, next_part)


def take(event: object, view: View, now: Now) -> Consequences:
    """Hands a fact to the profiles."""
    events, effects = view.profiles.handle(event, now)
    return Consequences(tuple(events), tuple(effects))


def follow(event: object, view: View, now: Now) -> Consequences:
    """The same, and what the fact led to at the EVSEs."""
    events, effects = view.profiles.handle(event, now)
    since_s = event.at_s if isinstance(event, TransactionStarted) else now.mono_s
    for news in _news(view, since_s):
        found = view.profiles.handle(news, now)
        events, effects = events + found[0], effects + found[1]
    return Consequences(tuple(events), tuple(effects))


def _news(view: View, since_s: float) -> list[object]:
    """Requested starts that nobody waits for any more, and transactions that can deliver now."""
    station, profiles = view.station, view.profiles
    lapsed = [
        evse_id
        for evse_id, remote_start_id in profiles.expected.items()
        if not station.granting.awaits_start(remote_start_id)
    ]
    waiting = [station.evses[evse_id] for evse_id in profiles.not_ready]
    return [
        *([StartsLapsed(tuple(lapsed))] if lapsed else []),
        *(
            ReadyToDeliver(evse.evse_id, since_s, evse.grant.remote_start_id)
            for evse in waiting
            if evse.grant is not None and evse.connected
        ),
    ]


INCOMING: Incoming = {
    "SetChargingProfile": set_charging_profile,
    "ClearChargingProfile": clear_charging_profile,
    "GetChargingProfiles": get_charging_profiles,
    "GetCompositeSchedule": get_composite_schedule,
}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {
    "NotifyChargingLimit": external.answered,
    "ClearedChargingLimit": external.answered,
}
ON_EVENT: OnEvent = {
    LocalLimitsChanged: external.limits_changed,
    CsmsReached: external.reached,
    Started: take,
    ClockSet: take,
    TransactionEnded: take,
    ProfileSet: take,
    ProfilesCleared: take,
    StartProfileSet: take,
    **dict.fromkeys(CHANGES_AN_EVSE, follow),
}


def _fixed(name: str, data_type: str, value: str, values: tuple[str, ...] = ()) -> Variable:
    return Variable(
        "SmartChargingCtrlr",
        name,
        data_type=data_type,
        values=values,
        mutability="ReadOnly",
        default=value,
    )


VARIABLES: tuple[Variable, ...] = (
    Variable("SmartChargingCtrlr", "Enabled", data_type="boolean", default="true"),
    _fixed("Available", "boolean", "true"),
    _fixed("ProfileStackLevel", "integer", str(MAX_STACK_LEVEL)),
    _fixed("RateUnit", "MemberList", "A,W", ("A", "W")),
    _fixed("PeriodsPerSchedule", "integer", str(MAX_PERIODS)),
    _fixed("Phases3to1", "boolean", "false"),
    Variable(
        "SmartChargingCtrlr",
        "ExternalControlSignalsEnabled",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "false" if view.station.local.manager is None else "true",
    ),
    Variable(
        "SmartChargingCtrlr",
        "NotifyChargingLimitWithSchedules",
        data_type="boolean",
        default="false",
        needs="energy_manager",
    ),
    Variable(
        "SmartChargingCtrlr",
        "Entries",
        instance="ChargingProfiles",
        data_type="integer",
        max_limit=MAX_PROFILES,
        mutability="ReadOnly",
        read=lambda view: str(len(view.profiles.installed)),
    ),
    Variable(
        "SmartChargingCtrlr",
        "LimitChangeSignificance",
        data_type="decimal",
        unit="Percent",
        min_limit=0,
        max_limit=100,
        default="1.0",
        policy="limit_change_significance",
    ),
)
