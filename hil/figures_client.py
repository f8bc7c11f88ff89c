"""The least program there is at the station's end: what the agent is measured against. Run as a
script, imports nothing of ours.

URL FRAME sends the frame and ends with its answer. URL FRAME COUNT sends it so many times, each
after the answer to the one before, and prints the seconds that took.
"""

import asyncio
import sys
import time

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

SUBPROTOCOLS = [Subprotocol("ocpp2.0.1")]


async def boot(url: str, frame: str) -> None:
    """Sends the frame and waits for its answer."""
    async with connect(url, subprotocols=SUBPROTOCOLS) as link:
        await link.send(frame)
        await link.recv()


async def ping_pong(url: str, frame: str, count: int) -> float:
    """Seconds for `count` frames, one in flight, uncompressed as the agent's."""
    async with connect(url, subprotocols=SUBPROTOCOLS, compression=None) as link:
        began_s = time.perf_counter()
        for _ in range(count):
            await link.send(frame)
            await link.recv()
        return time.perf_counter() - began_s


if __name__ == "__main__":
    if len(sys.argv) > 3:
        print(asyncio.run(ping_pong(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        asyncio.run(boot(*sys.argv[1:3]))
