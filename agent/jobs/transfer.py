"""Files to and from where the CSMS says, over HTTP(S), FTP(S) and, where the technician has named
the servers, SFTP; nothing else is ever opened.

Blocking: for the threads of `agent.jobs`. What fails is a JobError with the cause that N01 names.
"""

import base64
import ftplib
import http.client
import os
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from agent.jobs.sftp import opened, target_of
from agent.jobs.threads import JobError, Task

CHUNK = 64 * 1024
TIMEOUT_S = 30.0
"""A server that says nothing for so long has failed."""
RESERVE_BYTES = 64 * 1024 * 1024
"""Left free on the disk: what was sold must always find room."""
HTTP_CAUSES = {
    400: "BadMessage",
    401: "PermissionDenied",
    403: "PermissionDenied",
    405: "NotSupportedOperation",
    501: "NotSupportedOperation",
}
NO_PUT = (404, 405, 501)
"""Answers to a PUT after which a POST is tried (N01.FR.18)."""
TAKEN = 303
"""The answer to a POST that was taken, where a page says so."""
ELSEWHERE = (301, 302, 303, 307, 308)
MOST_MOVES = 5
"""So often a server may send a download on to another place."""
LONGEST_MARK = 256
"""Characters of what marks a file as still the same."""
MOST_REPLY_LINES = 100
"""Of one answer of an FTP server; `ftplib` would keep them all."""
PORTS = {"http": 80, "https": 443}

Context = Callable[[], ssl.SSLContext]
"""Made anew for each connection: the CSMS may have installed a root since."""
FAULTS = (OSError, EOFError, http.client.HTTPException, ftplib.Error, ValueError)


# --- downloading ----------------------------------------------------------------------------------


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
    where = urlsplit(url)
    try:
        if where.scheme.lower() in ("http", "https"):
            _fetch_http(where, path, task, context, largest_bytes)
        elif where.scheme.lower() in ("ftp", "ftps"):
            _fetch_ftp(where, path, task, context, largest_bytes)
        elif where.scheme.lower() == "sftp":
            _fetch_sftp(where, path, task, known_hosts, largest_bytes)
        else:
            raise JobError("DownloadFailed", f"{where.scheme} is not fetched")
    except FAULTS as error:
        raise JobError(
            "DownloadFailed", f"download from {where.hostname}: {_why(error)}"
        ) from error


def _fetch_http(
    where: SplitResult, path: Path, task: Task, context: Context, largest_bytes: int
) -> None:
    """A part is gone on with only where the server says that the file is still the same."""
    mark = path.with_suffix(".mark")
    have = path.stat().st_size if path.exists() and mark.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": mark.read_text()} if have else {}
    try:
        answer = _get(where, headers, context)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            path.unlink(missing_ok=True)
        raise
    with answer:
        if answer.status == 206:
            _check_range(answer.headers.get("Content-Range", ""), have, path)
        else:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        same = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        is_mark = same.isprintable() and len(same) <= LONGEST_MARK and not same.startswith("W/")
        _mark(mark, path, same if is_mark else "", have)
        # a server that sends drop by drop must not keep a job that is not wanted any more
        _receive(answer.read1, path, have, total, task, largest_bytes)


def _get(where: SplitResult, headers: dict[str, str], context: Context) -> http.client.HTTPResponse:
    """The answer, from wherever the server sends it on to. Raises JobError, or one of FAULTS."""
    for _ in range(MOST_MOVES + 1):
        request = _request(where, headers=headers)
        try:
            answer: http.client.HTTPResponse = _opener(context).open(request, timeout=TIMEOUT_S)
            return answer
        except urllib.error.HTTPError as error:
            place = error.headers.get("Location")
            if error.code not in ELSEWHERE or place is None:
                raise
            error.close()
            where = _moved_to(where, place)
    raise JobError("DownloadFailed", f"{where.hostname} sends the download on and on")


def _moved_to(where: SplitResult, place: str) -> SplitResult:
    """Where a server sends a download on to: never out of HTTP(S), never from TLS to none; the
    login of the URL stays with the host it is for. Raises JobError."""
    there = urlsplit(urljoin(urlunsplit(where), place))
    if there.scheme not in PORTS:
        raise JobError("DownloadFailed", f"{where.hostname} leads to {there.scheme[:20]}: refused")
    if where.scheme.lower() == "https" and there.scheme != "https":
        raise JobError("DownloadFailed", f"{where.hostname} leads from HTTPS to HTTP: refused")
    login, _, _ = where.netloc.rpartition("@") if _origin(where) == _origin(there) else ("", "", "")
    host = there.netloc.rpartition("@")[2]
    return there._replace(netloc=f"{login}@{host}" if login else host)


def _origin(where: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = where.scheme.lower()
    return scheme, where.hostname, where.port or PORTS.get(scheme)


def _check_range(told: str, have: int, path: Path) -> None:
    """A part must begin where ours ends. Raises JobError; the next try begins anew."""
    if have and told.startswith(f"bytes {have}-"):
        return
    path.unlink(missing_ok=True)
    raise JobError("DownloadFailed", "the server sent another part of the file than asked for")


def _mark(mark: Path, path: Path, same: str, have: int) -> None:
    """What tells later whether the file is still the same; never beside a part of another one."""
    if not have:
        path.unlink(missing_ok=True)
    if same:
        mark.write_text(same)
    else:
        mark.unlink(missing_ok=True)


def _fetch_ftp(
    where: SplitResult, path: Path, task: Task, context: Context, largest_bytes: int
) -> None:
    """FTP has no mark of a file but its size and time: both must be as before."""
    mark = path.with_suffix(".mark")
    with _ftp(where, context) as ftp:
        name = unquote(where.path)
        total = ftp.size(name)
        same = f"{total} {_modified(ftp, name)}"
        is_same = mark.exists() and mark.read_text() == same and path.exists()
        have = path.stat().st_size if is_same else 0
        _mark(mark, path, same, have)
        if have and have == total:
            return
        with ftp.transfercmd(f"RETR {name}", rest=have or None) as data:
            _receive(data.recv, path, have, total, task, largest_bytes)
        ftp.voidresp()


def _fetch_sftp(
    where: SplitResult, path: Path, task: Task, known_hosts: str | None, largest_bytes: int
) -> None:
    """Size and time mark the file, as with FTP."""
    mark = path.with_suffix(".mark")
    with opened(where, known_hosts, TIMEOUT_S) as session:
        name = unquote(where.path)
        found = session.stat(name)
        same = f"{found.st_size} {found.st_mtime}"
        is_same = mark.exists() and mark.read_text() == same and path.exists()
        have = path.stat().st_size if is_same else 0
        _mark(mark, path, same, have)
        if have and have == found.st_size:
            return
        with session.open(name, "rb") as file:
            file.seek(have)
            _receive(file.read, path, have, found.st_size, task, largest_bytes)


def _modified(ftp: ftplib.FTP, name: str) -> str:
    try:
        return ftp.voidcmd(f"MDTM {name}")
    except ftplib.Error:
        return ""


def _receive(
    read: Callable[[int], bytes],
    path: Path,
    have: int,
    total: int | None,
    task: Task,
    largest_bytes: int,
) -> None:
    """From the answer to the disk, within what may be and what there is room for."""
    _check_room(path, (total or have) - have, total, largest_bytes)
    with open(path, "ab" if have else "wb") as file:
        while chunk := read(CHUNK):
            task.moved("downloading", 100 * have // total if total else -1)
            have += len(chunk)
            if have > largest_bytes:
                raise JobError("DownloadFailed", f"the file is larger than {largest_bytes} bytes")
            if total is not None and have > total:
                raise JobError("DownloadFailed", f"more than the {total} bytes that it should have")
            _check_room(path, CHUNK, None, largest_bytes)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)
    if total is not None and have != total:
        raise JobError("DownloadFailed", f"the connection ended at {have} of {total} bytes")


def _sync_directory(directory: Path) -> None:
    """A file is on the disk once its name is."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _check_room(path: Path, more: int, total: int | None, largest_bytes: int) -> None:
    if total is not None and total > largest_bytes:
        raise JobError("DownloadFailed", f"the file is larger than {largest_bytes} bytes")
    if shutil.disk_usage(path.parent).free - RESERVE_BYTES < more:
        raise JobError("DownloadFailed", f"no room for {more} bytes; free space in {path.parent}")


# --- uploading ------------------------------------------------------------------------------------


def send(
    url: str, path: Path, name: str, task: Task, context: Context, known_hosts: str | None = None
) -> None:
    """Uploads `path` under `name`. Raises JobError with a cause of N01.FR.10."""
    where = urlsplit(url)
    try:
        if where.scheme.lower() in ("http", "https"):
            _send_http(where, path, name, task, context)
        elif where.scheme.lower() in ("ftp", "ftps"):
            _send_ftp(where, path, name, task, context)
        elif where.scheme.lower() == "sftp":
            _send_sftp(where, path, name, task, known_hosts)
        else:
            raise JobError("NotSupportedOperation", f"nothing is sent by {where.scheme}")
    except urllib.error.HTTPError as error:
        if error.code in ELSEWHERE:
            text = f"{where.hostname} sends the upload on: correct the address that GetLog names"
            raise JobError("UploadFailure", text) from error
        cause = HTTP_CAUSES.get(error.code, "UploadFailure")
        raise JobError(cause, f"upload to {where.hostname}: {error}") from error
    except ftplib.error_perm as error:
        is_login = str(error)[:3] in ("530", "532", "550", "553")
        cause = "PermissionDenied" if is_login else "UploadFailure"
        raise JobError(cause, f"upload to {where.hostname}: {error}") from error
    except PermissionError as error:
        raise JobError("PermissionDenied", f"upload to {where.hostname}: {error}") from error
    except FAULTS as error:
        raise JobError("UploadFailure", f"upload to {where.hostname}: {_why(error)}") from error


def _send_http(where: SplitResult, path: Path, name: str, task: Task, context: Context) -> None:
    """PUT into a directory under our name, onto anything else as it is; else POST (FR.19)."""
    target = where._replace(path=where.path + quote(name)) if where.path[-1:] == "/" else where
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(path.stat().st_size),
    }
    disposition = f'form-data; name="uploadfile"; filename="{name}"'
    tries = (
        ("PUT", target, headers),
        ("POST", where, headers | {"Content-Disposition": disposition}),
    )
    for method, to, said in tries:
        with open(path, "rb") as file:
            body = _progress(file, path.stat().st_size, task)
            request = _request(to, data=body, method=method, headers=said)
            try:
                _opener(context).open(request, timeout=TIMEOUT_S).close()
                return
            except urllib.error.HTTPError as error:
                if method == "POST" and error.code == TAKEN:
                    return
                if method == "POST" or error.code not in NO_PUT:
                    raise


def _progress(file: BinaryIO, total: int, task: Task) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(CHUNK):
        task.moved("uploading", 100 * sent // total)
        sent += len(chunk)
        yield chunk


def _send_ftp(where: SplitResult, path: Path, name: str, task: Task, context: Context) -> None:
    """Into a directory under our name; what is no directory is the file itself."""
    target = unquote(where.path)
    names = [target + name] if target[-1:] in ("/", "") else [target, f"{target}/{name}"]
    for number, one in enumerate(names, 1):
        with _ftp(where, context) as ftp, open(path, "rb") as file:
            try:
                ftp.storbinary(f"STOR {one}", file, CHUNK, lambda chunk: task.check())
                return
            except ftplib.error_perm:
                if number == len(names):
                    raise


def _send_sftp(
    where: SplitResult, path: Path, name: str, task: Task, known_hosts: str | None
) -> None:
    """There when as many bytes are there as were sent."""
    total = path.stat().st_size
    with opened(where, known_hosts, TIMEOUT_S) as session:
        target = target_of(session, unquote(where.path), name)
        with open(path, "rb") as file, session.open(target, "wb") as out:
            for chunk in _progress(file, total, task):
                out.write(chunk)
        if session.stat(target).st_size != total:
            raise OSError(f"{target} has not the {total} bytes that were sent")


# --- both -----------------------------------------------------------------------------------------


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


def _why(error: Exception) -> str:
    """In words for the technician where the server's certificate is refused."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); install its root"
            " (CSMSRootCertificate), or correct the server's certificate"
        )
    return str(error)


def _request(
    where: SplitResult,
    *,
    data: Iterator[bytes] | None = None,
    method: str = "GET",
    headers: dict[str, str],
) -> urllib.request.Request:
    """Name and password of the URL go as Basic authentication (N01.FR.17)."""
    host = where.netloc.rpartition("@")[2]
    bare = urlunsplit(where._replace(netloc=host, fragment=""))
    if where.username is not None:
        pair = f"{unquote(where.username)}:{unquote(where.password or '')}"
        token = base64.b64encode(pair.encode()).decode()
        headers = headers | {"Authorization": f"Basic {token}"}
    return urllib.request.Request(bare, data=data, method=method, headers=headers)


def _opener(context: Context) -> urllib.request.OpenerDirector:
    """Knows http and https alone, and goes nowhere else by itself."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Ftp(ftplib.FTP):
    """Listens to an answer of bounded length."""

    _lines_left = MOST_REPLY_LINES

    def getmultiline(self) -> str:
        self._lines_left = MOST_REPLY_LINES
        return super().getmultiline()

    def getline(self) -> str:
        self._lines_left -= 1
        if self._lines_left < 0:
            raise ftplib.Error(f"an answer of more than {MOST_REPLY_LINES} lines")
        return super().getline()


class _Ftps(_Ftp, ftplib.FTP_TLS):
    """Data connections go on with the session of the control connection, as many servers want."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        control = self.sock
        assert isinstance(control, ssl.SSLSocket)
        wrapped = self.context.wrap_socket(
            connection, server_hostname=self.host, session=control.session
        )
        return wrapped, size


def _ftp(where: SplitResult, context: Context) -> ftplib.FTP:
    """Logged in, binary, and for ftps with both connections encrypted."""
    is_secure = where.scheme.lower() == "ftps"
    ftp = _Ftps(context=context(), timeout=TIMEOUT_S) if is_secure else _Ftp(timeout=TIMEOUT_S)
    ftp.connect(where.hostname or "", where.port or 21)
    ftp.login(unquote(where.username or ""), unquote(where.password or ""))
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    ftp.voidcmd("TYPE I")
    return ftp
