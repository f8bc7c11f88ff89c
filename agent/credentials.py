"""What a dial takes along: password, trusted roots, the station's certificate. Files of the
technician are read here; what the CSMS set since has the first word."""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from agent import log as journal
from agent.core.effects import Save
from agent.core.events import CertificateFacts
from agent.csms.link import Credentials
from agent.csms.tls import Trust
from agent.errors import SettingsError
from agent.ocpp import certificates, station_certificate
from agent.ocpp.station_certificate import Identity
from agent.ocpp.view import View
from agent.settings import CsmsEndpoint, Security, Settings

CREDENTIAL = "csms-password"
TAKEN_KEY = "meta/file_certificates"
"""State key: digests of the technician's certificate files that were taken over."""
ROOT_USES = {"ca_file": certificates.CSMS, "maker": certificates.MANUFACTURER}
"""Kind of a file, as TAKEN_KEY tells it -> what its roots may vouch for."""
NO_CERTIFICATE_PROFILE = 2
"""Up to this one the station shows a password; above it its certificate."""

Bundle = list[tuple[str, CertificateFacts]]


def credentials_for(view: View, settings: Settings, keys: Path, slot: int) -> Credentials:
    """For the dial that is due now. Raises SettingsError where the password cannot be read."""
    connection, dialling = view.connection, view.connection.dialling
    chosen = connection.slots[slot]
    password, trust = None, Trust()
    if chosen.security_profile > 1:
        roots = view.certificates.trusted(
            connection.failed_dials,
            is_migrating=dialling.is_migrating,
            came_back=dialling.came_back,
        )
        wildcards = view.variables.value("SecurityCtrlr", "AllowCSMSTLSWildcards") == "true"
        trust = Trust(tuple(root.pem for root in roots), takes_wildcards=wildcards)
    if chosen.security_profile > NO_CERTIFICATE_PROFILE:
        own = view.station_certificate.to_show(dialling.rounds)
        if own is not None:
            trust = msgspec.structs.replace(trust, chain=own.chain, key_file=str(keys / own.key))
    else:
        of_file = _last_resort(view, settings, chosen.credential)
        password = view.passwords.show(slot, chosen.credential, of_file)
        journal.hide(password or "")
    return Credentials(password=password, trust=trust)


def _last_resort(view: View, settings: Settings, credential: int) -> str | None:
    """The technician's password. That it cannot be read matters only as long as the CSMS has set
    no other one."""
    try:
        return password_of(settings.csms[credential])
    except SettingsError:
        if credential in view.passwords.replaced:
            return None
        raise


def password_of(csms: CsmsEndpoint) -> str | None:
    """systemd credential (an empty one is none), else password_file, else the file itself."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory, CREDENTIAL) if directory else None
    password = None
    try:
        if credential is not None and credential.exists():
            password = credential.read_text().strip()
        if not password and csms.password_file is not None:
            password = Path(csms.password_file).read_text().strip()
    except FileNotFoundError:
        raise SettingsError(
            f"the CSMS password cannot be read: there is no {csms.password_file}; write it there "
            "(one line, mode 0600, owned by the service's user)"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"the CSMS password cannot be read ({error}); make the file readable for the service"
        ) from error
    except UnicodeDecodeError:
        raise SettingsError(
            "the CSMS password is not written in UTF-8; write its file anew, one line"
        ) from None
    password = password or csms.password
    if password is not None:
        journal.hide(password)
    return password


def certificates_of_file(
    security: Security, saved: Mapping[str, str], facts_of: Callable[[str], Bundle]
) -> tuple[Save, ...]:
    """What of the technician's certificate files is new, for the store: each content once, so that
    what the CSMS replaced or deleted since does not come back. Raises SettingsError."""
    taken = _taken(saved)
    known = set(taken)
    saves: list[Save] = []
    files = (
        ("ca_file", security.ca_file),
        ("maker", security.manufacturer_ca_file),
        ("chain", security.certificate_file),
    )
    for kind, name in files:
        if name is None:
            continue
        text = _read(name)
        digest = _digest(kind, text)
        if digest in taken:
            continue
        if kind == "maker":
            known = {other for other in known if not other.startswith("maker:")}
        known.add(digest)
        try:
            found = facts_of(text)
        except ValueError as error:
            raise SettingsError(f"{name} is no PEM certificate ({error}); correct it") from None
        if kind in ROOT_USES:
            saves += certificates.first_saves(found, ROOT_USES[kind], saved)
        else:
            identity = Identity(security.key_file or name, text, found[0][1])
            saves.append(station_certificate.first_save(identity))
    if saves:
        saves.append(Save(TAKEN_KEY, msgspec.json.encode(sorted(known)).decode()))
    return tuple(saves)


def is_taken(saved: Mapping[str, str], kind: str, text: str) -> bool:
    """Whether the store has taken this content of a file: what stands there now counts instead.
    `kind`: ca_file, maker or chain."""
    return _digest(kind, text) in _taken(saved)


def _taken(saved: Mapping[str, str]) -> set[str]:
    return set(msgspec.json.decode(saved.get(TAKEN_KEY, "[]"), type=list[str]))


def _digest(kind: str, text: str) -> str:
    return f"{kind}:{sha256(text.encode()).hexdigest()}"


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the certificate file {name} cannot be read ({error}); make it readable for the"
            " service"
        ) from error
