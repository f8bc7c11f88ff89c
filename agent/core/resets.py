"""Resets that were accepted: of the station (EVSE 0) or of one EVSE (B11, B12)."""

from collections.abc import Sequence

from agent.core.effects import Log, ReadMeter, StopPower
from agent.core.events import Now
from agent.core.evse import Evse
from agent.core.policy import Policy
from drivers.contract import PowerPath

TRY_S = 5.0
"""So long a power path may take to be seen open before it is ordered off again."""


class Reset:
    """One reset, from its acceptance until it is done."""

    def __init__(self, evse_id: int, on_idle: bool, waits: bool) -> None:
        self.evse_id = evse_id
        self.on_idle = on_idle
        self.boot_reason = "ScheduledReset" if waits else "RemoteReset"
        """BootReasonEnumType: scheduled only if something had to end first."""
        self._tries = 0
        self._try_again_s = 0.0

    def deadline(self) -> float | None:
        return self._try_again_s if self._tries else None

    def begin(self, evses: Sequence[Evse], now: Now, policy: Policy) -> list[object]:
        """At once: every transaction is Ended and nothing new begins (B12.FR.04, FR.08)."""
        effects: list[object] = []
        for evse in evses:
            evse.resetting = True
            effects += evse.end("ResetCommand", "ImmediateReset", now, policy)
        return effects

    def go_on(self, evses: Sequence[Evse], policy: Policy, now: Now) -> tuple[list[object], bool]:
        """(effects, done). With no transaction left, orders all power off; where a path is not seen
        open, again, ResetRetries times."""
        connectors = [c for evse in evses for c in evse.connectors.values()]
        shut = all(c.reading.power_path is PowerPath.OPEN for c in connectors)
        if self._tries and shut:
            return [], True
        if self._tries and now.mono_s < self._try_again_s:
            return [], False
        if self._tries > policy.reset_retries:
            where = f"EVSE {self.evse_id}" if self.evse_id else "station"
            return [Log(3, f"{where}: reset without seeing the power open; inspect it")], True
        self._tries += 1
        self._try_again_s = now.mono_s + TRY_S
        for evse in evses:
            evse.resetting = True
            evse.grant = evse.opening = None
        return [StopPower(*c.place) for c in connectors], shut


def restarted(evse: Evse) -> list[object]:
    """The EVSE takes drivers again; its meter is asked anew."""
    evse.resetting = False
    text = f"EVSE {evse.evse_id}: reset"
    return [Log(5, text), ReadMeter(evse.evse_id)]
