"""TLS by real handshakes on loopback: who is trusted, at which time, and what is said of it."""

import asyncio
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve

from agent.core.effects import Dial
from agent.csms import link, tls
from agent.csms.link import Credentials, connect_websocket
from agent.csms.tls import Trust
from agent.errors import LinkError
from hil.parts.certificates import HAS_OPENSSL, Authority
from hil.parts.pki import PEM, Root, server_context
from hil.parts.tls_refusal import refusing

pytestmark = pytest.mark.skipif(
    not HAS_OPENSSL, reason="needs the program openssl; install the Debian package openssl"
)

YEAR_2030_S = 1_893_456_000.0


class Pki(Struct):
    trusted: Authority
    old: Authority
    strange: Authority


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    top = tmp_path_factory.mktemp("pki")
    return Pki(
        Authority(top / "trusted"),
        Authority(top / "old", "19990101", "20010101"),
        Authority(top / "strange"),
    )


class Secure(Struct):
    port: int
    logins: list[str | None]


@asynccontextmanager
async def csms(certificate: Path) -> AsyncIterator[Secure]:
    logins: list[str | None] = []

    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        logins.append(connection.request.headers.get("Authorization"))
        await connection.wait_closed()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await serve(talk, "127.0.0.1", 0, subprotocols=["ocpp2.0.1"], ssl=context)
    try:
        yield Secure(server.sockets[0].getsockname()[1], logins)
    finally:
        server.close(close_connections=True)
        await server.wait_closed()


def trust_in(roots: Path) -> Trust:
    return Trust((roots.read_text(),))


async def dial(port: int, roots: Path) -> None:
    """Connects and hangs up. Raises LinkError."""
    where = Dial(0, f"wss://127.0.0.1:{port}/ocpp/CS1", "CS1", 2, 20.0, 0.0)
    credentials = Credentials(password="sixteen-letters!", trust=trust_in(roots))
    opened = await connect_websocket(where, credentials, lambda: None)
    await opened.close()


def set_clock(monkeypatch: pytest.MonkeyPatch, utc_s: float, built_s: float) -> None:
    monkeypatch.setattr(tls.time, "time", lambda: utc_s)
    monkeypatch.setattr(tls, "build_date_s", lambda: built_s)


async def test_a_good_certificate_is_trusted_and_the_password_sent(pki: Pki) -> None:
    async with csms(pki.trusted.issue("good")) as server:
        await dial(server.port, pki.trusted.roots)
        assert server.logins[0] is not None


async def test_the_loop_goes_on_while_roots_and_keys_are_read(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is in it, and a board takes most of a second for the roots of the system."""
    has_gone_on = threading.Event()
    real = tls.client_context

    def slow(trust: Trust) -> ssl.SSLContext:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).add_done_callback(
            lambda _: has_gone_on.set()
        )
        assert has_gone_on.wait(10)
        return real(trust)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(link, "client_context", slow)
    async with csms(pki.trusted.issue("good")) as server:
        await dial(server.port, pki.trusted.roots)
        assert server.logins


@pytest.mark.parametrize(
    ("start", "end", "word"),
    [("20800101", "20850101", "not yet valid"), ("20000101", "20010101", "expired")],
)
async def test_with_a_clock_that_may_be_right_the_dates_hold(
    pki: Pki, start: str, end: str, word: str
) -> None:
    async with csms(pki.trusted.issue("dated", start, end)) as server:
        with pytest.raises(LinkError, match=word) as caught:
            await dial(server.port, pki.trusted.roots)
        assert "clock of this board" in str(caught.value)
        assert server.logins == []


@pytest.mark.parametrize(("start", "end"), [("20200101", "20900101"), ("20800101", "20850101")])
async def test_in_1970_a_certificate_that_was_no_secret_to_the_build_date_passes(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, start: str, end: str
) -> None:
    set_clock(monkeypatch, 0.0, YEAR_2030_S)
    async with csms(pki.trusted.issue("later", start, end)) as server:
        await dial(server.port, pki.trusted.roots)
        assert len(server.logins) == 1


async def test_in_1970_what_had_expired_at_the_build_is_refused_before_the_password_leaves(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 0.0, YEAR_2030_S)
    async with csms(pki.trusted.issue("past", "20200101", "20291231")) as server:
        with pytest.raises(LinkError, match="before this agent was built"):
            await dial(server.port, pki.trusted.roots)
        await asyncio.sleep(0.05)
        assert server.logins == []


async def test_in_1970_a_root_that_had_expired_at_the_build_is_refused(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 0.0, YEAR_2030_S)
    async with csms(pki.old.issue("of-old")) as server:
        with pytest.raises(LinkError, match="Jan  1 00:00:00 2001"):
            await dial(server.port, pki.old.roots)


async def test_in_1970_a_root_that_is_not_ours_is_refused(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 0.0, YEAR_2030_S)
    async with csms(pki.strange.issue("stranger")) as server:
        with pytest.raises(LinkError, match="not trusted"):
            await dial(server.port, pki.trusted.roots)


async def test_in_1970_another_name_is_refused(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0.0, YEAR_2030_S)
    async with csms(pki.trusted.issue("elsewhere", places="IP:127.0.0.9")) as server:
        with pytest.raises(LinkError, match="mismatch"):
            await dial(server.port, pki.trusted.roots)


def test_the_floor_is_the_day_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "build_date"
    monkeypatch.setattr(tls, "BUILD_DATE", note)
    build_date_s = tls.build_date_s.__wrapped__
    assert build_date_s() == tls.FIRST_BUILD_S
    note.write_text("2030-01-01\n")
    assert build_date_s() == YEAR_2030_S
    note.write_text("soon\n")
    assert build_date_s() == tls.FIRST_BUILD_S


def test_a_build_notes_its_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hatch_build

    (tmp_path / hatch_build.BUILD_DATE).parent.mkdir(parents=True)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(YEAR_2030_S) + 3600))
    hatch_build.write_build_date(tmp_path)
    assert (tmp_path / hatch_build.BUILD_DATE).read_text() == "2030-01-01\n"
    assert Path(tls.__file__).parent / Path(hatch_build.BUILD_DATE).name == tls.BUILD_DATE


NO_QUESTIONS = """
import sys
from agent.csms.tls import Trust, client_context
from agent.errors import LinkError
try:
    client_context(Trust(chain=open(sys.argv[1]).read(), key_file=sys.argv[2]))
except LinkError as error:
    print(error)
"""


@pytest.mark.skipif(shutil.which("script") is None, reason="needs the Debian package bsdutils")
def test_a_key_with_a_pass_phrase_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and the loop would wait for who types it."""
    certificate, key = Root("root").identity("CS1")
    private = load_pem_private_key(key.encode(), None)
    locked = BestAvailableEncryption(b"secret")
    (tmp_path / "own.pem").write_text(certificate)
    (tmp_path / "own.key").write_bytes(private.private_bytes(PEM, PrivateFormat.PKCS8, locked))
    (tmp_path / "ask.py").write_text(NO_QUESTIONS)
    names = [str(tmp_path / name) for name in ("ask.py", "own.pem", "own.key")]
    words = ["script", "-qec", shlex.join([sys.executable, *names]), "/dev/null"]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert "cannot be used" in done.stdout
    assert "pass phrase" not in done.stdout


# --- names ----------------------------------------------------------------------------------------


def named(common_name: str | None, *names: str) -> dict[str, Any]:
    """What `getpeercert` says of a certificate."""
    subject = () if common_name is None else ((("commonName", common_name),),)
    return {"subject": subject, "subjectAltName": tuple(("DNS", name) for name in names)}


GOOD_NAMES = [
    (named("csms.example.com", "csms.example.com"), "csms.example.com", False),
    (named("CSMS.example.com", "other.com", "csms.Example.com"), "csms.example.com", False),
    (named("csms.example.com"), "csms.example.com", False),
    (named(None, "csms.example.com"), "csms.example.com", False),
    (named("anything"), "127.0.0.1", False),
    (named("anything"), "::1", False),
    (named("*.example.com", "*.example.com"), "csms.example.com", True),
    (named("csms.example.com", "*.example.com"), "csms.example.com", True),
]
BAD_NAMES = [
    (named("example.com", "csms.example.com"), "csms.example.com", False, "is not csms"),
    (named("example.com", "csms.example.com"), "csms.example.com", True, "is not csms"),
    (named("*.example.com", "*.example.com"), "csms.example.com", False, "wildcard"),
    (named("csms.example.com", "*.example.com"), "csms.example.com", False, "wildcard"),
    (named(None, "*.example.com"), "csms.example.com", False, "wildcard"),
    (named("*.example.com"), "a.b.example.com", True, "is not a.b"),
    (named("*.com"), "csms.example.com", True, "is not csms"),
]


@pytest.mark.parametrize(("certificate", "host", "wildcards"), GOOD_NAMES)
def test_the_csms_s_own_certificate_is_taken(
    certificate: dict[str, Any], host: str, wildcards: bool
) -> None:
    assert tls.name_problem(certificate, host, wildcards) == ""


@pytest.mark.parametrize(("certificate", "host", "wildcards", "word"), BAD_NAMES)
def test_a_certificate_for_others_too_is_refused(
    certificate: dict[str, Any], host: str, wildcards: bool, word: str
) -> None:
    """A00.FR.309, FR.412, FR.510."""
    assert word in tls.name_problem(certificate, host, wildcards)


# --- what a failure is called ---------------------------------------------------------------------


async def failed_event(context: ssl.SSLContext, trust: Trust, profile: int = 2) -> LinkError:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with refusing(port, context) as reasons:
        where = Dial(0, f"wss://localhost:{port}/ocpp/CS1", "CS1", profile, 20.0, 0.0)
        with pytest.raises(LinkError) as caught:
            await connect_websocket(where, Credentials(trust=trust), lambda: None)
        assert len(reasons) <= 1
    return caught.value


async def test_each_failure_has_its_name_in_the_standard_s_list(tmp_path: Path) -> None:
    root = Root("root")
    good, trust = root.server("localhost"), Trust((root.pem,))
    old = server_context(tmp_path, good, version=ssl.TLSVersion.TLSv1_1)
    assert (await failed_event(old, trust)).security_event == "InvalidTLSVersion"
    two = ssl.TLSVersion.TLSv1_2
    weak = server_context(tmp_path, good, version=two, suites="ECDHE-ECDSA-AES128-SHA")
    assert (await failed_event(weak, trust)).security_event == "InvalidTLSCipherSuite"
    stranger = server_context(tmp_path, Root("stranger").server("localhost"))
    assert (await failed_event(stranger, trust)).security_event == "InvalidCsmsCertificate"


async def test_a_station_certificate_that_is_not_wanted_is_named_as_such(tmp_path: Path) -> None:
    root = Root("root")
    certificate, key = Root("stranger").identity("CS1")
    (tmp_path / "key.pem").write_text(key)
    trust = Trust((root.pem,), certificate, str(tmp_path / "key.pem"))
    strict = server_context(
        tmp_path, root.server("localhost"), clients_of=root, version=ssl.TLSVersion.TLSv1_2
    )
    error = await failed_event(strict, trust, profile=3)
    assert error.security_event == "FailedToAuthenticateAtCsms"
    assert "does not accept this station's certificate" in str(error)
    newer = server_context(tmp_path, root.server("localhost"), clients_of=root)
    error = await failed_event(newer, trust, profile=3)
    assert error.security_event == "FailedToAuthenticateAtCsms", "in TLS 1.3 after the handshake"
    assert "does not accept this station's certificate" in str(error)


async def test_no_certificate_where_one_is_wanted_is_named_as_such(tmp_path: Path) -> None:
    root = Root("root")
    strict = server_context(tmp_path, root.server("localhost"), clients_of=root)
    error = await failed_event(strict, Trust((root.pem,)), profile=2)
    assert error.security_event == "FailedToAuthenticateAtCsms"
