"""What the board's own inputs mean: the guard hears of a fault first, then the core."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from agent.core import events as ev
from agent.guard import Guard
from drivers.contract import GpioBoardOptions

FAULTS = {
    "emergency_stop": ("emergency_stop", True),
    "rcd": ("rcd", True),
    "dc_fault": ("dc_fault", True),
    "mains": ("no_mains", False),
}
"""Input -> (fault for guard and core, level at which it is one)."""
INPUTS_LOST = "inputs_lost"
"""Fault while inputs that may stop power are out of sight."""
DOOR = "door"


class Watched(Struct, frozen=True):
    """A board's inputs that may stop power, and the EVSEs they stop."""

    inputs: frozenset[str]
    evse_ids: tuple[int, ...]


def watched(options: GpioBoardOptions, evse_ids: tuple[int, ...]) -> Watched:
    """What of a board may stop power; `evse_ids` are all of the station."""
    inputs = frozenset(name for name in FAULTS if getattr(options, name) is not None)
    return Watched(inputs, options.evses or evse_ids)


class StationInputs:
    """Until every input of a board was seen, nothing is energised that it could stop."""

    def __init__(
        self, boards: Mapping[str, Watched], guard: Guard, post: Callable[[object], None]
    ) -> None:
        self._boards = boards
        self._guard = guard
        self._post = post
        self._unseen = {name: set(board.inputs) for name, board in boards.items()}
        self._standing: set[tuple[str, str]] = set()
        """(device, fault) that the core was told of."""
        for name, board in boards.items():
            if board.inputs:
                self._tell_guard(name, INPUTS_LOST, True)

    def seen(self, device: str, name: str, active: bool) -> bool:
        """Takes an input's level in; False when it is none of a board's own."""
        board = self._boards.get(device)
        if board is None or (name not in FAULTS and name != DOOR):
            return False
        if name == DOOR:
            if active:
                note = f"door open ({device})"
                self._post(ev.SecurityNoted("TamperDetectionActivated", note))
            return True
        fault, level = FAULTS[name]
        self._tell(device, fault, active is level)
        self._unseen[device].discard(name)
        if not self._unseen[device]:
            self._tell_guard(device, INPUTS_LOST, False)
            self._tell_core(device, INPUTS_LOST, False)
        return True

    def lost(self, device: str) -> None:
        """The device is out of sight: what its inputs said counts no more, and power stops."""
        board = self._boards.get(device)
        if board is None or not board.inputs:
            return
        self._unseen[device] = set(board.inputs)
        self._tell(device, INPUTS_LOST, True)

    def _tell(self, device: str, fault: str, stands: bool) -> None:
        self._tell_guard(device, fault, stands)
        self._tell_core(device, fault, stands)

    def _tell_guard(self, device: str, fault: str, stands: bool) -> None:
        for evse_id in self._boards[device].evse_ids:
            self._guard.see_input(evse_id, device, fault, stands)

    def _tell_core(self, device: str, fault: str, stands: bool) -> None:
        """Changes only; what two boards report is over when it is over on both."""
        if stands is ((device, fault) in self._standing):
            return
        self._standing ^= {(device, fault)}
        kind = ev.FaultRaised if stands else ev.FaultCleared
        others = [self._boards[d].evse_ids for d, f in self._standing if d != device and f == fault]
        for evse_id in self._boards[device].evse_ids:
            if not any(evse_id in ids for ids in others):
                self._post(kind(evse_id, 0, fault))
