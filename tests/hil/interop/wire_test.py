"""Frames read off the bytes of real websockets, through the proxy."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hil.interop.wire import Wire
from hil.parts.csms import BenchCsms, Refused
from hil.parts.csms_server import CsmsServer, serve_websocket
from hil.parts.proxy import FaultProxy

LONG = {"vendorId": "x", "data": "ä" * 70_000}


async def tapped(stack: AsyncExitStack) -> tuple[CsmsServer, BenchCsms, Wire, str]:
    csms = BenchCsms()
    csms.boot_status = "Accepted"
    server = await serve_websocket(csms)
    stack.push_async_callback(server.close)
    proxy = await stack.enter_async_context(FaultProxy(server.port))
    wire = Wire()
    proxy.on_bytes = wire.carried
    return server, csms, wire, f"ws://127.0.0.1:{proxy.port}/ocpp/X"


async def test_calls_and_refusals_are_seen_in_both_directions() -> None:
    async with AsyncExitStack() as stack:
        _, csms, wire, url = await tapped(stack)
        csms.answer["Heartbeat"] = Refused("InternalError", "no")
        protocols: list[Any] = ["ocpp2.0.1"]
        link = await stack.enter_async_context(
            connect(url, subprotocols=protocols, compression=None, proxy=None)
        )
        await link.send('[2,"1","Heartbeat",{}]')
        assert "InternalError" in str(await link.recv())
        await link.send(['[2,"2","DataTransfer",', f'{{"vendorId":"x","data":"{LONG["data"]}"}}]'])
        await link.recv()
        asking = asyncio.create_task(csms.call("Reset", {"type": "OnIdle"}))
        await link.recv()
        await link.send('[4,"csms-1","NotSupported","never",{}]')
        await asyncio.wait([asking])
        assert [call.action for call in wire.calls] == ["Heartbeat", "DataTransfer"]
        assert wire.calls[1].payload == LONG
        assert wire.refused == [
            "the CSMS refused Heartbeat: InternalError no",
            "the station refused Reset: NotSupported never",
        ]
        assert wire.handshakes == ["HTTP/1.1 101 Switching Protocols"]


async def test_a_refused_upgrade_is_no_frame() -> None:
    async with AsyncExitStack() as stack:
        server, _, wire, url = await tapped(stack)
        server.path = "/elsewhere"
        with pytest.raises(InvalidStatus):
            await connect(url, compression=None, proxy=None)
        assert wire.handshakes == ["HTTP/1.1 404 Not Found"]
        assert wire.refused_upgrades() == [
            "the CSMS answered an upgrade with HTTP/1.1 404 Not Found"
        ]
        assert (wire.calls, wire.refused) == ([], [])
