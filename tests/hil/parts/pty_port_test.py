import asyncio
import os
from pathlib import Path

import pytest
import serial

from hil.parts.card_reader import CardReader
from hil.parts.pty_port import PtyPort


async def until_read(fd: int, wanted: bytes) -> bytes:
    got = b""
    async with asyncio.timeout(20):
        while wanted not in got:
            got += await asyncio.to_thread(os.read, fd, 100)
    return got


async def test_bytes_pass_both_ways_unchanged() -> None:
    port, heard = PtyPort(), bytearray()
    everything = bytes(range(256))
    arrived = asyncio.Event()

    def hear(data: bytes) -> None:
        heard.extend(data)
        if len(heard) == 256:
            arrived.set()

    port.on_bytes = hear
    port.open()
    agent = serial.Serial(port.path, 9600, timeout=20)
    try:
        agent.write(everything)
        async with asyncio.timeout(20):
            await arrived.wait()
        assert bytes(heard) == everything
        port.write(everything)
        assert await asyncio.to_thread(agent.read, 256) == everything
    finally:
        agent.close()
        port.unplug()


async def test_an_agent_that_restarts_hangs_nothing_up() -> None:
    port, heard = PtyPort(), asyncio.Event()
    port.open()
    try:
        for _ in range(3):
            heard.clear()
            port.on_bytes = lambda data: heard.set()
            agent = serial.Serial(port.path, 9600, exclusive=True)
            agent.write(b"again")
            async with asyncio.timeout(20):
                await heard.wait()
            agent.close()
    finally:
        port.unplug()


async def test_a_port_nobody_reads_drops_bytes_instead_of_blocking() -> None:
    port = PtyPort()
    port.open()
    try:
        for _ in range(100):
            port.write(b"x" * 4096)
    finally:
        port.unplug()


async def test_replugging_hangs_up_the_old_slave_and_moves_the_link(tmp_path: Path) -> None:
    port = PtyPort(str(tmp_path / "tty"))
    port.open()
    agent = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    port.unplug()
    with pytest.raises(FileNotFoundError):
        os.readlink(port.path)
    with pytest.raises(OSError, match="Input/output"):
        os.write(agent, b"x")
    port.write(b"lost")
    port.open()
    again = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    port.write(b"back")
    try:
        assert await until_read(again, b"back") == b"back"
    finally:
        os.close(agent)
        os.close(again)
        port.unplug()


async def test_a_card_is_one_line_on_the_port() -> None:
    port = PtyPort()
    port.open()
    agent = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    reader = CardReader(port, prefix="UID=")
    try:
        reader.noise(b"\x00\xff")
        reader.swipe("04AABBCCDD")
        assert await until_read(agent, b"\n") == b"\x00\xffUID=04AABBCCDD\r\n"
    finally:
        os.close(agent)
        port.unplug()
