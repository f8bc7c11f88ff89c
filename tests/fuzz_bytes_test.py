"""Bytes at the websocket that are no good frame: the link ends with plain words, the station dials
again, and a charge goes on. A CSMS on loopback writes past its own websocket library."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from agent.core.effects import Dial
from agent.csms.link import Credentials, connect_websocket
from agent.errors import LinkError
from hil.loopback import Loopback, charge, charge_again, check, run

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FIN = 0x80


def frame(opcode: int, payload: bytes, flags: int = FIN) -> bytes:
    """As a server sends it: unmasked."""
    size = len(payload)
    if size < 126:
        return bytes([flags | opcode, size]) + payload
    return bytes([flags | opcode, 126]) + struct.pack(">H", size) + payload


ENDING = {
    "a lone continuation byte": frame(TEXT, b"\x80"),
    "an overlong slash": frame(TEXT, b"\xc0\xaf"),
    "half a surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "beyond Unicode": frame(TEXT, b"\xf4\x90\x80\x80"),
    "Latin-1": frame(TEXT, '[2,"1","Reset",{"x":"\xe9"}]'.encode("latin-1")),
    "UTF-16": frame(TEXT, '[2,"1","Reset",{}]'.encode("utf-16")),
    "a sequence that ends with the frame": frame(TEXT, b"[\xe2\x82"),
    "a bad byte in a later fragment": frame(TEXT, b'["', 0) + frame(0, b"\xff", FIN),
    "an unknown opcode": frame(0x5, b"x"),
    "a reserved bit": frame(TEXT, b"[]", FIN | 0x40),
    "a masked frame of the server": bytes([FIN | TEXT, 0x80 | 2]) + b"abcd" + b"xy",
    "a continuation of nothing": frame(0, b"x"),
    "a text within a text": frame(TEXT, b"[", 0) + frame(TEXT, b"]"),
    "a ping of 126 bytes": frame(PING, b"x" * 126),
    "a fragmented ping": frame(PING, b"x", 0),
    "a close code that is none": frame(CLOSE, b"\x00\x01"),
    "a close reason that is no UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
    "a frame of 2^63 bytes": bytes([FIN | TEXT, 127]) + struct.pack(">Q", 2**63 - 1),
    "a frame of 2 MiB": bytes([FIN | TEXT, 127]) + struct.pack(">Q", 2**21) + b"x" * 2**21,
    "HTTP in the middle": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30,
}


@asynccontextmanager
async def csms_that_sends(raw: bytes) -> AsyncIterator[Dial]:
    """Writes the bytes on each link that opens."""

    async def talk(connection: ServerConnection) -> None:
        connection.transport.write(raw)
        await connection.wait_closed()

    server = await serve(talk, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp2.0.1")])
    port = server.sockets[0].getsockname()[1]
    try:
        yield Dial(1, f"ws://127.0.0.1:{port}/CS1", "CS1", 1, 5.0, 0.0)
    finally:
        server.close(close_connections=True)
        await server.wait_closed()


async def end_of_link(raw: bytes) -> tuple[list[str], str]:
    """(frames that came, how the link ended); anything but a LinkError fails."""
    frames: list[str] = []
    async with csms_that_sends(raw) as dial:
        link = await connect_websocket(dial, Credentials(), lambda: None)
        try:
            while True:
                frames.append(await link.receive())
        except LinkError as error:
            return frames, str(error)
        finally:
            await link.close()


@pytest.mark.parametrize("raw", ENDING.values(), ids=ENDING.keys())
async def test_bytes_that_are_no_frame_end_the_link_in_plain_words(raw: bytes) -> None:
    frames, words = await end_of_link(raw)
    assert frames == []
    assert words.endswith("dialling again")


async def test_a_binary_frame_of_any_bytes_is_text_that_means_nothing() -> None:
    frames, _ = await end_of_link(frame(BINARY, b"\xff\xfe\x00") + frame(CLOSE, b"\x03\xe8"))
    assert frames == ["\ufffd\ufffd\x00"]


@pytest.mark.parametrize("seed", range(5))
async def test_random_bytes_end_the_link_or_are_waited_for(seed: int) -> None:
    """A close frame behind them ends what the bytes left open."""
    dice = random.Random(seed)
    for _ in range(20):
        raw = dice.randbytes(dice.randint(1, 400))
        async with csms_that_sends(raw) as dial:
            link = await connect_websocket(dial, Credentials(), lambda: None)
            try:
                async with asyncio.timeout(0.02):
                    while True:
                        assert isinstance(await link.receive(), str)
            except (LinkError, TimeoutError):
                pass
            finally:
                link._connection.transport.abort()


def test_a_charge_goes_on_under_bytes_that_end_each_link() -> None:
    async def scene(rig: Loopback) -> None:
        before_wh = {1: rig.bench.board.meter(1).energy_wh}
        await charge(rig, 1)
        for raw in ENDING.values():
            await rig.until(rig.is_back, 120, "a link")
            dials = len(rig.dials_s)
            rig.server.write_raw(raw)
            await rig.until(lambda dials=dials: len(rig.dials_s) > dials, 120, "a new dial")  # type: ignore[misc]
            assert rig.charges(1)
        await rig.until(rig.is_back, 120, "a link")
        await charge_again(rig, 1)
        await rig.until(rig.is_back, 120, "the queue drained")
        check(rig, before_wh)

    run(scene)
