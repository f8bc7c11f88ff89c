"""The log that is being uploaded: tries, their notifications, and a newer request (N01)."""

from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Log
from agent.core.events import Now
from agent.core.jobs import CancelJob, JobFailed, JobMoved, StartJob, UploadLog
from agent.ocpp.calls import OutgoingCall, Payload

FAILURES = frozenset({"BadMessage", "PermissionDenied", "NotSupportedOperation", "UploadFailure"})
"""Causes that are an UploadLogStatusEnumType themselves; any other is an UploadFailure."""

MOST_UNTOLD = 32
STATUS = "LogStatusNotification"


class LogRequested(Struct, frozen=True):
    """GetLog was accepted; `retries` after the first try."""

    request_id: int
    order: UploadLog
    retries: int
    retry_interval_s: float


class Uploads:
    """At most one upload; a restart forgets it, and is Idle when asked (F06.FR.15)."""

    def __init__(self) -> None:
        self.current: LogRequested | None = None
        self.told = "Idle"
        """Last status, for `chargepoint status`."""
        self.percent = -1
        self._job_id = ""
        self._again_s: float | None = None
        self._untold: deque[Payload] = deque(maxlen=MOST_UNTOLD)
        """Notifications that the CSMS has not answered, oldest first: one at a time, and again when
        it got lost with the link (FR.07 to FR.10)."""
        self._is_telling = False

    def trigger(self) -> Payload:
        """F06.FR.14, FR.15."""
        if self.current is None:
            return {"status": "Idle"}
        return {"status": "Uploading", "requestId": self.current.request_id}

    def request(self, event: LogRequested, now: Now) -> list[object]:
        """N01.FR.08; what is under way ends first (FR.12, FR.20)."""
        effects: list[object] = []
        if self.current is not None:
            effects += [CancelJob(self._job_id), *self._tell("AcceptedCanceled", self.current)]
        self.current = event
        return [*effects, *self._tell("Uploading", event), self._start(now)]

    def deadline(self) -> float | None:
        return self._again_s

    def tick(self, now: Now) -> list[object]:
        if self._again_s is None or now.mono_s < self._again_s:
            return []
        return [self._start(now)]

    def tell(self, *, online: bool) -> list[object]:
        """The oldest notification that the CSMS has not got."""
        if not online or self._is_telling or not self._untold:
            return []
        self._is_telling = True
        return [OutgoingCall(STATUS, self._untold[0])]

    def answered(self, request: Payload, *, arrived: bool) -> None:
        """The CSMS has a notification, or the link was lost before that."""
        if not (self._is_telling and self._untold and request == self._untold[0]):
            return
        self._is_telling = False
        if arrived:
            self._untold.popleft()

    def moved(self, event: JobMoved) -> None:
        if event.job_id == self._job_id:
            self.percent = event.percent

    def done(self, job_id: str) -> list[object]:
        """N01.FR.09."""
        if self.current is None or job_id != self._job_id:
            return []
        return self._end("Uploaded", self.current)

    def failed(self, event: JobFailed, now: Now) -> list[object]:
        """N01.FR.10: told once all tries have failed."""
        current = self.current
        if current is None or event.job_id != self._job_id:
            return []
        if current.retries == 0:
            status = event.cause if event.cause in FAILURES else "UploadFailure"
            return [*self._end(status, current), Log(4, f"log upload failed: {event.text}")]
        self.current = replace(current, retries=current.retries - 1)
        self._again_s = now.mono_s + current.retry_interval_s
        text = f"log upload failed, again in {current.retry_interval_s:.0f} s: {event.text}"
        return [Log(5, text)]

    def _start(self, now: Now) -> StartJob:
        assert self.current is not None
        self._job_id, self._again_s, self.percent = f"log/{now.new_id()}", None, -1
        return StartJob(self._job_id, self.current.order)

    def _end(self, status: str, upload: LogRequested) -> list[object]:
        self.current, self._job_id, self.percent = None, "", -1
        return self._tell(status, upload)

    def _tell(self, status: str, upload: LogRequested) -> list[object]:
        self.told = status
        self._untold.append({"status": status, "requestId": upload.request_id})
        return [Log(5, f"log {upload.order.file_name}: {status}")]
