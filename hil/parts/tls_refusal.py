"""A TLS server that comes to no handshake and says why, as real ones do.

asyncio's own servers drop the socket before the alert has left.
"""

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def refusing(port: int, context: ssl.SSLContext) -> "AsyncIterator[list[str]]":
    """Listens on the port of loopback; yields OpenSSL's reason of each failed handshake."""
    reasons: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = context.wrap_bio(incoming, outgoing, server_side=True)
        while chunk := await reader.read(65_536):
            incoming.write(chunk)
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                continue
            except ssl.SSLError as error:
                reasons.append(error.reason)
                writer.write(outgoing.read())
                # what the client said since would turn the goodbye into a reset that overtakes
                # the alert
                while await reader.read(65_536):
                    pass
            break
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port)
    try:
        yield reasons
    finally:
        server.close()
        await server.wait_closed()
