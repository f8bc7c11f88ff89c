"""What the bench's OpenEVSE counts: the energy of one phase, as its firmware does."""

WS_PER_WH = 3600


class Counted:
    """A session begins with a plugged EV and joins the total, in whole Wh, when that is gone. It
    counts while the relay is closed, over the voltage it was told. A restart loses the session."""

    def __init__(self, total_wh: int = 0) -> None:
        self.total_wh = total_wh
        self._session_ws = 0.0
        self._in_session = False
        self._world_wh: float | None = None

    @property
    def session_ws(self) -> int:
        return int(self._session_ws)

    def follow(self, world_wh: float, share: float) -> None:
        """The world's counter is at `world_wh`; of what it rose by, `share` is counted."""
        if self._world_wh is not None:
            self._session_ws += (world_wh - self._world_wh) * WS_PER_WH * share
        self._world_wh = world_wh

    def plugged(self, is_plugged: bool) -> None:
        if is_plugged and not self._in_session:
            self._session_ws = 0.0
        elif self._in_session and not is_plugged:
            self.total_wh += self.session_ws // WS_PER_WH
        self._in_session = is_plugged

    def restarted(self) -> None:
        self._session_ws, self._in_session = 0.0, False
