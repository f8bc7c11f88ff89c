"""The file's signature, and an installer that is any program."""

import base64
import hashlib
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from agent.core.jobs import Installed, VerifyFirmware
from agent.jobs import JobError, Task
from agent.jobs.firmware import CommandInstaller, FirmwareFiles
from hil.parts.pki import certificate_of

CONTENT = b"firmware" * 50_000
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def sign(key: Key, content: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashlib.sha256().digest_size)
        return key.sign(content, pss, hashes.SHA256())
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


@pytest.fixture
def task() -> Task:
    return Task(lambda step, percent: None)


KEYS: dict[str, Key] = {
    "ECDSA": ec.generate_private_key(ec.SECP256R1()),
    "RSA-PSS": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_only_what_the_signer_signed_is_verified(tmp_path: Path, task: Task, kind: str) -> None:
    key = KEYS[kind]
    files = FirmwareFiles(tmp_path, CommandInstaller((), (), "none", 1), lambda: None, 1)  # type: ignore[arg-type, return-value]
    path = tmp_path / "firmware" / "u.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    signature = base64.b64encode(sign(key, CONTENT)).decode()
    files.verify(VerifyFirmware("u", certificate_of(key), signature), task)
    path.write_bytes(CONTENT[:-1] + b"!")
    for wrong in (signature, "no Base64", ""):
        with pytest.raises(JobError) as error:
            files.verify(VerifyFirmware("u", certificate_of(key), wrong), task)
        assert error.value.cause == "InvalidSignature"
    path.unlink()
    with pytest.raises(JobError) as error:
        files.verify(VerifyFirmware("u", certificate_of(key), signature), task)
    assert error.value.cause == "DownloadFailed"


def program(code: str, confirm: tuple[str, ...] = (), timeout_s: float = 20.0) -> CommandInstaller:
    return CommandInstaller((sys.executable, "-c", code), confirm, "process", timeout_s)


def test_a_program_gets_the_file_and_tells_its_progress(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    code = "import sys, time; print('40 % of', sys.argv[1], flush=True); time.sleep(0.5)"
    task = Task(lambda step, percent: seen.append((step, percent)))
    assert program(code).install(tmp_path, task) == Installed("process")
    assert ("installing", 40) in seen


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import sys; print('bad magic'); sys.exit(2)", "InstallVerificationFailed"),
        ("import sys; print('bad magic'); sys.exit(7)", "InstallationFailed"),
    ],
)
def test_a_program_that_fails_says_why(tmp_path: Path, task: Task, code: str, cause: str) -> None:
    with pytest.raises(JobError, match="bad magic") as error:
        program(code).install(tmp_path, task)
    assert error.value.cause == cause


def test_a_program_that_never_ends_is_ended(tmp_path: Path, task: Task) -> None:
    with pytest.raises(JobError, match="did not end"):
        program("import time; time.sleep(600)", timeout_s=0.5).install(tmp_path, task)


def test_what_a_program_started_ends_with_it(tmp_path: Path, task: Task) -> None:
    """A script's `dd` must not write on while the update is told to have failed."""
    inherited = tmp_path / "line"
    os.mkfifo(inherited)
    reader = os.open(inherited, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 9>{inherited}; sleep 600 9>&9 & wait"
    with pytest.raises(JobError, match="did not end"):
        CommandInstaller(("sh", "-c", script), (), "process", 0.5).install(tmp_path, task)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"", "nobody holds the line open any more"
    os.close(reader)


def test_a_program_that_is_not_there_names_the_setting(tmp_path: Path, task: Task) -> None:
    with pytest.raises(JobError, match=r"mend firmware\.installer"):
        CommandInstaller(("/nothing/here",), (), "board", 5).install(tmp_path, task)


def test_the_new_firmware_confirms_itself(task: Task) -> None:
    program("", ()).confirm("", task)
    program("", (sys.executable, "-c", "")).confirm("", task)
    with pytest.raises(JobError, match="does not run"):
        program("", (sys.executable, "-c", "raise SystemExit(1)")).confirm("", task)
