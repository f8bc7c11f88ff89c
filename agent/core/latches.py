"""Faults that stand until a technician has looked: they outlive the sight of them, and restarts."""

from collections.abc import Iterable

import msgspec

from agent.core.connector import Connector
from agent.core.effects import Log, Save, Show
from drivers.contract import PowerPath

LATCHED_KEY = "latched"
WELDED = "welded_contactor"
AFTER_RCD = frozenset({"rcd", "dc_fault"})
"""Residual current: whoever recloses must have looked why (IEC 61851-1, 8.5)."""

Latched = dict[str, tuple[str, ...]]
"""Connector as "evse/connector" -> fault names."""


class Latches:
    """Which fault stays at which connector; written through with every change."""

    def __init__(
        self, connectors: Iterable[Connector], rcd_needs_service: bool, saved: str | None
    ) -> None:
        """A record that cannot be read counts as a welded contactor everywhere."""
        self._connectors = tuple(connectors)
        self._kinds = frozenset({WELDED}) | (AFTER_RCD if rcd_needs_service else frozenset())
        known: Latched = {}
        if saved is not None:
            try:
                known = msgspec.json.decode(saved, type=Latched)
            except msgspec.MsgspecError:
                known = {_name(connector): (WELDED,) for connector in self._connectors}
        for connector in self._connectors:
            connector.latched_faults = frozenset(known.get(_name(connector), ()))

    def follow(self) -> list[object]:
        """What is seen for the first time is kept from now on."""
        effects: list[object] = []
        for connector in self._connectors:
            new = (connector.faults & self._kinds) - connector.latched_faults
            if new:
                connector.latched_faults |= new
                names = ", ".join(sorted(new))
                text = f"EVSE {connector.evse_id}: {names}; no power here until it was looked into"
                hint = f"{text} and `chargepoint service --connector {_name(connector)}` was called"
                effects += [Log(3, hint), Show(connector.evse_id, "Out of order")]
        return [self._save(), *effects] if effects else []

    def clear(self, connector: Connector) -> list[object]:
        """Serviced. Not while the fault is still there, or the path not seen open."""
        cause = refusal(connector)
        if cause is not None:
            return [Log(4, f"EVSE {connector.evse_id}: {cause}")]
        names = ", ".join(sorted(connector.latched_faults))
        connector.latched_faults = frozenset()
        return [self._save(), Log(4, f"EVSE {connector.evse_id}: serviced: {names}")]

    def _save(self) -> Save:
        left = {_name(c): tuple(sorted(c.latched_faults)) for c in self._connectors}
        left = {name: faults for name, faults in left.items() if faults}
        return Save(LATCHED_KEY, msgspec.json.encode(left).decode() if left else None)


def refusal(connector: Connector) -> str | None:
    """Why the latched faults of a connector cannot be cleared now, or None."""
    if not connector.latched_faults:
        return "no fault waits for service here"
    still = sorted(connector.standing_faults & connector.latched_faults)
    if still:
        return f"{', '.join(still)} is still there; repair it first, then try again"
    if connector.reading.power_path is not PowerPath.OPEN:
        return "the power path is not seen open; switch off, repair the contactor, then try again"
    return None


def _name(connector: Connector) -> str:
    return f"{connector.evse_id}/{connector.connector_id}"
