"""A network that misbehaves: a TCP proxy on loopback which does to bytes what a fault says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

CHUNK = 4096
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST, and drops what was not sent."""


class Fault(Struct, frozen=True):
    """What happens to connections; fields combine. "Up" is towards the CSMS."""

    refuses: bool = False
    """Nothing listens; what is connected stays so."""
    resets: bool = False
    """Every connection, old or new, is answered with RST."""
    closes: bool = False
    """A new connection is accepted and closed at once; an old one is closed."""
    reply: bytes | None = None
    """A new connection gets these bytes as answer to its first ones, and is closed then."""
    swallows_up: bool = False
    swallows_down: bool = False
    """Bytes are taken and vanish; nothing is closed. New connections are accepted."""
    stalls: bool = False
    """Not one byte is taken from the station any more: its buffers fill."""
    forgets: bool = False
    """The CSMS's side of an old connection is closed, and the station is not told."""
    cut_after: int | None = None
    """So many bytes come down on each connection from now on, then RST."""
    garbage: bytes | None = None
    """Comes down once in place of the next bytes of the CSMS, on each connection."""
    delay_s: float = 0.0
    """Every piece waits so long, in both directions."""
    drip_s: float = 0.0
    """Bytes come down one by one, so far apart."""


NONE = Fault()
REFUSE = Fault(refuses=True, resets=True)
RESET = Fault(resets=True)
BLACK_HOLE = Fault(swallows_up=True, swallows_down=True)
DEAF = Fault(swallows_up=True)
DUMB = Fault(swallows_down=True)
HALF_OPEN = Fault(swallows_up=True, swallows_down=True, forgets=True)
STALL = Fault(stalls=True, swallows_down=True)
ACCEPT_CLOSE = Fault(closes=True)


class FaultProxy:
    """Listens on `port` and talks to `target_port`; `await begin(fault)` changes the weather.

    With `tls`, it is the TLS end of the CSMS: a second proxy in front of it harms the TLS itself.
    """

    def __init__(
        self, target_port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.target_port = target_port
        self.port = 0
        self.fault = NONE
        self.arrivals: list[float] = []
        """Loop time of every connection that was accepted."""
        self.taken = 0
        """Bytes that were read from the station."""
        self.on_bytes: Callable[[int, str, bytes], None] = lambda connection, way, data: None
        """Called with all bytes that are handed on: number of the connection, "<" from the station
        or ">" to it."""
        self._host = host
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._pipes: set[_Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FaultProxy":
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hold_port()
        if self._placeholder is not None:
            self._placeholder.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begin(self, fault: Fault) -> None:
        """From now on this fault, on open connections and on new ones."""
        self.fault = fault
        for pipe in list(self._pipes):
            pipe.begin(fault)
        if fault.refuses:
            self._hold_port()
        else:
            await self._listen()

    async def end(self) -> None:
        """Fair weather; what a fault broke stays broken, as in life."""
        await self.begin(NONE)

    @property
    def open_connections(self) -> int:
        return len(self._pipes)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        listener = self._placeholder or self._bind()
        self._placeholder = None
        self._server = await asyncio.start_server(
            self._accept, sock=listener, ssl=self._tls, limit=CHUNK
        )
        self.port = listener.getsockname()[1]

    def _hold_port(self) -> None:
        """Nothing listens, and nobody else gets the port meanwhile."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._placeholder = self._bind()

    def _bind(self) -> socket.socket:
        # asyncio sets TCP_NODELAY only where the protocol is named
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self.port))
        return listener

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrivals.append(asyncio.get_running_loop().time())
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = _Pipe(self, reader, writer)
        self._pipes.add(pipe)
        try:
            with suppress(OSError):
                await pipe.run()
        finally:
            self._pipes.discard(pipe)
            pipe.close()


class _Pipe:
    """One connection of the station, and ours to the CSMS for it."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._number = len(proxy.arrivals)
        self._station = (reader, writer)
        self._csms: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._changed = asyncio.Event()
        self._down = 0
        self._is_spoilt = False
        self._is_over = asyncio.get_running_loop().create_future()

    def begin(self, fault: Fault) -> None:
        """A fault that strikes open connections strikes; the others are seen byte by byte."""
        self._down, self._is_spoilt = 0, False
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.resets:
            self.reset()
        elif fault.closes:
            self._end()
        elif fault.forgets and self._csms is not None:
            self._csms[1].close()

    async def run(self) -> None:
        """Carries bytes until one side closes or a fault ends it. Raises OSError."""
        fault = self._proxy.fault
        if fault.resets:
            self.reset()
        if fault.resets or fault.closes:
            return
        if fault.reply is not None:
            await self._reply(fault.reply)
            return
        self._csms = await asyncio.open_connection(
            self._proxy._host, self._proxy.target_port, limit=CHUNK
        )
        pumps = [asyncio.create_task(self._pump_up()), asyncio.create_task(self._pump_down())]
        try:
            await asyncio.wait([*pumps, self._is_over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def close(self) -> None:
        for side in (self._station, self._csms):
            if side is not None:
                side[1].close()

    def reset(self) -> None:
        """RST to the station."""
        writer = self._station[1]
        plain = writer.get_extra_info("socket")
        with suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()
        self._end()

    def _end(self) -> None:
        if not self._is_over.done():
            self._is_over.set_result(None)

    async def _reply(self, reply: bytes) -> None:
        reader, writer = self._station
        await reader.read(CHUNK)
        writer.write(reply)
        await writer.drain()

    async def _pump_up(self) -> None:
        assert self._csms is not None
        reader, writer = self._station[0], self._csms[1]
        while True:
            await self._unstalled()
            if not (data := await reader.read(CHUNK)):
                return
            self._proxy.taken += len(data)
            await asyncio.sleep(self._proxy.fault.delay_s)
            if not self._proxy.fault.swallows_up and not writer.is_closing():
                self._proxy.on_bytes(self._number, "<", data)
                writer.write(data)
                await writer.drain()

    async def _unstalled(self) -> None:
        while self._proxy.fault.stalls:
            await self._changed.wait()

    async def _pump_down(self) -> None:
        assert self._csms is not None
        reader = self._csms[0]
        while data := await reader.read(CHUNK):
            await asyncio.sleep(self._proxy.fault.delay_s)
            await self._hand_down(data)
        if self._silent:
            await self._never()

    @property
    def _silent(self) -> bool:
        """The station hears nothing, not even that the CSMS has closed."""
        return self._proxy.fault.swallows_down

    async def _never(self) -> None:
        """Whoever was told nothing of the end must find out alone, also in fair weather."""
        await asyncio.get_running_loop().create_future()

    async def _hand_down(self, data: bytes) -> None:
        fault, writer = self._proxy.fault, self._station[1]
        if fault.swallows_down:
            return
        if fault.garbage is not None and not self._is_spoilt:
            self._is_spoilt, data = True, fault.garbage
        if fault.cut_after is not None:
            data = data[: max(0, fault.cut_after - self._down)]
        self._proxy.on_bytes(self._number, ">", data)
        pieces = [data[i : i + 1] for i in range(len(data))] if fault.drip_s else [data]
        for piece in pieces:
            await asyncio.sleep(fault.drip_s)
            writer.write(piece)
            await writer.drain()
        self._down += len(data)
        if fault.cut_after is not None and self._down >= fault.cut_after:
            await asyncio.sleep(0)
            self.reset()
