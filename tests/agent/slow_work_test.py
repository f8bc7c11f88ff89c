"""The jobs of a station as the daemon makes them: threads, real servers, what the loop knows."""

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent import slow_work
from agent.core.events import Now
from agent.core.jobs import (
    FetchFirmware,
    InstallFirmware,
    JobDone,
    JobFailed,
    JobMoved,
    StartJob,
    UploadLog,
)
from agent.csms import tls
from agent.jobs import UPLOADS
from agent.ocpp.calls import OutgoingCall
from agent.ocpp.uploads import LogRequested, Uploads
from agent.settings import CommandInstaller, Firmware
from agent.slow_work import workroom
from agent.status import without_secrets
from drivers.contract import Permit
from hil.parts.file_servers import Web, serving
from hil.parts.pki import FUTURE, Root, server_context
from hil.sim import settings_of

PASSWORD = "bench-password-0123"


class Room:
    """The jobs of a station, and what comes of them."""

    def __init__(self, directory: Path, report: dict[str, Any], *roots: Root) -> None:
        installer = Firmware(CommandInstaller(("true",)))
        settings = replace(settings_of(str(directory)), firmware=installer)
        self._posted: asyncio.Queue[object] = asyncio.Queue()

        async def say() -> dict[str, Any]:
            return report

        self.jobs = workroom(
            settings, self._posted.put_nowait, say, lambda: [root.pem for root in roots]
        )

    async def ended(self) -> object:
        """How the order that runs ends."""
        event = await self._posted.get()
        while isinstance(event, JobMoved):
            event = await self._posted.get()
        return event


async def ended(directory: Path, order: object, report: dict[str, Any], *roots: Root) -> object:
    """How the order ends, carried out as by the daemon."""
    room = Room(directory, report, *roots)
    room.jobs.start("job", order)
    event = await room.ended()
    await room.jobs.close()
    return event


def at(mono_s: float) -> Now:
    return Now(mono_s, 0.0, True, "boot", Permit(1), lambda: 0.5, lambda: f"id{mono_s}")


async def test_a_bundle_with_what_the_station_says_is_uploaded(tmp_path: Path) -> None:
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split()[0])
        got.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    order = UploadLog(f"http://127.0.0.1:{port}/logs/", "log.zip", "DiagnosticsLog")
    assert await ended(tmp_path, order, {"status": "fine"}) == JobDone("job")
    server.close()
    with zipfile.ZipFile(io.BytesIO(got[0])) as bundle:
        assert json.loads(bundle.read("report.json")) == {"status": "fine"}


async def test_a_station_that_cannot_report_fails_the_job_at_once(tmp_path: Path) -> None:
    """Not after the ten seconds that the loop has for it, and not as a fault of the disk."""
    posted: asyncio.Queue[object] = asyncio.Queue()

    async def report() -> dict[str, Any]:
        raise KeyError("bug")

    jobs = workroom(settings_of(str(tmp_path)), posted.put_nowait, report, list)
    jobs.start("job", UploadLog("http://127.0.0.1:1/", "log.zip", "DiagnosticsLog"))
    event = await posted.get()
    while isinstance(event, JobMoved):
        event = await posted.get()
    await jobs.close()
    assert event == JobFailed("job", "InternalError", "KeyError; see the journal")


async def test_a_station_that_has_no_time_to_report_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_work, "ASK_S", 0.05)
    posted: asyncio.Queue[object] = asyncio.Queue()

    async def report() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    jobs = workroom(settings_of(str(tmp_path)), posted.put_nowait, report, list)
    jobs.start("job", UploadLog("http://127.0.0.1:1/", "log.zip", "DiagnosticsLog"))
    event = await posted.get()
    while isinstance(event, JobMoved):
        event = await posted.get()
    await jobs.close()
    assert isinstance(event, JobFailed)
    assert "had no time" in event.text


async def test_an_update_without_its_file_fails(tmp_path: Path) -> None:
    event = await ended(tmp_path, InstallFirmware("gone"), {})
    assert isinstance(event, JobFailed)
    assert event.cause == "InstallationFailed"


async def test_the_csmss_roots_vouch_for_a_file_server(tmp_path: Path) -> None:
    root = Root("csms")
    context = server_context(tmp_path, root.server("localhost"))
    with serving(Web(b"firmware", context)) as server:
        order = FetchFirmware("u", f"{server.url}/firmware")
        assert await ended(tmp_path, order, {}, root) == JobDone("job")
        event = await ended(tmp_path, FetchFirmware("v", order.url), {}, Root("stranger"))
    assert isinstance(event, JobFailed)
    assert event.cause == "DownloadFailed"
    assert "not trusted" in event.text


async def test_a_wrong_certificate_is_tried_again_and_then_told(tmp_path: Path) -> None:
    """Three handshakes on loopback, one UploadFailure; no byte of the log leaves."""
    context = server_context(tmp_path, Root("stranger").server("localhost"))
    room, uploads = Room(tmp_path, {}, Root("csms")), Uploads()
    with serving(Web(b"", context)) as server:
        order = UploadLog(f"{server.url}/logs/", "log.zip", "DiagnosticsLog")
        effects = uploads.request(LogRequested(7, order, 2, 60.0), at(0.0))
        tries, now_s, told = 0, 0.0, list[str]()
        while uploads.current is not None:
            for job in [e for e in effects if isinstance(e, StartJob)]:
                room.jobs.start(job.job_id, job.order)
                tries += 1
            event = await room.ended()
            assert isinstance(event, JobFailed)
            effects = uploads.failed(event, at(now_s))
            now_s = uploads.deadline() or now_s
            effects += uploads.tick(at(now_s))
        while calls := uploads.tell(online=True):
            (call,) = calls
            assert isinstance(call, OutgoingCall)
            uploads.answered(call.payload, arrived=True)
            told.append(call.payload["status"])
        assert not server.got
    await room.jobs.close()
    assert (tries, told, now_s) == (3, ["Uploading", "UploadFailure"], 120.0)


def test_the_settings_in_a_bundle_tell_no_password(tmp_path: Path) -> None:
    settings = settings_of(str(tmp_path), variables={"SecurityCtrlr.BasicAuthPassword": PASSWORD})
    csms = replace(settings.csms[0], password=PASSWORD)
    settings = replace(settings, csms=(csms,))
    assert PASSWORD not in json.dumps(without_secrets(settings), default=str)


async def test_what_a_power_cut_left_of_an_upload_goes_with_the_start(tmp_path: Path) -> None:
    left = tmp_path / UPLOADS / "log.zip"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    workroom(settings_of(str(tmp_path)), lambda event: None, dict, list)
    assert not left.parent.exists()


async def test_before_the_clock_is_right_a_file_server_is_held_to_the_build_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls.time, "time", lambda: 0.0)
    root = Root("csms")
    later = server_context(tmp_path, root.server("localhost", start=FUTURE))
    with serving(Web(b"firmware", later)) as server:
        event = await ended(tmp_path, FetchFirmware("u", f"{server.url}/firmware"), {}, root)
    assert event == JobDone("job")
