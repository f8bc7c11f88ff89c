"""What charger.yaml says of this station, and the firmware's version from where the image says."""

import logging
import re

from agent.ocpp.connection import Slot
from agent.ocpp.network import connection_url
from agent.ocpp.view import Facts, Plug
from agent.settings import Security, Settings, Station

log = logging.getLogger(__name__)

VERSION_LENGTH = 50
"""BootNotification's firmwareVersion."""
VERSION_FILE_BYTES = 4096
_RELEASE = re.compile(r"""^(IMAGE_VERSION|VERSION_ID)=["']?([^"'\n]*)""", re.MULTILINE)
"""os-release(5): that of the image is meant first."""


def slots_of(settings: Settings) -> tuple[Slot, ...]:
    """The file's endpoints with the identity appended (OCPP-J 3.1.1)."""
    identity = settings.station.identity
    slots = []
    for index, csms in enumerate(settings.csms):
        secured = 3 if settings.security.certificate_file is not None else 2
        profile = csms.security_profile or (secured if csms.url.startswith("wss:") else 1)
        url = connection_url(csms.url, identity)
        slots.append(Slot(url, identity, profile, number=index + 1, credential=index))
    return tuple(slots)


def facts_of_station(settings: Settings) -> Facts:
    """What the CSMS is told of this station and cannot change."""
    station = settings.station
    return Facts(
        station.identity,
        station.vendor,
        station.model,
        station.serial,
        firmware_version(station),
        settings.supply.voltage_v,
        {e.id: max(c.phases for c in e.connectors) for e in settings.evses},
        {(e.id, c.id): Plug(c.type, c.phases) for e in settings.evses for c in e.connectors},
        queue_rows=settings.queue_rows,
        has_sftp=_has_sftp(settings.security),
    )


def _has_sftp(security: Security) -> bool:
    """The servers are named, and the extra that speaks to them is installed."""
    if security.known_hosts_file is None:
        return False
    from importlib.util import find_spec

    return find_spec("paramiko") is not None


def firmware_version(station: Station) -> str:
    """Of the image that runs: from firmware_version_file, else what the file itself says."""
    name = station.firmware_version_file
    if name is None:
        return station.firmware_version
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            version = version_in(file.read(VERSION_FILE_BYTES))
    except OSError as error:
        version, problem = "", f"cannot be read ({error.strerror})"
    else:
        problem = "names no version"
    if version:
        return version
    log.warning(
        "firmware_version_file %s %s: the CSMS is told %r; have the image write its version there",
        name,
        problem,
        station.firmware_version,
    )
    return station.firmware_version


def version_in(text: str) -> str:
    """IMAGE_VERSION or VERSION_ID of an os-release file; of any other file its first line."""
    found = dict(_RELEASE.findall(text))
    version = found.get("IMAGE_VERSION") or found.get("VERSION_ID")
    if version is None:
        version = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(c for c in version.strip() if c.isprintable())[:VERSION_LENGTH]
