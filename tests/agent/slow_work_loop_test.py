"""No step of a job holds up the loop: whoever blocks is let go by the loop, or the job fails."""

import asyncio
import base64
import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from agent.core.jobs import (
    ConfirmFirmware,
    DropFirmware,
    FetchFirmware,
    InstallFirmware,
    JobDone,
    JobMoved,
    UploadLog,
    VerifyFirmware,
)
from agent.settings import CommandInstaller, Firmware
from agent.slow_work import workroom
from hil.parts.file_servers import Web, serving
from hil.parts.pki import certificate_of
from hil.sim import settings_of

KEY = ec.generate_private_key(ec.SECP256R1())
CONTENT = b"firmware" * 100_000
SIGNATURE = base64.b64encode(KEY.sign(CONTENT, ec.ECDSA(hashes.SHA256()))).decode()
FAILS_AFTER_S = 5.0
"""Only a loop that stands still needs so long."""

STEPS = {
    "fetch, socket": ("urllib.request", "OpenerDirector.open"),
    "fetch, disk": ("os", "fsync"),
    "verify, disk and hash": ("hashlib", "sha256"),
    "verify, key": ("agent.jobs.firmware", "check_signature"),
    "install, program": ("subprocess", "Popen"),
    "confirm, program": ("subprocess", "Popen"),
    "drop, disk": ("shutil", "rmtree"),
    "log, disk": ("zipfile", "ZipFile.__init__"),
    "log, journal": ("subprocess", "Popen"),
    "log, socket": ("urllib.request", "OpenerDirector.open"),
}
"""Job and step -> module and name of what blocks there."""


def slowed(do: Callable[..., Any], loop: asyncio.AbstractEventLoop, held: list[str]) -> Any:
    """`do`, that begins only when the loop has turned meanwhile."""

    def slow(*args: Any, **options: Any) -> Any:
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(FAILS_AFTER_S), "the loop stood still"
        held.append(threading.current_thread().name)
        return do(*args, **options)

    return slow


@pytest.mark.parametrize("step", STEPS)
async def test_the_loop_turns_while_a_step_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    posted: asyncio.Queue[object] = asyncio.Queue()
    installer = Firmware(CommandInstaller(("true",), ("true",)))
    settings = replace(settings_of(str(tmp_path)), firmware=installer)
    jobs = workroom(settings, posted.put_nowait, dict, list)
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware/u.bin").write_bytes(CONTENT)
    module, name = STEPS[step]
    owner: Any = importlib.import_module(module)
    *outer, last = name.split(".")
    for one in outer:
        owner = getattr(owner, one)
    held: list[str] = []
    slow = slowed(getattr(owner, last), asyncio.get_running_loop(), held)
    monkeypatch.setattr(owner, last, slow)
    with serving(Web(CONTENT)) as web:
        orders = {
            "fetch": FetchFirmware("new", f"{web.url}/firmware"),
            "verify": VerifyFirmware("u", certificate_of(KEY), SIGNATURE),
            "install": InstallFirmware("u"),
            "confirm": ConfirmFirmware(""),
            "drop": DropFirmware(),
            "log": UploadLog(f"{web.url}/logs/", "log.zip", "DiagnosticsLog"),
        }
        jobs.start("job", orders[step.partition(",")[0]])
        event = await posted.get()
        while isinstance(event, JobMoved):
            event = await posted.get()
    await jobs.close()
    assert isinstance(event, JobDone), event
    assert held
    assert set(held) == {"job job"}
