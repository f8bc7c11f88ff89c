"""A CSMS on loopback, and a dial to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from agent.core.effects import Dial
from agent.csms.link import Credentials, WebsocketLink, connect_websocket

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
