"""The sim bench on real sockets: a station, a harmful proxy, and the CSMS behind it on loopback.

Virtual time: loopback delivers at once, so waiting is all that is left out.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from agent.core import effects as ef
from agent.csms.link import Credentials, WebsocketLink, connect_websocket
from hil.parts import proxy as weather
from hil.parts.certificates import Authority
from hil.parts.csms_server import CsmsServer, serve_websocket
from hil.parts.proxy import Fault, FaultProxy
from hil.sim import SimBench
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual

GRACE_S = 0.001
HOST = "csms.test"
CARD = "04A1B2C3"
VARIABLES = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "5",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "2",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "3",
    "OCPPCommCtrlr.HeartbeatInterval": "60",
}
LONGEST_WAIT_S = 72.0
"""7, 16, 34, 70 s between dials with these variables, and a moment."""


class Loopback(Struct):
    """A station, the harmful proxy, and the CSMS behind it; with TLS a second proxy between."""

    bench: SimBench
    proxy: FaultProxy
    server: CsmsServer
    stack: AsyncExitStack
    has_dns: bool = True
    dials_s: list[float] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], limit_s: float, what: str) -> float:
        """Seconds until it was so, looking once a second. Raises AssertionError."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not condition():
            self.bench.agent.status()
            waited_s = loop.time() - began_s
            assert waited_s < limit_s, f"{what}: not within {limit_s:g} s; {self.journal()[-5:]}"
            await asyncio.sleep(1.0)
        return loop.time() - began_s

    def charges(self, evse_id: int) -> bool:
        return self.bench.connector(evse_id).get("charging_state") == "Charging"

    def has_transaction(self, evse_id: int) -> bool:
        return "transaction_id" in self.bench.connector(evse_id)

    def is_back(self) -> bool:
        status = self.bench.agent.status()
        return self.bench.agent.view.connection.online and status["queue"] == 0

    def journal(self, level: int = 4) -> list[str]:
        """Lines of this level or worse."""
        logs = [e for e in self.bench.effects if isinstance(e, ef.Log)]
        return [log.text for log in logs if log.level <= level]

    async def strike(self, fault: Fault) -> None:
        """The open link breaks, and whoever dials meets the fault."""
        await self.proxy.begin(weather.RESET)
        await asyncio.sleep(0.5)
        await self.proxy.begin(fault)


@asynccontextmanager
async def loopback(
    tls: Authority | None, path: str, variables: dict[str, str]
) -> AsyncIterator[Loopback]:
    """Online, with an empty queue; `path` of the URL that the technician wrote."""
    async with AsyncExitStack() as stack:
        bench = SimBench(variables=VARIABLES | variables, endpoints=("ws://to.be.set",))
        server = await serve_websocket(bench.csms)
        stack.push_async_callback(server.close)
        port = server.port
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.issue(HOST, places=f"DNS:{HOST}"))
            port = (await stack.enter_async_context(FaultProxy(port, tls=context))).port
        proxy = await stack.enter_async_context(FaultProxy(port))
        made = Loopback(bench, proxy, server, stack)
        resolve_by(made)
        scheme = "ws" if tls is None else "wss"
        await begin_life(made, f"{scheme}://{HOST}:{proxy.port}{path}")
        try:
            yield made
        finally:
            await bench.__aexit__()


def resolve_by(made: Loopback) -> None:
    """The name of the CSMS is known while there is a DNS."""

    async def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
        if not made.has_dns:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        address = ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign, assignment]


async def begin_life(made: Loopback, url: str) -> None:
    """Starts the agent on real sockets, and waits until it is online."""
    bench = made.bench

    async def connect(
        dial: ef.Dial, who: Credentials, on_pong: Callable[[], None]
    ) -> WebsocketLink:
        made.dials_s.append(asyncio.get_running_loop().time())
        return await connect_websocket(dial, who, on_pong)

    endpoints = tuple(replace(c, url=url) for c in bench.settings.csms)
    bench.settings = replace(bench.settings, csms=endpoints)
    bench.network.connect = connect  # type: ignore[method-assign, assignment]
    await bench.start()
    await made.until(made.is_back, 30, "the first link")


def run(
    scene: Callable[[Loopback], Coroutine[Any, Any, None]],
    tls: Authority | None = None,
    path: str = "/ocpp",
    **variables: str,
) -> None:
    """The scene in virtual time; `variables` are those of OCPPCommCtrlr."""

    async def main() -> None:
        named = {f"OCPPCommCtrlr.{name}": value for name, value in variables.items()}
        async with loopback(tls, path, named) as made:
            await scene(made)

    run_virtual(main(), fd_grace_s=GRACE_S)


# --- the driver ---------------------------------------------------------------------------------


async def charge(rig: Loopback, evse_id: int, limit_s: float = 60.0) -> None:
    """A card is shown again when nothing came of it: drivers do that."""
    loop = asyncio.get_running_loop()
    rig.bench.plug_in(evse_id)
    await asyncio.sleep(5)
    began_s = loop.time()
    while not rig.has_transaction(evse_id):
        assert loop.time() - began_s < limit_s, "no charge with a known card"
        rig.bench.swipe(CARD)
        await asyncio.sleep(40)
    await rig.until(lambda: rig.charges(evse_id), 20, "current flows")


async def stop_charge(rig: Loopback, evse_id: int) -> None:
    rig.bench.swipe(CARD)
    await rig.until(lambda: not rig.has_transaction(evse_id), 90, "the charge ends")
    rig.bench.plug_out(evse_id)
    await asyncio.sleep(5)


async def charge_again(rig: Loopback, evse_id: int) -> None:
    """Online as ever: what still runs ends, and another charge follows."""
    if rig.has_transaction(evse_id):
        await stop_charge(rig, evse_id)
    await charge(rig, evse_id)
    await stop_charge(rig, evse_id)


def check(rig: Loopback, began_wh: dict[int, float]) -> None:
    """Every event once and in order, to the last Wh, and no frame that a CSMS would object to."""
    status = rig.bench.agent.status()
    meters_wh = {n: (wh, rig.bench.board.meter(n).energy_wh) for n, wh in began_wh.items()}
    evidence = Evidence(
        calls=rig.bench.csms.calls,
        meters_wh=meters_wh,
        violations=rig.bench.csms.violations,
        waiting=status["queue"],
        set_aside=status["set_aside"],
    )
    assert judge(evidence).problems == ()
