"""Files from and to SFTP servers, by a program of its own (`agent.jobs.sftp_child`).

What a server sends before its key is known fills that program's memory, not the agent's; where it
hangs, or is not wanted any more, it is killed.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote

from agent.jobs.pieces import CHUNK, TIMEOUT_S, mark, part_of, pieces, receive
from agent.jobs.threads import Task
from agent.jobs.watch import PATIENCE_S, POLL_S

CHILD = "agent.jobs.sftp_child"
PORT = 22
ANSWER, DATA, FAULT = b"a", b"d", b"f"
"""Begin of what the program says: JSON, bytes of the file, or JSON of why it ends."""


class SftpDenied(OSError):
    """The server takes the login, or what was to be done with a file, for not allowed."""


def fetch_sftp(
    where: SplitResult, path: Path, task: Task, known_hosts: str | None, largest_bytes: int
) -> None:
    """Size and time mark the file, as with FTP. Raises JobError, OSError."""
    with _running(where, known_hosts, task, None) as child:
        found = child.answer()
        total, modified = found["size"], found["modified"]
        same = "" if total is None or modified is None else f"{total} {modified}"
        have = part_of(path, same)
        mark(path, same, have)
        if have and have == total:
            return
        child.say(str(have).encode())
        receive(child.read, path, have, total, task, largest_bytes)


def send_sftp(
    where: SplitResult, path: Path, name: str, task: Task, known_hosts: str | None
) -> None:
    """There when the server took each piece, and does not tell of another size. Raises SftpDenied
    for what the server refused, OSError."""
    total = path.stat().st_size
    with open(path, "rb") as file, _running(where, known_hosts, task, name) as child:
        child.answer()
        for chunk in pieces(file, total, task):
            child.say(chunk)
            child.answer()
        child.say(b"")
        size = child.answer()["size"]
        if size not in (None, total):
            raise OSError(f"it has {size} of {total} bytes; look for room on the server")


class _Child:
    """The program as seen from the job's thread. Raises Canceled wherever it waits."""

    def __init__(self, connection: Connection, task: Task) -> None:
        self._connection = connection
        self._task = task

    def say(self, message: bytes) -> None:
        """Only what the program waits for: less than the socket between holds."""
        try:
            self._connection.send_bytes(message)
        except ConnectionError as error:
            # why it ended is what it said last
            self._heard()
            raise OSError("the program for SFTP stopped listening; try again") from error

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._heard()[1:])
        return found

    def read(self, most_bytes: int) -> bytes:
        """The next bytes of the file; none at its end."""
        return self._heard()[1:]

    def _heard(self) -> bytes:
        """Raises OSError, or SftpDenied."""
        for _ in range(int(PATIENCE_S / POLL_S)):
            self._task.check()
            if self._connection.poll(POLL_S):
                break
        else:
            raise OSError(f"nothing moved for {PATIENCE_S:.0f} s; look into the server's log")
        try:
            message = self._connection.recv_bytes(CHUNK + 1)
        except (EOFError, ConnectionError):
            raise OSError("the program for SFTP ended without a word; see `free -m`") from None
        if message[:1] == FAULT:
            fault = json.loads(message[1:])
            raise (SftpDenied if fault["is_denied"] else OSError)(fault["text"])
        return message


@contextmanager
def _running(
    where: SplitResult, known_hosts: str | None, task: Task, name: str | None
) -> Iterator[_Child]:
    """`name`: what a file that is sent is called in a directory; None: one is fetched. Raises
    OSError."""
    if known_hosts is None:
        raise OSError("SFTP is off; name a known_hosts_file under `security` in charger.yaml")
    if find_spec("paramiko") is None:
        raise OSError("the package for SFTP is missing; install chargepoint[sftp]")
    order = {
        "host": where.hostname or "",
        "port": where.port or PORT,
        "user": unquote(where.username or ""),
        "password": unquote(where.password or ""),
        "path": unquote(where.path),
        "name": name,
        "known_hosts": known_hosts,
        "timeout_s": TIMEOUT_S,
    }
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # nothing is in the arguments: other users of the board can read them
        program = subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        connection = Connection(ours.detach())
    with connection:
        try:
            connection.send_bytes(json.dumps(order).encode())
            yield _Child(connection, task)
        finally:
            program.kill()
            program.wait()
