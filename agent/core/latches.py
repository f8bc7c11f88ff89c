"""What outlives a restart, so that nothing recloses by itself: faults that stand until a technician
has looked, and that a residual current ended the charge of the EV that is still plugged in."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from agent.core.connector import Connector
from agent.core.effects import Log, Save, Show
from drivers.contract import PowerPath

LATCHED_KEY = "latched"
TRIPPED_KEY = "tripped"
WELDED = "welded_contactor"
AFTER_RCD = frozenset({"rcd", "dc_fault"})
"""Residual current: whoever recloses must have looked why (IEC 61851-1, 8.5)."""

Kept = TypeVar("Kept")
Latched = dict[str, tuple[str, ...]]
"""Connector as "evse/connector" -> fault names."""


class Latches:
    """Which fault stays at which connector; written through with every change."""

    def __init__(
        self, connectors: Iterable[Connector], rcd_needs_service: bool, saved: Mapping[str, str]
    ) -> None:
        """A record that cannot be read counts as a welded contactor, or as a trip, everywhere."""
        self._connectors = tuple(connectors)
        self._kinds = frozenset({WELDED}) | (AFTER_RCD if rcd_needs_service else frozenset())
        names = tuple(_name(connector) for connector in self._connectors)
        welded: Latched = dict.fromkeys(names, (WELDED,))
        known = _read(saved.get(LATCHED_KEY), Latched, welded) or {}
        tripped = _read(saved.get(TRIPPED_KEY), tuple[str, ...], names) or ()
        for connector in self._connectors:
            name = _name(connector)
            connector.latched_faults = frozenset(known.get(name, ()))
            connector.tripped = connector.session_over = name in tripped
        self._tripped = self._names_of_tripped()

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
        kept = [self._save()] if effects else []
        tripped = self._names_of_tripped()
        if tripped != self._tripped:
            self._tripped = tripped
            text = msgspec.json.encode(tripped).decode()
            kept.append(Save(TRIPPED_KEY, text if tripped else None))
        return kept + effects

    def clear(self, connector: Connector) -> list[object]:
        """Serviced. Not while the fault is still there, or the path not seen open."""
        cause = refusal(connector)
        if cause is not None:
            return [Log(4, f"EVSE {connector.evse_id}: {cause}")]
        names = ", ".join(sorted(connector.latched_faults))
        connector.latched_faults = frozenset()
        return [self._save(), Log(4, f"EVSE {connector.evse_id}: serviced: {names}")]

    def _names_of_tripped(self) -> tuple[str, ...]:
        return tuple(_name(c) for c in self._connectors if c.tripped)

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


def _read(text: str | None, kind: Any, unread: Kept) -> Kept | None:
    """None: nothing was kept; `unread`: what was kept cannot be read."""
    if text is None:
        return None
    try:
        kept: Kept = msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return unread
    return kept


def _name(connector: Connector) -> str:
    return f"{connector.evse_id}/{connector.connector_id}"
