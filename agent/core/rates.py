"""Which charges go faster or slower because of a local limit (K11.FR.04, K13.FR.03)."""

from msgspec import Struct

from agent.core.evse import Evse
from agent.core.local_limit import is_significant

RUNNING = ("Charging", "SuspendedEVSE")
"""States in which the offer is what bounds the charge; an EV that is full takes none."""


class _Rate(Struct, frozen=True):
    known_a: float
    """What the CSMS reckons with."""
    last_a: float


class Rates:
    """Offers to running charges. What the CSMS's own profiles change is no news to it."""

    def __init__(self) -> None:
        self._rates: dict[int, _Rate] = {}
        self._moved: set[int] = set()
        """EVSEs whose offer may still follow a local limit that changed."""

    def limits_changed(self, evse_ids: tuple[int, ...]) -> None:
        """A limit of one EVSE leaves more or less to the others."""
        self._moved.update(evse_ids)

    def is_news(self, evse: Evse, rate_a: float, percent: float, *, is_settled: bool) -> bool:
        """Whether the offer `rate_a` is to be told; `is_settled`: it stays."""
        evse_id, transaction = evse.evse_id, evse.transaction
        if transaction is None or transaction.charging_state not in RUNNING:
            self._rates.pop(evse_id, None)
            self._moved.discard(evse_id)
            return False
        is_moved = evse_id in self._moved
        rate = self._rates.get(evse_id, _Rate(rate_a, rate_a))
        known_a = rate.known_a if is_moved or rate_a == rate.last_a else rate_a
        is_news = is_significant(known_a, rate_a, percent)
        self._rates[evse_id] = _Rate(rate_a if is_news else known_a, rate_a)
        if is_settled:
            self._moved.discard(evse_id)
        return is_news
