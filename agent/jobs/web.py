"""Files from and to web servers: HTTP, and HTTPS with a certificate that somebody vouches for."""

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from agent.jobs.pieces import TIMEOUT_S, mark, mark_of, pieces, receive
from agent.jobs.threads import JobError, Task

NO_PUT = (404, 405, 501)
"""Answers to a PUT after which a POST is tried (N01.FR.18)."""
TAKEN = 303
"""The answer to a POST that was taken, where a page says so."""
ELSEWHERE = (301, 302, 303, 307, 308)
NO_SUCH_PART = 416
MOST_MOVES = 5
"""So often a server may send a download on to another place."""
PORTS = {"http": 80, "https": 443}

Context = Callable[[], ssl.SSLContext]
"""Made anew for each connection: the CSMS may have installed a root since."""


def fetch_http(
    where: SplitResult, path: Path, task: Task, context: Context, largest_bytes: int
) -> None:
    """A part is gone on with only where the server says that the file is still the same. Raises
    JobError, OSError, HTTPException, ValueError."""
    same = mark_of(path)
    have = path.stat().st_size if same else 0
    try:
        answer = _get(where, {"Range": f"bytes={have}-", "If-Range": same} if have else {}, context)
    except urllib.error.HTTPError as error:
        if error.code != NO_SUCH_PART or not have:
            raise
        # nothing is behind what is here: whole before a power cut, or of another file
        error.close()
        have = 0
        answer = _get(where, {}, context)
    with answer:
        if answer.status == 206:
            whole = _whole(answer.headers.get("Content-Range", ""), have, path)
        else:
            have, whole = 0, None
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        same = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        mark(path, "" if same.startswith("W/") else same, have)
        # a server that sends drop by drop must not keep a job that is not wanted any more
        receive(answer.read1, path, have, total if whole is None else whole, task, largest_bytes)


def _get(where: SplitResult, headers: dict[str, str], context: Context) -> http.client.HTTPResponse:
    """The answer, from wherever the server sends it on to. Raises JobError, or as `fetch_http`."""
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


def _whole(told: str, have: int, path: Path) -> int | None:
    """Bytes of the whole file, where the server says so: it may send less than was asked for. A
    part must begin where ours ends. Raises JobError; the next try begins anew."""
    if have and told.startswith(f"bytes {have}-"):
        whole = told.partition("/")[2].strip()
        return int(whole) if whole.isdecimal() else None
    path.unlink(missing_ok=True)
    raise JobError("DownloadFailed", "the server sent another part of the file than asked for")


def send_http(where: SplitResult, path: Path, name: str, task: Task, context: Context) -> None:
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
            body = pieces(file, path.stat().st_size, task)
            request = _request(to, data=body, method=method, headers=said)
            try:
                _opener(context).open(request, timeout=TIMEOUT_S).close()
                return
            except urllib.error.HTTPError as error:
                if method == "POST" and error.code == TAKEN:
                    return
                if method == "POST" or error.code not in NO_PUT:
                    raise


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
