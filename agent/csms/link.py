"""The websocket to the CSMS (OCPP-J chapter 3). What goes wrong is a LinkError in plain words."""

import asyncio
import base64
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from agent.core.effects import Dial
from agent.csms.tls import client_context
from agent.errors import LinkError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed, InvalidStatus

SUBPROTOCOL = "ocpp2.0.1"
MAX_BYTES = 1_048_576
"""Above this the socket is closed (1009); from 256 KiB on `rpc` answers with a CALLERROR."""
PONG_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 2.0
AT_ONCE_CHARS = 8_192
"""A frame no longer than this fits into the library's buffer, whatever its characters are."""
SEND_TIMEOUT_S = 60.0
"""So long the network may take none of our bytes; a ping cannot tell, it would wait behind them."""


class Credentials(Struct, frozen=True):
    """What proves to the CSMS who we are, and to us who the CSMS is. Never written to a log."""

    password: str | None = None
    """Basic authentication (A00.FR.203)."""
    ca_file: str | None = None
    """PEM of the roots that may sign the CSMS; None: those of the system."""
    certificate_file: str | None = None
    """PEM chain of the station itself (security profile 3)."""
    key_file: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class Link(Protocol):
    """An open connection that carries text frames."""

    def send_at_once(self, text: str) -> bool:
        """Sends where that takes no waiting; False: nothing happened, `send` will do or tell."""

    async def send(self, text: str) -> None:
        """Raises LinkError when the link is gone or takes nothing for a long time."""

    async def receive(self) -> str:
        """The next frame. Raises LinkError when the link is gone; safe to cancel."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, wait a moment for the answer, then let go. Never raises."""


Connect = Callable[[Dial, Credentials, Callable[[], None]], Awaitable[Link]]
"""(where, who, called on each pong) -> open link with the agreed subprotocol, or LinkError."""


class WebsocketLink:
    """A Link over `websockets`."""

    def __init__(self, connection: "ClientConnection") -> None:
        self._connection = connection

    def send_at_once(self, text: str) -> bool:
        protocol, transport = self._connection.protocol, self._connection.transport
        is_open = protocol.state is _open_state() and not transport.is_closing()
        if not is_open or len(text) > AT_ONCE_CHARS or transport.get_write_buffer_size():
            return False
        protocol.send_text(text.encode())
        transport.writelines(protocol.data_to_send())
        return True

    async def send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._connection.send(text)
        except _connection_closed() as error:
            raise LinkError(_closing_words(error)) from None
        except TimeoutError:
            self._connection.transport.abort()
            raise LinkError(
                f"the network took none of our bytes for {SEND_TIMEOUT_S:g} s; dialling again"
            ) from None

    async def receive(self) -> str:
        try:
            frame = await self._connection.recv()
        except _connection_closed() as error:
            raise LinkError(_closing_words(error)) from None
        return frame if isinstance(frame, str) else frame.decode("utf-8", "replace")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        # a close frame holds 125 bytes, two of them are the code
        short = reason.encode()[:123].decode("utf-8", "ignore")
        try:
            await self._connection.close(code, short)
        finally:
            # behind a full buffer the goodbye never leaves, and the socket would stay for ever
            self._connection.transport.abort()


def basic_authorization(user: str, password: str) -> str:
    """The header that proves who we are (A00.FR.203, FR.205)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def connect_websocket(
    dial: Dial, credentials: Credentials, on_pong: Callable[[], None]
) -> WebsocketLink:
    """Dial the CSMS. Raises LinkError; nothing it says contains the password. Safe to cancel."""
    place = _place(dial)
    options: dict[str, Any] = {}
    if place.startswith("wss:"):
        options["ssl"] = client_context(
            credentials.ca_file, credentials.certificate_file, credentials.key_file
        )
    headers = {}
    if credentials.password is not None:
        headers["Authorization"] = basic_authorization(dial.user, credentials.password)
    connector, connection_type = _client()

    def new_connection(*arguments: Any, **keywords: Any) -> Any:
        connection = connection_type(*arguments, **keywords)
        connection.on_pong = on_pong
        return connection

    try:
        connection = await connector(
            dial.url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=dial.open_timeout_s,
            ping_interval=dial.ping_interval_s or None,
            ping_timeout=PONG_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_BYTES,
            logger=_quiet_logger(),
            create_connection=new_connection,
            **options,
        )
    except Exception as error:
        words = _dialling_words(error, dial)
        if words is None:
            raise
        raise LinkError(f"{place}: {words}") from None
    link = WebsocketLink(connection)
    if connection.subprotocol != SUBPROTOCOL:
        await link.close(1002, "no common subprotocol")
        raise LinkError(
            f"{place}: the CSMS did not agree to {SUBPROTOCOL}; have OCPP 2.0.1 enabled for this "
            "station there, or check that the URL leads to its OCPP 2.0.1 endpoint"
        )
    return link


@cache
def _client() -> tuple[Any, Any]:
    """`websockets` client classes: no redirects, and pongs are heard. Imported on first use."""
    from websockets.asyncio.client import ClientConnection, connect

    class Connection(ClientConnection):
        on_pong: Callable[[], None]

        def acknowledge_pings(self, data: bytes) -> None:
            super().acknowledge_pings(data)
            self.on_pong()

    class Connector(connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return Connector, Connection


@cache
def _connection_closed() -> "type[ConnectionClosed]":
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


@cache
def _open_state() -> object:
    from websockets.protocol import OPEN

    return OPEN


@cache
def _quiet_logger() -> logging.Logger:
    """The library's debug lines hold the Authorization header and every frame."""
    logger = logging.getLogger("agent.csms.websockets")
    logger.setLevel(logging.WARNING)
    return logger


def _place(dial: Dial) -> str:
    """The URL as it may be shown. Raises LinkError for one that must not be dialled."""
    try:
        parts = urlsplit(dial.url)
        known = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise LinkError("the URL of the CSMS is not a ws:// or wss:// address; correct csms.url")
    if "@" in parts.netloc:
        raise LinkError(
            "the URL of the CSMS contains a name or password; move it to station.identity and "
            "csms.password_file"
        )
    if dial.security_profile >= 2 and parts.scheme != "wss":
        raise LinkError(
            f"security profile {dial.security_profile} needs TLS, but the URL starts with ws://; "
            "change csms.url to wss://"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


# --- words for the technician -----------------------------------------------------------------

STATUS_WORDS = {
    401: "the CSMS refused the password (HTTP 401); compare csms.password and station.identity "
    "with what the CSMS has",
    403: "the CSMS forbids this station (HTTP 403); have it released there",
    404: "the CSMS does not know this address or station (HTTP 404); compare csms.url and "
    "station.identity with what the CSMS has; one that wants a slash at the end gets it by "
    "csms.url: .../{identity}/",
    426: "the CSMS wants another kind of connection (HTTP 426); check that csms.url is its OCPP "
    "endpoint",
    429: "the CSMS is dialled too often (HTTP 429); wait, the next attempts come slower",
}

CLOSE_WORDS = {
    1000: "the CSMS closed the link normally",
    1001: "the CSMS is going away, perhaps for maintenance",
    1002: "the CSMS found an error in the websocket protocol",
    1007: "a frame was not UTF-8",
    1008: "the CSMS closed the link by its policy; ask its operator why",
    1009: f"a frame was larger than allowed (ours to receive: {MAX_BYTES} bytes)",
    1011: "the CSMS has an internal error",
    1012: "the CSMS restarts",
    1013: "the CSMS is overloaded",
}


def _dialling_words(error: Exception, dial: Dial) -> str | None:
    """What a failed attempt means and what to do; None when it is no trouble of the network."""
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

    match error:
        case TimeoutError():
            return (
                f"no answer within {dial.open_timeout_s:g} s; check network, firewall and port, "
                "and that the CSMS runs"
            )
        case socket.gaierror():
            return "the host name cannot be resolved; check csms.url and the DNS of the network"
        case ssl.SSLCertVerificationError():
            return (
                f"the CSMS's certificate is not trusted ({error.verify_message}); install its "
                "root certificate, check its host name, and check the clock of this board"
            )
        case ssl.SSLError():
            return (
                f"TLS failed ({error.reason or 'no reason given'}); check that the port speaks "
                "TLS 1.2 or newer"
            )
        case ConnectionRefusedError():
            return "nothing listens there; check host and port in csms.url, and that the CSMS runs"
        case ConnectionError():
            return (
                "the other side cut the connection at once; check the port, and ws:// against "
                "wss:// in csms.url"
            )
        case InvalidStatus():
            return _status_words(error)
        case InvalidMessage() | EOFError():
            return (
                "the other side does not speak HTTP; check the port, and ws:// against wss:// in "
                "csms.url"
            )
        case InvalidHandshake():
            return f"the websocket handshake failed ({error}); check that csms.url is right"
        case OSError():
            trouble = error.strerror or str(error) or "the network failed"
            return f"{trouble}; check cable, modem and the route to the CSMS"
    return None


def _status_words(error: "InvalidStatus") -> str:
    status = error.response.status_code
    if 300 <= status < 400:
        target = error.response.headers.get("Location", "an unnamed address")
        return (
            f"the CSMS redirects to {target[:300]} (HTTP {status}); if that is right, set it as "
            "csms.url"
        )
    if 200 <= status < 300:
        return (
            f"a web page answers instead of the CSMS (HTTP {status}), perhaps the login page of "
            "this network; release the charger there, or correct csms.url"
        )
    if status >= 500:
        return f"the CSMS or its proxy is broken or down (HTTP {status}); ask its operator"
    default = f"the CSMS refused the connection (HTTP {status}); ask its operator"
    return STATUS_WORDS.get(status, default)


def _closing_words(error: "ConnectionClosed") -> str:
    """Why an open link ended."""
    if error.rcvd is not None and not (error.sent is not None and error.rcvd_then_sent is False):
        code, reason = error.rcvd.code, error.rcvd.reason
        words = CLOSE_WORDS.get(code, "the CSMS closed the link")
        said = f", saying {reason[:123]!r}" if reason else ""
        return f"{words} (code {code}{said}); dialling again"
    if error.sent is not None and "ping" in error.sent.reason:
        return f"no pong within {PONG_TIMEOUT_S:g} s: the network is gone; dialling again"
    if error.sent is not None:
        words = CLOSE_WORDS.get(error.sent.code, "this side closed the link")
        words = "this side closed the link" if error.sent.code in (1000, 1001) else words
        return f"{words} (code {error.sent.code}, sent by this side); dialling again"
    return "the connection broke without a goodbye; check the network if this repeats"


async def hang_up(link: Link, reason: str) -> None:
    """Close within a bounded time, whatever the other side does."""
    try:
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await link.close(1000, reason)
    except TimeoutError:
        pass
