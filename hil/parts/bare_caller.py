"""The least CSMS that can also call: answers at once, checks nothing, so that what is measured is
the station. In the bench's own process; times are CLOCK_MONOTONIC seconds."""

import asyncio
import itertools
import json
import time
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Payload = dict[str, Any]
LIMIT_S = 30.0
HEARTBEAT_S = 3600


class BareCaller:
    """`async with BareCaller() as csms`: listens on loopback, `url` is the endpoint. One station;
    whoever else dials (a bare client) is answered, too, and not remembered."""

    def __init__(self) -> None:
        self.url = ""
        self.frames: list[tuple[float, str]] = []
        """(time, text) of the station's CALLs, from `forget` on."""
        self.link: ServerConnection | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Payload]] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> "BareCaller":
        self._server = await serve(
            self._talk,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("ocpp2.0.1")],
            compression=None,
            ping_interval=None,
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ocpp"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def forget(self) -> None:
        """What came so far is of no interest."""
        self.frames.clear()

    async def call(self, action: str, payload: Payload) -> Payload:
        """The station's answer, {"error": code} where it is one. Raises TimeoutError."""
        assert self.link is not None, "no station is connected"
        message_id = f"bare-{next(self._ids)}"
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = answer
        await self.link.send(json.dumps([2, message_id, action, payload], separators=(",", ":")))
        async with asyncio.timeout(LIMIT_S):
            return await answer

    async def heard(self, action: str, **wanted: Any) -> tuple[float, Payload]:
        """(time, payload) of the first CALL since `forget` that has these values at its top level.
        Raises TimeoutError."""
        async with asyncio.timeout(LIMIT_S):
            seen = 0
            while True:
                for at_s, text in self.frames[seen:]:
                    _, _, name, payload = json.loads(text)
                    if name == action and wanted.items() <= payload.items():
                        return at_s, payload
                seen = len(self.frames)
                self._news.clear()
                await self._news.wait()

    async def _talk(self, link: ServerConnection) -> None:
        assert link.request is not None
        is_station = not link.request.path.endswith("/BARE")
        if is_station:
            self.link = link
        try:
            async for frame in link:
                text = str(frame)
                if text.startswith("[2,"):
                    if is_station:
                        self.frames.append((time.monotonic(), text))
                    await link.send(_answer(text))
                    self._news.set()
                else:
                    self._take(json.loads(text))
        except ConnectionClosed:
            pass

    def _take(self, frame: list[Any]) -> None:
        waiting = self._waiting.pop(frame[1], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(frame[2] if frame[0] == 3 else {"error": frame[2]})


def _answer(call: str) -> str:
    """To a CALL as a station writes it: compact JSON, the id free of escapes."""
    _, message_id, _, action, _ = call.split('"', 4)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    payload: Payload = {}
    if action == "BootNotification":
        payload = {"currentTime": now, "interval": HEARTBEAT_S, "status": "Accepted"}
    elif action == "Heartbeat":
        payload = {"currentTime": now}
    elif action == "Authorize":
        payload = {"idTokenInfo": {"status": "Accepted"}}
    return json.dumps([3, message_id, payload], separators=(",", ":"))
