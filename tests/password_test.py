"""Basic authentication over real sockets: what the CSMS refuses by HTTP, and when it is down."""

import asyncio
import base64
from pathlib import Path

from hil.secure import PASSWORD, SecureRig, run_secured

IDENTITY = "SIM-1"
NEW_PASSWORD = "New|password.of@SIM-1"


def shown(rig: SecureRig) -> list[str]:
    """Passwords of all handshakes that reached the CSMS."""
    headers = [header for _, header in rig.first.handshakes if header is not None]
    pairs = [base64.b64decode(header.removeprefix("Basic ")).decode() for header in headers]
    return [pair.partition(":")[2] for pair in pairs]


async def change(rig: SecureRig) -> None:
    await rig.octt.set_variable("SecurityCtrlr", "BasicAuthPassword", NEW_PASSWORD)


def test_a_password_that_the_csms_refuses_after_all_gives_way_to_the_one_before(
    tmp_path: Path,
) -> None:
    async def scene(rig: SecureRig) -> None:
        rig.first.login = (IDENTITY, PASSWORD)
        before, dials = len(shown(rig)), len(rig.dials)
        await change(rig)
        await rig.reconnected(dials)
        assert shown(rig)[before:] == [NEW_PASSWORD, PASSWORD]
        await rig.first.drop()
        await rig.first.accept()
        await rig.reconnected(dials + 2)
        assert shown(rig)[before:] == [NEW_PASSWORD, PASSWORD, PASSWORD]

    run_secured(scene, tmp_path, profile=1)


def test_a_csms_that_restarts_is_shown_no_other_password(tmp_path: Path) -> None:
    """It stores the new one, is gone for a minute, and takes nothing else."""

    async def scene(rig: SecureRig) -> None:
        before = len(shown(rig))
        rig.first.login = (IDENTITY, NEW_PASSWORD)
        await change(rig)
        await rig.first.drop()
        await asyncio.sleep(60)
        dials = len(rig.dials)
        await rig.first.accept()
        await rig.reconnected(dials)
        assert set(shown(rig)[before:]) == {NEW_PASSWORD}

    run_secured(scene, tmp_path, profile=1)
