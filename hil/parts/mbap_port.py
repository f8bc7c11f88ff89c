"""A Modbus TCP host for benches: carries the frames of a slave line under MBAP headers."""

import asyncio
import struct
from collections.abc import Callable

from hil.parts.modbus_slave import framed

HEAD = struct.Struct(">HHHB")
"""Transaction, protocol 0, length from the unit on, unit."""


class MbapPort:
    """As TcpPort, behind tcp://127.0.0.1:port. The answers leave in order, each under the
    transaction number of its question."""

    def __init__(self) -> None:
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self.path = ""
        """What belongs into the agent's configuration."""
        self._server: asyncio.Server | None = None
        self._host: asyncio.StreamWriter | None = None
        self._transaction = 0

    async def open(self) -> None:
        """Listens on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.path = f"tcp://{host}:{port}"

    def write(self, frame: bytes) -> None:
        """An RTU frame of the slave, to whoever is connected."""
        body = frame[1:-2]
        self.send(HEAD.pack(self._transaction, 0, len(body) + 1, frame[0]) + body)

    def send(self, data: bytes) -> None:
        """Bytes as they are; without anybody they are lost."""
        if self._host is not None and not self._host.is_closing():
            self._host.write(data)

    def unplug(self) -> None:
        """The host is gone: connections end, none is taken any more."""
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
            while True:
                head = await reader.readexactly(HEAD.size)
                self._transaction, _, length, unit = HEAD.unpack(head)
                self.on_bytes(framed(unit, await reader.readexactly(length - 1)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
