"""The least a program can do to bring a BootNotification to a CSMS: what the agent's start is
measured against. Run as a script: URL FRAME; imports nothing of ours."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol


async def boot(url: str, frame: str) -> None:
    """Sends the frame and waits for its answer."""
    async with connect(url, subprotocols=[Subprotocol("ocpp2.0.1")]) as link:
        await link.send(frame)
        await link.recv()


if __name__ == "__main__":
    asyncio.run(boot(*sys.argv[1:3]))
