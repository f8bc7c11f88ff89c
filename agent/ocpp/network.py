"""Network profiles: the slots of charger.yaml and those the CSMS has set (B09, B10).

A change counts from the next start on. When the technician changes the addresses in charger.yaml,
what the CSMS had set is dropped: whoever stands at the station has the last word.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec
from msgspec import Struct

from agent.core.effects import Save
from agent.ocpp.dialling import Slot

SLOT_NUMBERS = tuple(range(1, 9))
"""charger.yaml has room for eight back ends."""
FILE_KEY = "meta/network_file"
FLOOR_KEY = "meta/security_profile"
PRIORITY_KEY = "var/OCPPCommCtrlr/NetworkConfigurationPriority"

_PREFIX = "network/"
_OF_FILE = (PRIORITY_KEY, FLOOR_KEY)
"""What holds only as long as the technician leaves the addresses as they are."""


class NetworkProfile(Struct, frozen=True):
    """What the CSMS set for a slot; `url` without the identity."""

    url: str
    security_profile: int
    message_timeout_s: int


class NetworkProfileSet(Struct, frozen=True):
    """SetNetworkProfile was accepted and is durable."""

    number: int
    profile: NetworkProfile


PLACE = "{identity}"
"""In a URL: where the identity belongs, for a CSMS that does not want it at the end."""


def connection_url(endpoint: str, identity: str) -> str:
    """The URL as written, with the percent-encoded identity at its place, or else behind a slash.

    A slash at the end of an endpoint without a place is not doubled.
    """
    name = quote(identity, safe="")
    if PLACE in endpoint:
        return endpoint.replace(PLACE, name)
    return f"{endpoint.removesuffix('/')}/{name}"


def save_profile(number: int, profile: NetworkProfile) -> Save:
    return Save(f"{_PREFIX}{number}", msgspec.json.encode(profile).decode())


class Network:
    """Which slots are configured. `file_slots`: those of charger.yaml, numbered from 1."""

    def __init__(
        self, identity: str, file_slots: tuple[Slot, ...], saved: Mapping[str, str]
    ) -> None:
        self.first_saves: tuple[Save, ...] = ()
        """To be committed at start."""
        self.warnings: list[str] = []
        self._identity = identity
        self._file = {slot.number: slot for slot in file_slots}
        self._profiles: dict[int, NetworkProfile] = {}
        self.dropped: frozenset[str] = frozenset()
        """State keys that do not count any more."""
        self.floor = 1
        """Highest security profile that a CSMS was reached with: there is no way down from it."""
        addresses = msgspec.json.encode([slot.url for slot in file_slots]).decode()
        if saved.get(FILE_KEY, addresses) == addresses:
            self._profiles = dict(self._read(saved))
            self.floor = int(saved.get(FLOOR_KEY, "1"))
            self.first_saves = () if FILE_KEY in saved else (Save(FILE_KEY, addresses),)
        else:
            stale = [key for key in saved if key.startswith(_PREFIX) or key in _OF_FILE]
            self.first_saves = (Save(FILE_KEY, addresses), *(Save(key, None) for key in stale))
            self.dropped = frozenset(stale)
            if stale:
                self.warnings.append(
                    "charger.yaml names other back ends than before: what the CSMS had set for"
                    " its network slots is dropped; set it again from the CSMS if it is needed"
                )
        if not self.numbers:
            self._raise_file()

    def _raise_file(self) -> None:
        """What the CSMS had set cannot be read any more, and charger.yaml is less secure than the
        CSMS was reached before: its addresses are dialled, but never so (A05.FR.06)."""
        self._file = {
            number: msgspec.structs.replace(slot, security_profile=self.floor)
            for number, slot in self._file.items()
        }
        self.warnings.append(
            f"the network slots that the CSMS had set with security profile {self.floor} are lost:"
            " the addresses of charger.yaml are dialled with it, never with a lower one; where the"
            " CSMS is not reached so, correct csms.url (wss://...) and security"
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """Slots that hold a valid configuration and may be used (A05.FR.06)."""
        known = {*self._file, *self._profiles}
        return tuple(sorted(n for n in known if self.security_profile(n) >= self.floor))

    def security_profile(self, number: int) -> int:
        """Of a slot that holds a configuration."""
        kept = self._profiles.get(number)
        return self._file[number].security_profile if kept is None else kept.security_profile

    def slots(self, priority: str) -> tuple[Slot, ...]:
        """What is dialled, in the order of NetworkConfigurationPriority; "": the file's order."""
        wanted = [int(number) for number in priority.split(",") if number]
        known = [number for number in wanted if number in self.numbers]
        usable = [number for number in self._file if number in self.numbers]
        return tuple(self._slot(number) for number in known or usable or self._file)

    def reached(self, security_profile: int) -> list[Save]:
        """A CSMS was reached with it: what is less secure is deleted."""
        self.floor = security_profile
        lower = [n for n, kept in self._profiles.items() if kept.security_profile < self.floor]
        for number in lower:
            del self._profiles[number]
        gone = [Save(f"{_PREFIX}{number}", None) for number in lower]
        return [*gone, Save(FLOOR_KEY, str(security_profile))]

    def handle(self, event: NetworkProfileSet) -> None:
        """Takes over a profile that is durable."""
        self._profiles[event.number] = event.profile

    def _slot(self, number: int) -> Slot:
        profile = self._profiles.get(number)
        if profile is None:
            return self._file[number]
        url = connection_url(profile.url, self._identity)
        timeout_s = float(profile.message_timeout_s)
        return Slot(url, self._identity, profile.security_profile, number, timeout_s)

    def _read(self, saved: Mapping[str, str]) -> Iterable[tuple[int, NetworkProfile]]:
        for number in SLOT_NUMBERS:
            text = saved.get(f"{_PREFIX}{number}")
            if text is None:
                continue
            try:
                yield number, msgspec.json.decode(text, type=NetworkProfile)
            except msgspec.MsgspecError:
                self.warnings.append(
                    f"network slot {number}: what was saved cannot be read and is not used; set it"
                    " again from the CSMS"
                )
