"""A firmware update from its acceptance to the report of the new image (L01, L02).

What was accepted is saved at every step, so that a power cut at any moment leads on from there.
The slow parts are jobs; each reports once.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Announce, Log, Restart, Save
from agent.core.events import Now, SecurityNoted, UpdatePending
from agent.core.jobs import (
    CancelJob,
    ConfirmFirmware,
    DropFirmware,
    FetchFirmware,
    Installed,
    InstallFirmware,
    JobDone,
    JobFailed,
    JobMoved,
    StartJob,
    VerifyFirmware,
)
from agent.ocpp.calls import OutgoingCall, Payload

KEY = "firmware"
"""State key of the update under way, or of the last one."""
MOST_INSTALLS = 2
"""An installation that a power cut ended is tried again once."""
MOST_RESTARTS = 3
RESTART_WAIT_S = 40.0
"""So long the last notification may take to arrive before a restart; the next start sends it."""
RESTART_AGAIN_S = 120.0
"""A board that was to restart and did not is ordered to again."""
MOST_UNTOLD = 32


class Phase(StrEnum):
    SCHEDULED = "scheduled"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    WAITING = "waiting"
    """Downloaded and verified; for installDateTime, or for transactions to end."""
    INSTALLING = "installing"
    RESTARTING = "restarting"
    CONFIRMING = "confirming"
    ENDED = "ended"


LATE = frozenset({Phase.INSTALLING, Phase.RESTARTING, Phase.CONFIRMING})
"""A newer request cannot cancel these (L01.FR.27)."""


class Update(Struct, frozen=True):
    """One UpdateFirmware, and how far it is. Times are UTC seconds."""

    update_id: str
    request_id: int
    url: str
    retrieve_s: float
    install_s: float | None
    certificate: str
    """PEM; "" for an update without signature (L02)."""
    signature: str
    retries: int
    """Tries left after the present one."""
    retry_interval_s: float
    phase: Phase = Phase.SCHEDULED
    status: str = ""
    """Last status entered (FirmwareStatusEnumType)."""
    untold: tuple[str, ...] = ()
    """Statuses that the CSMS has not answered yet, oldest first."""
    installs: int = 0
    restart: str = ""
    """What activates it: the "board" or the "process" starts anew, or "none"."""
    proof: str = ""
    boot_id: str = ""
    """Boot in which it was installed."""
    restarts: int = 0
    """How often that was ordered."""


class UpdateRequested(Struct, frozen=True):
    """UpdateFirmware was accepted."""

    update: Update


Effects = list[object]


class Firmware:
    """The one update. Methods return effects; whoever calls them says what the charger does."""

    def __init__(
        self, saved: Mapping[str, str], *, is_possible: bool = False, takes_unsigned: bool = False
    ) -> None:
        self.is_possible = is_possible
        """There is an installer."""
        self.takes_unsigned = takes_unsigned
        self.update: Update | None = None
        self.percent = -1
        self._warning = ""
        self._job_id = ""
        self._again_s: float | None = None
        self._is_telling = False
        self._holds = self._told_hold = False
        """New drivers are sent away; what the core was told of it."""
        text = saved.get(KEY)
        if text is not None:
            try:
                self.update = msgspec.json.decode(text, type=Update)
            except msgspec.MsgspecError:
                self._warning = "firmware: the saved update cannot be read and is given up"

    # --- views ------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self.update is not None and self.update.phase is not Phase.ENDED

    @property
    def is_quiet(self) -> bool:
        """Nothing becomes due by itself, and the CSMS has been told all."""
        update = self.update
        if update is None:
            return True
        return update.phase is Phase.ENDED and not update.untold and self._holds == self._told_hold

    @property
    def is_installing(self) -> bool:
        """A restart now would cut it off."""
        return self.update is not None and self.update.phase is Phase.INSTALLING

    @property
    def can_cancel(self) -> bool:
        return self.update is None or self.update.phase not in LATE

    def trigger(self) -> Payload:
        """F06.FR.16, L01.FR.25, FR.26."""
        update = self.update
        if update is None or update.status in ("", "Installed"):
            return {"status": "Idle"}
        return {"status": update.status, "requestId": update.request_id}

    def deadline(self, now: Now) -> float | None:
        update = self.update
        if update is None:
            return None
        if update.phase is Phase.SCHEDULED:
            return update.retrieve_s - now.utc_offset_s
        if update.phase is Phase.WAITING and update.install_s is not None:
            at_s = update.install_s - now.utc_offset_s
            return at_s if at_s > now.mono_s else None
        return self._again_s

    # --- what happens -----------------------------------------------------------------------

    def request(self, update: Update, now: Now) -> Effects:
        """What is under way is canceled without another word (L01.FR.24)."""
        effects: Effects = [CancelJob(self._job_id)] if self._job_id else []
        self.update, self._job_id, self._again_s, self.percent = update, "", None, -1
        self._holds = False
        if now.utc_s() < update.retrieve_s:
            return effects + self._enter("DownloadScheduled", Phase.SCHEDULED)
        return effects + self._fetch(now)

    def started(self, now: Now) -> Effects:
        """The process starts anew: goes on where the last one ended."""
        effects: Effects = [Log(3, self._warning)] if self._warning else []
        update = self.update
        match update.phase if update is not None else Phase.ENDED:
            case Phase.FETCHING:
                return effects + self._start_fetch(now)
            case Phase.VERIFYING:
                return effects + self._verify(now)
            case Phase.INSTALLING:
                return effects + self._install(now)
            case Phase.RESTARTING | Phase.CONFIRMING:
                return effects + self._confirm(now)
        return effects

    def go_on(self, now: Now, *, online: bool, is_busy: bool, takes_drivers: bool) -> Effects:
        """What has become due: a time, the end of the last transaction, a lost notification.

        `takes_drivers`: AllowNewSessionsPendingFirmwareUpdate.
        """
        update, effects = self.update, list[object]()
        if update is None:
            return effects
        is_waited_for = self._again_s is not None and now.mono_s >= self._again_s
        match update.phase:
            case Phase.SCHEDULED if now.utc_s() >= update.retrieve_s:
                effects += self._fetch(now)
            case Phase.FETCHING if is_waited_for:
                effects += self._start_fetch(now)
            case Phase.WAITING if update.install_s is None or now.utc_s() >= update.install_s:
                effects += self._when_idle(now, is_busy, takes_drivers)
            case Phase.RESTARTING if is_waited_for or not (update.untold or update.restarts):
                effects += self._order_restart(now)
        return effects + self._hold() + self._tell(online)

    def job_moved(self, event: JobMoved) -> None:
        if event.job_id == self._job_id:
            self.percent = event.percent

    def job_done(self, event: JobDone, now: Now) -> Effects:
        if self.update is None or event.job_id != self._job_id:
            return []
        self._job_id, self.percent = "", -1
        match self.update.phase:
            case Phase.FETCHING:
                return self._enter("Downloaded", Phase.VERIFYING) + self._verify(now)
            case Phase.VERIFYING:
                return self._verified(now)
            case Phase.INSTALLING if isinstance(event.result, Installed):
                return self._installed(event.result, now)
            case Phase.CONFIRMING:
                return self._succeed(now)
        return []

    def job_failed(self, event: JobFailed, now: Now) -> Effects:
        update = self.update
        if update is None or event.job_id != self._job_id:
            return []
        self._job_id, self.percent = "", -1
        told: Effects = [Log(4, f"firmware: {event.text}")]
        if update.phase is Phase.FETCHING and update.retries > 0:
            self.update = replace(update, retries=update.retries - 1)
            self._again_s = now.mono_s + update.retry_interval_s
            return [*told, self._save()]
        status, otherwise = _FAILURES[update.phase]
        failed = event.cause if event.cause in status else otherwise
        told += self._fail(failed, now)
        if failed == "InvalidSignature":
            told.append(Announce(SecurityNoted("InvalidFirmwareSignature", event.text)))
        return told

    def answered(self, request: Payload, *, arrived: bool) -> Effects:
        """The CSMS has a notification, or it got lost with the link and is sent again."""
        self._is_telling = False
        update = self.update
        if update is None or not arrived or not update.untold:
            return []
        if request != {"status": update.untold[0], "requestId": update.request_id}:
            return []
        self.update = replace(update, untold=update.untold[1:])
        return [self._save()]

    # --- steps ------------------------------------------------------------------------------

    def _fetch(self, now: Now) -> Effects:
        return [*self._enter("Downloading", Phase.FETCHING), *self._start_fetch(now)]

    def _start_fetch(self, now: Now) -> Effects:
        assert self.update is not None
        return [self._job(FetchFirmware(self.update.update_id, self.update.url), now)]

    def _verify(self, now: Now) -> Effects:
        """L01.FR.04; an update without signature has nothing to verify (L02)."""
        update = self.update
        assert update is not None
        if not update.certificate:
            return self._await_time(now)
        order = VerifyFirmware(update.update_id, update.certificate, update.signature)
        return [self._job(order, now)]

    def _verified(self, now: Now) -> Effects:
        return self._enter("SignatureVerified", Phase.WAITING) + self._await_time(now)

    def _await_time(self, now: Now) -> Effects:
        """L01.FR.16."""
        update = self.update
        assert update is not None
        if update.install_s is not None and now.utc_s() < update.install_s:
            return self._enter("InstallScheduled", Phase.WAITING)
        self.update = replace(update, phase=Phase.WAITING)
        return [self._save()]

    def _when_idle(self, now: Now, is_busy: bool, takes_drivers: bool) -> Effects:
        """L01.FR.05 to FR.07, FR.34: free EVSEs are held back while the last one charges."""
        self._holds = not (is_busy and takes_drivers)
        if not is_busy:
            return self._enter("Installing", Phase.INSTALLING) + self._install(now)
        assert self.update is not None
        if self.update.status == "InstallScheduled":
            return []
        return self._enter("InstallScheduled", Phase.WAITING)

    def _install(self, now: Now) -> Effects:
        update = self.update
        assert update is not None
        self._holds = True
        if update.installs >= MOST_INSTALLS:
            told = Log(3, "firmware: the installation was cut off again and again; given up")
            return [told, *self._fail("InstallationFailed", now)]
        self.update = replace(update, installs=update.installs + 1)
        return [self._save(), self._job(InstallFirmware(update.update_id), now)]

    def _installed(self, result: Installed, now: Now) -> Effects:
        """L01.FR.32 (a): the new image itself reports Installed."""
        assert self.update is not None
        self.update = replace(
            self.update, restart=result.restart, proof=result.proof, boot_id=now.boot_id
        )
        if result.restart == "none":
            return self._confirm(now)
        self._again_s = now.mono_s + RESTART_WAIT_S
        return self._enter("InstallRebooting", Phase.RESTARTING)

    def _order_restart(self, now: Now) -> Effects:
        update = self.update
        assert update is not None
        self._again_s = now.mono_s + RESTART_AGAIN_S
        if update.restarts >= MOST_RESTARTS:
            told = Log(3, f"firmware: the {update.restart} does not restart; restart it by hand")
            return [told, *self._fail("InstallationFailed", now)]
        self.update = replace(update, restarts=update.restarts + 1)
        reason = "FirmwareUpdate"
        return [self._save(), Save("meta/restart", reason), Restart(update.restart, reason)]

    def _confirm(self, now: Now) -> Effects:
        """The process that starts after the restart asks whether it is the new image; on a board
        that still has to restart, that is ordered again."""
        update = self.update
        assert update is not None
        self._holds = True
        if update.restart == "board" and update.boot_id == now.boot_id:
            self._again_s = now.mono_s + RESTART_WAIT_S
            return []
        self.update = replace(update, phase=Phase.CONFIRMING)
        return [self._save(), self._job(ConfirmFirmware(update.proof), now)]

    def _succeed(self, now: Now) -> Effects:
        """L01.FR.28, FR.31."""
        self._holds = False
        effects = self._enter("Installed", Phase.ENDED)
        return [*effects, Announce(SecurityNoted("FirmwareUpdated")), _drop(now)]

    def _fail(self, status: str, now: Now) -> Effects:
        self._holds, self._again_s = False, None
        return [*self._enter(status, Phase.ENDED), _drop(now)]

    # --- small things -----------------------------------------------------------------------

    def _job(self, order: object, now: Now) -> StartJob:
        self._job_id, self._again_s = f"firmware/{now.new_id()}", None
        return StartJob(self._job_id, order)

    def _enter(self, status: str, phase: Phase) -> Effects:
        """L01.FR.01: each status is told, in its order, with its requestId (FR.10)."""
        assert self.update is not None
        untold = (*self.update.untold, status)[-MOST_UNTOLD:]
        self.update = replace(self.update, status=status, phase=phase, untold=untold)
        return [self._save(), Log(5, f"firmware update {self.update.request_id}: {status}")]

    def _save(self) -> Save:
        return Save(KEY, msgspec.json.encode(self.update).decode())

    def _hold(self) -> Effects:
        """Tells the core, once, whether new drivers are to be sent away."""
        if self._holds == self._told_hold:
            return []
        self._told_hold = self._holds
        return [Announce(UpdatePending(self._holds))]

    def _tell(self, online: bool) -> Effects:
        update = self.update
        if not online or self._is_telling or update is None or not update.untold:
            return []
        self._is_telling = True
        payload: Payload = {"status": update.untold[0], "requestId": update.request_id}
        return [OutgoingCall("FirmwareStatusNotification", payload)]


def _drop(now: Now) -> StartJob:
    return StartJob(f"firmware/{now.new_id()}", DropFirmware())


_FAILURES: dict[Phase, tuple[frozenset[str], str]] = {
    Phase.FETCHING: (frozenset(), "DownloadFailed"),
    Phase.VERIFYING: (frozenset({"DownloadFailed", "InvalidSignature"}), "InvalidSignature"),
    Phase.INSTALLING: (frozenset({"InstallVerificationFailed"}), "InstallationFailed"),
    Phase.CONFIRMING: (frozenset(), "InstallationFailed"),
}
"""Phase -> (causes that are statuses themselves, status of any other cause)."""
