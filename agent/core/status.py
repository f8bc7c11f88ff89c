"""A connector's OCPP status, derived from facts each time it is asked for."""


def connector_status(*, faulted: bool, operative: bool, reserved: bool, occupied: bool) -> str:
    """ConnectorStatusEnumType: Faulted > Unavailable > Reserved > Occupied > Available (G01)."""
    if faulted:
        return "Faulted"
    if not operative:
        return "Unavailable"
    if reserved:
        return "Reserved"
    return "Occupied" if occupied else "Available"
