"""The websocket to the CSMS (OCPP-J chapter 3). What goes wrong is a LinkError in plain words."""

import asyncio
import base64
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from agent.core.effects import Dial
from agent.csms.library import client, connection_closed, open_state
from agent.csms.tls import Trust, client_context, trusted_by
from agent.csms.words import (
    MAX_BYTES,
    PONG_TIMEOUT_S,
    closing_words,
    dialling_words,
    trouble_of,
)
from agent.errors import LinkError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

SUBPROTOCOL = "ocpp2.0.1"
CLOSE_TIMEOUT_S = 2.0
AT_ONCE_CHARS = 8_192
"""A frame no longer than this fits into the library's buffer, whatever its characters are."""
READ_BYTES = 65_536
"""Of the socket at once. The loop's own 256 kB would be mapped and unmapped for each frame."""
SEND_TIMEOUT_S = 60.0
"""So long the network may take none of our bytes; a ping cannot tell, it would wait behind them."""


class Credentials(Struct, frozen=True):
    """What proves to the CSMS who we are, and to us who the CSMS is. Never written to a log."""

    password: str | None = None
    """Basic authentication (A00.FR.203)."""
    trust: Trust = Trust()

    def __repr__(self) -> str:
        return "Credentials(...)"


class Link(Protocol):
    """An open connection that carries text frames."""

    @property
    def trusted_by(self) -> str:
        """Fingerprint of the root that vouched for the CSMS; "" without TLS."""

    def send_at_once(self, text: str) -> bool:
        """Sends where that takes no waiting; False: nothing happened, `send` will do or tell."""

    async def send(self, text: str) -> None:
        """Raises LinkError when the link is gone or takes nothing for a long time."""

    def listen(self, hear: Callable[[str], bool] | None) -> None:
        """Frames may go to `hear` as they come, where none waits for `receive`; None: no more. One
        that `hear` does not take (False) waits for `receive`."""

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

    @property
    def trusted_by(self) -> str:
        return trusted_by(self._connection.transport.get_extra_info("ssl_object"))

    def send_at_once(self, text: str) -> bool:
        protocol, transport = self._connection.protocol, self._connection.transport
        is_open = protocol.state is open_state() and not transport.is_closing()
        if not is_open or len(text) > AT_ONCE_CHARS or transport.get_write_buffer_size():
            return False
        protocol.send_text(text.encode())
        transport.writelines(protocol.data_to_send())
        return True

    def listen(self, hear: Callable[[str], bool] | None) -> None:
        self._connection.hear = hear  # type: ignore[attr-defined]

    async def send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._connection.send(text)
        except connection_closed() as error:
            raise LinkError(closing_words(error)) from None
        except TimeoutError:
            self._connection.transport.abort()
            raise LinkError(
                f"the network took none of our bytes for {SEND_TIMEOUT_S:g} s; dialling again"
            ) from None

    async def receive(self) -> str:
        try:
            frame = await self._connection.recv()
        except connection_closed() as error:
            raise LinkError(closing_words(error)) from None
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
        # the roots of a system are some 150 certificates to parse, a key may lie in a slow TPM
        options["ssl"] = await asyncio.to_thread(client_context, credentials.trust)
    headers = {}
    if credentials.password is not None:
        headers["Authorization"] = basic_authorization(dial.user, credentials.password)
    connector, connection_type = client()
    made: list[Any] = []

    def new_connection(*arguments: Any, **keywords: Any) -> Any:
        connection = connection_type(*arguments, **keywords)
        connection.on_pong = on_pong
        made.append(connection)
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
        cause = _alert_behind(error, made)
        words = dialling_words(cause, dial)
        if words is None:
            raise
        raise LinkError(f"{place}: {words}", trouble_of(cause)) from None
    connection.transport.max_size = READ_BYTES
    link = WebsocketLink(connection)
    if connection.subprotocol != SUBPROTOCOL:
        await link.close(1002, "no common subprotocol")
        raise LinkError(
            f"{place}: the CSMS did not agree to {SUBPROTOCOL}; have OCPP 2.0.1 enabled for this "
            "station there, or check that the URL leads to its OCPP 2.0.1 endpoint"
        )
    return link


def _alert_behind(error: Exception, made: list[Any]) -> Exception:
    """In TLS 1.3 the CSMS looks at our certificate after the handshake: where it refuses it, its
    alert stands in place of the HTTP answer that `websockets` misses."""
    for connection in made:
        if isinstance(connection.connection_exc, ssl.SSLError):
            alert: ssl.SSLError = connection.connection_exc
            return alert
    return error


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


async def hang_up(link: Link, reason: str) -> None:
    """Close within a bounded time, whatever the other side does."""
    try:
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await link.close(1000, reason)
    except TimeoutError:
        pass
