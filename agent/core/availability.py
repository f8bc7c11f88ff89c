"""Operative or not, as ChangeAvailability last said: three levels, kept apart (G03, G04)."""

from collections.abc import Mapping

import msgspec

from agent.core.effects import Save
from agent.core.evse import Evse
from agent.core.limits import Place

AVAILABILITY_KEY = "availability"
"""State key of what is inoperative: a list of (evse_id, connector_id), 0 for the level above."""


class Availability:
    """Tells each EVSE and connector whether its own level may be used; persistent (G03.FR.08)."""

    def __init__(self, evses: Mapping[int, Evse], saved: str) -> None:
        self._evses = evses
        self._is_station_operative = True
        for evse_id, connector_id in msgspec.json.decode(saved, type=list[Place]):
            if self._knows(evse_id, connector_id):
                self._set(evse_id, connector_id, False)

    def of(self, evse_id: int, connector_id: int = 0) -> bool:
        """What was last said of this level (0: the one above)."""
        if evse_id == 0:
            return self._is_station_operative
        evse = self._evses[evse_id]
        return evse.connectors[connector_id].operative if connector_id else evse.operative

    def change(self, evse_id: int, connector_id: int, operative: bool) -> Save:
        self._set(evse_id, connector_id, operative)
        return Save(AVAILABILITY_KEY, msgspec.json.encode(self._inoperative()).decode())

    def _knows(self, evse_id: int, connector_id: int) -> bool:
        """The file may have lost an EVSE or a connector since."""
        if evse_id == 0:
            return True
        evse = self._evses.get(evse_id)
        return evse is not None and (connector_id == 0 or connector_id in evse.connectors)

    def _set(self, evse_id: int, connector_id: int, operative: bool) -> None:
        if evse_id == 0:
            self._is_station_operative = operative
            for evse in self._evses.values():
                evse.station_operative = operative
        elif connector_id == 0:
            self._evses[evse_id].operative = operative
        else:
            self._evses[evse_id].connectors[connector_id].operative = operative

    def _inoperative(self) -> list[Place]:
        evses = self._evses.values()
        places = [] if self._is_station_operative else [(0, 0)]
        places += [(evse.evse_id, 0) for evse in evses if not evse.operative]
        connectors = (c for evse in evses for c in evse.connectors.values())
        return places + [c.place for c in connectors if not c.operative]
