"""The jobs of a station as the daemon makes them: threads, real servers, what the loop knows."""

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from agent.core.jobs import InstallFirmware, JobDone, JobFailed, JobMoved, UploadLog
from agent.slow_work import workroom
from agent.status import without_secrets
from hil.sim import settings_of

PASSWORD = "bench-password-0123"


async def ended(directory: Path, order: object, report: dict[str, Any]) -> object:
    """How the order ends, carried out as by the daemon."""
    posted: asyncio.Queue[object] = asyncio.Queue()
    settings = settings_of(str(directory))
    jobs = workroom(settings, posted.put_nowait, lambda: report, list)
    jobs.start("job", order)
    event = await posted.get()
    while isinstance(event, JobMoved):
        event = await posted.get()
    await jobs.close()
    return event


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


async def test_an_update_without_its_file_fails(tmp_path: Path) -> None:
    event = await ended(tmp_path, InstallFirmware("gone"), {})
    assert isinstance(event, JobFailed)
    assert event.cause == "InstallationFailed"


def test_the_settings_in_a_bundle_tell_no_password(tmp_path: Path) -> None:
    settings = settings_of(str(tmp_path), variables={"SecurityCtrlr.BasicAuthPassword": PASSWORD})
    csms = msgspec.structs.replace(settings.csms[0], password=PASSWORD)
    settings = msgspec.structs.replace(settings, csms=(csms,))
    assert PASSWORD not in json.dumps(without_secrets(settings), default=str)
