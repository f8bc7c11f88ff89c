import asyncio
import base64
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent.core.effects import Dial
from agent.csms.link import Credentials, WebsocketLink, connect_websocket, hang_up
from agent.csms.tls import Trust
from agent.errors import LinkError

PASSWORD = "correct-horse-battery"


def dial_to(port: int, **changes: Any) -> Dial:
    values: dict[str, Any] = {
        "slot": 1,
        "url": f"ws://127.0.0.1:{port}/ocpp/CS001",
        "user": "CS001",
        "security_profile": 1,
        "open_timeout_s": 5.0,
        "ping_interval_s": 0.0,
    }
    return Dial(**{**values, **changes})


async def connect(
    dial: Dial, password: str | None = PASSWORD, on_pong: Callable[[], None] = lambda: None
) -> WebsocketLink:
    return await connect_websocket(dial, Credentials(password=password), on_pong)


async def wait_for_close(connection: ServerConnection) -> None:
    await connection.wait_closed()


@asynccontextmanager
async def csms(
    talk: Any = wait_for_close, subprotocols: Any = ("ocpp2.0.1",), **options: Any
) -> AsyncIterator[int]:
    server = await serve(talk, "127.0.0.1", 0, subprotocols=subprotocols, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close(close_connections=True)
        await server.wait_closed()


async def echo(connection: ServerConnection) -> None:
    async for frame in connection:
        await connection.send(frame)


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


STATUS = [(401, "password"), (403, "forbids"), (404, "station.identity"), (429, "often"),
          (500, "operator"), (503, "operator"), (418, "refused")]  # fmt: skip


@pytest.mark.parametrize(("status", "word"), STATUS)
async def test_a_refused_handshake_says_what_the_code_means(status: int, word: str) -> None:
    def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(HTTPStatus(status), PASSWORD)

    async with csms(process_request=refuse) as port:
        with pytest.raises(LinkError, match=word) as caught:
            await connect(dial_to(port))
    assert str(status) in str(caught.value)
    assert PASSWORD not in str(caught.value)
    is_login = status in (401, 403)
    assert caught.value.security_event == ("FailedToAuthenticateAtCsms" if is_login else "")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_named_and_not_followed(status: int) -> None:
    visits: list[ServerConnection] = []

    async def elsewhere(connection: ServerConnection) -> None:
        visits.append(connection)

    async with csms(elsewhere) as other:
        target = f"ws://127.0.0.1:{other}/ocpp/CS001"

        def redirect(connection: ServerConnection, request: object) -> object:
            response = connection.respond(HTTPStatus(status), "")
            response.headers["Location"] = target
            return response

        async with csms(process_request=redirect) as port:
            with pytest.raises(LinkError, match="redirects") as caught:
                await connect(dial_to(port))
    assert target in str(caught.value)
    assert visits == []


async def test_a_csms_without_the_subprotocol_is_left_with_a_clear_word() -> None:
    code = asyncio.get_running_loop().create_future()

    async def talk(connection: ServerConnection) -> None:
        await connection.wait_closed()
        code.set_result(connection.close_code)

    async with csms(talk, subprotocols=None) as port:
        with pytest.raises(LinkError, match=r"did not agree to ocpp2\.0\.1"):
            await connect(dial_to(port))
        assert await asyncio.wait_for(code, 10) == 1002


async def test_a_csms_that_picks_another_version_is_left() -> None:
    def pick(connection: object, offered: object) -> str:
        return "ocpp1.6"

    async with csms(select_subprotocol=pick, subprotocols=["ocpp1.6"]) as port:
        with pytest.raises(LinkError, match=r"handshake failed|did not agree"):
            await connect(dial_to(port))


async def test_a_closed_port_is_told_from_other_trouble() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(LinkError, match="nothing listens"):
            await connect(dial_to(taken.getsockname()[1]))


async def test_a_black_hole_ends_with_the_timeout() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        with pytest.raises(LinkError, match=r"no answer within 0\.05 s"):
            await connect(dial_to(hole.getsockname()[1], open_timeout_s=0.05))


async def test_a_server_of_another_kind_is_recognised() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp ready\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        with pytest.raises(LinkError, match="does not speak HTTP"):
            await connect(dial_to(server.sockets[0].getsockname()[1]))


async def test_tls_against_a_plain_port_says_tls_failed() -> None:
    async with csms() as port:
        with pytest.raises(LinkError, match=r"TLS|wss://"):
            await connect(dial_to(port, url=f"wss://127.0.0.1:{port}/x", security_profile=2))


async def test_an_unknown_host_is_a_matter_of_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object, **options: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
    with pytest.raises(LinkError, match="cannot be resolved"):
        await connect(dial_to(1, url="ws://no.such.host/ocpp/CS001"))


@pytest.mark.parametrize(
    ("url", "profile", "word"),
    [
        ("http://127.0.0.1/x", 1, "ws://"),
        ("ws:///x", 1, "ws://"),
        ("ws://host:99999/x", 1, "ws://"),
        (f"ws://CS001:{PASSWORD}@127.0.0.1/x", 1, "password_file"),
        ("ws://127.0.0.1/x", 2, "needs TLS"),
    ],
)
async def test_a_url_that_must_not_be_dialled_is_refused(url: str, profile: int, word: str) -> None:
    with pytest.raises(LinkError, match=word) as caught:
        await connect(dial_to(1, url=url, security_profile=profile))
    assert PASSWORD not in str(caught.value)


async def test_a_root_certificate_that_is_none_is_named_as_such() -> None:
    dial = dial_to(1, url="wss://127.0.0.1:1/x", security_profile=2)
    with pytest.raises(LinkError, match="certificate or its key"):
        await connect_websocket(dial, Credentials(trust=Trust(("no PEM",))), lambda: None)


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


PORTAL = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<html>Login!"
ANSWERS = {
    "a captive portal": (PORTAL, "login page"),
    "a portal without a length": (b"HTTP/1.1 200 OK\r\n\r\n<html>", "login page"),
    "a huge page": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000, "csms.url"),
    "a huge header": (b"HTTP/1.1 101 OK\r\nX: " + b"x" * 3_000_000, "csms.url"),
    "endless headers": (b"HTTP/1.1 101 OK\r\n" + b"X: y\r\n" * 100_000, "csms.url"),
    "no version": (b"HTTP/9.9 101 Hi\r\n\r\n", "speak HTTP"),
    "no status": (b"HTTP/1.1 yes\r\n\r\n", "speak HTTP"),
    "zeros": (bytes(1000), "speak HTTP"),
    "a TLS alert": (b"\x15\x03\x03\x00\x02\x02\x28", "speak HTTP"),
    "half a header": (b"HTTP/1.1 101 Switching Protocols\r\nUpgr", "speak HTTP"),
    "no key": (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "handshake"),
    "no target": (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "redirects"),
    "not a URL": (
        b"HTTP/1.1 302 F\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
        "redirects",
    ),
    "nothing at all": (b"", "speak HTTP"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_whatever_answers_the_handshake_becomes_plain_words(name: str) -> None:
    reply, word = ANSWERS[name]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(LinkError, match=word) as caught:
            await connect(dial_to(server.sockets[0].getsockname()[1]))
    assert len(str(caught.value)) < 500
