"""What the lamps show: one condition for each EVSE, made of its status and its power path."""

from collections.abc import Iterable

from drivers.contract import Display, PilotReading, PilotState, PowerPath

Place = tuple[int, int]

ORDER = ("faulted", "charging", "occupied", "reserved", "unavailable", "available")
"""Of several connectors the first condition here is shown."""


class Lamps:
    """Tells each display the conditions of its EVSEs when one of them changes."""

    def __init__(self, displays: Iterable[tuple[Display, tuple[int, ...]]]) -> None:
        """Each display with the EVSEs that it shows."""
        self._displays = list(displays)
        self._status: dict[Place, str] = {}
        self._charges: set[Place] = set()
        self._shown: dict[int, str] = {}

    def see_status(self, place: Place, status: str) -> None:
        """ConnectorStatusEnumType, as it is told to the CSMS."""
        self._status[place] = status.lower()
        self._show()

    def see_pilot(self, place: Place, reading: PilotReading) -> None:
        charges = reading.state is PilotState.C and reading.power_path is PowerPath.CLOSED
        if charges is not (place in self._charges):
            self._charges ^= {place}
            self._show()

    def _show(self) -> None:
        conditions = {evse_id: self._condition(evse_id) for evse_id, _ in self._status}
        if conditions == self._shown:
            return
        self._shown = conditions
        for display, evse_ids in self._displays:
            display.show({e: condition for e, condition in conditions.items() if e in evse_ids})

    def _condition(self, evse_id: int) -> str:
        found = {
            "charging" if status == "occupied" and place in self._charges else status
            for place, status in self._status.items()
            if place[0] == evse_id
        }
        return min(found, key=ORDER.index)
