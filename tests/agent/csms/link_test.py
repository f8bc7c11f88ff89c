"""An open link: frames as they come, a peer that closes, falls silent or takes nothing."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection

from agent.csms.link import READ_BYTES, Credentials, WebsocketLink, hang_up
from agent.errors import LinkError
from tests.agent.csms.link_bench import PASSWORD, connect, csms, dial_to, echo


async def test_frames_go_and_come_with_name_and_password_in_the_handshake() -> None:
    seen: list[tuple[str, str | None]] = []

    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        seen.append((connection.request.path, headers.get("Authorization")))
        seen.append(("extensions", headers.get("Sec-WebSocket-Extensions")))
        await echo(connection)

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        await link.send("ü")
        assert await link.receive() == "ü"
        await link.close()
    pair = base64.b64encode(f"CS001:{PASSWORD}".encode()).decode()
    assert seen == [("/ocpp/CS001", f"Basic {pair}"), ("extensions", None)]


async def test_a_frame_goes_at_once_only_where_that_takes_no_waiting() -> None:
    taken: list[str] = []

    async def talk(connection: ServerConnection) -> None:
        taken.append(str(await connection.recv()))
        await connection.send("enough")
        await connection.wait_closed()

    async with csms(talk, close_timeout=0.1) as port:
        link = await connect(dial_to(port))
        assert not link.send_at_once("ü" * 8_193), "longer than a buffer takes"
        assert link.send_at_once("ü" * 8_192)
        assert await link.receive() == "enough"
        frames = 0
        while link.send_at_once("x" * 8_192):
            frames += 1
            assert frames < 10_000, "the peer reads nothing: the buffers must be full some time"
        await link.close()
        assert not link.send_at_once("x")
    assert taken == ["ü" * 8_192]


async def test_a_frame_is_read_into_a_buffer_that_needs_no_mapping() -> None:
    """The loop's own is larger than what the C library keeps at hand (128 kB)."""
    async with csms(echo) as port:
        link = await connect(dial_to(port))
        transport = link._connection.transport
        assert transport.max_size == READ_BYTES < 131_072 < type(transport).max_size  # type: ignore[attr-defined]
        await link.send("x" * 250_000)
        assert await link.receive() == "x" * 250_000
        await link.close()


async def test_whole_frames_are_heard_as_they_come_and_in_their_order() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send("before")
        assert await connection.recv() == "go"
        await connection.send("ü")
        await connection.send(["in ", "parts"])
        await connection.send("after")
        assert await connection.recv() == "enough"
        await connection.send("unheard")
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        assert await link.receive() == "before"
        heard: list[str] = []
        received: list[str] = []
        link.listen(taking(heard))
        await link.send("go")
        while "after" not in heard + received:
            received.append(await link.receive())
        link.listen(None)
        await link.send("enough")
        assert await link.receive() == "unheard"
        await link.close()
    assert heard == ["ü"]
    assert received == ["in parts", "after"], "it came with the parts before it"


def taking(heard: list[str], most: int = 99) -> Callable[[str], bool]:
    """Takes frames as they come, so many."""

    def hear(text: str) -> bool:
        if len(heard) >= most:
            return False
        heard.append(text)
        return True

    return hear


async def test_a_frame_that_is_not_taken_waits_to_be_received_and_those_behind_it_too() -> None:
    async def talk(connection: ServerConnection) -> None:
        assert await connection.recv() == "go"
        for text in ("one", "two", "three"):
            await connection.send(text)
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        heard: list[str] = []
        link.listen(taking(heard, most=1))
        await link.send("go")
        assert [await link.receive(), await link.receive()] == ["two", "three"]
        await link.close()
    assert heard == ["one"]


async def waiting_frames(link: WebsocketLink, count: int) -> None:
    while len(link._connection.recv_messages.frames) < count:  # noqa: ASYNC110 (the library's own)
        await asyncio.sleep(0)


async def test_a_frame_behind_one_that_waits_is_not_heard_before_it() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send("first")
        assert await connection.recv() == "go"
        await connection.send("second")
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        heard: list[str] = []
        await waiting_frames(link, 1)
        link.listen(taking(heard))
        await link.send("go")
        await waiting_frames(link, 2)
        assert [await link.receive(), await link.receive()] == ["first", "second"]
        await link.close()
    assert heard == []


async def test_a_frame_that_is_no_text_ends_the_link_whoever_listens() -> None:
    async def talk(connection: ServerConnection) -> None:
        connection.protocol.send_text(b"\xff\xfe")
        connection.send_data()
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        heard: list[str] = []
        link.listen(taking(heard))
        with pytest.raises(LinkError, match="not UTF-8"):
            await link.receive()
        await link.close()
    assert heard == []


async def test_no_password_means_no_authorization_header() -> None:
    seen: list[str | None] = []

    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers.get("Authorization"))

    async with csms(talk) as port:
        link = await connect(dial_to(port), password=None)
        await link.close()
    assert seen == [None]


@pytest.mark.parametrize(("code", "word"), [(1000, "normally"), (1011, "internal error")])
async def test_an_accepted_link_that_closes_at_once_tells_code_and_reason(
    code: int, word: str
) -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.close(code, "wartung")

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        with pytest.raises(LinkError, match=word) as caught:
            await link.receive()
        assert f"code {code}, saying 'wartung'" in str(caught.value)
        with pytest.raises(LinkError, match=word):
            await link.send("x")


async def test_a_cut_without_goodbye_says_so() -> None:
    async def talk(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        with pytest.raises(LinkError, match="without a goodbye"):
            await link.receive()


async def test_a_frame_beyond_the_limit_ends_the_link() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send("x" * 1_048_577)
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        with pytest.raises(LinkError, match="larger than allowed"):
            await link.receive()


async def test_binary_frames_arrive_as_text() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(b"\xffabc")
        await connection.wait_closed()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        assert await link.receive() == "\ufffdabc"
        await link.close()


async def test_pongs_are_heard() -> None:
    heard = asyncio.Event()
    async with csms() as port:
        link = await connect(dial_to(port, ping_interval_s=0.01), on_pong=heard.set)
        async with asyncio.timeout(10):
            await heard.wait()
        await link.close()


async def test_a_silent_peer_does_not_hold_up_the_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.csms.link.CLOSE_TIMEOUT_S", 0.05)

    done = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await done.wait()
        connection.transport.abort()

    async with csms(talk) as port:
        link = await connect(dial_to(port))
        async with asyncio.timeout(10):
            await hang_up(link, "x" * 200)
        done.set()


async def test_debug_logging_does_not_show_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with csms(echo, logger=logging.getLogger("silent")) as port:
        logging.getLogger("silent").setLevel(logging.CRITICAL)
        link = await connect(dial_to(port))
        await link.close()
    pair = base64.b64encode(f"CS001:{PASSWORD}".encode()).decode()
    assert pair not in caplog.text
    assert PASSWORD not in repr(Credentials(password=PASSWORD))


@asynccontextmanager
async def deaf_csms() -> AsyncIterator[int]:
    """Takes no byte more once the link is open, and closes nothing."""
    is_over = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await is_over.wait()
        connection.transport.abort()

    async with csms(talk) as port:
        try:
            yield port
        finally:
            is_over.set()


async def flood(link: WebsocketLink) -> None:
    while True:
        await link.send("x" * 1_000_000)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_frame_that_nobody_takes_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.csms.link.SEND_TIMEOUT_S", 0.2)
    async with deaf_csms() as port:
        link = await connect(dial_to(port))
        with pytest.raises(LinkError, match="took none of our bytes"):
            await asyncio.wait_for(flood(link), 20)
        with pytest.raises(LinkError):
            await link.receive()


async def test_the_socket_is_gone_after_a_goodbye_that_could_not_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.csms.link.CLOSE_TIMEOUT_S", 0.05)
    async with deaf_csms() as port:
        link = await connect(dial_to(port))
        transport = link._connection.transport
        sending = asyncio.create_task(link.send("x" * 20_000_000))
        await until(lambda: transport.get_write_buffer_size() > 0)
        await hang_up(link, "enough")
        await until(lambda: transport.get_extra_info("socket").fileno() < 0)
        await asyncio.wait([sending], timeout=20)
        assert sending.done()
