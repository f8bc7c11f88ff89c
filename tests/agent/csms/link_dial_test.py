"""A dial that becomes no link: what stood in the way, in words that name the next step."""

import asyncio
import socket
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection

from agent.csms.link import Credentials, connect_websocket
from agent.csms.tls import Trust
from agent.errors import LinkError
from tests.agent.csms.link_bench import PASSWORD, connect, csms, dial_to

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
