"""`chargepoint doctor`: what counts instead of charger.yaml: roots, certificate, passwords that a
CSMS has set, as the running service tells them or as they are on the disk."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.console import ConsoleError, NotRunning, ask, socket_path
from agent.credentials import is_taken
from agent.doctor_finding import Finding
from agent.ocpp.certificates import CSMS, Certificates
from agent.ocpp.network import FLOOR_KEY
from agent.ocpp.passwords import Passwords
from agent.ocpp.station_certificate import StationCertificate
from agent.settings import Settings
from agent.store.file import DATABASE
from agent.store.reading import read_saved
from agent.store.rows import StoreFault

WILDCARDS_KEY = "var/SecurityCtrlr/AllowCSMSTLSWildcards"
KEYS = "keys"
"""Directory of private keys below the data directory."""


class Kept(Struct, frozen=True):
    """What the station has beside its files."""

    roots: tuple[str, ...] = ()
    """PEM of those that may vouch for the CSMS."""
    passwords: tuple[int, ...] = ()
    """Back ends, by their place in charger.yaml, whose password the CSMS has changed."""
    chain: str = ""
    """PEM of the station's own certificate; empty: it has none."""
    key: str = ""
    """File of its private key."""
    wildcards: bool = False
    """AllowCSMSTLSWildcards."""
    is_known: bool = True
    """False: it could not be asked, what charger.yaml says is taken."""
    saved: Mapping[str, str] = {}
    """The whole state, where it was read from the disk."""

    def __repr__(self) -> str:
        return "Kept(...)"

    @property
    def floor(self) -> int:
        """Security profile that a CSMS was reached with; 1: not known."""
        return int(self.saved.get(FLOOR_KEY, "1"))

    def password(self, index: int, of_file: str | None) -> str | None:
        """The one that is shown first to a back end."""
        return Passwords(self.saved).candidates(index, of_file)[0]

    def has_taken(self, kind: str, text: str) -> bool:
        """Whether a file of the technician counts no more: its content was taken over."""
        return self.is_known and (not self.saved or is_taken(self.saved, kind, text))


UNKNOWN = Kept(is_known=False)


def kept(settings: Settings) -> tuple[Kept, Finding | None]:
    """From the service, else from the disk; with what is in the way of knowing it."""
    path = socket_path(settings.data_directory, settings.console_socket)
    try:
        return msgspec.convert(ask(path, {"cmd": "kept"}), Kept), None
    except NotRunning:
        return on_disk(settings)
    except ConsoleError as error:
        return UNKNOWN, _unknown(str(error).partition("; ")[0])
    except msgspec.ValidationError as error:
        return UNKNOWN, _unknown(f"the service answers in another way ({error})")


def on_disk(settings: Settings) -> tuple[Kept, Finding | None]:
    """Of a service that does not run; before its first start there is nothing."""
    database = os.path.join(settings.data_directory, DATABASE)
    try:
        os.stat(database)
        saved = read_saved(database)
    except FileNotFoundError:
        return UNKNOWN, None
    except (OSError, StoreFault) as error:
        return UNKNOWN, _unknown(str(error).partition("; ")[0])
    return of_state(saved), None


def of_state(saved: Mapping[str, str]) -> Kept:
    """As the service itself would read it."""
    own = StationCertificate(saved).all
    return Kept(
        roots=tuple(root.pem for root in Certificates(saved).roots(CSMS)),
        passwords=Passwords(saved).replaced,
        chain=own[0].chain if own else "",
        key=own[0].key if own else "",
        wildcards=saved.get(WILDCARDS_KEY) == "true",
        saved=saved,
    )


def _unknown(why: str) -> Finding:
    return Finding(
        "warn",
        f"what the CSMS has changed since (roots, password) is not known: {why}",
        "run `sudo chargepoint doctor`; below, what charger.yaml says is tried",
    )


def key_file(settings: Settings, key: str) -> str:
    """Where the private key stands: in the station's directory, or where the technician put it."""
    return str(Path(settings.data_directory) / KEYS / key)
