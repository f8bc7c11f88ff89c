"""What must hold of the back ends in charger.yaml: URL, password, link security."""

import os
import re
import stat
from collections.abc import Iterator
from urllib.parse import urlsplit

from msgspec import UNSET

from agent.settings import CsmsEndpoint, Security, Settings
from agent.settings_finding import Finding, entries, known
from agent.settings_walk import Path


def csms_findings(settings: Settings) -> Iterator[Finding]:
    identity = getattr(settings.station, "identity", UNSET)
    for path, endpoint in entries(settings.csms, "csms"):
        yield from _password(path, endpoint)
        if known(endpoint.url):
            yield from _url(path, endpoint, identity)
            yield from _profile(path, endpoint)
    yield from _certificates(settings)


def _profile(path: Path, endpoint: CsmsEndpoint) -> Iterator[Finding]:
    """A00.FR.202, FR.312, FR.415."""
    wanted = endpoint.security_profile
    is_secured = str(endpoint.url).startswith("wss:")
    if isinstance(wanted, int) and is_secured is not (wanted > 1):
        scheme = "wss://" if wanted > 1 else "ws://"
        yield Finding(
            (*path, "security_profile"),
            f"security profile {wanted} goes with {scheme}; change it or the url",
        )


def _certificates(settings: Settings) -> Iterator[Finding]:
    security = settings.security
    if not isinstance(security, Security):
        return
    names = ("certificate_file", "key_file")
    for name in ("ca_file", "manufacturer_ca_file", *names):
        file = getattr(security, name, None)
        if isinstance(file, str) and not os.path.exists(file):
            yield Finding(
                ("security", name),
                f"{file} does not exist on this machine; put the PEM file there",
                fatal=False,
            )
    yield from _open_to_others(("security", "key_file"), security.key_file)
    given = [isinstance(getattr(security, name, None), str) for name in names]
    if given == [False, True]:
        yield Finding(
            ("security", "key_file"),
            "a key without its certificate is of no use; add certificate_file",
        )


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
    yield from _open_to_others((*path, "password_file"), file)


def _open_to_others(here: Path, file: object) -> Iterator[Finding]:
    """A secret that every process of the board can read."""
    if not isinstance(file, str) or not os.path.isfile(file):
        return
    mode = stat.S_IMODE(os.stat(file).st_mode)
    if mode & 0o077:
        yield Finding(
            here, f"{file} can be read by others (mode {mode:04o}); chmod 0600 it", fatal=False
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
    if odd := re.search(r"[\s<>\"\\]|[^\x21-\x7e]", endpoint.url):
        yield Finding(
            here, f"holds {odd[0]!r}, which no URL may; write the address as the CSMS has it"
        )
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
