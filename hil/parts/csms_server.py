"""The bench CSMS behind a real websocket on loopback."""

import base64
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
        self.port = port
        self._csms = csms
        self._host = host
        self._login = login
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://{self._host}:{self.port}/ocpp"

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

    async def close(self) -> None:
        """The end of the bench."""
        await self.drop()
        await self._csms.close()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        header = request.headers.get("Authorization")
        self.handshakes.append((request.path, header))
        if self._login is not None:
            expected = "Basic " + base64.b64encode(":".join(self._login).encode()).decode()
            if header != expected:
                return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong name or password\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        if connection.subprotocol is None:
            return

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
