"""A serial converter for benches: what goes over its one TCP connection goes onto the line."""

import asyncio
from collections.abc import Callable


class TcpPort:
    """As PtyPort, behind rtu-tcp://127.0.0.1:port. A new connection takes the place of the old."""

    def __init__(self) -> None:
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self.path = ""
        """What belongs into the agent's configuration."""
        self._server: asyncio.Server | None = None
        self._host: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Listens on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.path = f"rtu-tcp://{host}:{port}"

    def write(self, data: bytes) -> None:
        """Sends to whoever is connected; without anybody it is lost."""
        if self._host is not None and not self._host.is_closing():
            self._host.write(data)

    def unplug(self) -> None:
        """The converter is gone: connections end, none is taken any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._host is not None:
            self._host.close()
            self._host = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host is not None:
            self._host.close()
        self._host = writer
        try:
            while data := await reader.read(4096):
                self.on_bytes(data)
        except ConnectionError:
            return
        finally:
            writer.close()
