"""Files from and to web servers: HTTP, and HTTPS with a certificate that somebody vouches for."""

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from agent.jobs.pieces import TIMEOUT_S, mark, mark_of, pieces, receive
from agent.jobs.threads import JobError, Task
from agent.jobs.watch import Watch

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
    with Watch(task) as watch:
        _fetch(_Client(context, watch), where, path, task, largest_bytes)


def _fetch(
    client: "_Client", where: SplitResult, path: Path, task: Task, largest_bytes: int
) -> None:
    same = mark_of(path)
    have = path.stat().st_size if same else 0
    try:
        answer = client.get(where, {"Range": f"bytes={have}-", "If-Range": same} if have else {})
    except urllib.error.HTTPError as error:
        if error.code != NO_SUCH_PART or not have:
            raise
        # nothing is behind what is here: whole before a power cut, or of another file
        error.close()
        have = 0
        answer = client.get(where, {})
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
        total = total if whole is None else whole
        receive(client.counted(answer.read1), path, have, total, task, largest_bytes)


def _moved_to(where: SplitResult, place: str) -> SplitResult:
    """Where a server sends a download on to: never out of HTTP(S), never from TLS to none; the
    login of the URL stays with the host it is for. Raises JobError."""
    there = urlsplit(urljoin(urlunsplit(where), place))
    if there.scheme not in PORTS:
        raise _astray(f"{where.hostname} leads to {there.scheme[:20]}, which is refused")
    if where.scheme.lower() == "https" and there.scheme != "https":
        raise _astray(f"{where.hostname} leads from HTTPS to HTTP, which is refused")
    login, _, _ = where.netloc.rpartition("@") if _origin(where) == _origin(there) else ("", "", "")
    host = there.netloc.rpartition("@")[2]
    return there._replace(netloc=f"{login}@{host}" if login else host)


def _astray(what: str) -> JobError:
    return JobError("DownloadFailed", f"{what}; correct the address that the CSMS names")


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
    text = "the server sent another part of the file than asked for; another try asks for the whole"
    raise JobError("DownloadFailed", text)


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
        with Watch(task) as watch, open(path, "rb") as file:
            client = _Client(context, watch)
            body = client.told(pieces(file, path.stat().st_size, task))
            try:
                client.open(_request(to, data=body, method=method, headers=said)).close()
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


class _Client:
    """Knows http and https alone, and goes nowhere by itself but on a download's way."""

    def __init__(self, context: Context, watch: Watch) -> None:
        self._context, self._watch = context, watch

    def open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Raises HTTPError for all but 2xx, OSError, HTTPException, ValueError."""
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ]
        if request.type == "https":
            # the roots of a system take a board most of a second
            handlers.append(_Https(self._watch, self._context()))
        else:
            handlers.append(_Http(self._watch))
        opener = urllib.request.OpenerDirector()
        for handler in handlers:
            opener.add_handler(handler)
        answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_S)
        self._watch.moved()
        return answer

    def get(self, where: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The answer, from wherever the server sends it on to. Raises JobError, or as `open`."""
        for _ in range(MOST_MOVES + 1):
            try:
                return self.open(_request(where, headers=headers))
            except urllib.error.HTTPError as error:
                place = error.headers.get("Location")
                if error.code not in ELSEWHERE or place is None:
                    raise
                error.close()
                where = _moved_to(where, place)
        raise _astray(f"{where.hostname} sends the download on and on")

    def counted(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        def counting(most_bytes: int) -> bytes:
            chunk = read(most_bytes)
            self._watch.passed(len(chunk))
            return chunk

        return counting

    def told(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._watch.moved()
            yield chunk


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connecting(http.client.HTTPConnection, self._watch), request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch, context: ssl.SSLContext) -> None:
        super().__init__()
        self._watch, self._trusting = watch, context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        kind = _connecting(http.client.HTTPSConnection, self._watch)
        return self.do_open(kind, request, context=self._trusting)


def _connecting(kind: type[http.client.HTTPConnection], watch: Watch) -> Any:
    """A kind of connection that is watched as soon as it stands."""

    class Watched(kind):  # type: ignore[valid-type, misc]  # http or https, the same for both
        def connect(self) -> None:
            super().connect()
            watch.hold(self.sock)

    return Watched
