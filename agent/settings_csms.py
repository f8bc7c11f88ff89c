"""What must hold of the back ends in charger.yaml: URL, password, link security."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from msgspec import UNSET

from agent.settings import CsmsEndpoint, Settings
from agent.settings_finding import Finding, entries, known
from agent.settings_walk import Path


def csms_findings(settings: Settings) -> Iterator[Finding]:
    identity = getattr(settings.station, "identity", UNSET)
    for path, endpoint in entries(settings.csms, "csms"):
        yield from _password(path, endpoint)
        if known(endpoint.url):
            yield from _url(path, endpoint, identity)


def _password(path: Path, endpoint: CsmsEndpoint) -> Iterator[Finding]:
    if endpoint.password is not None and endpoint.password_file is not None:
        yield Finding(
            (*path, "password"), "password and password_file are both given; keep password_file"
        )
    elif isinstance(endpoint.password, str):
        yield Finding(
            (*path, "password"),
            "the password stands readable in this file; move it into a file that only the "
            "service can read and name that with password_file",
            fatal=False,
        )
    file = endpoint.password_file
    if (
        isinstance(file, str)
        and file.startswith("/")
        and not file.startswith("/run/credentials/")
        and not os.path.exists(file)
    ):
        yield Finding(
            (*path, "password_file"),
            f"{file} does not exist on this machine; create it (one line, mode 0600)",
            fatal=False,
        )


def _url(path: Path, endpoint: CsmsEndpoint, identity: object) -> Iterator[Finding]:
    here = (*path, "url")
    try:
        parts = urlsplit(endpoint.url)
        port_is_good = parts.port != 0
    except ValueError:
        yield Finding(here, "is not a usable URL; check brackets and port (1 to 65535)")
        return
    if not port_is_good:
        yield Finding(here, "names port 0; write a port from 1 to 65535 or leave it out")
    if "@" in parts.netloc:
        yield Finding(here, "holds a user or password; remove it, use password_file instead")
    if {"{", "}"} & set(endpoint.url.replace("{identity}", "")):
        yield Finding(here, "{identity} is the only thing in braces that a URL may hold")
    if parts.path.rstrip("/").rpartition("/")[2] == identity:
        yield Finding(
            here,
            f"ends with the identity {identity!r}, which is added by itself; remove it here, or "
            "write {identity} in its place where the CSMS wants a slash behind it",
            fatal=False,
        )
    secret = endpoint.password is not None or endpoint.password_file is not None
    if parts.scheme == "ws" and not secret:
        if endpoint.lab_unsecured is False:
            yield Finding(
                here,
                "ws:// without a password lets anybody pose as this station; use wss://, add "
                "password_file, or on a desk set lab_unsecured: true",
            )
        else:
            yield Finding(
                (*path, "lab_unsecured"),
                "this link is open to anybody on the network; for a desk only, "
                "use wss:// and password_file before it leaves the desk",
                fatal=False,
            )
