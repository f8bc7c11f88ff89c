"""The proxy by itself: two plain sockets, one fault after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec import Struct

from hil.parts.proxy import (
    ACCEPT_CLOSE,
    BLACK_HOLE,
    DEAF,
    DUMB,
    HALF_OPEN,
    REFUSE,
    RESET,
    STALL,
    Fault,
    FaultProxy,
)
from hil.virtual_time import run_virtual

GRACE_S = 0.005
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Rig(Struct):
    """A proxy before a server that writes every line back and counts what came."""

    proxy: FaultProxy
    seen: bytearray
    goodbyes: list[float]

    async def dial(self) -> Pair:
        return await asyncio.open_connection("127.0.0.1", self.proxy.port)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    seen, goodbyes = bytearray(), []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            seen.extend(data)
            writer.write(data)
            await writer.drain()
        goodbyes.append(asyncio.get_running_loop().time())
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield Rig(proxy, seen, goodbyes)
    server.close()


async def said(pair: Pair, text: bytes, limit_s: float = 30.0) -> bytes:
    """What comes back to `text` within the limit; raises TimeoutError when nothing does."""
    reader, writer = pair
    writer.write(text)
    async with asyncio.timeout(limit_s):
        return await reader.readexactly(len(text))


def run(scene: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig() as made:
            await scene(made)

    run_virtual(main(), fd_grace_s=GRACE_S)


async def closed_by(pair: Pair) -> type[BaseException] | None:
    """None: closed in peace; else the error."""
    try:
        async with asyncio.timeout(30):
            while await pair[0].read(100):
                pass
    except (ConnectionError, TimeoutError) as error:
        return type(error)
    return None


def test_in_fair_weather_bytes_go_both_ways_and_a_close_is_passed_on() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        assert await said(pair, b"hello") == b"hello"
        pair[1].close()
        await asyncio.sleep(1)
        assert len(rig.goodbyes) == 1
        assert rig.proxy.open_connections == 0
        assert len(rig.proxy.arrivals) == 1

    run(scene)


def test_refused_means_nothing_listens_and_the_port_is_the_same_afterwards() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        assert await said(pair, b"hello") == b"hello"
        port = rig.proxy.port
        await rig.proxy.begin(REFUSE)
        assert await closed_by(pair) is ConnectionResetError
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await rig.dial()
        await rig.proxy.end()
        assert rig.proxy.port == port
        assert await said(await rig.dial(), b"again") == b"again"

    run(scene)


def test_a_reset_is_an_rst_on_open_and_new_connections() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await said(pair, b"hello")
        await rig.proxy.begin(RESET)
        assert await closed_by(pair) is ConnectionResetError
        assert await closed_by(await rig.dial()) is ConnectionResetError

    run(scene)


def test_accept_then_close_is_a_peaceful_close_and_counted() -> None:
    async def scene(rig: Rig) -> None:
        await rig.proxy.begin(ACCEPT_CLOSE)
        for _ in range(3):
            assert await closed_by(await rig.dial()) is None
        assert len(rig.proxy.arrivals) == 3
        assert rig.seen == b""

    run(scene)


@pytest.mark.parametrize("fault", [BLACK_HOLE, DEAF, DUMB])
def test_what_is_swallowed_is_taken_without_a_word_and_the_rest_goes_on(fault: Fault) -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await said(pair, b"hello")
        await rig.proxy.begin(fault)
        with pytest.raises(TimeoutError):
            await said(pair, b"lost")
        assert rig.seen == (b"hello" if fault.swallows_up else b"hellolost")
        with pytest.raises(TimeoutError):
            await said(await rig.dial(), b"new")
        await rig.proxy.end()
        assert await said(pair, b"back") == b"back"

    run(scene)


def test_half_open_means_that_the_csms_has_gone_and_the_station_never_hears_of_it() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await said(pair, b"hello")
        await rig.proxy.begin(HALF_OPEN)
        await asyncio.sleep(1)
        assert len(rig.goodbyes) == 1
        await rig.proxy.end()
        with pytest.raises(TimeoutError):
            await said(pair, b"anybody?")
        assert not pair[0].at_eof()

    run(scene)


def test_a_stalled_reader_fills_the_buffers_of_the_sender() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await said(pair, b"hello")
        await rig.proxy.begin(STALL)

        async def write_100_mb() -> None:
            for _ in range(1000):
                pair[1].write(b"x" * 100_000)
                await pair[1].drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_100_mb(), 30)
        assert rig.proxy.taken < 1_000_000
        pair[1].transport.abort()

    run(scene)


def test_a_cut_lets_exactly_so_many_bytes_down_and_resets_then() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await rig.proxy.begin(Fault(cut_after=3))
        pair[1].write(b"hello")
        got = await pair[0].readexactly(3)
        assert got == b"hel"
        assert await closed_by(pair) is ConnectionResetError

    run(scene)


def test_garbage_comes_once_in_place_of_an_answer() -> None:
    async def scene(rig: Rig) -> None:
        pair = await rig.dial()
        await rig.proxy.begin(Fault(garbage=b"\x00\xffzz"))
        assert await said(pair, b"good") == b"\x00\xffzz"
        assert await said(pair, b"good") == b"good"

    run(scene)


def test_a_reply_answers_any_request_and_closes() -> None:
    async def scene(rig: Rig) -> None:
        await rig.proxy.begin(Fault(reply=b"HTTP/1.1 404 Not Found\r\n\r\n"))
        reader, writer = await rig.dial()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(30):
            assert await reader.read() == b"HTTP/1.1 404 Not Found\r\n\r\n"
        assert rig.seen == b""

    run(scene)


def test_latency_and_slow_drip_take_their_time() -> None:
    async def scene(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        pair = await rig.dial()
        await rig.proxy.begin(Fault(delay_s=2.0))
        began_s = loop.time()
        assert await said(pair, b"hello") == b"hello"
        assert loop.time() - began_s >= 4.0
        await rig.proxy.begin(Fault(drip_s=1.0))
        began_s = loop.time()
        assert await said(pair, b"hello") == b"hello"
        assert loop.time() - began_s >= 5.0

    run(scene)
