"""`chargepoint doctor`: the way to each CSMS, from the name to the answer; no OCPP is spoken."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from agent.core.effects import Dial
from agent.credentials import password_of
from agent.csms.link import Credentials, connect_websocket, hang_up
from agent.csms.tls import Trust, client_context
from agent.csms.words import dialling_words
from agent.doctor_finding import Finding
from agent.doctor_kept import UNKNOWN, Kept, key_file
from agent.errors import LinkError, SettingsError
from agent.ocpp.network import connection_url
from agent.settings import CsmsEndpoint, Settings

OPEN_TIMEOUT_S = 10.0
SHORTEST_PASSWORD = 16
"""A00.FR.205: 16 characters at least."""
PASSWORD_SOURCE = Path("/etc/chargepoint/csms-password")
"""What the service file hands over as a credential; without the service it is read itself."""
PORTS = {"ws": 80, "wss": 443}


async def reachability(
    settings: Settings, *, is_online: bool, kept: Kept = UNKNOWN
) -> AsyncIterator[Finding]:
    """Slot by slot, with what the station keeps. While the service is online no second link is
    opened: some back ends would drop the first for it."""
    for index in range(len(settings.csms)):
        async for finding in _slot(settings, index, is_online, kept):
            yield Finding(finding.level, f"CSMS {index + 1}: {finding.what}", finding.next_step)


async def _slot(
    settings: Settings, index: int, is_online: bool, kept: Kept
) -> AsyncIterator[Finding]:
    csms = settings.csms[index]
    parts = urlsplit(csms.url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    dial = _dial(settings, csms)
    try:
        trust = trust_of(settings, kept, shows_itself=dial.security_profile == 3)
        yield await _resolved(host, port)
        yield await _connected(host, port)
        if parts.scheme == "wss":
            yield await _handshaken(host, port, trust)
        if is_online:
            yield Finding("ok", "the service runs and is online; no second link is opened")
            return
        if dial.security_profile < kept.floor:
            yield Finding(
                "warn",
                f"a CSMS was reached with security profile {kept.floor}; the station shows its "
                "password to nobody with less, so the answer was not tried",
                "correct csms.url (wss://...) and security",
            )
        elif dial.security_profile == 3:
            yield await _upgraded(dial, Credentials(None, trust))
        elif index in kept.passwords and not kept.saved:
            yield Finding(
                "warn",
                "the CSMS has changed the password and only the service knows it, so its answer "
                "was not tried",
                "`journalctl -u chargepoint` has what it tells the service",
            )
        else:
            of_file = station_password(csms)
            if of_file is not None and (odd := odd_password(of_file)):
                yield Finding("warn", f"the password {odd}", "write it alone, in one line")
            password = kept.password(index, of_file)
            yield await _upgraded(dial, Credentials(password, trust))
    except (SettingsError, LinkError) as error:
        yield _bad(str(error))
    except OSError as error:  # of DNS, TCP and TLS alike
        words = dialling_words(error, dial)
        yield _bad(f"{host}:{port}: {words or error}")


def _bad(text: str) -> Finding:
    """Our error texts: what happened, a semicolon, the next step."""
    what, _, step = text.partition("; ")
    return Finding("bad", what, step)


def _dial(settings: Settings, csms: CsmsEndpoint) -> Dial:
    identity = settings.station.identity
    secured = 3 if settings.security.certificate_file is not None else 2
    profile = csms.security_profile or (secured if csms.url.startswith("wss:") else 1)
    return Dial(0, connection_url(csms.url, identity), identity, profile, OPEN_TIMEOUT_S, 0.0)


def trust_of(settings: Settings, kept: Kept, *, shows_itself: bool) -> Trust:
    """As the service would have it: what it has taken over or was sent counts before the files."""
    security = settings.security
    roots, chain = _read(security.ca_file), _read(security.certificate_file)
    trusted = kept.roots
    if roots and not kept.has_taken("ca_file", roots):
        trusted = (*trusted, roots)
    if not shows_itself:
        return Trust(trusted, takes_wildcards=kept.wildcards)
    if kept.chain and (not chain or kept.has_taken("chain", chain)):
        return Trust(trusted, kept.chain, key_file(settings, kept.key), kept.wildcards)
    own_key = security.key_file or security.certificate_file or ""
    return Trust(trusted, chain, own_key, kept.wildcards)


def _read(name: str | None) -> str:
    if name is None:
        return ""
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name} cannot be read ({error}); run as root, or correct `security`"
        ) from None


def station_password(csms: CsmsEndpoint) -> str | None:
    """As the service gets it, or straight from where systemd takes it. Raises SettingsError."""
    try:
        return password_of(csms)
    except SettingsError:
        if not str(csms.password_file).startswith("/run/credentials/"):
            raise
    try:
        return PASSWORD_SOURCE.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"the password in {PASSWORD_SOURCE} cannot be read ({error.strerror}), so the answer "
            "of the CSMS was not tried; run `sudo chargepoint doctor`, or write the file"
        ) from None


def odd_password(text: str) -> str:
    """What is unlikely to be meant; empty where nothing is. Never shows the password."""
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        return "is in quotes, which count as part of it"
    if any(c.isspace() for c in text):
        return "has blanks or several lines"
    if len(text) < SHORTEST_PASSWORD:
        return f"has {len(text)} characters, OCPP 2.0.1 wants {SHORTEST_PASSWORD} or more"
    return ""


async def _resolved(host: str, port: int) -> Finding:
    async with asyncio.timeout(OPEN_TIMEOUT_S):
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
    return Finding("ok", f"{host} is {found[0][4][0]}")


async def _connected(host: str, port: int) -> Finding:
    began_s = time.monotonic()
    async with asyncio.timeout(OPEN_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return Finding("ok", f"port {port} answers in {(time.monotonic() - began_s) * 1000:.0f} ms")


async def _handshaken(host: str, port: int, trust: Trust) -> Finding:
    async with asyncio.timeout(OPEN_TIMEOUT_S):
        _, writer = await asyncio.open_connection(
            host, port, ssl=client_context(trust), server_hostname=host
        )
    version = writer.get_extra_info("ssl_object").version()
    ends = (writer.get_extra_info("peercert") or {}).get("notAfter", "an unknown day")
    writer.transport.abort()
    return Finding("ok", f"{version}; its certificate is trusted and ends {ends}")


async def _upgraded(dial: Dial, credentials: Credentials) -> Finding:
    link = await connect_websocket(dial, credentials, lambda: None)
    await hang_up(link, "chargepoint doctor")
    return Finding("ok", "it takes this station with OCPP 2.0.1 (nothing was told)")
