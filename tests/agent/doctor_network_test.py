"""The way to the CSMS as `chargepoint doctor` goes it, on loopback."""

import asyncio
import contextlib
import http
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.server import serve

from agent import doctor_network
from agent.doctor_finding import Finding
from agent.doctor_kept import UNKNOWN, Kept
from agent.doctor_network import reachability
from agent.settings import CsmsEndpoint, Security, Settings
from agent.settings_load import load
from hil.parts.pki import Root, server_context

EXAMPLE = Path(__file__).parent.parent.parent / "config" / "charger.yaml"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def settings() -> Settings:
    found = load(str(EXAMPLE)).settings
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def csms(status: int = 0, **options: Any) -> AsyncIterator[tuple[int, list[str]]]:
    """Its port, and the frames it got; `status`: what it answers instead of taking the link."""
    frames: list[str] = []

    async def talk(connection: Any) -> None:
        async for frame in connection:
            frames.append(frame)

    def refuse(connection: Any, request: Any) -> Any:
        return connection.respond(http.HTTPStatus(status), "no\n") if status else None

    options = {"subprotocols": ["ocpp2.0.1"], "process_request": refuse} | options
    async with serve(talk, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1], frames


async def looked(
    settings: Settings, url: str, online: bool = False, kept: Kept = UNKNOWN, **more: Any
) -> list[Finding]:
    endpoint = CsmsEndpoint(url, password=PASSWORD)
    changed = replace(settings, csms=(endpoint,), **more)
    return [finding async for finding in reachability(changed, is_online=online, kept=kept)]


async def test_a_good_way_is_shown_step_by_step_and_no_frame_is_sent(settings: Settings) -> None:
    async with csms() as (port, frames):
        found = await looked(settings, f"ws://localhost:{port}/ocpp")
    assert [finding.level for finding in found] == ["ok", "ok", "ok"]
    assert "localhost is" in found[0].what
    assert f"port {port} answers" in found[1].what
    assert "OCPP 2.0.1" in found[2].what
    assert frames == []


@pytest.mark.parametrize(
    ("status", "said", "step"),
    [
        (401, "refused the password (HTTP 401)", "compare csms.password"),
        (403, "forbids this station (HTTP 403)", "have it released"),
        (404, "does not know this address or station (HTTP 404)", "compare csms.url"),
        (503, "broken or down (HTTP 503)", "ask its operator"),
    ],
)
async def test_a_refusal_is_in_words(settings: Settings, status: int, said: str, step: str) -> None:
    async with csms(status) as (port, _):
        last = (await looked(settings, f"ws://127.0.0.1:{port}/ocpp"))[-1]
    assert last.level == "bad"
    assert said in last.what
    assert step in last.next_step
    assert PASSWORD not in str(last)


async def test_a_csms_that_speaks_another_ocpp(settings: Settings) -> None:
    async with csms(subprotocols=["ocpp1.6"]) as (port, _):
        last = (await looked(settings, f"ws://127.0.0.1:{port}/ocpp"))[-1]
    assert (last.level, bool(last.next_step)) == ("bad", True)


async def test_where_nothing_listens(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = await looked(settings, f"ws://127.0.0.1:{taken.getsockname()[1]}/ocpp")
    assert [finding.level for finding in found] == ["ok", "bad"]
    assert "nothing listens there" in found[-1].what


async def test_a_name_that_nobody_knows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    (finding,) = await looked(settings, "ws://no.such.test/ocpp")
    assert "cannot be resolved" in finding.what
    assert "check csms.url and the DNS" in finding.next_step


async def test_while_the_service_is_online_no_second_link_is_opened(settings: Settings) -> None:
    async with csms(401) as (port, _):
        found = await looked(settings, f"ws://127.0.0.1:{port}/ocpp", online=True)
    assert [finding.level for finding in found] == ["ok", "ok", "ok"]
    assert "no second link" in found[-1].what


async def test_tls_by_the_configured_root_and_by_a_wrong_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = Root("good"), Root("other")
    context = server_context(tmp_path, good.server("localhost"))
    async with csms(ssl=context) as (port, _):
        outcomes = {}
        for root in (good, other):
            file = tmp_path / "ca.pem"
            file.write_text(root.pem)
            url = f"wss://localhost:{port}/ocpp"
            outcomes[root] = await looked(settings, url, security=Security(ca_file=str(file)))
    assert [finding.level for finding in outcomes[good]] == ["ok"] * 4
    assert "TLSv1." in outcomes[good][2].what
    assert [finding.level for finding in outcomes[other]] == ["ok", "ok", "bad"]
    assert "install its root certificate" in outcomes[other][-1].next_step


async def test_a_ca_file_that_cannot_be_read(settings: Settings) -> None:
    (finding,) = await looked(settings, "wss://x.test", security=Security(ca_file="/none.pem"))
    assert finding.what.startswith("CSMS 1: /none.pem cannot be read")


def test_without_the_service_the_password_is_taken_where_systemd_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "csms-password"
    monkeypatch.setattr(doctor_network, "PASSWORD_SOURCE", source)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    csms = CsmsEndpoint("wss://x.test", password_file="/run/credentials/none/csms-password")
    with pytest.raises(doctor_network.SettingsError, match="sudo chargepoint doctor"):
        doctor_network.station_password(csms)
    source.write_text(PASSWORD + "\n")
    assert doctor_network.station_password(csms) == PASSWORD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PASSWORD, ""),
        (f'"{PASSWORD}"', "in quotes"),
        (f"{PASSWORD}\n# the one of the depot", "several lines"),
        ("short", "has 5 characters"),
    ],
)
async def test_a_password_that_cannot_be_meant_is_pointed_out(
    tmp_path: Path, settings: Settings, text: str, said: str
) -> None:
    file = tmp_path / "csms-password"
    file.write_text(text)
    async with csms() as (port, _):
        endpoint = CsmsEndpoint(f"ws://localhost:{port}/ocpp", password_file=str(file))
        changed = replace(settings, csms=(endpoint,))
        found = [one async for one in reachability(changed, is_online=False)]
    warned = [one.what for one in found if one.level == "warn"]
    assert len(warned) == bool(said)
    assert all(said in one for one in warned)
    assert not any(text in one.what for one in found)


async def test_a_password_file_that_is_not_there_is_to_be_written(settings: Settings) -> None:
    endpoint = CsmsEndpoint("ws://127.0.0.1:9/ocpp", password_file="/none/csms-password")
    with pytest.raises(
        doctor_network.SettingsError, match="there is no /none/csms-password; write"
    ):
        doctor_network.station_password(endpoint)
