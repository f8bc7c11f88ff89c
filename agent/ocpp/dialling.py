"""When to dial which endpoint: the back-off of OCPP-J 5.3 and the choice of the slot (B10)."""

from collections.abc import Callable

from msgspec import Struct

from agent.core import effects as ef
from agent.core.events import Now

DIAL_FLOOR_S = 1.0
"""No endpoint is dialled sooner than this after the last attempt, whatever the variables say."""
OPEN_TIMEOUT_S = 20.0
GOOD_SLOT_KEY = "meta/good_slot"
"""State key of the network slot whose CSMS accepted a boot last."""


class Slot(Struct, frozen=True):
    """One endpoint to dial."""

    url: str
    user: str
    security_profile: int
    number: int = 1
    """configurationSlot, as the CSMS counts."""
    message_timeout_s: float | None = None
    """None: as the station's own variable says."""
    credential: int = 0
    """Index of the back end in charger.yaml whose password is used."""


class Dialling:
    """The next dial; `slots` in the order of NetworkConfigurationPriority, `good` the number of
    the one that worked last, as GOOD_SLOT_KEY keeps it."""

    def __init__(
        self,
        slots: tuple[Slot, ...],
        seconds: Callable[[str], float],
        good: str | None = None,
    ) -> None:
        self.slots = slots
        self.slot = 0
        self.at_s: float | None = 0.0
        """Loop time of the next dial; None while a link is open or being opened."""
        self._seconds = seconds
        self._waits = 0
        self._wait_s = 0.0
        self._dialled_at_s = float("-inf")
        self._attempts = 0
        self._untried = list(range(1, len(slots)))
        numbers = [str(slot.number) for slot in slots]
        self._good_slot = numbers.index(good) if good in numbers else None
        self._kept = good
        self._is_proved = False
        self._has_opened = False
        self._failed: dict[int, int] = {}
        self._floor = 1
        self.rounds = 0
        """How often all slots were tried in vain since somebody answered last."""

    @property
    def failed(self) -> int:
        """Dials of this slot in vain since a link to it opened last; with one open: before it."""
        return self._failed.get(self.slot, 0)

    @property
    def is_migrating(self) -> bool:
        """Another back end than the one that worked last is dialled (B10)."""
        return self._good_slot is not None and self.slot != self._good_slot

    @property
    def came_back(self) -> bool:
        """Another one was tried in vain before."""
        return any(failed and slot != self.slot for slot, failed in self._failed.items())

    def forget_below(self, security_profile: int) -> None:
        """Less secure slots are not dialled any more (A05.FR.06)."""
        self._floor = security_profile
        self._untried = [slot for slot in self._untried if self._is_allowed(slot)]

    def _is_allowed(self, slot: int) -> bool:
        return self.slots[slot].security_profile >= self._floor

    def dial(self, now: Now) -> ef.Dial:
        """The order to dial, given now."""
        self.at_s, self._dialled_at_s, self._is_proved = None, now.mono_s, False
        self._has_opened = False
        slot = self.slots[self.slot]
        ping_s = self._seconds("WebSocketPingInterval")
        return ef.Dial(
            self.slot, slot.url, slot.user, slot.security_profile, OPEN_TIMEOUT_S, ping_s
        )

    def opened(self) -> None:
        """The back-off begins anew after a success."""
        self._waits = 0
        self._has_opened = True

    def proved(self) -> None:
        """Somebody answers there: what accepts and closes at once would not count for B10."""
        if not self._is_proved:
            self._is_proved, self._attempts, self._good_slot = True, 0, self.slot
            others = (slot for slot in range(len(self.slots)) if slot != self.slot)
            self._untried = [slot for slot in others if self._is_allowed(slot)]
            self._failed, self.rounds = {self.slot: self.failed}, 0

    def accepted(self) -> list[ef.Save]:
        """Where to fall back when nothing else answers, after a restart too (B10.FR.07)."""
        number = str(self.slots[self.slot].number)
        if number == self._kept:
            return []
        self._kept = number
        return [ef.Save(GOOD_SLOT_KEY, number)]

    def ended(self, now: Now) -> None:
        """A dial failed or the link was lost: when and where to try again."""
        self._failed[self.slot] = 0 if self._has_opened else self.failed + 1
        if not self._is_proved:
            self._attempts += 1
        if self._attempts >= max(1.0, self._seconds("NetworkProfileConnectionAttempts")):
            self._next_slot()
        minimum_s = self._seconds("RetryBackOffWaitMinimum")
        random_s = now.random() * self._seconds("RetryBackOffRandomRange")
        if self._waits == 0:
            self._wait_s = minimum_s + random_s
        elif self._waits <= self._seconds("RetryBackOffRepeatTimes"):
            self._wait_s = 2 * self._wait_s + random_s
        self._waits += 1
        floor_s = self._dialled_at_s + max(DIAL_FLOOR_S, minimum_s)
        self.at_s = max(now.mono_s + self._wait_s, floor_s)

    def _next_slot(self) -> None:
        """B10.FR.03, FR.07, FR.08: all once, then the one that worked last, then all again."""
        self._attempts = 0
        if not self._untried:
            self.rounds += 1
            order = [slot for slot in range(len(self.slots)) if self._is_allowed(slot)]
            order.sort(key=lambda slot: slot != self._good_slot)
            self._untried = order
        self.slot = self._untried.pop(0)
