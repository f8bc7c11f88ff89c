"""The control socket: what its lines mean, and how it behaves towards clients and other sockets."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hil.control import (
    COMMANDS,
    EXAMPLES,
    LINE_BYTES,
    UNREAD_BYTES,
    Command,
    ControlError,
    ControlServer,
    EvArguments,
    EvState,
    Hello,
    PlugIn,
    Swipe,
    TcpAddress,
    UnixAddress,
    answer,
    encode,
    parse_address,
)

LIMIT_S = 20.0


def nothing(command: Command) -> Mapping[str, Any]:
    return {}


def read(text: str) -> tuple[Command | None, dict[str, Any]]:
    """(the command that would be carried out, the answer)."""
    carried_out: list[Command] = []

    def execute(command: Command) -> Mapping[str, Any]:
        carried_out.append(command)
        return {}

    told = answer(text.encode(), execute)
    return (carried_out[0] if carried_out else None), told


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ('{"id":1,"cmd":"hello"}', Hello()),
        ('{"cmd":"plug_in","evse":1,"connector":2}', PlugIn(1, 2)),
        ('{"cmd":"plug_in","evse":1,"connector":2,"ev":null}', PlugIn(1, 2)),
        ('{"cmd":"plug_in","evse":1,"connector":2,"ev":{}}', PlugIn(1, 2, EvArguments())),
        (
            '{"cmd":"plug_in","evse":1,"connector":2,'
            '"ev":{"current_a":6.5,"phases":1,"ready_after_s":0}}',
            PlugIn(1, 2, EvArguments(6.5, 1, 0.0)),
        ),
        ('{"cmd":"swipe","id_token":"04A1"}', Swipe("04A1")),
        (
            '{"cmd":"swipe","id_token":"x","type":"KeyCode","evses":[2,1]}',
            Swipe("x", "KeyCode", (2, 1)),
        ),
        ('{"cmd":"ev_state","evse":1,"connector":1,"state":"D"}', EvState(1, 1, "D")),
    ],
)
def test_a_line_becomes_a_typed_command(line: str, command: Command) -> None:
    assert read(line)[0] == command


def test_the_defaults_of_an_ev_are_sixteen_amps_on_three_phases_after_a_second() -> None:
    assert EvArguments() == EvArguments(current_a=16.0, phases=3, ready_after_s=1.0)


def test_each_command_has_an_example_that_is_right() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()
    for name, example in EXAMPLES.items():
        command, told = read(example)
        assert type(command) is COMMANDS[name]
        assert told == {"id": 1, "ok": True}


@pytest.mark.parametrize(
    ("line", "request_id", "words"),
    [
        ("{", None, "no JSON"),
        ('{"id":1,"cmd":NaN}', None, "no JSON"),
        ("[" * 10_000, None, "no JSON"),
        ("[1]", None, "one JSON object"),
        ('"hello"', None, "one JSON object"),
        ('{"id":3}', 3, '"cmd" is missing'),
        ('{"id":4,"cmd":7}', 4, '"cmd" is missing or no text'),
        ('{"id":"a","cmd":"dance"}', "a", "no command 'dance'; use hello, plug_in"),
        ('{"id":6,"cmd":"plug_in","connector":1}', 6, "plug_in: .*missing required field evse"),
        ('{"id":7,"cmd":"plug_in","evse":"1","connector":1}', 7, "Expected int, got str - at evse"),
        ('{"id":8,"cmd":"plug_in","evse":true,"connector":1}', 8, "Expected int, got bool"),
        ('{"id":9,"cmd":"plug_in","evse":0,"connector":1}', 9, "Expected int >= 1"),
        ('{"id":10,"cmd":"plug_in","evse":1,"connector":1,"ev":5}', 10, "at ev; "),
        ('{"id":11,"cmd":"plug_in","evse":1,"connector":1,"ev":{"phases":2}}', 11, "ev.phases"),
        (
            '{"id":12,"cmd":"plug_in","evse":1,"connector":1,"ev":{"current_a":-1}}',
            12,
            "ev.current_a",
        ),
        ('{"id":13,"cmd":"swipe"}', 13, "missing required field id_token"),
        ('{"id":14,"cmd":"swipe","id_token":""}', 14, "length >= 1 - at id_token"),
        ('{"id":15,"cmd":"swipe","id_token":"a","evses":1}', 15, "at evses"),
        ('{"id":16,"cmd":"swipe","id_token":"a","type":"RFID"}', 16, "at type"),
        ('{"id":17,"cmd":"ev_state","evse":1,"connector":1,"state":"E"}', 17, "at state"),
        ('{"id":18,"cmd":"raise_fault","evse":1,"connector":1}', 18, "field fault"),
        ('{"id":19,"cmd":"press","button":1}', 19, "at button"),
    ],
)
def test_a_wrong_line_is_refused_with_its_id_and_the_next_step(
    line: str, request_id: Any, words: str
) -> None:
    command, told = read(line)
    assert command is None
    assert (told["id"], told["ok"]) == (request_id, False)
    assert set(told) == {"id", "ok", "error"}
    with pytest.raises(ControlError, match=words):
        raise ControlError(told["error"])
    assert "; send for example {" in told["error"] or "; use hello" in told["error"]


def test_arguments_nobody_knows_are_named_in_the_answer() -> None:
    _, told = read('{"id":1,"cmd":"plug_in","evse":1,"connector":1,"evs":1,"ev":{"amps":9}}')
    assert told == {"id": 1, "ok": True, "ignored": ["evs", "ev.amps"]}


def test_what_the_bench_refuses_is_an_answer_too() -> None:
    def refuse(command: Command) -> Mapping[str, Any]:
        raise ControlError("no EV; send plug_in first")

    told = answer(b'{"id":5,"cmd":"hello"}', refuse)
    assert told == {"id": 5, "ok": False, "error": "no EV; send plug_in first"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/tmp/c", UnixAddress("/tmp/c")),
        ("tcp:127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("tcp:localhost:0", TcpAddress("localhost", 0)),
        ("tcp:[::1]:9", TcpAddress("::1", 9)),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, address: Any) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no socket"),
        ("/tmp/c", "names no socket"),
        ("unix:", "names no socket"),
        ("tcp:127.0.0.1", "names no socket"),
        ("tcp:127.0.0.1:http", "names no socket"),
        ("tcp:127.0.0.1:70000", "names no socket"),
        ("tcp:0.0.0.0:80", "no loopback.*--allow-remote"),
        ("tcp:192.0.2.1:80", "no loopback"),
        ("tcp:[::]:80", "no loopback"),
        ("tcp:bench.example:80", "no loopback"),
        ("unix:/" + "a" * 107, "107 bytes; use a shorter one"),
    ],
)
def test_an_address_that_cannot_be_used_says_what_can(text: str, words: str) -> None:
    with pytest.raises(ControlError, match=words):
        parse_address(text)


def test_other_addresses_need_a_word_of_consent() -> None:
    assert parse_address("tcp:0.0.0.0:80", allow_remote=True) == TcpAddress("0.0.0.0", 80)


# --- the server ---------------------------------------------------------------------------------


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            text = await self.reader.readline()
        assert text, "the server hung up"
        found: dict[str, Any] = json.loads(text)
        return found

    async def ask(self, data: bytes) -> dict[str, Any]:
        self.writer.write(data + b"\n")
        return await self.line()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Relative, because a socket's path has to be short."""
    monkeypatch.chdir(tmp_path)
    return "c.sock"


@pytest.fixture
async def server(path: str) -> AsyncIterator[ControlServer]:
    server = ControlServer(UnixAddress(path), nothing)
    await server.open()
    yield server
    await server.close()


async def client(path: str) -> Client:
    return Client(*await asyncio.open_unix_connection(path))


@pytest.mark.parametrize("size", [LINE_BYTES + 1, LINE_BYTES + 100, 3 * LINE_BYTES, 1_000_000])
async def test_a_line_that_is_too_long_costs_an_answer_not_the_connection(
    server: ControlServer, path: str, size: int
) -> None:
    one = await client(path)
    told = await one.ask(b"x" * size)
    assert told["ok"] is False
    assert "longer than 65536 bytes; send a shorter one" in told["error"]
    assert await one.ask(b'{"id":2,"cmd":"hello"}') == {"id": 2, "ok": True}


async def test_a_line_of_exactly_64_kib_is_read(server: ControlServer, path: str) -> None:
    line = b'{"id":1,"cmd":"hello"}'.ljust(LINE_BYTES)
    assert (await (await client(path)).ask(line))["ok"] is True


async def test_after_a_wrong_line_the_connection_goes_on(server: ControlServer, path: str) -> None:
    one = await client(path)
    for wrong in (b"{", b"[]", b'{"cmd":"dance"}', b"\xff\xfe", b"\x00"):
        assert (await one.ask(wrong))["ok"] is False
    assert (await one.ask(b'{"id":3,"cmd":"hello"}\r'))["ok"] is True


async def test_several_lines_in_one_packet_are_answered_in_order(
    server: ControlServer, path: str
) -> None:
    one = await client(path)
    one.writer.write(b'{"id":1,"cmd":"hello"}\n\n{"id":2,"cmd":"hello"}\n{"id":3,"cmd":"hello"}')
    one.writer.write_eof()
    assert [(await one.line())["id"] for _ in range(3)] == [1, 2, 3]
    assert await one.reader.read() == b""


async def test_events_go_to_every_client(server: ControlServer, path: str) -> None:
    clients = [await client(path) for _ in range(3)]
    for one in clients:
        await one.ask(b'{"id":1,"cmd":"hello"}')
    server.tell({"event": "current", "amps": 16.0})
    for one in clients:
        assert await one.line() == {"event": "current", "amps": 16.0}


async def test_a_client_that_left_or_does_not_read_harms_nobody(
    server: ControlServer, path: str
) -> None:
    lazy, gone, good = [await client(path) for _ in range(3)]
    for one in (lazy, gone, good):
        await one.ask(b'{"id":1,"cmd":"hello"}')
    gone.writer.transport.abort()
    lazy.reader._transport.pause_reading()  # type: ignore[attr-defined]
    event = {"event": "x" * 10_000}
    for _ in range(3 * UNREAD_BYTES // len(encode(event))):
        server.tell(event)
        assert await good.line() == event
    lazy.reader._transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(LIMIT_S):
        try:
            data = await lazy.reader.read(-1)
        except ConnectionError:
            data = b""
    assert len(data) < 3 * UNREAD_BYTES
    assert (await good.ask(b'{"id":2,"cmd":"hello"}'))["ok"] is True


async def test_tcp_listens_on_a_free_port_and_tells_it() -> None:
    server = ControlServer(TcpAddress("127.0.0.1", 0), nothing)
    await server.open()
    assert isinstance(server.address, TcpAddress)
    one = Client(*await asyncio.open_connection("127.0.0.1", server.address.port))
    assert await one.ask(b'{"id":1,"cmd":"hello"}') == {"id": 1, "ok": True}
    await server.close()
    assert await one.reader.read() == b""


async def test_the_socket_file_belongs_to_the_user_and_goes_at_the_end(path: str) -> None:
    server = ControlServer(UnixAddress(path), nothing)
    await server.open()
    assert os.stat(path).st_mode & 0o777 == 0o600
    await server.close()
    assert os.listdir() == []


async def test_a_stale_socket_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = ControlServer(UnixAddress(path), nothing)
    await server.open()
    assert (await (await client(path)).ask(b'{"cmd":"hello"}'))["ok"] is True
    await server.close()


async def test_a_living_socket_is_left_alone(server: ControlServer, path: str) -> None:
    with pytest.raises(ControlError, match=r"another process listens on .*; stop it"):
        await ControlServer(UnixAddress(path), nothing).open()
    assert (await (await client(path)).ask(b'{"cmd":"hello"}'))["ok"] is True


def test_a_file_that_is_no_socket_is_left_alone(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(ControlError, match="no socket; remove it"):
        asyncio.run(ControlServer(UnixAddress(path), nothing).open())
    assert Path(path).read_text() == "precious"


async def test_a_directory_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(ControlError, match=r"cannot be opened .*; use another address"):
        await ControlServer(UnixAddress("no/c.sock"), nothing).open()


async def test_the_socket_of_a_successor_stays(path: str) -> None:
    first = ControlServer(UnixAddress(path), nothing)
    await first.open()
    os.unlink(path)
    second = ControlServer(UnixAddress(path), nothing)
    await second.open()
    await first.close()
    assert (await (await client(path)).ask(b'{"cmd":"hello"}'))["ok"] is True
    await second.close()
