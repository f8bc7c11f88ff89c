"""What an OpenEVSE counts and measures by itself ($GU, $GG), as readings of a meter; no I/O.

It integrates the current of one transformer over a voltage that it is told. A session begins when
an EV is plugged in; its Wh join the total, rounded down, when it is unplugged, and are lost when
the controller restarts before that.
"""

import logging

from drivers.contract import MeterReading
from drivers.pilots.openevse_view import EV_CONNECTED, View
from drivers.pilots.rapi import Frame

INTERVAL_S = 1.0
VOLTAGE_S = 60.0
"""How often it is told its voltage, which it forgets when it restarts."""
REFUSED_S = 60.0
WS_PER_WH = 3600
PHASES = 3
"""Its firmware may be built to count one phase three times."""
SLACK_WH = 2.0
ODD_UNTIL_BELIEVED = 3
ACCURACY = (
    "it counts energy by itself: one phase, a voltage that is set and not measured, only while its "
    "relay is closed, no accuracy class; not for billing"
)

log = logging.getLogger(__name__)


class Energy:
    """A counter that never falls, nor rises faster than `most_w`, whatever the device's one does.

    What cannot follow is not believed; the third such reading in a row is logged, and counted on
    from where this one stood.
    """

    def __init__(self, name: str, most_w: float) -> None:
        self._name = name
        self._most_w = most_w
        self._last_wh: float | None = None
        self._at_s = 0.0
        self._ahead_wh = 0.0
        """What it is above the device's own counter."""
        self._odd = 0

    def follow(self, told_wh: int, at_s: float) -> float | None:
        """Wh after the device told `told_wh`; None while that is not believed."""
        if self._last_wh is None:
            self._last_wh = float(told_wh)
        risen_wh = told_wh + self._ahead_wh - self._last_wh
        most_wh = self._most_w * max(0.0, at_s - self._at_s) / WS_PER_WH + SLACK_WH
        if 0 <= risen_wh <= most_wh:
            self._last_wh += risen_wh
        else:
            self._odd += 1
            if self._odd < ODD_UNTIL_BELIEVED:
                return None
            self._ahead_wh -= risen_wh
            log.warning(
                "%s: its counter went to %d Wh by itself; counted on from %.0f Wh. What flowed "
                "unseen is on no bill: look for a restart of the controller",
                self._name,
                told_wh,
                self._last_wh,
            )
        self._odd, self._at_s = 0, at_s
        return self._last_wh


class MeterInside:
    """Says what to ask in a round of its own, takes the answers, and makes a reading of them.

    Whether a session is under way says the view, so a round counts only between two views that
    agree on that: around the moment of plugging the total already holds the session, or not yet.
    """

    def __init__(self, name: str, voltage_v: float, most_a: float) -> None:
        """`voltage_v`: of the mains, which the controller does not measure."""
        self.is_refused = False
        """The firmware counts no energy."""
        self._voltage_v = voltage_v
        self._measures_voltage = False
        self._energy = Energy(name, PHASES * voltage_v * most_a)
        self._not_before_s = 0.0
        self.start_over()

    def start_over(self) -> None:
        """The controller was just opened, or restarted."""
        self._due_s = 0.0
        self._voltage_at_s = 0.0
        self._forget_round()

    def _forget_round(self) -> None:
        self._counted: tuple[int, int, float] | None = None
        self._measured: tuple[int, int] | None = None
        self._in_session: bool | None = None

    def ask_soon(self, now_s: float) -> None:
        """A round is due now; what was counted before does not answer this."""
        self._due_s, self._not_before_s = 0.0, now_s
        self._forget_round()

    def due_s(self) -> float:
        """When the next question is due; a round that waits for a view has none."""
        waits = self._counted is not None and self._measured is not None
        return float("inf") if waits else self._due_s

    def next_command(self, now_s: float) -> str:
        """The next question of a round; empty when none is due, or the view has to end it."""
        if now_s < self._due_s:
            return ""
        if now_s >= self._voltage_at_s:
            return f"SV {round(self._voltage_v * 1000)}"
        if self._counted is None:
            return "GU"
        return "GG" if self._measured is None else ""

    def answered(self, command: str, reply: Frame, asked_s: float, view: View | None) -> bool:
        """Takes an answer in; True when the round waits for a view. Raises ValueError when it
        makes no sense. `view`: the last one from before the question."""
        is_good = reply.word == "OK"
        if command.startswith("SV"):
            self._voltage_at_s = asked_s + VOLTAGE_S
            self._measures_voltage = not is_good
            return False
        if not is_good or (command == "GG" and reply.number(0, 10) < 0):
            self.is_refused, self._due_s = True, asked_s + REFUSED_S
            self._forget_round()
            return False
        if command == "GG":
            self._measured = reply.number(0, 10), reply.number(1, 10)
            return self._counted is not None
        session_ws, total_wh = reply.number(0, 10), reply.number(1, 10)
        if session_ws < 0 or total_wh < 0:
            raise ValueError("$GU counted less than nothing; check the controller's firmware")
        if asked_s >= self._not_before_s and view is not None:
            self._counted = session_ws, total_wh, asked_s
            self._in_session = bool(view.flags & EV_CONNECTED)
        return False

    def seen(self, view: View) -> MeterReading | None:
        """What the round before this view says; None when there was none, or it does not count."""
        if self._counted is None or self._measured is None:
            return None
        (session_ws, total_wh, at_s), (milliamps, millivolts) = self._counted, self._measured
        before, after = self._in_session, bool(view.flags & EV_CONNECTED)
        self._forget_round()
        if before is not after:
            return None  # still due: the next round follows at once
        self.is_refused, self._due_s = False, at_s + INTERVAL_S
        energy_wh = self._energy.follow(total_wh + (session_ws // WS_PER_WH if after else 0), at_s)
        if energy_wh is None:
            return None
        amps, volts = milliamps / 1000, max(0, millivolts) / 1000
        return MeterReading(
            at_s=at_s,
            energy_wh=energy_wh,
            power_w=amps * (volts or self._voltage_v),
            current_a=(amps,),
            voltage_v=(volts,) if self._measures_voltage and volts else (),
        )
