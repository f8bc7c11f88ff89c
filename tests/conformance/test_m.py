"""Part 6, block M: certificates of the CSMS and the manufacturer, installed, listed, deleted."""

from pathlib import Path

import pytest

from hil.cases import play
from hil.conformance import Octt
from hil.parts.pki import PAST, Root
from hil.secure import FIRST_HOST, SecureRig, run_secured

CSMS, MANUFACTURER = "CSMSRootCertificate", "ManufacturerRootCertificate"
MOST = 20


def install(use: str) -> None:
    async def scene(octt: Octt) -> None:
        root = Root("root 2")
        await octt.certificate_installed(use, root.pem)
        assert await octt.installed_certificates(use) == [(use, root.hash_data())]

    play(scene)


def test_TC_M_01_CS() -> None:
    install(CSMS)


def test_TC_M_02_CS() -> None:
    install(MANUFACTURER)


def test_TC_M_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        root = Root("expired root", end=PAST)
        request = {"certificateType": CSMS, "certificate": root.pem}
        assert (await octt.call("InstallCertificate", request))["status"] == "Rejected"
        assert (CSMS, root.hash_data()) not in await octt.installed_certificates(CSMS)

    play(scene)


def test_TC_M_09_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        request = {"certificateType": CSMS, "certificate": Root("stranger").pem}
        answer = await rig.octt.call("InstallCertificate", request)
        assert answer["status"] == "Rejected", answer
        installed = await rig.octt.installed_certificates(CSMS)
        assert installed == [(CSMS, rig.root.hash_data())]

    run_secured(scene, tmp_path, is_strict=True)


def test_TC_M_12_CS() -> None:
    install(CSMS)


def test_TC_M_13_CS() -> None:
    install(MANUFACTURER)


def both(*asked: str) -> None:
    async def scene(octt: Octt) -> None:
        roots = {use: Root(use) for use in (CSMS, MANUFACTURER)}
        for use, root in roots.items():
            await octt.certificate_installed(use, root.pem)
        installed = await octt.installed_certificates(*asked)
        expected = [(use, root.hash_data()) for use, root in roots.items()]
        assert sorted(installed, key=str) == sorted(expected, key=str)

    play(scene)


def test_TC_M_17_CS() -> None:
    both(CSMS, MANUFACTURER)


def test_TC_M_18_CS() -> None:
    both()


def test_TC_M_19_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.certificate_installed(CSMS, Root("root 2").pem)
        answer = await octt.call(
            "GetInstalledCertificateIds", {"certificateType": ["MORootCertificate"]}
        )
        assert answer["status"] == "NotFound"
        assert "certificateHashDataChain" not in answer

    play(scene)


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
def test_TC_M_20_CS(algorithm: str) -> None:
    async def scene(octt: Octt) -> None:
        root, other = Root("root 2"), Root("root 3")
        for one in (root, other):
            await octt.certificate_installed(CSMS, one.pem)
        assert (CSMS, root.hash_data()) in await octt.installed_certificates(CSMS)
        asked = {"certificateHashData": root.hash_data(algorithm)}
        await octt.accepted("DeleteCertificate", asked)
        assert await octt.installed_certificates(CSMS) == [(CSMS, other.hash_data())]
        await octt.bench.power_cut()
        await octt.bench.start()
        await octt.booted()
        assert await octt.installed_certificates(CSMS) == [(CSMS, other.hash_data())]

    play(scene)


def test_TC_M_22_CS() -> None:
    async def scene(octt: Octt) -> None:
        root = Root("root 2")
        await octt.certificate_installed(CSMS, root.pem)
        assert await octt.installed_certificates(CSMS) == [(CSMS, root.hash_data())]
        asked = {"certificateHashData": Root("unknown").hash_data()}
        assert (await octt.call("DeleteCertificate", asked))["status"] == "NotFound"
        assert await octt.installed_certificates(CSMS) == [(CSMS, root.hash_data())]

    play(scene)


def test_TC_M_23_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        own = await rig.renewed()
        await rig.octt.installed_certificates()
        answer = await rig.octt.call("DeleteCertificate", {"certificateHashData": own})
        assert answer["status"] == "Failed", answer
        dials = len(rig.dials)
        await rig.listen(rig.first, rig.first_context())
        await rig.reconnected(dials)

    run_secured(scene, tmp_path, profile=3)


def test_TC_M_30_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        new = Root("second root", signer=rig.root)
        await rig.octt.certificate_installed(CSMS, new.pem)
        await rig.octt.accepted("Reset", {"type": "OnIdle"})
        await rig.bench.gone()
        await rig.listen(rig.first, rig.context(new.server(FIRST_HOST)))
        await rig.restarted()
        await rig.octt.booted()
        installed = await rig.octt.installed_certificates(CSMS)
        assert installed == [(CSMS, new.hash_data())]

    run_secured(scene, tmp_path, is_strict=True)


def test_TC_M_31_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        new = Root("second root", signer=rig.root)
        await rig.octt.certificate_installed(CSMS, new.pem)
        await rig.octt.accepted("Reset", {"type": "OnIdle"})
        before = len(rig.dials)
        await rig.restarted()
        await rig.octt.booted()
        assert len(rig.dials) == before + 2, "the new root first, then the old one"
        installed = await rig.octt.installed_certificates(CSMS)
        assert (CSMS, rig.root.hash_data()) in installed

    run_secured(scene, tmp_path, is_strict=True)


# --- beside the cases -----------------------------------------------------------------------------


def test_no_more_roots_than_there_is_room_for_but_one_that_is_there_may_come_again() -> None:
    """M05.FR.06, FR.17."""

    async def scene(octt: Octt) -> None:
        roots = [Root(f"root {number}") for number in range(MOST + 1)]
        for root in roots[:MOST]:
            await octt.certificate_installed(MANUFACTURER, root.pem)
        request = {"certificateType": MANUFACTURER, "certificate": roots[MOST].pem}
        assert (await octt.call("InstallCertificate", request))["status"] == "Rejected"
        await octt.certificate_installed(MANUFACTURER, roots[0].pem)
        assert len(await octt.installed_certificates()) == MOST
        entries = await octt.get_variable("SecurityCtrlr", "CertificateEntries")
        assert entries["attributeValue"] == str(MOST)

    play(scene)


@pytest.mark.parametrize("use", ["V2GRootCertificate", "MORootCertificate"])
def test_roots_of_iso_15118_have_no_use_here(use: str) -> None:
    async def scene(octt: Octt) -> None:
        request = {"certificateType": use, "certificate": Root("V2G").pem}
        assert (await octt.call("InstallCertificate", request))["status"] == "Rejected"
        assert await octt.installed_certificates() == []

    play(scene)


@pytest.mark.parametrize("text", ["no certificate", "", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_rejected(text: str) -> None:
    async def scene(octt: Octt) -> None:
        request = {"certificateType": CSMS, "certificate": text}
        assert (await octt.call("InstallCertificate", request))["status"] == "Rejected"

    play(scene)


def test_a_certificate_that_may_not_sign_is_no_root() -> None:
    async def scene(octt: Octt) -> None:
        certificate, _ = Root("root").identity("SIM-1")
        request = {"certificateType": CSMS, "certificate": certificate}
        assert (await octt.call("InstallCertificate", request))["status"] == "Rejected"

    play(scene)


def test_the_root_that_secures_the_link_stays(tmp_path: Path) -> None:
    """M04.FR.03: whoever deletes it would never hear of the station again."""

    async def scene(rig: SecureRig) -> None:
        await rig.octt.certificate_installed(CSMS, Root("another").pem)
        asked = {"certificateHashData": rig.root.hash_data()}
        assert (await rig.octt.call("DeleteCertificate", asked))["status"] == "Failed"
        assert len(await rig.octt.installed_certificates(CSMS)) == 2

    run_secured(scene, tmp_path)
