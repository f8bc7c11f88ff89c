"""TLS by real handshakes on loopback: who is trusted, at which time, and what is said of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve

from agent.core.effects import Dial
from agent.csms import tls
from agent.csms.link import Credentials, connect_websocket
from agent.csms.tls import Trust
from agent.errors import LinkError
from hil.parts.certificates import HAS_OPENSSL, Authority

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
    link = await connect_websocket(where, credentials, lambda: None)
    await link.close()


def set_clock(monkeypatch: pytest.MonkeyPatch, utc_s: float, built_s: float) -> None:
    monkeypatch.setattr(tls.time, "time", lambda: utc_s)
    monkeypatch.setattr(tls, "build_date_s", lambda: built_s)


async def test_a_good_certificate_is_trusted_and_the_password_sent(pki: Pki) -> None:
    async with csms(pki.trusted.issue("good")) as server:
        await dial(server.port, pki.trusted.roots)
        assert server.logins[0] is not None


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
