"""Block B of Part 6: network profiles."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hil.cases import play
from hil.cases_b import COMM, Payload, set_variables
from hil.conformance import Octt
from hil.parts.pki import Root
from hil.secure import FIRST_HOST as SECURE_FIRST
from hil.secure import OTHER_HOST as SECURE_OTHER
from hil.secure import SecureRig, run_secured

OTHER_HOST = "other.invalid"
FIRST_HOST = "csms.invalid"
"""The endpoint of charger.yaml, slot 1."""


def network_profile(slot: int, **data: Any) -> Payload:
    return {
        "configurationSlot": slot,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": f"ws://{OTHER_HOST}/ocpp",
            "messageTimeout": 25,
            "securityProfile": 1,
            "ocppInterface": "Wired0",
        }
        | data,
    }


def hosts(octt: Octt, since: int) -> list[str]:
    """Where the station dialled from then on."""
    return [urlsplit(dial.url).hostname or "" for _, dial, _ in octt.bench.network.dials[since:]]


async def migrate(octt: Octt, *, slot: int = 2) -> int:
    """Another slot is set and preferred, and the station restarts; returns the dials before."""
    active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
    assert active["attributeValue"] == "1"
    await octt.accepted("SetNetworkProfile", network_profile(slot))
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    (result,) = await set_variables(octt, priority | {"attributeValue": f"{slot},1"})
    assert result["attributeStatus"] in ("Accepted", "RebootRequired")
    await octt.accepted("Reset", {"type": "OnIdle"})
    before = len(octt.bench.network.dials)
    await octt.bench.restarted()
    octt.csms.forget()
    return before


def test_TC_B_43_CS() -> None:
    async def scene(octt: Octt) -> None:
        answer = await octt.call("SetNetworkProfile", network_profile(999))
        assert answer["status"] == "Rejected"

    play(scene)


@pytest.mark.parametrize("slot", [2, 3, 8])
def test_TC_B_45_CS(slot: int) -> None:
    async def scene(octt: Octt) -> None:
        before = await migrate(octt, slot=slot)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST]
        active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
        assert active["attributeValue"] == str(slot)
        timeout = await octt.get_variable("OCPPCommCtrlr", "MessageTimeout", "Default")
        assert timeout["attributeValue"] == "25"

    play(scene)


def test_TC_B_46_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "2")
        octt.bench.network.closed_hosts.add(OTHER_HOST)
        before = await migrate(octt)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST, OTHER_HOST, FIRST_HOST]
        active = await octt.get_variable("OCPPCommCtrlr", "ActiveNetworkProfile")
        assert active["attributeValue"] == "1"

    play(scene)


def test_TC_B_49_CS() -> None:
    wait_s = 10

    async def scene(octt: Octt) -> None:
        for name, value in (
            ("NetworkProfileConnectionAttempts", "1"),
            ("RetryBackOffRepeatTimes", "0"),
            ("RetryBackOffRandomRange", "0"),
            ("RetryBackOffWaitMinimum", str(wait_s)),
        ):
            await octt.set_variable("OCPPCommCtrlr", name, value)
        network = octt.bench.network
        network.closed_hosts |= {OTHER_HOST, FIRST_HOST}
        before = await migrate(octt)
        await octt.bench.until(lambda: len(network.dials) == before + 2)
        network.closed_hosts.discard(FIRST_HOST)
        network.closed_hosts.discard(OTHER_HOST)
        await octt.booted()
        assert hosts(octt, before) == [OTHER_HOST, FIRST_HOST, FIRST_HOST]
        assert network.dials[-1][0] - network.dials[-2][0] > wait_s - 0.001

    play(scene)


async def migrate_secured(rig: SecureRig) -> int:
    """Slot 2 leads to the other place; returns the dials before."""
    await rig.octt.accepted(
        "SetNetworkProfile",
        network_profile(2, ocppCsmsUrl=rig.place(rig.other), securityProfile=2),
    )
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    (result,) = await set_variables(rig.octt, priority | {"attributeValue": "2,1"})
    assert result["attributeStatus"] in ("Accepted", "RebootRequired"), result
    await rig.octt.accepted("Reset", {"type": "OnIdle"})
    before = len(rig.dials)
    await rig.restarted()
    return before


CSMS_ROOT = "CSMSRootCertificate"


def test_TC_B_47_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        octt, new = rig.octt, Root("second root", signer=rig.root)
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "1")
        await octt.certificate_installed(CSMS_ROOT, new.pem)
        before = await migrate_secured(rig)
        await octt.booted()
        hosts = [urlsplit(dial.url).hostname for dial in rig.dials[before:]]
        assert hosts == [SECURE_OTHER, SECURE_FIRST]
        installed = await octt.installed_certificates(CSMS_ROOT)
        assert (CSMS_ROOT, rig.root.hash_data()) in installed

    run_secured(scene, tmp_path, is_strict=True)


@pytest.mark.parametrize("is_strict", [False, True])
def test_TC_B_50_CS(tmp_path: Path, is_strict: bool) -> None:
    async def scene(rig: SecureRig) -> None:
        new = Root("second root", signer=rig.root if is_strict else None)
        await rig.octt.certificate_installed(CSMS_ROOT, new.pem)
        await rig.listen(rig.other, rig.context(new.server(SECURE_OTHER)))
        before = await migrate_secured(rig)
        await rig.octt.booted()
        assert [urlsplit(dial.url).hostname for dial in rig.dials[before:]] == [SECURE_OTHER]

    run_secured(scene, tmp_path, is_strict=is_strict)
