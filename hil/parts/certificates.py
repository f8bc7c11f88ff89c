"""Certificates of a bench's own, by the program `openssl`: any root, any dates."""

import shutil
import subprocess
from pathlib import Path

CONFIG = """
[ca]
default_ca = bench
[bench]
dir = {dir}
new_certs_dir = {dir}
database = {dir}/index.txt
serial = {dir}/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[root]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
keyUsage = critical, keyCertSign, cRLSign
"""
HAS_OPENSSL = shutil.which("openssl") is not None
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A root in a new `directory`; `roots` is its PEM file. Dates are YYYYMMDD.

    Raises FileNotFoundError without the program (Debian package openssl).
    """

    def __init__(self, directory: Path, start: str = "20200101", end: str = "20900101") -> None:
        directory.mkdir()
        self._directory = directory
        self._config = directory / "openssl.cnf"
        self._config.write_text(CONFIG.format(dir=directory))
        (directory / "index.txt").write_text("")
        (directory / "serial").write_text("01")
        self.roots = directory / "root.pem"
        self._key = directory / "root.key"
        request = self._request("root", self._key)
        signing = ("-selfsign", "-extensions", "root")
        self._sign(request, self.roots, start, end, *signing)

    def issue(
        self,
        name: str,
        start: str = "20200101",
        end: str = "20900101",
        places: str = "IP:127.0.0.1",
    ) -> Path:
        """A server's certificate and key in one PEM file, valid from `start` to `end`."""
        key, certificate = self._directory / f"{name}.key", self._directory / f"{name}.pem"
        request = self._request(name, key, "-addext", f"subjectAltName={places}")
        self._sign(request, certificate, start, end, "-cert", str(self.roots))
        both = self._directory / f"{name}.both.pem"
        both.write_text(certificate.read_text() + key.read_text())
        return both

    def _request(self, name: str, key: Path, *more: str) -> Path:
        request = self._directory / f"{name}.csr"
        options = ("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        self._run("req", "-new", *EC, *options, *more)
        return request

    def _sign(self, request: Path, out: Path, start: str, end: str, *more: str) -> None:
        dates = ("-startdate", f"{start}000000Z", "-enddate", f"{end}000000Z")
        files = ("-in", str(request), "-out", str(out), "-keyfile", str(self._key))
        self._run("ca", "-batch", "-notext", *files, *dates, *more)

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", command, "-config", str(self._config), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
