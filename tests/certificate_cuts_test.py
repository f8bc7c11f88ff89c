"""A change of certificates that is cut off at any step leaves a station that can still connect."""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from hil.parts.pki import Root
from hil.secure import FIRST_HOST, SecureRig, run_secured

CSMS = "CSMSRootCertificate"
KEPT = ("chargepoint.db", "chargepoint.db-wal", "keys")


class Snapshots:
    """What the disk held after each effect; what is the same twice is kept once."""

    def __init__(self, top: Path) -> None:
        self.taken: list[Path] = []
        self.data: Path | None = None
        self._top = top
        self._seen: set[str] = set()

    def take(self, effect: object) -> None:
        if self.data is None:
            return
        files = [path for name in KEPT for path in sorted(self.data.glob(f"{name}*"))]
        files = [path for path in files if path.is_file()] + sorted(self.data.glob("keys/*"))
        digest = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        if digest in self._seen:
            return
        self._seen.add(digest)
        target = self._top / f"{len(self.taken):03}"
        for path in files:
            copy = target / path.relative_to(self.data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        self.taken.append(target)


def cut_everywhere(
    tmp_path: Path, change: Callable[[SecureRig], Awaitable[None]], *, profile: int, strict: bool
) -> tuple[Root, list[Path]]:
    """Lives through a change; the root of the CSMS, and what each cut would have left."""
    directory = tmp_path / "technician"
    directory.mkdir()
    snapshots, root = Snapshots(tmp_path), Root("first root")

    async def scene(rig: SecureRig) -> None:
        snapshots.data = rig.bench.directory
        await change(rig)
        snapshots.take(None)
        snapshots.data = None

    run_secured(
        scene, directory, profile=profile, is_strict=strict, root=root, on_effect=snapshots.take
    )
    return root, snapshots.taken


async def nothing_more(rig: SecureRig) -> None:
    """That it booted has been seen; what no state names is not left lying about."""
    own = rig.bench.agent.view.station_certificate
    named = {identity.key for identity in own.all} | ({own.request.key} if own.request else set())
    keys = rig.bench.directory / "keys"
    assert {path.name for path in keys.glob("*")} <= named


def test_a_renewal_cut_off_anywhere(tmp_path: Path) -> None:
    async def change(rig: SecureRig) -> None:
        for _ in range(2):
            await rig.renewed()
            await rig.octt.expect("Heartbeat", within_s=400)
            await asyncio.sleep(1)

    root, snapshots = cut_everywhere(tmp_path, change, profile=3, strict=False)
    assert len(snapshots) > 8
    for data in snapshots:
        run_secured(nothing_more, tmp_path / "technician", profile=3, root=root, data=data)


def test_a_new_root_cut_off_anywhere(tmp_path: Path) -> None:
    new: list[Root] = []

    async def change(rig: SecureRig) -> None:
        new.append(Root("second root", signer=rig.root))
        await rig.octt.certificate_installed(CSMS, new[0].pem)
        dials = len(rig.dials)
        await rig.listen(rig.first, rig.context(new[0].server(FIRST_HOST)))
        await rig.reconnected(dials)
        await rig.octt.expect("Heartbeat", within_s=400)
        await asyncio.sleep(1)

    root, snapshots = cut_everywhere(tmp_path, change, profile=2, strict=True)
    assert len(snapshots) >= 3
    # until the new root is proved the CSMS may still show what the old one signed
    roots_left = 0
    for data in snapshots:
        roots_left += not run_one(tmp_path, root, new[0], data)
    assert 0 < roots_left < len(snapshots)


def run_one(tmp_path: Path, old: Root, new: Root, data: Path) -> bool:
    """Comes back on what was left, whichever certificate the CSMS shows; whether only the new
    root is trusted any more."""
    proved: list[bool] = []

    async def scene(rig: SecureRig) -> None:
        installed = await rig.octt.installed_certificates(CSMS)
        proved.append(installed == [(CSMS, new.hash_data())])

    shown = new if is_only(data, old, new) else old
    run_secured(
        scene, tmp_path / "technician", profile=2, is_strict=True, root=old, data=data, shown=shown
    )
    return proved[0]


def is_only(data: Path, old: Root, new: Root) -> bool:
    """The store names the new root and no fallback."""
    with closing(sqlite3.connect(data / "chargepoint.db")) as connection:
        rows = connection.execute("SELECT key FROM state WHERE key LIKE 'certificate/%'").fetchall()
    return len(rows) == 1 and old.fingerprint not in rows[0][0]
