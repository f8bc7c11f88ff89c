"""Debian's RAUC on a D-Bus of its own installs a signed bundle into slots that are files."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.jobs import Installed
from agent.jobs import JobError, Task
from agent.jobs import rauc as module
from agent.jobs.rauc import RaucInstaller

PACKAGES = {
    "rauc": "rauc",
    "dbus-daemon": "dbus",
    "mksquashfs": "squashfs-tools",
    "openssl": "openssl",
}
MISSING = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs Debian's {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="RAUC mounts bundles: needs root"),
]

IMAGE = b"new root file system" * 5000
WAIT_S = 20.0

BACKEND = """#!/bin/sh
cd {directory}
case $1 in
get-primary) cat primary ;;
set-primary) echo "$2" > primary ;;
get-state) echo good ;;
set-state) echo "$2 $3" >> states ;;
esac
"""
SYSTEM = """[system]
compatible=bench
bootloader=custom
bundle-formats=plain
mountprefix={directory}/mnt
statusfile={directory}/slots.raucs
[handlers]
bootloader-custom-backend={directory}/backend
[keyring]
path={directory}/cert.pem
[slot.rootfs.0]
device={directory}/a.img
type=raw
bootname=A
[slot.rootfs.1]
device={directory}/b.img
type=raw
bootname=B
"""
MANIFEST = """[update]
compatible=bench
version=2
[bundle]
format=plain
[image.rootfs]
filename=rootfs.img
"""


class Board:
    """Two slots, a bus, and the service; `boots` restarts the latter in another slot."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bus = f"unix:path={directory}/bus"
        self._programs: list[subprocess.Popen[bytes]] = []
        for name in ("a.img", "b.img"):
            (directory / name).write_bytes(bytes(1 << 20))
        (directory / "primary").write_text("A\n")
        (directory / "mnt").mkdir()
        (directory / "backend").write_text(BACKEND.format(directory=directory))
        (directory / "backend").chmod(0o755)
        (directory / "system.conf").write_text(SYSTEM.format(directory=directory))
        self._bundle()
        words = ["dbus-daemon", "--session", f"--address={self.bus}", "--nofork", "--nopidfile"]
        self._start(words, lambda: (directory / "bus").exists())
        self.boots("A")

    def _bundle(self) -> None:
        content = self.directory / "content"
        content.mkdir()
        (content / "rootfs.img").write_bytes(IMAGE)
        (content / "manifest.raucm").write_text(MANIFEST)
        subject = ["-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=maker", "-days", "99"]
        self._run("openssl", "req", *subject, "-keyout", "key.pem", "-out", "cert.pem")
        signer = ("--cert", "cert.pem", "--key", "key.pem")
        self._run("rauc", "bundle", *signer, "content", "good.raucb")

    def _run(self, *words: str) -> None:
        subprocess.run(words, cwd=self.directory, check=True, capture_output=True)

    def _start(self, words: list[str], is_up: object) -> None:
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self.bus}
        quiet = subprocess.DEVNULL
        program = subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet)
        self._programs.append(program)
        end_s = time.monotonic() + WAIT_S
        while not is_up():  # type: ignore[operator]
            assert program.poll() is None, f"{words[0]} ended"
            assert time.monotonic() < end_s, f"{words[0]} does not start"
            time.sleep(0.05)

    def boots(self, slot: str) -> None:
        if len(self._programs) > 1:
            self._end(self._programs.pop())
        conf = str(self.directory / "system.conf")
        words = ["rauc", "-c", conf, f"--override-boot-slot={slot}", "service"]
        self._start(words, self._answers)

    def _answers(self) -> bool:
        words = ["dbus-send", f"--bus={self.bus}", "--print-reply", "--dest=de.pengutronix.rauc"]
        call = "org.freedesktop.DBus.Peer.Ping"
        return subprocess.run([*words, "/", call], capture_output=True, check=False).returncode == 0

    def hangs(self, is_so: bool) -> None:
        self._programs[-1].send_signal(signal.SIGSTOP if is_so else signal.SIGCONT)

    @staticmethod
    def _end(program: subprocess.Popen[bytes]) -> None:
        program.terminate()
        program.wait(WAIT_S)

    def close(self) -> None:
        for program in reversed(self._programs):
            self._end(program)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    found = Board(tmp_path)
    yield found
    found.hangs(False)
    found.close()


def test_a_signed_bundle_is_installed_and_the_slot_that_boots_confirms_it(board: Board) -> None:
    seen: list[tuple[str, int]] = []
    task = Task(lambda step, percent: seen.append((step, percent)))
    rauc = RaucInstaller(board.bus, 60)
    installed = rauc.install(board.directory / "good.raucb", task)
    assert installed == Installed("board", "rootfs.1")
    assert seen
    assert (board.directory / "b.img").read_bytes().startswith(IMAGE)
    assert (board.directory / "primary").read_text() == "B\n"
    with pytest.raises(JobError, match="fell back"):
        rauc.confirm(installed.proof, task)
    board.boots("B")
    rauc.confirm(installed.proof, task)
    assert "B good" in (board.directory / "states").read_text()


def test_a_tampered_bundle_changes_no_slot(board: Board) -> None:
    path = board.directory / "bad.raucb"
    content = bytearray((board.directory / "good.raucb").read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(bytes(content))
    task = Task(lambda step, percent: None)
    with pytest.raises(JobError) as error:
        RaucInstaller(board.bus, 60).install(path, task)
    assert error.value.cause == "InstallVerificationFailed", error.value
    assert not any((board.directory / "b.img").read_bytes())
    assert (board.directory / "primary").read_text() == "A\n"


def test_a_service_that_hangs_in_an_installation_is_left(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is not taken for good: another try begins anew."""
    monkeypatch.setattr(module, "CALL_S", 1.0)
    task = Task(lambda step, percent: board.hangs(True))
    with pytest.raises(JobError, match=r"not within 1 s.*systemctl status rauc") as error:
        RaucInstaller(board.bus, 60).install(board.directory / "good.raucb", task)
    assert error.value.cause == "InstallationFailed"


def test_no_rauc_names_what_to_look_at(tmp_path: Path) -> None:
    task = Task(lambda step, percent: None)
    with pytest.raises(JobError, match="systemctl status rauc"):
        RaucInstaller(f"unix:path={tmp_path}/nothing", 5).install(tmp_path, task)
