"""A noisy day with everything that must not be read by others in it: whatever the station writes is
searched for it. `chargepoint queue` is the exception, and the file of the database: messages to the
CSMS carry tokens, they are the operator's data, and only root and the service's group can ask."""

import asyncio
import io
import json
import logging
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent import log, trace
from agent.core.jobs import UploadLog
from agent.jobs import logs as upload
from agent.jobs.logs import Logs
from agent.ocpp import router
from agent.settings import Settings
from agent.status import kept
from hil.desk import DeskBench
from hil.parts.csms import Refused
from hil.parts.pki import Root
from hil.scenarios.day import begin, drained, end
from hil.sim import SimBench
from hil.virtual_time import run_virtual

FILE_PASSWORD = "file-password-of-the-station"
NEW_PASSWORD = "new%password/by the CSMS&"
CARD, OTHER_CARD, CODE, APP = "04A1B2C3D4E5F6", "04C0FFEE112233", "773311", "app-user-4711-0815"
UPLOAD_LOGIN = "operator:upload-secret"
CRASH_TEXT = f"died of {FILE_PASSWORD}"

SECRETS = (FILE_PASSWORD, NEW_PASSWORD, CARD, OTHER_CARD, CODE, APP, "upload-secret")


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the service writes at level DEBUG, as the journal would get it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(log, "_secrets", set())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    stream = io.StringIO()
    log.set_up("DEBUG", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in log.TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET)


def with_password(settings: Settings) -> Settings:
    csms = tuple(replace(c, password=FILE_PASSWORD, lab_unsecured=False) for c in settings.csms)
    return replace(settings, csms=csms)


def found_in(text: str, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    """Lines that hold a secret, in whatever case."""
    lowered = [secret.lower() for secret in secrets]
    return [line[:300] for line in text.splitlines() if any(s in line.lower() for s in lowered)]


def set_password(value: str) -> dict[str, Any]:
    item = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": value,
    }
    return {"setVariableData": [item]}


async def traced(bench: SimBench, said: list[str]) -> None:
    """Somebody looks on with `chargepoint trace`."""
    told = bench.agent._trace()
    async for one in told:
        said += [json.dumps(one), trace.line(one)]


async def noisy_day(bench: SimBench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything happens that could make a station talk; returns what its console said."""
    csms = bench.csms
    said: list[str] = []
    looking_on = asyncio.create_task(traced(bench, said))
    await csms.wait_for("StatusNotification")
    await begin(bench, 1, CARD)
    said.append(json.dumps(bench.agent.status()))
    await csms.call("SetVariables", set_password("too short"))
    await csms.send_text(json.dumps([2, "g", "SetVariables", {"evil": NEW_PASSWORD}]))
    await csms.call("SetVariables", set_password(NEW_PASSWORD))
    await asyncio.sleep(120)
    await csms.wait_connected()
    await end(bench, 1, CARD)
    csms.answer["Authorize"] = nobody_knows
    bench.plug_in(1)
    await asyncio.sleep(5)
    bench.board.swipe("reader", OTHER_CARD)
    await asyncio.sleep(40)
    bench.board.swipe("reader", CODE, "KeyCode")
    await asyncio.sleep(40)
    csms.answer["Authorize"] = {"idTokenInfo": {"status": "Blocked"}}
    bench.board.swipe("reader", OTHER_CARD)
    await asyncio.sleep(40)
    csms.answer.clear()
    token = {"idToken": APP, "type": "Central"}
    await csms.call("RequestStartTransaction", {"idToken": token, "remoteStartId": 1, "evseId": 1})
    await asyncio.sleep(60)
    csms.answer["TransactionEvent"] = Refused("GenericError", f"{APP} is unknown")
    await asyncio.sleep(1800)
    csms.answer.clear()
    bench.plug_out(1)
    await drained(bench)
    said.append(json.dumps(bench.agent.status()))
    await a_handler_fails(bench, monkeypatch)
    bench.network.cut()
    await asyncio.sleep(60)
    said += [json.dumps(bench.agent.status()), json.dumps(kept(bench.agent.view))]
    looking_on.cancel()
    await asyncio.gather(looking_on, return_exceptions=True)
    return said


def nobody_knows(payload: dict[str, Any]) -> Refused:
    return Refused("GenericError", f"nobody knows {payload['idToken']['idToken']}")


async def a_handler_fails(bench: SimBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(payload: Any, *_: Any) -> None:
        raise ValueError(f"{FILE_PASSWORD} {payload}")

    monkeypatch.setitem(router.INCOMING, "ClearCache", fail)
    await bench.csms.send_text('[2,"cc","ClearCache",{}]')
    await asyncio.sleep(1)


async def bundle_of(
    bench: SimBench, stream: io.StringIO, kept: Path, patch: pytest.MonkeyPatch
) -> str:
    """The diagnostics bundle with this journal in it, every file of it as text."""
    lines = [*stream.getvalue().splitlines(keepends=True), f"ftp://{UPLOAD_LOGIN}@h\n"]
    patch.setattr(upload.Logs, "_journal", lambda self, order: lines)
    texts: list[str] = []

    def sent(url: str, path: Path, *_: Any) -> None:
        with zipfile.ZipFile(path) as bundle:
            texts.extend(bundle.read(name).decode() for name in bundle.namelist())

    patch.setattr(upload, "send", sent)
    report = await bench.agent._report()
    job = Logs(bench.directory, lambda: report, lambda: None)  # type: ignore[arg-type, return-value]
    order = UploadLog(f"ftp://{UPLOAD_LOGIN}@h/", "b.zip", "DiagnosticsLog")
    job.upload(order, type("Task", (), {"moved": lambda *_: None})())  # type: ignore[arg-type]
    assert '"versions"' in texts[0], "the bundle was not sent"
    return "\n".join(texts)


def test_a_noisy_day_writes_no_secret(
    journal: io.StringIO, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scene() -> tuple[list[str], str, str, dict[str, int]]:
        async with SimBench(evse_count=1, change=with_password) as bench:
            said = await noisy_day(bench, monkeypatch)
            bundle = await bundle_of(bench, journal, tmp_path, monkeypatch)
            files = {p.name: p for p in bench.directory.rglob("*") if p.is_file()}
            texts = [p.read_text() for n, p in files.items() if not n.startswith("chargepoint.db")]
            modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in files.items()}
            assert FILE_PASSWORD in {c.password for _, _, c in bench.network.dials}
            assert NEW_PASSWORD in {c.password for _, _, c in bench.network.dials}
            return said, bundle, "\n".join(texts), modes

    said, bundle, files, modes = run_virtual(scene())
    written = journal.getvalue()
    for words in ("changed the password", "InternalError", "Authorize failed", "set aside"):
        assert words in written, "the day was not noisy enough"
    for words in ("SetVariables", "04A1...", "GenericError", "InternalError", '"evil":"***"'):
        assert any(words in one for one in said), f"{words} was not traced"
    assert len(bundle) > 1_000
    assert (found_in(written), found_in("\n".join(said)), found_in(bundle)) == ([], [], [])
    assert found_in(files) == [], "security.log, wiring.json"
    assert {name for name, mode in modes.items() if mode & 0o077} == set()


def test_the_search_would_find_each_secret() -> None:
    for secret in SECRETS:
        assert found_in(f"<6>agent: it was {secret.upper()}!")


def test_a_crash_of_the_core_leaves_a_trace_without_secrets(
    journal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the process: its trace goes through the hook that `log.set_up` placed."""

    async def scene() -> None:
        async with SimBench(evse_count=1, change=with_password) as bench:
            await bench.csms.wait_for("StatusNotification")

            def fail(event: object, now: object) -> None:
                raise ValueError(f"{CRASH_TEXT} at {event!r}")

            monkeypatch.setattr(bench.agent.view.station, "handle", fail)
            bench.swipe(CARD)
            bench.board.swipe("reader", CODE, "KeyCode")
            await asyncio.sleep(5)
            await bench.gone()

    with pytest.raises(ValueError, match="died of") as crash:
        run_virtual(scene())
    sys.excepthook(crash.type, crash.value, crash.tb)
    written = journal.getvalue()
    assert "died of ***" in written
    assert found_in(written) == []


def test_keys_stay_in_their_file_and_out_of_every_log(journal: io.StringIO) -> None:
    """A request for a certificate, certificates good and bad."""

    said: list[str] = []

    async def scene() -> list[str]:
        async with SimBench(evse_count=1, change=with_password) as bench:
            csms = bench.csms
            looking_on = asyncio.create_task(traced(bench, said))
            await csms.wait_for("StatusNotification")
            order = {"certificateType": "CSMSRootCertificate", "certificate": Root("R").pem}
            await csms.call("InstallCertificate", order)
            trigger = {"requestedMessage": "SignChargingStationCertificate"}
            await csms.call("TriggerMessage", trigger)
            await csms.wait_for("SignCertificate")
            (key,) = (path for path in bench.directory.rglob("keys/*") if path.is_file())
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
            lines = key.read_text().splitlines()[1:-1]
            await csms.call("CertificateSigned", {"certificateChain": "no certificate"})
            await asyncio.sleep(60)
            looking_on.cancel()
            await asyncio.gather(looking_on, return_exceptions=True)
            return lines

    key_lines = run_virtual(scene())
    assert key_lines
    assert any("SignCertificate" in one for one in said)
    assert found_in(journal.getvalue() + "\n".join(said), tuple(key_lines)) == []


async def test_the_real_process_at_debug_writes_neither_card_nor_password() -> None:
    """All libraries talk at this level: sockets, Modbus, serial ports, the event loop."""
    async with DeskBench() as bench:
        bench.log_level = "DEBUG"
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        lookers = [await looker(bench), await looker(bench, "--devices")]
        bench.csms.answer["Authorize"] = nobody_knows
        await bench.swipe(CARD)
        await bench.wait_until(lambda: bool(bench.csms.of("Authorize")), "an Authorize")
        answer = await bench.csms.call("SetVariables", set_password(NEW_PASSWORD))
        assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted"
        handshakes = len(bench.server.handshakes)
        await bench.wait_until(lambda: len(bench.server.handshakes) > handshakes, "a new dial")
        status = json.dumps(await bench.status())
        frames, lines = [await told_to(one) for one in lookers]
        assert "-> Authorize" in frames
        assert "<- SetVariables" in frames
        assert "a card" in lines
        assert "-> rs485 01 04" in lines
        await bench.stop_agent()
        written = bench.agent_log.read_text(errors="replace")
        assert "<7>" in written, "nothing was said at level DEBUG"
        header = str(bench.server.handshakes[-1][1]).removeprefix("Basic ")
        secrets = (*SECRETS, header, CARD.encode().hex(" "), NEW_PASSWORD.encode().hex(" "))
        assert found_in(written + status + frames + lines, secrets) == []


async def looker(bench: DeskBench, *more: str) -> asyncio.subprocess.Process:
    """`chargepoint trace` of the running station, once it has begun."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", "trace", str(bench.config), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1_000_000,
    )
    assert process.stdout is not None
    assert b" -- " in await process.stdout.readline()
    return process


async def told_to(looker: asyncio.subprocess.Process) -> str:
    looker.terminate()
    out, _ = await looker.communicate()
    return out.decode()
