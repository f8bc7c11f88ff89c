"""One plug or socket of the simulated world: EV, cable, pilot, contactor."""

from typing import Any, Literal

from msgspec import Struct, field, to_builtins

LEAST_OFFER_A = 6.0
"""IEC 61851-1 A.2: the smallest current a pilot can signal by its duty cycle."""
LET_GO_S = 0.5
"""An obedient EV leaves state C this long after power is no longer offered."""

Ready = Literal["B", "C", "D"]


class Ev(Struct, frozen=True):
    """What an EV would do: A per phase it wants, phases, and when."""

    current_a: float = 16.0
    phases: Literal[1, 3] = 3
    ready_after_s: float = 1.0
    """From being offered power until it goes from B to `wants`."""
    wants: Ready = "C"
    ignores_pilot: bool = False
    """Draws `current_a` whatever is offered, and does not let go."""


class Connector(Struct):
    """Everything about one plug or socket."""

    phases: Literal[1, 3] = 3
    tethered: bool = True
    """The cable is fixed to the EVSE."""
    close_delay_s: float = 0.05
    open_delay_s: float = 0.03
    cable_a: float | None = None
    cable_at_evse: bool = True
    cable_at_ev: bool = False
    ev: Ev | None = None
    ev_state: Ready = "B"
    ev_changes_s: float | None = None
    offered_a: float = 0.0
    ordered_closed: bool = False
    closed: bool = False
    contactor_moves_s: float | None = None
    welded: bool = False
    faults: set[str] = field(default_factory=set)

    @property
    def ev_connected(self) -> bool:
        return self.ev is not None and self.cable_at_evse and self.cable_at_ev

    @property
    def drawn_a(self) -> float:
        """Current per phase through the contactor."""
        if self.ev is None or not self.ev_connected or not self.closed or self.ev_state == "B":
            return 0.0
        if self.ev.ignores_pilot:
            return self.ev.current_a
        return min(self.ev.current_a, self.offered_a) if self.offers_power else 0.0

    @property
    def offers_power(self) -> bool:
        return self.offered_a >= LEAST_OFFER_A

    @property
    def drawing_phases(self) -> int:
        return min(self.phases, self.ev.phases) if self.ev else 0

    def ev_target(self) -> Ready:
        """Where the EV goes if nothing else happens."""
        if self.ev is None or not self.ev_connected:
            return "B"
        return self.ev.wants if self.offers_power or self.ev.ignores_pilot else "B"

    def next_change_s(self) -> float | None:
        """When the EV or the contactor moves by itself."""
        times = (self.ev_changes_s, self.contactor_moves_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    def order(self, closed: bool, now_s: float) -> None:
        """Energises or releases the coil; the contacts follow after their delay."""
        self.ordered_closed = closed
        self.contactor_moves_s = None
        if closed and not self.closed:
            self.contactor_moves_s = now_s + self.close_delay_s
        elif self.closed and not closed and not self.welded:
            self.contactor_moves_s = now_s + self.open_delay_s

    def settle(self, now_s: float) -> None:
        """Does what is due at `now_s`, then starts or calls off the EV's way to its target."""
        self._apply_due(now_s)
        if self.ev is None or not self.ev_connected:
            self.ev_state, self.ev_changes_s = "B", None
        elif self.ev_target() == self.ev_state:
            self.ev_changes_s = None
        elif self.ev_changes_s is None:
            lets_go = self.ev_target() == "B"
            self.ev_changes_s = now_s + (LET_GO_S if lets_go else self.ev.ready_after_s)
            self._apply_due(now_s)

    def _apply_due(self, now_s: float) -> None:
        if self.contactor_moves_s is not None and self.contactor_moves_s <= now_s:
            self.closed, self.contactor_moves_s = self.ordered_closed, None
        if self.ev_changes_s is not None and self.ev_changes_s <= now_s:
            self.ev_state, self.ev_changes_s = self.ev_target(), None

    def saved(self) -> Any:
        """What outlives a power cut, as JSON values."""
        return to_builtins(
            SavedConnector(
                ev=self.ev,
                cable_a=self.cable_a,
                cable_at_evse=self.cable_at_evse,
                cable_at_ev=self.cable_at_ev,
                welded=self.welded,
                welded_shut=self.welded and self.closed,
                faults=tuple(sorted(self.faults)),
            )
        )

    def restore(self, saved: "SavedConnector") -> None:
        """The EV still plugged, nothing offered, the contactor open unless welded shut."""
        self.ev, self.ev_state, self.ev_changes_s = saved.ev, "B", None
        self.cable_a = saved.cable_a
        self.cable_at_evse, self.cable_at_ev = saved.cable_at_evse, saved.cable_at_ev
        self.offered_a, self.ordered_closed, self.contactor_moves_s = 0.0, False, None
        self.welded, self.closed = saved.welded, saved.welded_shut
        self.faults = set(saved.faults)


class SavedConnector(Struct, frozen=True):
    """What outlives a power cut of a connector."""

    ev: Ev | None
    cable_a: float | None
    cable_at_evse: bool
    cable_at_ev: bool
    welded: bool
    welded_shut: bool
    faults: tuple[str, ...]
