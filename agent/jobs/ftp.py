"""Files from and to FTP servers, plain or with TLS on both connections (explicit FTPS)."""

import ftplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, unquote

from agent.jobs.pieces import CHUNK, TIMEOUT_S, mark, part_of, pieces, receive
from agent.jobs.threads import Task
from agent.jobs.watch import Watch
from agent.jobs.web import Context

PORT = 21
MOST_REPLY_LINES = 100
"""Of one answer of a server; `ftplib` would keep them all."""
NOT_KNOWN = ("500", "501", "502", "504")
"""Begin of the answers to a command that the server has not."""


def fetch_ftp(
    where: SplitResult, path: Path, task: Task, context: Context, largest_bytes: int
) -> None:
    """FTP has no mark of a file but its size and time: both must be as before. Raises JobError,
    OSError, EOFError, ftplib.Error, ValueError."""
    with Watch(task) as watch, _ftp(where, context, watch) as ftp:
        name = unquote(where.path)
        total, modified = _size(ftp, name), _modified(ftp, name)
        same = f"{total} {modified}" if modified and total is not None else ""
        have = part_of(path, same)
        mark(path, same, have)
        if have and have == total:
            return
        try:
            data = ftp.transfercmd(f"RETR {name}", rest=have or None)
        except ftplib.error_perm:
            # a server that cannot go on behind a part is asked for all of it by the next try
            path.unlink(missing_ok=True)
            raise
        with data:
            receive(_counted(data, watch), path, have, total, task, largest_bytes)
        ftp.voidresp()


def _counted(data: socket.socket, watch: Watch) -> Callable[[int], bytes]:
    def read(most_bytes: int) -> bytes:
        chunk = data.recv(most_bytes)
        watch.passed(len(chunk))
        return chunk

    return read


def _size(ftp: ftplib.FTP, name: str) -> int | None:
    try:
        return ftp.size(name)
    except ftplib.error_perm as error:
        if str(error).startswith(NOT_KNOWN):
            return None
        raise


def _modified(ftp: ftplib.FTP, name: str) -> str:
    try:
        return ftp.voidcmd(f"MDTM {name}")
    except ftplib.Error:
        return ""


def send_ftp(where: SplitResult, path: Path, name: str, task: Task, context: Context) -> None:
    """Into a directory under our name; what is no directory is the file itself."""
    target = unquote(where.path)
    names = [target + name] if target[-1:] in ("/", "") else [target, f"{target}/{name}"]
    for number, one in enumerate(names, 1):
        with Watch(task) as watch, _ftp(where, context, watch) as ftp, open(path, "rb") as file:
            try:
                ftp.storbinary(f"STOR {one}", _Read(file, path.stat().st_size, task, watch), CHUNK)
                return
            except ftplib.error_perm:
                if number == len(names):
                    raise


class _Read:
    """What `ftplib` reads a file from."""

    def __init__(self, file: BinaryIO, total: int, task: Task, watch: Watch) -> None:
        self._pieces, self._watch = pieces(file, total, task), watch

    def read(self, most_bytes: int = CHUNK, /) -> bytes:
        self._watch.moved()
        return next(self._pieces, b"")


class _Ftp(ftplib.FTP):
    """Listens to an answer of bounded length; is watched."""

    watch: Watch
    _lines_left = MOST_REPLY_LINES

    def __exit__(self, *error: Any) -> None:
        """What the server says of a transfer that was broken off does not hide why it was."""
        with suppress(ftplib.Error):
            super().__exit__(*error)

    def getmultiline(self) -> str:
        self._lines_left = MOST_REPLY_LINES
        # another one than before where TLS has begun meanwhile
        assert self.sock is not None
        self.watch.hold(self.sock)
        return super().getmultiline()

    def getline(self) -> str:
        self._lines_left -= 1
        if self._lines_left < 0:
            raise ftplib.Error(f"an answer of more than {MOST_REPLY_LINES} lines")
        return super().getline()

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        self.watch.hold(connection)
        return connection, size


class _Ftps(_Ftp, ftplib.FTP_TLS):
    """Data connections go on with the session of the control connection, as many servers want."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        connection, size = _Ftp.ntransfercmd(self, cmd, rest)
        control = self.sock
        assert isinstance(control, ssl.SSLSocket)
        wrapped = self.context.wrap_socket(
            connection, server_hostname=self.host, session=control.session
        )
        self.watch.hold(wrapped)
        return wrapped, size


def _ftp(where: SplitResult, context: Context, watch: Watch) -> ftplib.FTP:
    """Logged in, binary, and for ftps with both connections encrypted."""
    is_secure = where.scheme.lower() == "ftps"
    ftp = _Ftps(context=context(), timeout=TIMEOUT_S) if is_secure else _Ftp(timeout=TIMEOUT_S)
    ftp.watch = watch
    ftp.connect(where.hostname or "", where.port or PORT)
    ftp.login(unquote(where.username or ""), unquote(where.password or ""))
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    ftp.voidcmd("TYPE I")
    return ftp
