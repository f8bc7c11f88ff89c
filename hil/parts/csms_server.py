"""The bench CSMS behind a real websocket on loopback."""

import asyncio
import base64
import ssl
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from hil.parts.csms import BenchCsms


class CsmsServer:
    """Serves one BenchCsms; `url` is the endpoint without the identity."""

    def __init__(
        self, csms: BenchCsms, host: str, port: int, login: tuple[str, str] | None
    ) -> None:
        self.handshakes: list[tuple[str, str | None]] = []
        """(path, Authorization header) of every attempt that reached us."""
        self.tls: ssl.SSLContext | None = None
        """With what `accept` listens from the next time on."""
        self.secured: list[ssl.SSLObject] = []
        """The TLS side of every websocket that was opened."""
        self.port = port
        self.path: str | None = None
        """The only path that is known here, any other one gets 404; None: any."""
        self.deaf_links_s: list[float] = []
        """The next links, one each: open, but dead to the CSMS, and closed with 1011 so much later,
        as a back end does that still holds the station's old socket."""
        self._csms = csms
        self._host = host
        self.login = login
        """Who else dials is answered by 401; None: anybody may come."""
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"{'ws' if self.tls is None else 'wss'}://{self._host}:{self.port}/ocpp"

    async def accept(self) -> None:
        """Listen (again), on the same port as before."""
        if self._server is None:
            self._server = await serve(
                self._talk,
                self._host,
                self.port,
                subprotocols=[Subprotocol("ocpp2.0.1")],
                process_request=self._admit,
                ping_interval=None,
                ssl=self.tls,
            )
            self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def drop(self) -> None:
        """Cut all sockets without a goodbye and refuse new ones."""
        if self._server is not None:
            server, self._server = self._server, None
            for connection in list(server.connections):
                connection.transport.abort()
            server.close()
            await server.wait_closed()

    async def say_goodbye(self, code: int, reason: str = "") -> None:
        """Close all links by a close frame; new ones are welcome."""
        if self._server is not None:
            for connection in list(self._server.connections):
                await connection.close(code, reason)

    def write_raw(self, raw: bytes) -> None:
        """Bytes on all open links, past the websocket library: a frame that it would not send."""
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.transport.write(raw)

    async def close(self) -> None:
        """The end of the bench."""
        await self.drop()
        await self._csms.close()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        header = request.headers.get("Authorization")
        self.handshakes.append((request.path, header))
        if self.path not in (None, request.path):
            return connection.respond(HTTPStatus.NOT_FOUND, "no station has this address\n")
        if self.login is not None:
            expected = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
            if header != expected:
                return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong name or password\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        if connection.subprotocol is None:
            return
        if self.deaf_links_s:
            await self._ignore(connection, self.deaf_links_s.pop(0))
            return
        secured = connection.transport.get_extra_info("ssl_object")
        if secured is not None:
            self.secured.append(secured)

        async def send(text: str) -> None:
            try:
                await connection.send(text)
            except ConnectionClosed as error:
                raise ConnectionError(str(error)) from None

        link_number = self._csms.attach(send, connection.transport.abort)
        try:
            async for frame in connection:
                if isinstance(frame, bytes):
                    self._csms.violations.append("a binary frame (OCPP-J is text)")
                else:
                    self._csms.feed(frame)
        except ConnectionClosed:
            pass
        finally:
            self._csms.detach(link_number)

    async def _ignore(self, connection: ServerConnection, for_s: float) -> None:
        """Pings are answered, frames are taken, and nobody reads them."""
        gone = asyncio.ensure_future(connection.wait_closed())
        await asyncio.wait([gone], timeout=for_s)
        gone.cancel()
        await connection.close(1011, "the other socket of this station was closed")


async def serve_websocket(
    csms: BenchCsms,
    host: str = "127.0.0.1",
    port: int = 0,
    login: tuple[str, str] | None = None,
) -> CsmsServer:
    """Start listening; `login` is (identity, password) of Basic authentication, None: anybody."""
    server = CsmsServer(csms, host, port, login)
    await server.accept()
    return server
