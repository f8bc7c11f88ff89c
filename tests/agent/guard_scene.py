"""A guard over two EVSEs, and controllers that only note its orders."""

from collections.abc import Iterable

from agent.guard import Guard
from drivers.contract import MeterReading, PilotCapabilities, PilotReading, PilotState, PowerPath

HERE, THERE = (1, 1), (2, 1)
OPENS_WITHIN_S = 3.0


class Pilot:
    """A controller that only notes its orders."""

    name = "pilot"

    def __init__(self, report_interval_s: float = 1.0) -> None:
        self.orders: list[str] = []
        self.capabilities = PilotCapabilities(
            True, True, OPENS_WITHIN_S, report_interval_s, has_lock=True
        )

    def allow_power(self, limit_a: float) -> None:
        self.orders.append(f"allow {limit_a:g}")

    def stop(self) -> None:
        self.orders.append("stop")

    def emergency_stop(self) -> None:
        self.orders.append("emergency")


class Scene:
    """A guard over two EVSEs; healthy reports unless told otherwise."""

    def __init__(self, *, report_interval_s: float = 1.0, meter_interval_s: float = 1.0) -> None:
        self.now_s = 500.0
        self.pilots = {p: Pilot(report_interval_s) for p in (HERE, THERE)}
        self.stops: list[tuple[tuple[int, int], str]] = []
        intervals = {1: meter_interval_s, 2: meter_interval_s}
        self.guard = Guard(
            self.pilots,
            intervals,
            lambda: self.now_s,
            lambda place, cause: self.stops.append((place, cause)),
        )

    @property
    def orders(self) -> list[str]:
        return self.pilots[HERE].orders

    @property
    def causes(self) -> list[str]:
        return [cause for place, cause in self.stops if place == HERE]

    def pilot(
        self,
        state: str = "C",
        path: str = "closed",
        *,
        faults: Iterable[str] = (),
        place: tuple[int, int] = HERE,
    ) -> None:
        reading = PilotReading(
            self.now_s, PilotState(state), PowerPath(path), faults=frozenset(faults)
        )
        self.guard.see_pilot(place, reading)

    def meter(self, current_a: float = 0.0, evse_id: int = 1) -> None:
        reading = MeterReading(self.now_s, 1000.0, current_a=(current_a, 0.0, 0.0))
        self.guard.see_meter(evse_id, reading)

    def lock(self, locked: bool) -> None:
        self.guard.see_lock(HERE, locked)

    def allowed(self, limit_a: float = 16.0) -> "Scene":
        """Power allowed and flowing."""
        self.pilot("B", "open")
        self.meter()
        assert self.guard.allow(HERE, limit_a, self.guard.permit) is None
        self.pilot("C", "closed")
        self.orders.clear()
        return self

    def wait(self, seconds: float, *, pilot: bool = True, meter: bool = True, **seen: str) -> None:
        """Seconds of healthy reports, as far as wanted, and the guard's ticks."""
        for _ in range(round(seconds)):
            self.now_s += 1.0
            if pilot:
                self.pilot(**seen)
            if meter:
                self.meter()
            self.guard.tick()
