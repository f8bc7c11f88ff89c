"""The certificates this station trusts (M03 to M05): kept in the state table, so that each change
is one commit.

Where AdditionalRootCertificateCheck is true there is one root for the CSMS, and only what it signed
replaces it; the replaced one stays as a fallback until the new one has proved itself.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Save
from agent.core.events import CertificateFacts, Now

CSMS, MANUFACTURER = "CSMSRootCertificate", "ManufacturerRootCertificate"
USES = (CSMS, MANUFACTURER)
"""What may be installed here; V2G and MO roots belong to ISO 15118."""
MOST = 20
"""CertificateEntries.maxLimit (M05.FR.06)."""

_PREFIX = "certificate/"


class Root(Struct, frozen=True):
    """A root certificate; `use`: InstallCertificateUseEnumType."""

    use: str
    pem: str
    facts: CertificateFacts
    is_fallback: bool = False
    """Replaced by one that no CSMS has been reached with yet (M05.FR.12)."""
    is_of_file: bool = False
    """It came with charger.yaml."""

    @property
    def key(self) -> str:
        """State key."""
        return f"{_PREFIX}{self.use}/{self.facts.fingerprint}"


class RootInstalled(Struct, frozen=True):
    """InstallCertificate was accepted."""

    root: Root


class RootDeleted(Struct, frozen=True):
    """DeleteCertificate was accepted."""

    root: Root


class Certificates:
    """`is_strict`: AdditionalRootCertificateCheck. Methods that change return what to save."""

    def __init__(self, saved: Mapping[str, str], *, is_strict: bool = False) -> None:
        self.is_strict = is_strict
        self.warnings: list[str] = []
        self.in_use = ""
        """Fingerprint of the root that vouched for the CSMS on the link that is open."""
        self._roots: dict[str, Root] = {}
        self._trusted_newest = False
        for key, text in saved.items():
            if key.startswith(_PREFIX):
                self._read(key, text)

    def _read(self, key: str, text: str) -> None:
        try:
            self._roots[key] = msgspec.json.decode(text, type=Root)
        except msgspec.MsgspecError:
            self.warnings.append(
                "a certificate that was installed cannot be read and is not trusted; install it"
                " again from the CSMS"
            )

    # --- asking -----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return len(self._roots)

    def roots(self, *uses: str) -> tuple[Root, ...]:
        """Those of the given uses, none: all; a fallback last."""
        found = [root for root in self._roots.values() if not uses or root.use in uses]
        return tuple(sorted(found, key=lambda root: root.is_fallback))

    def has_room_for(self, root: Root) -> bool:
        """M05.FR.06; what is there already takes no room (M05.FR.17)."""
        return root.key in self._roots or self.count < MOST

    def must_sign(self, use: str) -> tuple[Root, ...]:
        """Who must have signed a new root, one of them; none: nobody. A CSMS's root: the one it
        replaces (M05.FR.10). A maker's: one that came with the station, or a CSMS could sign
        firmware itself."""
        if use == MANUFACTURER:
            return tuple(root for root in self.roots(MANUFACTURER) if root.is_of_file)
        return self._replaced()

    def _replaced(self) -> tuple[Root, ...]:
        if not self.is_strict:
            return ()
        return tuple(root for root in self.roots(CSMS) if not root.is_fallback)

    def trusted(
        self, failed_dials: int, *, is_migrating: bool, came_back: bool
    ) -> tuple[Root, ...]:
        """Who may vouch for the CSMS on the next dial; none: whom the system trusts.

        While a fallback is kept, one root at a time: the new one first, then in turns
        (M05.FR.14); on the way to another CSMS only the new one (FR.15), and only the old one
        first when that way was in vain (FR.16).
        """
        known = self.roots(CSMS)
        if not known or not known[-1].is_fallback:
            self._trusted_newest = False
            return known
        turn = failed_dials + 1 if came_back else failed_dials
        takes_newest = is_migrating or turn % 2 == 0
        self._trusted_newest = takes_newest
        return tuple(root for root in known if root.is_fallback is not takes_newest)

    def is_last(self, root: Root) -> bool:
        """No other one of its use is left."""
        return len(self.roots(root.use)) == 1

    # --- changing ---------------------------------------------------------------------------

    def install(self, root: Root) -> list[Save]:
        """Replaces what is replaced by it (M05.FR.10, FR.12, FR.17)."""
        saves: list[Save] = []
        for old in self._replaced() if root.use == CSMS else ():
            if old.key != root.key:
                saves += [self._drop(r) for r in self.roots(CSMS) if r.is_fallback]
                saves.append(self._keep(replace(old, is_fallback=True)))
        same = self._roots.get(root.key)
        is_of_file = same is not None and same.is_of_file
        return [*saves, self._keep(replace(root, is_of_file=is_of_file))]

    def delete(self, root: Root) -> list[Save]:
        """A fallback is the root again when the one that replaced it goes."""
        saves = [self._drop(root)]
        left = self.roots(root.use)
        if left and all(other.is_fallback for other in left):
            saves += [self._keep(replace(other, is_fallback=False)) for other in left]
        return saves

    def heard(self) -> list[Save]:
        """The CSMS spoke: the root that vouched for it is good (M05.FR.13)."""
        if not self._trusted_newest:
            return []
        self._trusted_newest = False
        return [self._drop(root) for root in self.roots(CSMS) if root.is_fallback]

    def _keep(self, root: Root) -> Save:
        self._roots[root.key] = root
        return Save(root.key, msgspec.json.encode(root).decode())

    def _drop(self, root: Root) -> Save:
        self._roots.pop(root.key, None)
        return Save(root.key, None)


def period_problem(facts: CertificateFacts, now: Now) -> str:
    """Why it is not valid today, or ""; while the time is not known the board's guess counts."""
    if now.utc_s() > facts.not_after_s:
        return "it has expired"
    return "it is not valid yet" if now.utc_s() < facts.not_before_s else ""


def first_saves(
    found: Iterable[tuple[str, CertificateFacts]], use: str, saved: Mapping[str, str]
) -> tuple[Save, ...]:
    """Roots of the technician's file, for the store. A maker's that the file had before goes: no
    CSMS can delete it. One of a CSMS stays: that may still be needed to reach it."""
    named = (Root(use, pem, facts, is_of_file=True) for pem, facts in found)
    roots = {root.key: root for root in named}
    before = Certificates(saved).roots(use) if use == MANUFACTURER else ()
    gone = [Save(r.key, None) for r in before if r.is_of_file and r.key not in roots]
    new = [Save(key, msgspec.json.encode(root).decode()) for key, root in roots.items()]
    return (*gone, *new)
