"""TxStartPoint and TxStopPoint: what lets a transaction begin and what ends it (E01, E06).

A stop point ends the transaction when the fact of its name ceases to be true.
"""

from agent.core.connector import Connector
from agent.core.policy import Policy

ENDS_WITH_AUTHORIZATION = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})
ENDS_WITH_CONNECTION = frozenset({"EVConnected", "PowerPathClosed"})


def facts(
    connector: Connector | None, granted: bool, *, in_bay: bool = False, is_signed: bool = False
) -> frozenset[str]:
    """TxStartStopPointEnumType values that are true now; the power path counts as closed once EV
    and driver are known (E01.FR.05), and data as signed once that begin value is (E01.FR.04)."""
    connected = connector is not None and connector.plugged
    found = {"EVConnected"} if connected else set()
    if granted:
        found.add("Authorized")
    if in_bay:
        found.add("ParkingBayOccupancy")
    if connected and granted:
        found.add("PowerPathClosed")
        if is_signed:
            found.add("DataSigned")
    if connector is not None and connector.delivering and granted:
        found.add("EnergyTransfer")
    return frozenset(found)


def ends_at_unplugging(policy: Policy, granted: bool, has_charged: bool, in_bay: bool) -> bool:
    """Without an authorisation only an EV that leaves its bay could end the transaction later, else
    it ends now (E06.FR.01, FR.02, FR.06, FR.07, E09)."""
    stop = policy.tx_stop_point
    granted = granted or (in_bay and "ParkingBayOccupancy" in stop)
    energy_ends = has_charged and "EnergyTransfer" in stop
    return not granted or bool(stop & ENDS_WITH_CONNECTION) or energy_ends


def ends_with_authorization(policy: Policy, is_here: bool, started: bool) -> bool:
    """With no EV that could be unplugged or leave, or nothing told yet, nothing is waited for
    (E03.FR.05, FR.15, E06.FR.03, F03.FR.03)."""
    return not is_here or not started or bool(policy.tx_stop_point & ENDS_WITH_AUTHORIZATION)
