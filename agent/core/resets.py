"""Resets that were accepted: of the station (EVSE 0) or of one EVSE (B11, B12)."""

from collections.abc import Callable, Mapping, Sequence

from agent.core.effects import Log, ReadMeter, Restart, Save, StopPower
from agent.core.events import Now, ResetRequested
from agent.core.evse import Evse
from agent.core.granting import Granting
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


class Resets:
    """Those accepted and not yet carried out, by EVSE (0: the station)."""

    def __init__(self, evses: Mapping[int, Evse], granting: Granting, scope: str) -> None:
        self._evses = evses
        self._granting = granting
        self._scope = scope
        """What a reset of the station restarts (`Restart.scope`)."""
        self._open: dict[int, Reset] = {}
        self._is_leaving = False

    def request(
        self, event: ResetRequested, is_running: bool, policy: Policy, now: Now
    ) -> list[object]:
        """B12.FR.02, FR.04: at once means that every transaction is Ended and recorded first."""
        waits = event.on_idle and is_running
        reset = self._open[event.evse_id] = Reset(event.evse_id, event.on_idle, waits)
        if event.on_idle:
            return self._granting.dismiss() if event.evse_id == 0 else []
        effects = reset.begin(self._concerned(event.evse_id), now, policy)
        if event.evse_id == 0:
            effects += self._granting.end_all("ResetCommand", "ImmediateReset", now)
        return effects

    def deadlines(self) -> list[float | None]:
        return [reset.deadline() for reset in self._open.values()]

    def hold_idle(self) -> None:
        """A station that restarts when idle begins nothing new meanwhile, or it never would be; who
        was accepted before is served (B12.FR.01, FR.03)."""
        for evse in self._evses.values() if 0 in self._open else ():
            is_idle = evse.transaction is None and evse.grant is None and not evse.is_expected
            evse.resetting = evse.resetting or is_idle

    def go_on(self, runs: Callable[[int], bool], policy: Policy, now: Now) -> list[object]:
        """Carries out what was accepted as soon as it can be; `runs(evse_id)`: not yet."""
        effects: list[object] = []
        for reset in tuple(self._open.values()):
            if runs(reset.evse_id):
                continue
            found, is_done = reset.go_on(self._concerned(reset.evse_id), policy, now)
            effects += found
            if is_done:
                del self._open[reset.evse_id]
                effects += self._done(reset)
        return effects

    def _done(self, reset: Reset) -> list[object]:
        if reset.evse_id:
            return [] if self._is_closing() else restarted(self._evses[reset.evse_id])
        self._granting.floating.clear()
        self._is_leaving = True
        reason = reset.boot_reason
        return [Save("meta/restart", reason), Restart(self._scope, reason)]

    def _concerned(self, evse_id: int) -> list[Evse]:
        return list(self._evses.values()) if evse_id == 0 else [self._evses[evse_id]]

    def _is_closing(self) -> bool:
        """The station restarts at once: no EVSE takes drivers any more."""
        reset = self._open.get(0)
        return self._is_leaving or (reset is not None and not reset.on_idle)
