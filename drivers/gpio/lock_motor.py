"""A plug lock on an H bridge: pulses, feedback, some tries; pure."""

TRIES = 3
REST_S = 0.5
"""The motor rests between two tries."""
SETTLES_S = 0.1
"""From the end of a pulse to a feedback that counts."""


class LockMotor:
    """`order`, `step` on each change and at `deadline`; `closing` and `opening` are the outputs.

    It opens only while the power path is open, whatever was ordered (IEC 61851-1 D.6.6).
    """

    def __init__(self, pulse_s: float) -> None:
        self.closing = False
        self.opening = False
        self.settled: bool | None = None
        """Where it stands by the feedback; None while it is on its way."""
        self._pulse_s = pulse_s
        self._wish: bool | None = None
        self._tries = 0
        self._until_s: float | None = None
        """End of the pulse, of the settling or of the rest."""
        self._rests = False

    def order(self, locked: bool, now_s: float) -> None:
        """The last order counts; one that is carried out already is not repeated."""
        if locked is self._wish and (self._is_moving or self.settled is locked):
            return
        self.closing = self.opening = self._rests = False
        self._wish, self._tries, self.settled, self._until_s = locked, 0, None, now_s

    @property
    def _is_moving(self) -> bool:
        return self._until_s is not None

    def step(self, feedback: bool, path_open: bool, now_s: float) -> None:
        if self._until_s is None:
            self.settled = feedback
            return
        if now_s < self._until_s or self._wish is None:
            return
        if self.closing or self.opening:
            self.closing = self.opening = False
            self._until_s = now_s + SETTLES_S
        elif feedback is self._wish or self._tries >= TRIES:
            self.settled, self._until_s = feedback, None
        elif self._tries and not self._rests:
            self._rests, self._until_s = True, now_s + REST_S
        elif self._wish or path_open:
            self._tries, self._rests = self._tries + 1, False
            self.closing, self.opening = self._wish, not self._wish
            self._until_s = now_s + self._pulse_s

    def deadline(self, now_s: float) -> float | None:
        """When time alone changes something."""
        return self._until_s if self._until_s is not None and self._until_s > now_s else None
