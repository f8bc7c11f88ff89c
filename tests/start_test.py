"""What the daemon has loaded when it is built: a board with one slow core pays for each module."""

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from drivers.bus import modbus_line
from drivers.contract import PortError, SerialLine
from hil.desk_file import LINE, PILOTS, READER, DeskFile

ROOT = Path(__file__).parent.parent
BUILT = """
import gc, json, sys
from agent.cli import main
from agent.app import Agent

async def run(self):
    await self.store.close()
    print(json.dumps([sorted(sys.modules), gc.isenabled(), gc.get_freeze_count()]))

Agent.run = run
sys.exit(main(["run", sys.argv[1]]))
"""
"""The daemon's own way up to the point where it would open its ports and dial."""

GREETS = """
import json, sys
from agent.app import Agent
from agent.cli import main
from agent.csms import library

class Link:
    trusted_by = ""

    def listen(self, hear):
        pass

    def send_at_once(self, text):
        print(json.dumps([text, sorted(sys.modules)]), flush=True)
        sys.stdout.flush()
        __import__("os")._exit(0)

    async def receive(self):
        await __import__("asyncio").Event().wait()

async def connect(dial, credentials, on_pong):
    library.client()
    return Link()

Agent.__init__.__kwdefaults__["connect"] = connect
sys.exit(main(["run", sys.argv[1]]))
"""
"""The same up to its first frame."""

NOT_AT_START = {
    "a tool of the benches": ("hil", "ocpp", "jsonschema", "fastjsonschema"),
    "certificates, at their first use": ("cryptography",),
    "files to and from the CSMS, in the job's thread": (
        *("agent.jobs.transfer", "agent.jobs.logs", "agent.jobs.firmware", "agent.jobs.rauc"),
        *("agent.jobs.sftp", "paramiko", "multiprocessing"),
        *("ftplib", "http.client", "urllib.request", "zipfile", "dbus_fast"),
    ),
    "devices that this station has not": (
        *("drivers.gpio", "drivers.sim", "gpiozero", "gpiod", "lgpio", "evdev"),
    ),
    "the line's library, at the first request": ("pymodbus",),
    "the link's library, at the first dial": ("websockets",),
    "a parser of options, when there are none": ("argparse", "gettext"),
    "a frame's validator, at its first frame": ("agent.ocpp.schemas",),
}


NOT_BEFORE_THE_FIRST_FRAME = {
    "what the link's library never uses here": (
        *("importlib.metadata", "urllib.request", "http.client", "email", "zipfile", "tempfile"),
        "python_socks",
    ),
    "the meters' line, which may wait": ("pymodbus",),
    "archives, when files are sent or a damaged store is salvaged": ("shutil", "bz2", "lzma"),
    "certificates, at their first use": ("cryptography",),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], bool, int]:
    """(modules, are cycles collected, objects that no collection looks at)."""
    said = said_by(BUILT, tmp_path_factory.mktemp("start"))
    return msgspec.json.decode(said, type=tuple[list[str], bool, int])


@pytest.fixture(scope="module")
def greeted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """(the first frame, modules when it leaves)."""
    said = said_by(GREETS, tmp_path_factory.mktemp("greeted"))
    return msgspec.json.decode(said, type=tuple[str, list[str]])


def said_by(program: str, directory: Path) -> str:
    """What a daemon for two OpenEVSE, two Modbus meters and a card reader prints."""
    names = (*PILOTS.values(), LINE, READER)
    file = directory / "charger.yaml"
    file.write_text(
        DeskFile(
            ports={name: str(directory / name) for name in names},
            csms_url="ws://127.0.0.1:9",
            data_directory=str(directory),
            supply_a=32.0,
            sample_interval_s=60,
        ).text()
    )
    words = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded(built: tuple[list[str], bool, int]) -> set[str]:
    return set(built[0])


@pytest.mark.parametrize("why", NOT_AT_START)
def test_the_daemon_is_built_without(why: str, loaded: set[str]) -> None:
    assert within(NOT_AT_START[why], loaded) == set()


@pytest.mark.parametrize("why", NOT_BEFORE_THE_FIRST_FRAME)
def test_the_first_frame_leaves_without(why: str, greeted: tuple[str, list[str]]) -> None:
    text, modules = greeted
    assert "BootNotification" in text
    assert within(NOT_BEFORE_THE_FIRST_FRAME[why], set(modules)) == set()


def within(rooms: tuple[str, ...], loaded: set[str]) -> set[str]:
    return {m for m in loaded if any(m == room or m.startswith(f"{room}.") for room in rooms)}


def test_the_daemon_is_built_with_what_its_file_names(loaded: set[str]) -> None:
    assert {"agent.app", "drivers.pilots.openevse", "drivers.meters.modbus_meter"} <= loaded


def test_garbage_is_collected_after_the_start_but_not_looked_for_in_what_stays(
    built: tuple[list[str], bool, int],
) -> None:
    _, is_enabled, frozen = built
    assert is_enabled
    assert frozen > 10_000


async def test_the_lines_library_is_loaded_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded_in: list[threading.Thread] = []
    monkeypatch.delitem(sys.modules, modbus_line.CLIENT, raising=False)
    monkeypatch.setattr(
        modbus_line, "import_module", lambda name: loaded_in.append(threading.current_thread())
    )
    line = modbus_line.ModbusLine("l", SerialLine(port=str(tmp_path / "none")))
    with pytest.raises(PortError):
        await line.read(1, 3, 0, 1)
    assert len(loaded_in) == 1
    assert loaded_in[0] is not threading.main_thread()
