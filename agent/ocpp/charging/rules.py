"""What a charging profile must fulfil to be installed; each refusal is the statusInfo to answer."""

from collections.abc import Callable
from itertools import pairwise

from msgspec import Struct

from agent.core.events import Now
from agent.ocpp.calls import Payload
from agent.ocpp.charging.schedule import RECURRENCE_S, Profile, parse
from agent.ocpp.view import View

MAX_STACK_LEVEL = 9
MAX_PERIODS = 100
MAX_PROFILES = 32

Refusal = tuple[str, str]
"""(reasonCode of the appendix, what is wrong)"""


class _Case(Struct, frozen=True):
    """A profile on trial."""

    payload: Payload
    evse_id: int
    view: View
    now: Now

    @property
    def purpose(self) -> str:
        purpose: str = self.payload["chargingProfilePurpose"]
        return purpose

    @property
    def schedule(self) -> Payload:
        schedule: Payload = self.payload["chargingSchedule"][0]
        return schedule

    @property
    def others(self) -> list[Profile]:
        """Installed profiles that this one would stand beside (one of its id it replaces)."""
        installed = self.view.profiles.installed
        return [profile for profile in installed if profile.profile_id != self.payload["id"]]


def check_profile(payload: Payload, evse_id: int, view: View, now: Now) -> Payload | None:
    """statusInfo of the first rule that a SetChargingProfile breaks; None when it is fine (K01)."""
    return _first(_Case(payload, evse_id, view, now), (*_PLACE_RULES, *_SHAPE_RULES, *_STACK_RULES))


def check_start_profile(
    payload_profile: Payload, evse_id: int, view: View, now: Now
) -> Payload | None:
    """The same for the profile of a RequestStartTransaction on `evse_id` (F01.FR.26, K05)."""
    case = _Case(payload_profile, evse_id, view, now)
    return _first(case, (_start_purpose, _evse, *_SHAPE_RULES, _room))


def is_enabled(view: View) -> bool:
    """SmartChargingCtrlr.Enabled; profiles installed before stay in force while it is false."""
    return view.variables.value("SmartChargingCtrlr", "Enabled") == "true"


def expired(view: View, now: Now) -> list[Profile]:
    """Installed profiles that can never apply again, the longest expired first."""
    at_s = now.utc_s() if now.utc_known else float("-inf")
    gone = [profile for profile in view.profiles.installed if profile.valid_to_s <= at_s]
    return sorted(gone, key=lambda profile: profile.valid_to_s)


def _first(case: _Case, rules: tuple[Callable[[_Case], Refusal | None], ...]) -> Payload | None:
    for rule in rules:
        refusal = rule(case)
        if refusal is not None:
            return status_info(*refusal)
    return None


def status_info(reason_code: str, text: str) -> Payload:
    return {"reasonCode": reason_code, "additionalInfo": text}


# --- where it belongs ---------------------------------------------------------------------------


def _evse(case: _Case) -> Refusal | None:
    """K01.FR.28"""
    if case.evse_id in (0, *case.view.station.evse_ids):
        return None
    return "UnknownEvse", f"there is no EVSE {case.evse_id}"


def _purpose(case: _Case) -> Refusal | None:
    """K01.FR.16, K01.FR.22, K01.FR.38, K04.FR.03"""
    if case.purpose == "ChargingStationExternalConstraints":
        return "InvalidProfile", "external constraints are not set by a CSMS"
    if case.purpose == "TxProfile" and case.evse_id == 0:
        return "InvalidValue", "a TxProfile needs an evseId above 0"
    if case.purpose == "ChargingStationMaxProfile":
        if case.evse_id != 0:
            return "InvalidValue", "a ChargingStationMaxProfile belongs to evseId 0"
        if case.payload["chargingProfileKind"] == "Relative":
            return "InvalidProfile", "a ChargingStationMaxProfile cannot be Relative"
    return None


def _transaction(case: _Case) -> Refusal | None:
    """K01.FR.03, K01.FR.09, K01.FR.33"""
    if case.purpose != "TxProfile":
        return None
    running = case.view.station.transaction_id(case.evse_id)
    if running is None:
        return "TxNotFound", f"no transaction on EVSE {case.evse_id}"
    if "transactionId" not in case.payload:
        return "MissingParam", "a TxProfile needs a transactionId"
    if case.payload["transactionId"] != running:
        return "TxNotFound", f"no such transaction on EVSE {case.evse_id}"
    return None


def _start_purpose(case: _Case) -> Refusal | None:
    """F01.FR.09, F01.FR.11"""
    if case.purpose != "TxProfile":
        return "InvalidProfile", "a start request takes a TxProfile only"
    if "transactionId" in case.payload:
        return "InvalidProfile", "transactionId must be left out of a start request"
    return None


def _own_id(case: _Case) -> Refusal | None:
    """K01.FR.05: what a local energy manager set is not replaced by a CSMS."""
    if not case.view.profiles.external.owns(case.payload["id"]):
        return None
    return "InvalidValue", f"id {case.payload['id']} is the local energy manager's; take another"


# --- its shape ----------------------------------------------------------------------------------


def _stack_level(case: _Case) -> Refusal | None:
    if 0 <= case.payload["stackLevel"] <= MAX_STACK_LEVEL:
        return None
    return "InvalidStackLevel", f"stackLevel must be 0 to {MAX_STACK_LEVEL}"


def _one_schedule(case: _Case) -> Refusal | None:
    """K01.FR.34"""
    if len(case.payload["chargingSchedule"]) == 1:
        return None
    return "TooManyElements", "one chargingSchedule only: the session does not use ISO 15118"


def _kind(case: _Case) -> Refusal | None:
    """K01.FR.40, K01.FR.41"""
    kind = case.payload["chargingProfileKind"]
    if kind == "Relative":
        if "startSchedule" in case.schedule:
            return "InvalidSchedule", "a Relative profile has no startSchedule"
        return None
    if "startSchedule" not in case.schedule:
        return "InvalidSchedule", f"a profile that is {kind} needs a startSchedule"
    if kind == "Recurring" and case.payload.get("recurrencyKind") not in RECURRENCE_S:
        return "InvalidProfile", "a Recurring profile needs a recurrencyKind"
    return None


def _periods(case: _Case) -> Refusal | None:
    """K01.FR.31, K01.FR.35"""
    periods = case.schedule["chargingSchedulePeriod"]
    starts = [period["startPeriod"] for period in periods]
    if len(periods) > MAX_PERIODS:
        return "TooManyElements", f"at most {MAX_PERIODS} periods in a schedule"
    if starts[0] != 0:
        return "InvalidSchedule", "the first startPeriod must be 0"
    if any(later <= earlier for earlier, later in pairwise(starts)):
        return "InvalidSchedule", "startPeriod must increase from period to period"
    if any(period["limit"] < 0 for period in periods):
        return "InvalidSchedule", "a limit cannot be negative"
    if case.schedule.get("duration", 1) <= 0:
        return "InvalidSchedule", "duration must be above 0"
    return None


def _phases(case: _Case) -> Refusal | None:
    """K01.FR.19, K01.FR.43, K01.FR.45, K01.FR.48: the phases are wired, none can be switched."""
    places = [case.evse_id] if case.evse_id else case.view.station.evse_ids
    wired = max(case.view.facts.phases(evse_id) for evse_id in places)
    for period in case.schedule["chargingSchedulePeriod"]:
        if "phaseToUse" in period:
            return "UnsupportedParam", "phaseToUse: the phases cannot be switched"
        phases = period.get("numberPhases", wired)
        if not 1 <= phases <= 3:
            return "InvalidSchedule", "numberPhases must be 1 to 3"
        if phases < wired:
            return "UnsupportedParam", f"numberPhases {phases}: {wired} are wired, none is switched"
    return None


def _times(case: _Case) -> Refusal | None:
    """A time must be one, and the profile valid at some moment."""
    try:
        profile = parse(case.payload, case.evse_id)
    except ValueError as error:
        return "InvalidValue", f"a time cannot be read: {error}"
    if profile.valid_from_s >= profile.valid_to_s:
        return "InvalidProfile", "validTo must be later than validFrom"
    return None


# --- beside the others --------------------------------------------------------------------------


def _duplicate(case: _Case) -> Refusal | None:
    """K01.FR.06, K01.FR.39, K01.FR.52, K01.FR.53"""
    new = parse(case.payload, case.evse_id)
    for other in case.others:
        if (other.purpose, other.stack_level) != (new.purpose, new.stack_level):
            continue
        if new.purpose == "TxProfile":
            clash = other.transaction_id == new.transaction_id
        elif other.evse_id == new.evse_id:
            clash = new.overlaps(other)
        else:
            clash = 0 in (other.evse_id, new.evse_id)
        if clash:
            return "DuplicateProfile", f"profile {other.profile_id} has this purpose and stackLevel"
    return None


def _room(case: _Case) -> Refusal | None:
    gone = {profile.profile_id for profile in expired(case.view, case.now)}
    if sum(other.profile_id not in gone for other in case.others) < MAX_PROFILES:
        return None
    return "TooManyElements", f"at most {MAX_PROFILES} profiles can be installed"


_PLACE_RULES = (_evse, _purpose, _transaction)
_SHAPE_RULES = (_own_id, _stack_level, _one_schedule, _kind, _periods, _phases, _times)
_STACK_RULES = (_duplicate, _room)
