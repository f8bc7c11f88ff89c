"""The technician's socket: one JSON object a line, asked and answered, or followed; local users
only."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from inspect import isawaitable
from typing import Any

from agent.errors import ChargepointError
from drivers.contract import DriverError

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
Command = Callable[[Answer], Answer | Awaitable[Answer] | AsyncGenerator[Answer, None]]
"""Takes the request. What it generates is written line by line until the client hangs up."""

SOCKET_MODE = 0o660
PATH_BYTES = 107
REQUEST_BYTES = 65_536
ANSWER_BYTES = 16_777_216
CLIENTS = 16
IDLE_S = 60.0
SO_PEERGROUPS = 59
LOGIN_S = 600.0
"""Who was told of is not told of again sooner."""
LOGINS_KEPT = 64
NO_VISIT = frozenset({"status", "probe", "limit"})
"""Commands of programs and of who only looks: they order nothing, or can only lower what flows, and
show nothing of the drivers but with their cards."""

OnLogin = Callable[[str, bool], None]
"""Told of (user, whether he may ask)."""


class ConsoleError(ChargepointError):
    """The console cannot be opened or asked."""


class NotRunning(ConsoleError):
    """Nothing listens there."""


def socket_path(data_directory: str, console_socket: str | None) -> str:
    """Where the console of a station listens."""
    return console_socket or os.path.join(data_directory, "console.sock")


class Console:
    """Answers `{"cmd": name, ...}` with `{"ok": true, ...}` or `{"ok": false, "error": text}`."""

    def __init__(
        self,
        path: str,
        commands: Mapping[str, Command],
        on_login: OnLogin = lambda user, accepted: None,
    ) -> None:
        self.path = path
        self._commands = commands
        self._logins = _Logins(on_login)
        self._clients: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Listens for ever; raises ConsoleError when it cannot. Cancelling removes the socket."""
        listener = bind(self.path)
        mine = _identity(self.path)
        try:
            server = await asyncio.start_unix_server(
                self._serve, sock=listener, limit=REQUEST_BYTES
            )
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()
        finally:
            listener.close()
            for task in self._clients:
                task.cancel()
            if mine is not None and _identity(self.path) == mine:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client until it hangs up, errs beyond repair, or is silent for IDLE_S."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, TimeoutError):
            logger.debug("console client went away")
        finally:
            self._clients.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid, groups = peer(writer.get_extra_info("socket"))
        refusal = self._refusal(uid, groups)
        if refusal:
            await _write(writer, _no(refusal))
            return
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _write(
                    writer, _no(f"request longer than {REQUEST_BYTES} bytes; send a shorter one")
                )
                return
            answer = await self._answer(line, uid)
            if isinstance(answer, AsyncGenerator):
                await _follow(answer, reader, writer)
                return
            await _write(writer, answer)

    def _refusal(self, uid: int, groups: frozenset[int]) -> str:
        """Why this client may not ask; empty when it may."""
        if len(self._clients) > CLIENTS:
            return f"{CLIENTS} others are connected; close one and try again"
        if not may_ask(uid, groups):
            self._logins.note(uid, accepted=False)
            return "this user may not ask; use root or a member of the service's group"
        return ""

    async def _answer(self, line: bytes, uid: int) -> Answer | AsyncGenerator[Answer, None]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _no('not one JSON object a line; send for example {"cmd": "status"}')
        if not isinstance(request, dict) or not isinstance(request.get("cmd"), str):
            return _no('"cmd" is missing; send for example {"cmd": "status"}')
        command = self._commands.get(request["cmd"])
        if command is None:
            return _no(f"no command {request['cmd'][:50]!r}; use: {', '.join(self._commands)}")
        if request["cmd"] not in NO_VISIT or request.get("cards") is True:
            self._logins.note(uid, accepted=True)
        try:
            answer = command(request)
            if isinstance(answer, AsyncGenerator):
                return answer
            if isawaitable(answer):
                answer = await answer
            return {"ok": True, **answer}
        except (ChargepointError, DriverError) as error:
            return _no(str(error))
        except Exception:  # a bug in one command must not end the console; the journal has it
            logger.exception("console command %r failed", request["cmd"])
            return _no("internal error; the journal says more (journalctl -u chargepoint)")


class _Logins:
    """Who orders something, or may not even ask: each user once in LOGIN_S, so that a program that
    asks all day is no flood."""

    def __init__(self, on_login: OnLogin) -> None:
        self._on_login = on_login
        self._told_s: dict[tuple[int, bool], float] = {}

    def note(self, uid: int, *, accepted: bool) -> None:
        now_s = asyncio.get_running_loop().time()
        told_s = self._told_s.get((uid, accepted))
        if told_s is not None and now_s - told_s < LOGIN_S:
            return
        self._told_s.pop((uid, accepted), None)
        self._told_s[uid, accepted] = now_s
        while len(self._told_s) > LOGINS_KEPT:
            del self._told_s[next(iter(self._told_s))]
        self._on_login("root" if uid == 0 else f"uid {uid}", accepted)


def bind(path: str) -> socket.socket:
    """A listening socket at `path`, mode 0660, in place of a dead one. Raises ConsoleError."""
    length = len(os.fsencode(path))
    if length > PATH_BYTES:
        raise ConsoleError(
            f"console socket path has {length} bytes, {PATH_BYTES} fit; set a shorter "
            "console_socket in charger.yaml"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
        os.chmod(path, SOCKET_MODE)
        listener.listen(CLIENTS)
    except OSError as error:
        listener.close()
        raise ConsoleError(
            f"console socket {path} cannot be opened ({error.strerror}); check that its "
            "directory exists and belongs to the service"
        ) from error
    except ConsoleError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_stale(path: str) -> None:
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConsoleError(f"{path} is there and is no socket; remove it or set console_socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise ConsoleError(
        f"another process listens on {path}; stop it first (systemctl stop chargepoint)"
    )


def peer(sock: socket.socket) -> tuple[int, frozenset[int]]:
    """User id and all group ids of the process at the other end (SO_PEERCRED)."""
    layout = struct.Struct("3i")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    _, uid, gid = layout.unpack(raw)
    groups = {gid}
    with contextlib.suppress(OSError):
        more = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
        groups.update(struct.unpack(f"{len(more) // 4}I", more))
    return uid, frozenset(groups)


def may_ask(uid: int, groups: frozenset[int]) -> bool:
    """Root, the service's own user, and members of its group may."""
    return uid in (0, os.geteuid()) or os.getegid() in groups


def ask(path: str, request: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Asks a running station; blocking. Raises ConsoleError with the next step."""
    until = time.monotonic() + timeout_s
    with _asked(path, request, timeout_s) as sock:
        line = _read_line(sock, until)
    return _checked(path, line)


def follow(path: str, request: dict[str, Any], timeout_s: float = 5.0) -> Iterator[Answer]:
    """Asks a running station and yields what it tells until it hangs up; blocking. Raises
    ConsoleError with the next step, NotRunning where nothing came at all."""
    with _asked(path, request, timeout_s) as sock, sock.makefile("rb") as lines:
        _checked(path, lines.readline())
        sock.settimeout(None)
        for line in lines:
            yield _checked(path, line)


@contextlib.contextmanager
def _asked(path: str, request: dict[str, Any], timeout_s: float) -> Iterator[socket.socket]:
    """A connection on which `request` was sent."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            with contextlib.suppress(BrokenPipeError):  # refused already: the answer says why
                sock.sendall(json.dumps(request).encode() + b"\n")
            yield sock
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"nothing listens on {path}: the service does not run; "
            "start it (systemctl start chargepoint) or read journalctl -u chargepoint"
        ) from None
    except PermissionError:
        raise ConsoleError(
            f"this user may not use {path}; use sudo or join the service's group"
        ) from None
    except TimeoutError:
        raise ConsoleError(
            f"no answer on {path} within {timeout_s:g} s; read journalctl -u chargepoint"
        ) from None
    except OSError as error:
        raise ConsoleError(f"{path} cannot be asked ({error.strerror}); check the path") from None


def _read_line(sock: socket.socket, until: float) -> bytes:
    """Up to the line end or the end of the stream."""
    chunks: list[bytes] = []
    size = 0
    while not chunks or b"\n" not in chunks[-1]:
        left_s = until - time.monotonic()
        if left_s <= 0 or size > ANSWER_BYTES:
            raise TimeoutError
        sock.settimeout(left_s)
        chunk = sock.recv(65_536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _checked(path: str, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConsoleError(
            f"{path} hung up without an answer; the service may be stopping, try again"
        )
    if answer.get("ok") is not True:
        raise ConsoleError(str(answer.get("error", "refused without a reason")))
    return answer


def _no(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}


async def _follow(
    answers: AsyncGenerator[Answer, None],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Writes all that comes, until the client says anything more, which is goodbye, or takes
    nothing for IDLE_S."""

    async def tell() -> None:
        await _write(writer, {"ok": True})
        try:
            async for answer in answers:
                await _write(writer, {"ok": True, **answer})
        except (ChargepointError, DriverError) as error:
            await _write(writer, _no(str(error)))

    telling = asyncio.create_task(tell())
    leaving = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
    finally:
        for task in (telling, leaving):
            task.cancel()
        await asyncio.gather(telling, leaving, return_exceptions=True)
        await answers.aclose()


async def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    try:
        text = json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        logger.error("console answer is no JSON: %s", error)
        text = json.dumps(_no("internal error: the answer is no JSON; the journal says more"))
    writer.write(text.encode() + b"\n")
    async with asyncio.timeout(IDLE_S):
        await writer.drain()


def _identity(path: str) -> tuple[int, int] | None:
    """What tells our socket file from one that took its place."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
