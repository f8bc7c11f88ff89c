"""The bench's control socket: one JSON object a line, answered at once, and events in between."""

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from agent.errors import ChargepointError
from drivers.contract import TokenType

log = logging.getLogger(__name__)

VERSION = 1
LINE_BYTES = 65_536
PATH_BYTES = 107
UNREAD_BYTES = 1_048_576
"""A client that leaves this much unread is cut off, or its events would fill our memory."""
GOODBYE_S = 1.0
"""At the end clients get this long to read what they were told."""

Number = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=50)]


class ControlError(ChargepointError):
    """A command cannot be carried out, or the control socket cannot be opened."""


# --- the commands -----------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag_field="cmd", tag="hello"):
    """Who is there, in which version, with which connectors."""


class EvArguments(Struct, frozen=True):
    """What the EV would do."""

    current_a: Annotated[float, Meta(ge=0, le=1000)] = 16.0
    """A per phase."""
    phases: Literal[1, 3] = 3
    ready_after_s: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    """From being offered power until it wants it."""


class PlugIn(Struct, frozen=True, tag_field="cmd", tag="plug_in"):
    evse: Number
    connector: Number
    ev: EvArguments | None = None


class PlugOut(Struct, frozen=True, tag_field="cmd", tag="plug_out"):
    evse: Number
    connector: Number


class Swipe(Struct, frozen=True, tag_field="cmd", tag="swipe"):
    """A token at a reader that serves `evses` (none named: all)."""

    id_token: Annotated[str, Meta(min_length=1, max_length=36)]
    type: TokenType | None = None
    """IdTokenEnumType; ISO14443 when not named."""
    evses: tuple[Number, ...] | None = None


class RaiseFault(Struct, frozen=True, tag_field="cmd", tag="raise_fault"):
    evse: Number
    connector: Number
    fault: Name


class ClearFault(Struct, frozen=True, tag_field="cmd", tag="clear_fault"):
    evse: Number
    connector: Number
    fault: Name


class EvState(Struct, frozen=True, tag_field="cmd", tag="ev_state"):
    evse: Number
    connector: Number
    state: Literal["B", "C", "D"]


class Press(Struct, frozen=True, tag_field="cmd", tag="press"):
    button: Name


Command = Hello | PlugIn | PlugOut | Swipe | RaiseFault | ClearFault | EvState | Press
Execute = Callable[[Command], Mapping[str, Any]]
"""Carries a command out and returns what the answer says beside `ok`; raises ControlError."""

COMMANDS: dict[str, type[Command]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(Command)
}
EXAMPLES = {
    "hello": '{"id":1,"cmd":"hello"}',
    "plug_in": '{"id":1,"cmd":"plug_in","evse":1,"connector":1,"ev":{"current_a":16}}',
    "plug_out": '{"id":1,"cmd":"plug_out","evse":1,"connector":1}',
    "swipe": '{"id":1,"cmd":"swipe","id_token":"04A1B2C3"}',
    "raise_fault": '{"id":1,"cmd":"raise_fault","evse":1,"connector":1,"fault":"rcd"}',
    "clear_fault": '{"id":1,"cmd":"clear_fault","evse":1,"connector":1,"fault":"rcd"}',
    "ev_state": '{"id":1,"cmd":"ev_state","evse":1,"connector":1,"state":"C"}',
    "press": '{"id":1,"cmd":"press","button":"stop"}',
}


def answer(line: bytes, execute: Execute) -> dict[str, Any]:
    """Reads a line, has it carried out, and answers; never raises for what the line says."""
    request_id: Any = None
    try:
        request = _object(line)
        request_id = request.get("id")
        command, ignored = _command(request)
        told = execute(command)
    except ControlError as error:
        return {"id": request_id, "ok": False, "error": str(error)}
    note = {"ignored": ignored} if ignored else {}
    return {"id": request_id, "ok": True, **told, **note}


def _object(line: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ControlError(f"no JSON ({error}); send for example {EXAMPLES['hello']}") from None
    if not isinstance(request, dict):
        raise ControlError(
            f"a line is one JSON object, this is none; send for example {EXAMPLES['hello']}"
        )
    return request


def _command(request: dict[str, Any]) -> tuple[Command, list[str]]:
    """The typed command, and the arguments nobody knows."""
    name = request.get("cmd")
    if not isinstance(name, str):
        raise ControlError(f'"cmd" is missing or no text; send for example {EXAMPLES["hello"]}')
    kind = COMMANDS.get(name)
    if kind is None:
        raise ControlError(f"there is no command {name[:50]!r}; use {', '.join(COMMANDS)}")
    try:
        command: Command = msgspec.convert(request, kind)
    except msgspec.ValidationError as error:
        what = str(error).replace("`", "").replace("$.", "")
        raise ControlError(f"{name}: {what}; send for example {EXAMPLES[name]}") from None
    known = {"id", "cmd", *kind.__struct_fields__}
    ignored = [key for key in request if key not in known]
    if isinstance(ev := request.get("ev"), dict) and kind is PlugIn:
        ignored += [f"ev.{key}" for key in ev if key not in EvArguments.__struct_fields__]
    return command, ignored


# --- where it listens -------------------------------------------------------------------------


class UnixAddress(Struct, frozen=True):
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(Struct, frozen=True):
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str, *, allow_remote: bool = False) -> Address:
    """`unix:/PATH` or `tcp:HOST:PORT` (port 0: any free one); raises ControlError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        if len(os.fsencode(rest)) > PATH_BYTES:
            raise ControlError(
                f"the control socket's path is longer than {PATH_BYTES} bytes; use a shorter one"
            )
        return UnixAddress(rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isascii() and port.isdigit() and int(port) < 65_536:
        host = host.removeprefix("[").removesuffix("]")
        if not allow_remote and not _is_loopback(host):
            raise ControlError(
                f"{host} is no loopback address, and whoever reaches the control socket plays "
                "driver without a password; use tcp:127.0.0.1:PORT, or add --allow-remote on "
                "a network you trust"
            )
        return TcpAddress(host, int(port))
    raise ControlError(f"--control {text!r} names no socket; use unix:/PATH or tcp:127.0.0.1:PORT")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ControlServer:
    """Listens from `open` to `close`; `tell` sends an event to every client."""

    def __init__(self, address: Address, execute: Execute) -> None:
        self.address = address
        self._execute = execute
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._identity: tuple[int, int] | None = None

    async def open(self) -> None:
        """Raises ControlError when the address cannot be used."""
        try:
            if isinstance(self.address, UnixAddress):
                await self._open_unix(self.address.path)
            else:
                await self._open_tcp(self.address)
        except OSError as error:
            raise ControlError(
                f"the control socket {self.address} cannot be opened "
                f"({error.strerror or error}); use another address"
            ) from error

    async def _open_unix(self, path: str) -> None:
        remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            os.chmod(path, 0o600)
        except OSError:
            listener.close()
            raise
        self._identity = _identity(path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES)

    async def _open_tcp(self, address: TcpAddress) -> None:
        self._server = await asyncio.start_server(
            self._serve, address.host, address.port, limit=LINE_BYTES
        )
        port = self._server.sockets[0].getsockname()[1]
        self.address = TcpAddress(address.host, port)

    async def close(self) -> None:
        """Hangs up on everybody and removes the socket file, unless another took its place."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._clients.values():
            writer.close()
        if self._clients:
            await asyncio.wait(self._clients, timeout=GOODBYE_S)
        for writer in self._clients.values():
            writer.transport.abort()
        if isinstance(self.address, UnixAddress) and _identity(self.address.path) == self._identity:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address.path)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Sends an event; returns at once."""
        line = encode(event)
        for writer in self._clients.values():
            if writer.is_closing():
                continue
            if writer.transport.get_write_buffer_size() > UNREAD_BYTES:
                log.warning("a control client does not read; it is cut off, connect again")
                writer.transport.abort()
                continue
            writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            log.debug("a control client went away")
        finally:
            del self._clients[task]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                too_long = f"a line is longer than {LINE_BYTES} bytes; send a shorter one"
                writer.write(encode({"id": None, "ok": False, "error": too_long}))
                await writer.drain()
                await _skip_line(reader, error.consumed)
                continue
            except asyncio.IncompleteReadError as error:
                line = error.partial
            if line.strip():
                writer.write(encode(answer(line, self._execute)))
                await writer.drain()
            if not line.endswith(b"\n"):
                return


async def _skip_line(reader: asyncio.StreamReader, consumed: int) -> None:
    """Throws away what is left of a line that is too long."""
    while True:
        try:
            await reader.readexactly(consumed)
            await reader.readuntil(b"\n")
            return
        except asyncio.LimitOverrunError as error:
            consumed = error.consumed
        except asyncio.IncompleteReadError:
            return


def encode(value: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def remove_stale(path: str) -> None:
    """Makes room for a socket where a dead one lies. Raises ControlError, OSError."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is there and is no socket; remove it or use another path")
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
    raise ControlError(f"another process listens on {path}; stop it or use another path")


def _identity(path: str) -> tuple[int, int] | None:
    """What tells our socket file from one that took its place."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
