"""The program that speaks SFTP for `agent.jobs.sftp`, by a socket that is its standard input: a
server is known by its key in the technician's known_hosts file, and by nothing else.

It hears one order, then for a download where to begin, for an upload the pieces of the file.
"""

import base64
import hmac
import json
import logging
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from agent.jobs.pieces import CHUNK
from agent.jobs.sftp import ANSWER, DATA, FAULT, PORT

MEMORY_BYTES = 96 * 1024 * 1024
"""Twice of what it has at rest: a packet may be as long as a server says."""
LONGEST_WORDS = 80
"""Characters of what a server says, or of a path: the next step stands behind them."""
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How keys of the type ssh-rsa sign nowadays."""


class Refused(Exception):
    """The server, or what stands in its way; the text says what to look at."""


class Denied(Refused):
    """By the server, which knows us or not."""


def main() -> None:
    """Carries out the one order, and ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        os.nice(19)
    except OSError:
        pass  # the service may forbid it, and then it is as fast as the agent
    logging.disable()
    agent = Connection(0)
    order = json.loads(agent.recv_bytes())
    try:
        with opened(order) as session:
            if order["name"] is None:
                fetch(agent, session, order["path"])
            else:
                send(agent, session, order["path"], order["name"])
    except Exception as error:  # whatever a server can bring about, its thread's errors too
        fault = {"is_denied": _is_denied(error), "text": _why(error, order)}
        agent.send_bytes(FAULT + json.dumps(fault).encode())


def fetch(agent: Connection, session: Any, path: str) -> None:
    found = session.stat(path)
    _answer(agent, size=found.st_size, modified=found.st_mtime)
    begin = int(agent.recv_bytes())
    with session.open(path, "rb") as file:
        file.seek(begin)
        while chunk := file.read(CHUNK):
            agent.send_bytes(DATA + chunk)
    agent.send_bytes(DATA)


def send(agent: Connection, session: Any, path: str, name: str) -> None:
    target = target_of(session, path, name)
    with session.open(target, "wb") as out:
        _answer(agent)
        while chunk := agent.recv_bytes():
            out.write(chunk)
            _answer(agent)
    try:
        size = session.stat(target).st_size
    except (FileNotFoundError, PermissionError):
        size = None  # a letter box: what was put in is not shown, or taken out at once
    _answer(agent, size=size)


def _answer(agent: Connection, **found: Any) -> None:
    agent.send_bytes(ANSWER + json.dumps(found).encode())


def target_of(session: Any, path: str, name: str) -> str:
    """In a directory under our name; what is no directory is the file itself."""
    if path[-1:] in ("/", ""):
        return path + name
    try:
        is_directory = stat.S_ISDIR(session.stat(path).st_mode or 0)
    except (FileNotFoundError, PermissionError):
        is_directory = False
    return f"{path}/{name}" if is_directory else path


# --- the way in -----------------------------------------------------------------------------------


@contextmanager
def opened(order: dict[str, Any]) -> Iterator[Any]:
    """A session, logged in. Raises Refused, OSError, EOFError, SSHException."""
    timeout_s = order["timeout_s"]
    known = KnownHosts(order["known_hosts"], order["host"], order["port"])
    connection = socket.create_connection((order["host"], order["port"]), timeout_s)
    transport = paramiko.Transport(connection)
    try:
        transport.banner_timeout = transport.auth_timeout = timeout_s
        options = transport.get_security_options()
        options.key_types = known.preferred(options.key_types)
        transport.start_client(timeout=timeout_s)
        known.check(_key_of(transport))
        if transport.auth_password(order["user"], order["password"]):
            raise Denied("it wants more than a password; have its owner let a password do")
        channel = transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        channel.invoke_subsystem("sftp")
        yield paramiko.SFTPClient(channel)
    finally:
        transport.close()


def _key_of(transport: Any) -> Any:
    """Of the server; it has proved that it holds it. Raises TimeoutError where that took too
    long."""
    try:
        return transport.get_remote_server_key()
    except paramiko.SSHException:
        raise TimeoutError from None  # which `start_client` keeps to itself


class KnownHosts:
    """What the technician's file says of one server. Raises Refused where it cannot be read."""

    def __init__(self, path: str, host: str, port: int) -> None:
        self._path, self._host, self._port = path, host, port
        self._keys: list[Any] = []
        self._revoked: list[Any] = []
        self._unread: list[int] = []
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    self._take(number, line.split())
        except OSError as error:
            text = f"{path} cannot be read ({error.strerror}); correct it, or its owner and mode"
            raise Refused(text) from error

    def _take(self, number: int, words: list[str]) -> None:
        if not words or words[0].startswith(("#", "@cert-authority")):
            return
        is_revoked = words[0] == "@revoked"
        try:
            entry = HostKeyEntry.from_line(" ".join(words[is_revoked:][:3]))
        except (paramiko.SSHException, InvalidHostKey, ValueError):
            entry = None
        if entry is None:
            self._unread.append(number)
        elif is_revoked:
            self._revoked.append(entry.key)
        elif any(self._is_named(name) for name in entry.hostnames):
            self._keys.append(entry.key)

    def _is_named(self, name: str) -> bool:
        """By its name, as OpenSSH writes it with a port, or by the hash of that."""
        host = self._host if self._port == PORT else f"[{self._host}]:{self._port}"
        if not name.startswith("|1|"):
            return name.lower() == host
        try:
            salt, digest = (base64.b64decode(word) for word in name[3:].split("|"))
        except ValueError:
            return False
        return hmac.compare_digest(hmac.digest(salt, host.encode(), "sha1"), digest)

    def preferred(self, key_types: tuple[str, ...]) -> tuple[str, ...]:
        """All of `key_types`, first those of a key that is known."""
        names = [key.get_name() for key in self._keys]
        known = [one for name in names for one in (RSA if name == "ssh-rsa" else (name,))]
        return tuple(sorted(key_types, key=lambda one: one not in known))

    def check(self, shown: Any) -> None:
        """Raises Refused for every key but one of those that the file holds for this server."""
        told = f"{shown.get_name()} {shown.fingerprint}"
        if shown in self._revoked:
            raise Refused(f"its key {told} is revoked in {self._path}; ask its owner for a new one")
        if shown in self._keys:
            return
        port = "" if self._port == PORT else f"-p {self._port} "
        step = f"the line of `ssh-keyscan {port}{self._host}`"
        if self._keys:
            text = f"it shows another key than {self._path} holds ({told}); ask its owner: only"
            raise Refused(f"{text} where he changed it, write {step} there")
        unread = f" (its line {self._unread[0]} is no key)" if self._unread else ""
        text = f"its key {told} is not in {self._path}{unread}; where its owner confirms that key,"
        raise Refused(f"{text} add {step} there")


# --- what went wrong ------------------------------------------------------------------------------


def _is_denied(error: Exception) -> bool:
    """The server said so: files of our own are not opened here, and the one that is, is Refused."""
    if isinstance(error, paramiko.AuthenticationException):
        return not _is_silence(error)
    return isinstance(error, Denied | PermissionError)


def _is_silence(error: Exception) -> bool:
    """A login that had no answer is told by the library as one that was refused."""
    return "timeout" in str(error) or "shut down" in str(error)


def _why(error: Exception, order: dict[str, Any]) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, paramiko.BadAuthenticationType):
        return "it takes no password; have its owner let a password do"
    if isinstance(error, paramiko.AuthenticationException) and not _is_silence(error):
        return "the login is refused; correct name and password in the address"
    if isinstance(error, TimeoutError):
        return f"no answer within {order['timeout_s']:.0f} s; look into the server's log"
    if isinstance(error, PermissionError | FileNotFoundError):
        path, said = order["path"][-LONGEST_WORDS:], str(error.strerror)[:LONGEST_WORDS]
        return f"{path}: {said}; correct the path, or the rights on the server"
    if isinstance(error, OSError):
        said = str(error.strerror or error)[:LONGEST_WORDS]
        return f"{said}; check the address, and that the server runs"
    said = str(error)[:LONGEST_WORDS] or type(error).__name__
    return f"the connection came to nothing ({said}); look into the server's log"


if __name__ == "__main__":
    main()
