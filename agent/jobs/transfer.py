"""Files to and from where the CSMS says, over HTTP(S), FTP(S) and, where the technician has named
the servers, SFTP; nothing else is ever opened.

Blocking: for the threads of `agent.jobs`. What fails is a JobError with the cause that N01 names.
"""

import errno
import ftplib
import http.client
import ssl
import urllib.error
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from agent.jobs.ftp import fetch_ftp, send_ftp
from agent.jobs.sftp import SftpDenied, fetch_sftp, send_sftp
from agent.jobs.threads import JobError, Task
from agent.jobs.web import ELSEWHERE, Context, fetch_http, send_http
from agent.log import MASK

HTTP_CAUSES = {
    400: "BadMessage",
    401: "PermissionDenied",
    403: "PermissionDenied",
    405: "NotSupportedOperation",
    501: "NotSupportedOperation",
}
FTP_DENIES = ("530", "532", "550", "553")
"""Begin of the answers of a server that does not let us."""
INSTEAD = "have the CSMS name HTTP(S), FTP(S) or SFTP"
LONGEST_WORDS = 160
"""Characters of what a server says: the next step stands behind them."""
FAULTS = (OSError, EOFError, http.client.HTTPException, ftplib.Error, ValueError)


def fetch(
    url: str,
    path: Path,
    task: Task,
    context: Context,
    largest_bytes: int,
    known_hosts: str | None = None,
) -> None:
    """Downloads to `path`, going on behind what is there of the same file; on the disk when this
    returns. Raises JobError(DownloadFailed)."""
    where = _parsed(url, "DownloadFailed")
    try:
        if where.scheme in ("http", "https"):
            fetch_http(where, path, task, context, largest_bytes)
        elif where.scheme in ("ftp", "ftps"):
            fetch_ftp(where, path, task, context, largest_bytes)
        elif where.scheme == "sftp":
            fetch_sftp(where, path, task, known_hosts, largest_bytes)
        else:
            raise JobError("DownloadFailed", f"{where.scheme} is not fetched; {INSTEAD}")
    except FAULTS as error:
        raise _failed("DownloadFailed", "download from", where, error) from error


def send(
    url: str, path: Path, name: str, task: Task, context: Context, known_hosts: str | None = None
) -> None:
    """Uploads `path` under `name`. Raises JobError with a cause of N01.FR.10."""
    where = _parsed(url, "UploadFailure")
    try:
        if where.scheme in ("http", "https"):
            send_http(where, path, name, task, context)
        elif where.scheme in ("ftp", "ftps"):
            send_ftp(where, path, name, task, context)
        elif where.scheme == "sftp":
            send_sftp(where, path, name, task, known_hosts)
        else:
            raise JobError("NotSupportedOperation", f"nothing is sent by {where.scheme}; {INSTEAD}")
    except FAULTS as error:
        raise _failed(_cause(error), "upload to", where, error) from error


def _parsed(url: str, cause: str) -> SplitResult:
    """Raises JobError with `cause`; its text has nothing of the address, where a password may be
    that was not percent-encoded."""
    try:
        where = urlsplit(url)
        _ = where.port
    except ValueError:
        text = "the address that the CSMS named is no URL; have / : @ in its login percent-encoded"
        raise JobError(cause, text) from None
    return where


def _cause(error: Exception) -> str:
    """Of an upload; PermissionDenied is what the server said, never a file of our own."""
    if isinstance(error, urllib.error.HTTPError):
        return HTTP_CAUSES.get(error.code, "UploadFailure")
    is_denied = isinstance(error, SftpDenied) or (
        isinstance(error, ftplib.error_perm) and str(error).startswith(FTP_DENIES)
    )
    return "PermissionDenied" if is_denied else "UploadFailure"


def _failed(cause: str, what: str, where: SplitResult, error: Exception) -> JobError:
    """A server may repeat the password it was told."""
    text = f"{what} {where.hostname}: {_why(error)}"
    for secret in {where.password or "", unquote(where.password or "")} - {""}:
        text = text.replace(secret, MASK)
    return JobError(cause, text)


def _why(error: Exception) -> str:
    """In words for the technician, with what to do where that is known."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); install its root"
            " (CSMSRootCertificate), or correct the server's certificate"
        )
    if isinstance(error, urllib.error.HTTPError) and error.code in ELSEWHERE:
        return f"it sends this on ({error.code}); correct the address that the CSMS names"
    if isinstance(error, EOFError):
        return "it ended the connection; look into the server's log"
    said = str(error)
    if "; " in said and isinstance(error, OSError) and not isinstance(error, urllib.error.URLError):
        return said  # our own words
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        step = "free space (`df -h`)"
    elif isinstance(error, PermissionError) and error.filename is not None:
        step = "check owner and mode"
    else:
        step = "check the address, the network and the server"
    return f"{said[:LONGEST_WORDS]}; {step}"


def trusting(roots: Iterable[str]) -> ssl.SSLContext:
    """TLS 1.2 or newer; certificate and name of the server are always checked: the roots of the
    system and `roots` (PEM, those of the CSMS) may vouch for it (N01.FR.15, FR.16)."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # an installed root may be signed by the one it replaces (M05.FR.10)
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for pem in roots:
        made.load_verify_locations(cadata=pem)
    return made
