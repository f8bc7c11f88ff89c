"""When a contactor may close, must open, and is broken; pure.

Orders and views go in, coils and faults come out: `order`, `step(view, now_s)`, `deadline(now_s)`.
"""

from enum import StrEnum

from msgspec import Struct

from drivers.contract import PilotState, PowerPath

CLOSES_AFTER_S = 0.5
"""How long the EV must stay in C: a wake-up pulse of the EV (B-C-B, up to 0.4 s) closes nothing.
The limit for closing is 3 s (IEC 61851-1 table A.6 sequence 4)."""
UNDER_LOAD_S = 6.0
"""After a stop the EV lets go; if it does not, the contactor opens under load (sequence 10.2)."""
TEST_WITHIN_S = 0.5
"""How long the DC monitor may take to answer its test, and to forget it."""
LEAST_A = 5.5
"""Less than this on the pilot is no offer."""

WELDED = "welded_contactor"
DID_NOT_CLOSE = "contactor_did_not_close"
RCD = "rcd"
DC_FAULT = "dc_fault"
SELF_TEST = "rcd_self_test"


class Wish(StrEnum):
    ALLOW = "allow"
    STOP = "stop"
    CUT = "cut"


class Phase(StrEnum):
    OFF = "off"
    TESTED = "tested"
    """The DC monitor is under test and has to trip."""
    RELEASED = "released"
    """The test is over, the monitor has to come back."""
    ON = "on"


class View(Struct, frozen=True):
    """All inputs of one moment."""

    state: PilotState
    is_healthy: bool
    """The pilot controller is seen, fresh and without faults."""
    aux: tuple[bool, ...]
    """Main contacts closed, per contactor."""
    offered_a: float | None = None
    """None: the controller cannot tell."""
    rcd: bool = False
    dc_fault: bool = False


class Bounds(Struct, frozen=True):
    """What the contactors promise."""

    closes_within_s: float = 0.5
    opens_within_s: float = 0.5
    tests: bool = False
    """The DC monitor is tried before each closing."""


class Closing:
    """One power path of one contactor, or of two that close one after the other.

    A fault stands until its cause is gone and the EV is unplugged; the core keeps a welded
    contactor in mind beyond that, until it was serviced.
    """

    def __init__(self, count: int, bounds: Bounds, now_s: float) -> None:
        self.faults: frozenset[str] = frozenset()
        self.phase = Phase.OFF
        self.power_path = PowerPath.UNKNOWN
        self.coils = (False,) * count
        self._bounds = bounds
        self._wish = Wish.STOP
        self._stop_at_s = now_s
        self._phase_at_s = now_s
        self._quiet_until_s = now_s
        """The DC monitor may still show a test that was broken off."""
        self._asks_since_s: float | None = None
        self._differs_since_s: list[float | None] = [None] * count
        """Since when an auxiliary contact says something else than its coil."""

    @property
    def test(self) -> bool:
        """Level of the DC monitor's test input."""
        return self.phase is Phase.TESTED

    def order(self, wish: Wish, now_s: float) -> None:
        """A repeated stop does not begin its time anew."""
        if wish is Wish.STOP and self._wish is Wish.ALLOW:
            self._stop_at_s = now_s
        self._wish = wish

    def drop(self) -> None:
        """The lines are gone, the coils without current: nothing is known until they are back."""
        self.phase, self.power_path = Phase.OFF, PowerPath.UNKNOWN
        self.coils = (False,) * len(self.coils)
        self._asks_since_s = None
        self._differs_since_s = [None] * len(self.coils)

    def step(self, view: View, now_s: float) -> None:
        """Takes the inputs in and decides; call it on each change and at `deadline`."""
        asks = view.state is PilotState.C and view.is_healthy
        self._asks_since_s = _since(asks, self._asks_since_s, now_s)
        for index, (coil, aux) in enumerate(zip(self.coils, view.aux, strict=True)):
            since_s = self._differs_since_s[index]
            self._differs_since_s[index] = _since(coil != aux, since_s, now_s)
        self._judge(view, now_s)
        self._move(view, now_s)
        self.power_path = PowerPath.CLOSED if any(view.aux) else PowerPath.OPEN

    def deadline(self, now_s: float) -> float | None:
        """When time alone changes something; None: only an input or an order can."""
        times = [
            s + self._within_s(i) for i, s in enumerate(self._differs_since_s) if s is not None
        ]
        if self._asks_since_s is not None and self._wish is Wish.ALLOW and self.phase is Phase.OFF:
            times.append(self._asks_since_s + CLOSES_AFTER_S)
        if self.phase in (Phase.TESTED, Phase.RELEASED):
            times.append(self._phase_at_s + TEST_WITHIN_S)
        if self.phase is Phase.ON and self._wish is Wish.STOP:
            times.append(self._stop_at_s + UNDER_LOAD_S)
        return min((at_s for at_s in times if at_s > now_s), default=None)

    # --- faults -------------------------------------------------------------------------------

    def _within_s(self, index: int) -> float:
        bounds = self._bounds
        return bounds.closes_within_s if self.coils[index] else bounds.opens_within_s

    def _judge(self, view: View, now_s: float) -> None:
        has_left = view.state is PilotState.A and view.is_healthy
        found = set() if has_left else set(self.faults)
        for index, since_s in enumerate(self._differs_since_s):
            if since_s is not None and now_s >= since_s + self._within_s(index):
                found.add(DID_NOT_CLOSE if self.coils[index] else WELDED)
        if view.rcd:
            found.add(RCD)
        if self.phase is Phase.TESTED or self.phase is Phase.RELEASED:
            if now_s >= self._phase_at_s + TEST_WITHIN_S and not self._tested(view):
                found.add(SELF_TEST)
        elif view.dc_fault and (self.phase is Phase.ON or now_s >= self._quiet_until_s):
            found.add(DC_FAULT)
        self.faults = frozenset(found)

    def _tested(self, view: View) -> bool:
        """The DC monitor shows what this phase of its test asks for."""
        return view.dc_fault is (self.phase is Phase.TESTED)

    # --- moves --------------------------------------------------------------------------------

    def _move(self, view: View, now_s: float) -> None:
        if self.phase is Phase.ON:
            if self._must_open(view, now_s):
                self._enter(Phase.OFF, now_s)
        elif not self._may_close(view, now_s):
            if self.phase is not Phase.OFF:
                self._enter(Phase.OFF, now_s)
        elif self.phase is Phase.OFF:
            self._enter(Phase.TESTED if self._bounds.tests else Phase.ON, now_s)
        elif self._tested(view):
            self._enter(Phase.RELEASED if self.phase is Phase.TESTED else Phase.ON, now_s)
        self._switch(view, now_s)

    def _must_open(self, view: View, now_s: float) -> bool:
        if self._wish is Wish.CUT or self.faults or not view.is_healthy:
            return True
        if view.state is not PilotState.C:
            return True
        return self._wish is Wish.STOP and now_s >= self._stop_at_s + UNDER_LOAD_S

    def _may_close(self, view: View, now_s: float) -> bool:
        since_s = self._asks_since_s
        if self._wish is not Wish.ALLOW or self.faults or since_s is None:
            return False
        if any(view.aux) or (view.offered_a is not None and view.offered_a < LEAST_A):
            return False
        return now_s >= since_s + CLOSES_AFTER_S

    def _enter(self, phase: Phase, now_s: float) -> None:
        if self.phase is Phase.TESTED:
            self._quiet_until_s = now_s + TEST_WITHIN_S
        self.phase, self._phase_at_s = phase, now_s

    def _switch(self, view: View, now_s: float) -> None:
        """The first contactor follows the phase; the second one waits until the first is closed."""
        on = self.phase is Phase.ON
        coils = (on, *(on and view.aux[0] for _ in self.coils[1:]))
        for index, (before, after) in enumerate(zip(self.coils, coils, strict=True)):
            if before != after:
                self._differs_since_s[index] = now_s if after != view.aux[index] else None
        self.coils = coils


def _since(holds: bool, since_s: float | None, at_s: float) -> float | None:
    """Start of the time a condition holds, or None."""
    if not holds:
        return None
    return at_s if since_s is None else since_s
