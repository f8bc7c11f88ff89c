"""A line that is reached by TCP, for benches: by a serial converter, or as a Modbus TCP host."""

import asyncio
import struct
from collections.abc import Callable

from hil.parts.modbus_slave import framed

HEAD = struct.Struct(">HHHB")
"""MBAP: transaction, protocol 0, length from the unit on, unit."""


class TcpPort:
    """As PtyPort, behind rtu-tcp://127.0.0.1:port. A new connection takes the place of the old."""

    scheme = "rtu-tcp"

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
        self.path = f"{self.scheme}://{host}:{port}"

    def write(self, data: bytes) -> None:
        """What the device says."""
        self.send(data)

    def send(self, data: bytes) -> None:
        """Bytes as they are, to whoever is connected; without anybody they are lost."""
        if self._host is not None and not self._host.is_closing():
            self._host.write(data)

    def unplug(self) -> None:
        """Nothing is there any more: connections end, none is taken."""
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
            while data := await self._heard(reader):
                self.on_bytes(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _heard(self, reader: asyncio.StreamReader) -> bytes:
        """What the device hears next; empty at the end."""
        return await reader.read(4096)


class MbapPort(TcpPort):
    """Carries the RTU frames of a slave under MBAP headers. The answers leave in order, each under
    the transaction number of its question."""

    scheme = "tcp"
    _transaction = 0

    def write(self, data: bytes) -> None:
        body = data[1:-2]
        self.send(HEAD.pack(self._transaction, 0, len(body) + 1, data[0]) + body)

    async def _heard(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(HEAD.size)
        self._transaction, _, length, unit = HEAD.unpack(head)
        return framed(unit, await reader.readexactly(length - 1))
