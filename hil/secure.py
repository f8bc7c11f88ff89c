"""The sim bench with TLS: real handshakes on loopback in virtual time, and a CSMS whose certificate
can be changed between two dials."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Dial
from agent.csms.link import Credentials, Link, connect_websocket
from agent.settings import CsmsEndpoint, Security, Settings
from hil.conformance import Octt, Payload
from hil.parts.csms_server import CsmsServer, serve_websocket
from hil.parts.pki import Root, hash_data, read_request, server_context
from hil.parts.tls_refusal import refusing
from hil.sim import START_UTC_S, SimBench
from hil.virtual_time import run_virtual

FIRST_HOST, OTHER_HOST = "csms.bench.test", "other.bench.test"
PASSWORD = "sixteen-letters-of:SIM-1"
KIND = "ChargingStationCertificate"
GRACE_S = 0.002
RECONNECT_S = 300.0


class SecureRig(Struct):
    """A station, two places of its CSMS, and the root that signs the first one's certificate."""

    octt: Octt
    root: Root
    first: CsmsServer
    other: CsmsServer
    directory: Path
    clients_of: Root | None = None
    dials: list[Dial] = []

    @property
    def bench(self) -> SimBench:
        return self.octt.bench

    def context(self, server_pem: str, **more: Any) -> ssl.SSLContext:
        return server_context(self.directory, server_pem, **more)

    def first_context(self, **more: Any) -> ssl.SSLContext:
        """What the first place shows when all is well."""
        return self.context(self.root.server(FIRST_HOST), clients_of=self.clients_of, **more)

    async def asked_to_sign(self, status: str = "Accepted") -> str:
        """SignCertificate, answered so: the request, which is as A02.FR.03 wants it."""
        self.octt.csms.answer["SignCertificate"] = {"status": status}
        payload = await self.octt.expect("SignCertificate")
        assert payload.get("certificateType", KIND) == KIND
        key = read_request(payload["csr"]).public_key()
        assert isinstance(key, EllipticCurvePublicKey)
        assert key.key_size >= 224
        return str(payload["csr"])

    async def triggered(self) -> None:
        """TriggerMessage for SignChargingStationCertificate."""
        message = {"requestedMessage": "SignChargingStationCertificate"}
        await self.octt.accepted("TriggerMessage", message)

    async def signed(self, chain: str) -> Payload:
        """The answer to CertificateSigned."""
        return await self.octt.call(
            "CertificateSigned", {"certificateChain": chain, "certificateType": KIND}
        )

    async def renewed(self) -> dict[str, str]:
        """RenewChargingStationCertificate; returns the hash data of the new one."""
        self.octt.csms.answer["SignCertificate"] = {"status": "Accepted"}
        await self.triggered()
        chain = self.root.sign(await self.asked_to_sign())
        dials = len(self.dials)
        answer = await self.signed(chain)
        assert answer["status"] == "Accepted", answer
        await self.reconnected(dials)
        await asyncio.sleep(5)
        certificate = load_pem_x509_certificate(chain.encode())
        assert self.octt.csms.is_connected
        if self.clients_of is not None:
            shown = self.first.secured[-1].getpeercert(binary_form=True)
            assert shown == certificate.public_bytes(Encoding.DER)
        return hash_data(certificate, self.root.certificate, "SHA256")

    async def listen(self, server: CsmsServer, context: ssl.SSLContext) -> None:
        """The place cuts its links and shows another certificate from now on."""
        await server.drop()
        server.tls = context
        await server.accept()

    async def reconnected(self, since: int) -> None:
        """A link that was dialled after the first `since` dials is up."""
        await self.bench.until(lambda: len(self.dials) > since, RECONNECT_S)
        await self.octt.csms.wait_connected(timeout_s=RECONNECT_S)

    async def fails_until_good(self, context: ssl.SSLContext, good: ssl.SSLContext) -> None:
        """One dial meets the first context, the next one the other."""
        dials = len(self.dials)
        await self.listen(self.first, context)
        await self.bench.until(lambda: len(self.dials) > dials, RECONNECT_S)
        await asyncio.sleep(1)
        assert not self.octt.csms.is_connected, "such a CSMS must not be talked to"
        await self.listen(self.first, good)
        await self.reconnected(dials + 1)

    async def refuses_until_good(self, context: ssl.SSLContext) -> list[str]:
        """One dial comes to no handshake with that context; what the server says of it."""
        dials = len(self.dials)
        await self.first.drop()
        async with refusing(self.first.port, context) as reasons:
            await self.bench.until(lambda: bool(reasons), RECONNECT_S)
        await self.first.accept()
        await self.reconnected(dials + 1)
        return reasons

    async def restarted(self) -> None:
        await self.bench.restarted()
        self.octt.csms.forget()

    def place(self, server: CsmsServer) -> str:
        """Its URL by name."""
        host = FIRST_HOST if server is self.first else OTHER_HOST
        scheme = "ws" if server.tls is None else "wss"
        return f"{scheme}://{host}:{server.port}/ocpp"


Change = Callable[[Settings], Settings]


@asynccontextmanager
async def secure_rig(
    directory: Path,
    *,
    profile: int = 2,
    is_strict: bool = False,
    change: Change = lambda settings: settings,
    utc_at_zero_s: float = START_UTC_S,
    root: Root | None = None,
    data: Path | None = None,
    shown: Root | None = None,
    on_effect: Callable[[object], None] = lambda effect: None,
) -> AsyncIterator[SecureRig]:
    """Online, booted. `is_strict`: AdditionalRootCertificateCheck; profile 1: no root is known.

    With `root` and `data` a station goes on that lived in the same `directory` before; `shown`:
    the root that signed what the CSMS shows now.
    """
    bench = SimBench(
        variables={"OCPPCommCtrlr.RetryBackOffRandomRange": "0"},
        utc_at_zero_s=utc_at_zero_s,
        directory=None if data is None else str(data),
        on_effect=on_effect,
    )
    root = root or Root("first root")
    first, other = [await serve_websocket(bench.csms) for _ in range(2)]
    rig = SecureRig(Octt(bench), root, first, other, directory)
    _resolve_locally()
    if profile > 1:
        rig.clients_of = root if profile == 3 else None
        for server, host in ((first, FIRST_HOST), (other, OTHER_HOST)):
            certificate = (shown or root).server(host)
            await rig.listen(server, rig.context(certificate, clients_of=rig.clients_of))
    bench.settings = change(_secured(bench.settings, rig, profile, is_strict))

    async def connect(dial: Dial, who: Credentials, on_pong: Callable[[], None]) -> Link:
        rig.dials.append(dial)
        return await connect_websocket(dial, who, on_pong)

    bench.network.connect = connect  # type: ignore[method-assign, assignment]
    try:
        await bench.start()
        await rig.octt.booted()
        yield rig
        bench.csms.check()
    finally:
        await bench.__aexit__()
        for server in (first, other):
            await server.close()


def _secured(settings: Settings, rig: SecureRig, profile: int, is_strict: bool) -> Settings:
    security = Security(additional_root_check=is_strict)
    if profile > 1:
        security = replace(security, ca_file=_file(rig, "ca.pem", rig.root.pem))
    if profile == 3:
        certificate, key = rig.root.identity(settings.station.identity)
        security = replace(
            security,
            certificate_file=_file(rig, "station.pem", certificate),
            key_file=_file(rig, "station.key", key),
        )
    endpoint = CsmsEndpoint(rig.place(rig.first), password=PASSWORD)
    return replace(settings, csms=(endpoint,), security=security)


def _file(rig: SecureRig, name: str, text: str) -> str:
    path = rig.directory / name
    if not path.exists():
        path.write_text(text)
        path.chmod(0o600)
    return str(path)


def _resolve_locally() -> None:
    async def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign, assignment]


def run_secured(
    scene: Callable[[SecureRig], Coroutine[Any, Any, None]], directory: Path, **options: Any
) -> None:
    """The scene in virtual time."""

    async def main() -> None:
        async with secure_rig(directory, **options) as rig:
            await scene(rig)

    run_virtual(main(), fd_grace_s=GRACE_S)
