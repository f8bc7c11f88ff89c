"""Slow steps of a firmware update: download, signature, the installers behind one contract."""

import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Protocol

from agent.core.jobs import (
    ConfirmFirmware,
    DropFirmware,
    FetchFirmware,
    Installed,
    InstallFirmware,
    VerifyFirmware,
)
from agent.jobs.pieces import CHUNK
from agent.jobs.threads import JobError, Task
from agent.jobs.transfer import fetch
from agent.jobs.web import Context

DIRECTORY = "firmware"
UNFIT = 2
"""Exit status of an installer that finds the file no good."""
POLL_S = 0.2
GONE = "the downloaded file is gone; order the update again"
_PERCENT = re.compile(r"(\d{1,3}) ?%")


class Installer(Protocol):
    """Puts a verified file in place. Methods block and raise JobError."""

    def install(self, path: Path, task: Task) -> Installed: ...

    def confirm(self, proof: str, task: Task) -> None: ...


class FirmwareFiles:
    """At most one update's file lies in the data directory."""

    def __init__(
        self,
        directory: Path,
        installer: Installer,
        context: Context,
        largest_bytes: int,
        known_hosts: str | None = None,
    ) -> None:
        self._directory = directory / DIRECTORY
        self._installer = installer
        self._context = context
        self._largest_bytes = largest_bytes
        self._known_hosts = known_hosts

    def fetch(self, order: FetchFirmware, task: Task) -> None:
        path = self._path(order.update_id)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for other in self._directory.iterdir():
                if other.stem != path.stem:
                    other.unlink()
        except OSError as error:
            raise JobError(
                "DownloadFailed", f"{self._directory}: {error.strerror}; check owner and space"
            ) from error
        fetch(order.url, path, task, self._context, self._largest_bytes, self._known_hosts)

    def verify(self, order: VerifyFirmware, task: Task) -> None:
        """RSA-PSS or ECDSA over the SHA-256 of the whole file (L01.FR.04)."""
        path = self._path(order.update_id)
        if not path.exists():
            raise JobError("DownloadFailed", GONE)
        try:
            signature = base64.b64decode(order.signature, validate=True)
        except binascii.Error as error:
            raise JobError(
                "InvalidSignature", "the signature is no Base64; have it sent as that"
            ) from error
        check_signature(order.certificate, signature, _digest(path, task))

    def install(self, order: InstallFirmware, task: Task) -> Installed:
        path = self._path(order.update_id)
        if not path.exists():
            raise JobError("InstallationFailed", GONE)
        return self._installer.install(path, task)

    def confirm(self, order: ConfirmFirmware, task: Task) -> None:
        self._installer.confirm(order.proof, task)

    def drop(self, order: DropFirmware, task: Task) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _path(self, update_id: str) -> Path:
        return self._directory / f"{re.sub('[^A-Za-z0-9-]', '_', update_id)}.bin"


def _digest(path: Path, task: Task) -> bytes:
    digest, done, total = hashlib.sha256(), 0, max(path.stat().st_size, 1)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            task.moved("verifying", 100 * done // total)
    return digest.digest()


def check_signature(certificate_pem: str, signature: bytes, digest: bytes) -> None:
    """Raises JobError(InvalidSignature) unless the certificate's key signed that SHA-256 digest."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    sha256 = utils.Prehashed(SHA256())
    try:
        key = x509.load_pem_x509_certificates(certificate_pem.encode())[0].public_key()
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO)
            key.verify(signature, digest, pss, sha256)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(sha256))
        else:
            raise JobError("InvalidSignature", "the signer has neither RSA nor ECDSA; sign it anew")
    except (InvalidSignature, ValueError) as error:
        text = "the file was not signed by that certificate; sign it anew"
        raise JobError("InvalidSignature", text) from error


class CommandInstaller:
    """A program of the maker's: it gets the file's path, tells its progress, and exits."""

    def __init__(
        self, command: tuple[str, ...], confirm: tuple[str, ...], restart: str, timeout_s: float
    ) -> None:
        self._command = command
        self._confirm = confirm
        self._restart = restart
        self._timeout_s = timeout_s

    def install(self, path: Path, task: Task) -> Installed:
        status, last = run([*self._command, str(path)], task, self._timeout_s)
        if status != 0:
            cause = "InstallVerificationFailed" if status == UNFIT else "InstallationFailed"
            raise JobError(cause, f"{self._command[0]} ended with {status}: {last}")
        return Installed(self._restart)

    def confirm(self, proof: str, task: Task) -> None:
        if not self._confirm:
            return
        status, last = run(list(self._confirm), task, self._timeout_s)
        if status != 0:
            text = f"the new firmware does not run: {self._confirm[0]} ended with {status}: {last}"
            raise JobError("InstallationFailed", text)


def run(words: list[str], task: Task, timeout_s: float) -> tuple[int, str]:
    """(exit status, last line said). A job that is canceled, or takes too long, ends the program
    and all that it started; raises JobError for the latter."""
    try:
        program = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        text = f"{words[0]} cannot be run ({error.strerror}); mend firmware.installer"
        raise JobError("InstallationFailed", text) from error
    lines: list[str] = [""]
    reader = threading.Thread(target=_read, args=(program, lines), daemon=True)
    reader.start()
    waited_s = 0.0
    try:
        while program.poll() is None:
            task.wait(POLL_S)
            waited_s += POLL_S
            if found := _PERCENT.search(lines[0]):
                task.moved("installing", min(int(found[1]), 100))
            if waited_s > timeout_s:
                text = f"{words[0]} did not end in {timeout_s:.0f} s; mend it, or raise timeout_s"
                raise JobError("InstallationFailed", text)
    finally:
        if program.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    reader.join(1.0)
    return program.returncode, lines[0][:200]


def _read(program: "subprocess.Popen[str]", lines: list[str]) -> None:
    """Keeps the last line that says something."""
    assert program.stdout is not None
    while line := program.stdout.readline(1000):
        if line.strip():
            lines[0] = line.strip()
