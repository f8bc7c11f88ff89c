"""What the pilot's letters and fault names mean for a charge."""

from drivers.contract import PilotReading, PilotState

CONNECTED = frozenset({PilotState.B, PilotState.C, PilotState.D})
"""States in which an EV is plugged in (IEC 61851-1 table A.1)."""

DISCONNECTED = frozenset({PilotState.A})

DEMANDING = frozenset({PilotState.C})
"""States in which the EV asks for power that we give; D needs ventilation, which we do not have."""

ENERGISABLE = frozenset({PilotState.B, PilotState.C})
"""States in which power may be offered: an EV is there and needs no ventilation."""

UNCLEAR = frozenset({PilotState.E, PilotState.F, PilotState.UNKNOWN})
"""States that do not tell whether an EV is there."""

SUSPENDING_FAULTS = frozenset({"inputs_lost", "meter_lost", "pilot_lost"})
"""Lost views: power stops at once, the transaction ends only when they last."""

SUSPENDED_AT_MOST_S = 60.0
"""A lost view that lasts longer ends the transaction or the authorisation."""

STOPPED_REASONS = {
    "emergency_stop": "EmergencyStop",
    "dc_fault": "GroundFault",
    "ground": "GroundFault",
    "rcd": "GroundFault",
    "over_current": "OvercurrentFault",
    "no_mains": "PowerLoss",
    "under_voltage": "PowerQuality",
}
"""Fault -> ReasonEnumType; any other fault is "Other"."""

GROUND_FAULTS = frozenset(f for f, reason in STOPPED_REASONS.items() if reason == "GroundFault")
"""Residual current: nothing recloses by itself after it (IEC 61851-1, 8.5)."""


def plugged(reading: PilotReading, before: bool) -> bool:
    """Whether an EV is plugged in; E, F and unknown tell nothing, so the last answer stands."""
    if reading.state in CONNECTED:
        return True
    if reading.state in DISCONNECTED:
        return False
    return before


def stopped_reason(faults: frozenset[str]) -> str:
    """ReasonEnumType for a transaction that these faults end (E06.FR.08, E06.FR.16)."""
    for fault, reason in STOPPED_REASONS.items():
        if fault in faults:
            return reason
    return "Other"
