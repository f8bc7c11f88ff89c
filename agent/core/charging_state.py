"""ChargingStateEnumType, derived from facts each time it is asked for."""

from agent.core.connector import Connector

EV_REACTION_S = 15.0
"""An EV that was offered power and did not take it this long is suspending by itself."""

NOT_YET = frozenset({"EVConnected", "SuspendedEVSE"})
"""States that last while an EV is given time to react to a new offer."""


def charging_state(
    connector: Connector | None,
    *,
    before: str,
    granted: bool,
    is_withheld: bool,
    has_charged: bool,
    now_s: float,
) -> str:
    """`is_withheld`: the EVSE wants to give nothing (limit, refused token). While energy flows the
    state is Charging, whatever was ordered."""
    if connector is None or not connector.plugged:
        return "Idle"
    if connector.delivering:
        return "Charging"
    if not granted:
        return "EVConnected"
    if is_withheld or connector.faults:
        return "SuspendedEVSE"
    since_s = connector.offered_since_s
    if since_s is None:
        return "SuspendedEVSE" if has_charged or connector.hold_until_s > now_s else "EVConnected"
    if before in NOT_YET and now_s < since_s + EV_REACTION_S:
        return before
    return "SuspendedEV"


def reaction_due_s(connector: Connector | None, before: str, now_s: float) -> float | None:
    """When an EV that has not taken its offer yet counts as suspending."""
    if connector is None or connector.offered_since_s is None or before not in NOT_YET:
        return None
    due_s = connector.offered_since_s + EV_REACTION_S
    return due_s if due_s > now_s else None
