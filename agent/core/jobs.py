"""Slow work beside the loop: what is ordered, and what comes back. A job is known by its id.

What a job does stands in its order; which function carries it out, in the room `agent.jobs`.
"""

from msgspec import Struct


class StartJob(Struct, frozen=True):
    """Effect: carry out `order` in a thread of its own; ends in one JobDone or JobFailed, unless
    it is canceled."""

    job_id: str
    order: object


class CancelJob(Struct, frozen=True):
    """Effect: nothing more is heard of the job; what it left behind it removes itself."""

    job_id: str


class JobMoved(Struct, frozen=True):
    """Event: progress; `percent` is -1 where nobody knows how much there is."""

    job_id: str
    step: str
    percent: int = -1


class JobDone(Struct, frozen=True):
    """Event: the job is done; what it found out depends on the order."""

    job_id: str
    result: object = None


class JobFailed(Struct, frozen=True):
    """Event: it came to nothing. `cause` is one word for programs, `text` a line for humans."""

    job_id: str
    cause: str
    text: str


# --- orders ---------------------------------------------------------------------------------------


class UploadLog(Struct, frozen=True):
    """Write the log and send it to `url`, once (N01). Times are UTC seconds, None: open.

    Causes: PermissionDenied, BadMessage, NotSupportedOperation, UploadFailure.
    """

    url: str
    file_name: str
    log_type: str
    """LogEnumType: DiagnosticsLog or SecurityLog."""
    oldest_s: float | None = None
    latest_s: float | None = None


class FetchFirmware(Struct, frozen=True):
    """Download, going on where a try before it ended; any other update's file is removed.

    Causes: DownloadFailed.
    """

    update_id: str
    url: str


class VerifyFirmware(Struct, frozen=True):
    """Check the signature (Base64) over the whole downloaded file (L01.FR.04, FR.12).

    Causes: InvalidSignature, DownloadFailed when the file is gone.
    """

    update_id: str
    certificate: str
    signature: str


class InstallFirmware(Struct, frozen=True):
    """Hand the file to the installer; JobDone tells `Installed`.

    Causes: InstallVerificationFailed, InstallationFailed.
    """

    update_id: str


class Installed(Struct, frozen=True):
    """What activates the new firmware: restart of the "board", of the "process", or nothing
    ("none"); and by what `ConfirmFirmware` will know it."""

    restart: str
    proof: str = ""


class ConfirmFirmware(Struct, frozen=True):
    """Does the new firmware run, and is it to stay? Causes: InstallationFailed."""

    proof: str


class DropFirmware(Struct, frozen=True):
    """Remove what was downloaded."""
