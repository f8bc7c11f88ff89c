"""The least CSMS there is: answers every CALL at once and checks nothing, so that what is measured
is the other side. Run as a script: [HOLD_AFTER]; imports nothing of ours.

Prints JSON lines: {"port"} first, then {"boot_s"} for a BootNotification and {"event", "at_s"} for
the first TransactionEvent and every hundredth (seconds of CLOCK_MONOTONIC).
With HOLD_AFTER=N the TransactionEvents after the N-th are told, but never answered.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

EVERY = 100
HEARTBEAT_S = 3600


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Answering:
    """Counts TransactionEvents over all links."""

    def __init__(self, hold_after: int | None) -> None:
        self._hold_after = hold_after
        self._events = 0

    async def talk(self, connection: ServerConnection) -> None:
        try:
            async for frame in connection:
                answer = self.answer(str(frame))
                if answer is not None:
                    await connection.send(answer)
        except ConnectionClosed:
            pass

    def answer(self, frame: str) -> str | None:
        """The frame is a CALL as a station writes it: compact JSON, the id free of escapes."""
        if not frame.startswith("[2,"):
            return None
        _, _, rest = frame.partition('"')
        message_id, _, rest = rest.partition('"')
        action = rest.split('"', 2)[1]
        if action == "TransactionEvent" and not self._is_wanted():
            return None
        return f'[3,"{message_id}",{self._payload(action)}]'

    def _is_wanted(self) -> bool:
        self._events += 1
        count = self._events
        is_held = self._hold_after is not None and count > self._hold_after
        if is_held or count == 1 or count % EVERY == 0:
            tell(event=count, at_s=time.monotonic())
        return not is_held

    def _payload(self, action: str) -> str:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if action == "BootNotification":
            tell(boot_s=time.monotonic())
            return f'{{"currentTime":"{now}","interval":{HEARTBEAT_S},"status":"Accepted"}}'
        return f'{{"currentTime":"{now}"}}' if action == "Heartbeat" else "{}"


async def main(hold_after: int | None) -> None:
    answering = Answering(hold_after)
    async with serve(
        answering.talk,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("ocpp2.0.1")],
        compression=None,
        ping_interval=None,
    ) as server:
        tell(port=next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
