"""There is no way down from a security profile that was reached, but the technician's."""

import asyncio
from pathlib import Path

from agent.core.effects import Log
from agent.store.rows import Batch
from hil.conformance import Octt
from hil.secure import OTHER_HOST, SecureRig, run_secured
from tests.conformance.test_a_tls import CSMS, wanted_profile


def test_a_slot_that_is_lost_leads_to_no_lower_profile(tmp_path: Path) -> None:
    """A05: the store lost what the CSMS had set; charger.yaml still has an address of profile 1."""

    async def scene(rig: SecureRig) -> None:
        await went_up(rig)
        await rig.bench.agent.store.commit(Batch(save=(("network/2", None),)))
        await rig.bench.power_cut()
        before = len(rig.dials)
        await rig.bench.start()
        await asyncio.sleep(600)
        again = rig.dials[before:]
        assert again
        assert all(dial.url.startswith("ws://") for dial in again)
        assert not rig.octt.csms.is_connected
        told = [effect.text for effect in rig.bench.effects if isinstance(effect, Log)]
        assert any("change csms.url to wss://" in text for text in told)

    run_secured(scene, tmp_path, profile=1)


async def went_up(rig: SecureRig) -> None:
    """From profile 1 to 2, to another back end."""
    octt: Octt = rig.octt
    await octt.certificate_installed(CSMS, rig.root.pem)
    await rig.listen(rig.other, rig.context(rig.root.server(OTHER_HOST)))
    assert (await wanted_profile(octt, rig.place(rig.other), 2))[0] == "Accepted"
    await octt.accepted("Reset", {"type": "OnIdle"})
    await rig.restarted()
    await octt.booted()
