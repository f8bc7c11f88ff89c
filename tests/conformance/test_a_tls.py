"""Part 6, block A: TLS and the station's own certificate, by real handshakes on loopback."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.x509 import NameOID, load_pem_x509_certificate

from agent.settings import Settings
from hil.conformance import Octt
from hil.parts.pki import FUTURE, PAST, Root, read_request, subject_of
from hil.secure import FIRST_HOST, OTHER_HOST, PASSWORD, SecureRig, run_secured
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CSMS = "CSMSRootCertificate"
SUITES = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"}


async def reboot(rig: SecureRig) -> None:
    """Booting: the station restarts and dials anew."""
    await rig.octt.accepted("Reset", {"type": "Immediate"})
    await rig.restarted()
    await rig.octt.booted()


def last_login(rig: SecureRig) -> str | None:
    return rig.first.handshakes[-1][1]


@pytest.mark.parametrize("profile", [2, 3])
def test_TC_A_04_CS(tmp_path: Path, profile: int) -> None:
    async def scene(rig: SecureRig) -> None:
        await rig.listen(rig.first, rig.first_context(version=ssl.TLSVersion.TLSv1_2))
        await rig.bench.until(lambda: rig.octt.csms.is_connected)
        await asyncio.sleep(10)
        rig.octt.csms.forget()
        await reboot(rig)
        secured = rig.first.secured[-1]
        assert secured.version() == "TLSv1.2"
        offered = {name for name, _, _ in secured.shared_ciphers() or ()}
        assert offered >= SUITES
        assert all(name.startswith(("ECDHE-", "TLS_")) for name in offered), "no forward secrecy"
        assert secured.compression() is None
        assert (last_login(rig) is not None) is (profile == 2)

    run_secured(scene, tmp_path, profile=profile)


def wrong_servers(rig: SecureRig) -> dict[str, str]:
    """Certificate and key by what is wrong with it."""
    return {
        "expired": rig.root.server(FIRST_HOST, end=PAST),
        "not yet valid": rig.root.server(FIRST_HOST, start=FUTURE),
        "of another root": Root("stranger").server(FIRST_HOST),
        "of another name": rig.root.server(FIRST_HOST, common_name="elsewhere.bench.test"),
        "of another host": rig.root.server("elsewhere.bench.test"),
        "a wildcard": rig.root.server("*.bench.test"),
        "a wildcard name": rig.root.server(FIRST_HOST, common_name="*.bench.test"),
    }


def test_TC_A_05_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        octt = rig.octt
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "3")
        await octt.set_variable("SecurityCtrlr", "AllowCSMSTLSWildcards", "false")
        for what, server in wrong_servers(rig).items():
            logins = len(rig.first.handshakes)
            good = rig.first_context()
            await rig.fails_until_good(rig.context(server), good)
            event = await octt.expect("SecurityEventNotification")
            assert event["type"] == "InvalidCsmsCertificate", what
            assert len(rig.first.handshakes) == logins + 1, "no password for a stranger"
            await asyncio.sleep(10)
        await octt.expect_none("SecurityEventNotification")

    run_secured(scene, tmp_path)


def test_TC_A_06_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        octt = rig.octt
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "1")
        old = rig.first_context(version=ssl.TLSVersion.TLSv1_1)
        await rig.refuses_until_good(old)
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidTLSVersion"
        await reboot(rig)

    run_secured(scene, tmp_path)


def test_TC_A_07_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        await reboot(rig)
        secured = rig.first.secured[-1]
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        certificate = load_pem_x509_certificate(ssl.DER_cert_to_PEM_cert(shown).encode())
        (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common_name.value == "SIM-1"
        assert certificate.serial_number > 0
        assert certificate.public_key().key_size >= 224  # type: ignore[union-attr]
        assert last_login(rig) is None

    run_secured(scene, tmp_path, profile=3)


def test_TC_A_11_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        await rig.renewed()
        await rig.octt.expect_none("BootNotification")

    run_secured(scene, tmp_path, profile=3)


@pytest.mark.parametrize(
    "wrong", ["stranger", "expired", "future", "name", "organization", "key", "text"]
)
def test_TC_A_14_CS(tmp_path: Path, wrong: str) -> None:
    async def scene(rig: SecureRig) -> None:
        await rig.octt.set_variable("SecurityCtrlr", "CertSigningWaitMinimum", "20")
        await rig.triggered()
        request = await rig.asked_to_sign()
        chains = {
            "stranger": lambda: Root("stranger").sign(request),
            "expired": lambda: rig.root.sign(request, end=PAST),
            "future": lambda: rig.root.sign(request, start=FUTURE),
            "name": lambda: rig.root.sign(request, subject=subject_of("SIM-2", "Bench")),
            "organization": lambda: rig.root.sign(request, subject=subject_of("SIM-1", "X")),
            "key": lambda: rig.root.identity("SIM-1")[0],
            "text": lambda: "no certificate",
        }
        before = len(rig.dials)
        assert (await rig.signed(chains[wrong]()))["status"] == "Rejected"
        event = await rig.octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidChargingStationCertificate"
        await rig.octt.expect_none("SignCertificate", for_s=100)
        assert len(rig.dials) == before, "the old one is shown on"

    run_secured(scene, tmp_path, profile=3)


def test_TC_A_15_CS(tmp_path: Path) -> None:
    async def scene(rig: SecureRig) -> None:
        await rig.octt.set_variable("SecurityCtrlr", "CertSigningWaitMinimum", "20")
        rig.octt.csms.answer["SignCertificate"] = {"status": "Rejected"}
        await rig.triggered()
        await rig.asked_to_sign("Rejected")
        await rig.octt.expect_none("SignCertificate", for_s=100)
        keys = list((rig.bench.directory / "keys").iterdir())
        assert keys == [], "the key of the request is gone with it"

    run_secured(scene, tmp_path, profile=3)


async def wanted_profile(octt: Octt, url: str, profile: int) -> tuple[str, str]:
    """Slot 2 is set and preferred: (status of SetNetworkProfile, of SetVariables)."""
    data = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": url,
        "messageTimeout": 30,
        "securityProfile": profile,
        "ocppInterface": "Wired0",
    }
    request = {"configurationSlot": 2, "connectionData": data}
    first = (await octt.call("SetNetworkProfile", request))["status"]
    return first, await set_priority(octt, "2,1")


async def set_priority(octt: Octt, order: str) -> str:
    """Status of SetVariables."""
    item = {
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "NetworkConfigurationPriority"},
        "attributeValue": order,
    }
    answer = await octt.call("SetVariables", {"setVariableData": [item]})
    return str(answer["setVariableResult"][0]["attributeStatus"])


@pytest.mark.parametrize("profile", [1, 2])
def test_TC_A_19_CS(tmp_path: Path, profile: int) -> None:
    async def scene(rig: SecureRig) -> None:
        octt = rig.octt
        await octt.set_variable("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "2")
        if profile == 1:
            await octt.certificate_installed(CSMS, rig.root.pem)
        else:
            await rig.renewed()
        rig.clients_of = rig.root if profile == 2 else None
        context = rig.context(rig.root.server(OTHER_HOST), clients_of=rig.clients_of)
        await rig.listen(rig.other, context)
        first, second = await wanted_profile(octt, rig.place(rig.other), profile + 1)
        assert first == "Accepted"
        assert second in ("Accepted", "RebootRequired")
        await octt.accepted("Reset", {"type": "OnIdle"})
        await rig.restarted()
        await octt.booted()
        active = await octt.get_variable("SecurityCtrlr", "SecurityProfile")
        assert active["attributeValue"] == str(profile + 1)
        order = await octt.get_variable("OCPPCommCtrlr", "NetworkConfigurationPriority")
        assert order["attributeValue"] == "2"
        # A05.FR.06: neither the same process nor the next one goes down again
        before = len(rig.dials)
        await rig.other.drop()
        await asyncio.sleep(300)
        await rig.bench.power_cut()
        await rig.bench.start()
        await asyncio.sleep(300)
        assert len(rig.dials) > before + 8
        assert all(f"{OTHER_HOST}:" in dial.url for dial in rig.dials[before:])
        await rig.other.accept()
        await octt.csms.wait_connected()

    run_secured(scene, tmp_path, profile=profile)


@pytest.mark.parametrize("profile", [2, 3])
def test_TC_A_20_CS(tmp_path: Path, profile: int) -> None:
    async def scene(rig: SecureRig) -> None:
        assert await set_priority(rig.octt, "1") in ("Accepted", "RebootRequired")
        first, second = await wanted_profile(rig.octt, "wss://other.bench.test:1/ocpp", profile)
        assert first in ("Accepted", "Rejected")
        assert second == "Rejected"

    run_secured(scene, tmp_path, profile=1)


@pytest.mark.parametrize("profile", [1, 2])
def test_TC_A_21_CS(tmp_path: Path, profile: int) -> None:
    async def scene(rig: SecureRig) -> None:
        if profile == 1:
            await rig.octt.certificate_installed(CSMS, rig.root.pem)
        first, second = await wanted_profile(rig.octt, "wss://other.bench.test:1/ocpp", 3)
        assert (first, second) == ("Accepted", "Rejected")

    run_secured(scene, tmp_path, profile=profile)


@pytest.mark.parametrize("profile", [2, 3])
def test_TC_A_22_CS(tmp_path: Path, profile: int) -> None:
    async def scene(rig: SecureRig) -> None:
        first, second = await wanted_profile(rig.octt, "ws://other.bench.test:1/ocpp", 1)
        assert first == "Rejected"
        assert second == "Rejected"

    run_secured(scene, tmp_path, profile=profile)


def test_TC_A_23_CS(tmp_path: Path) -> None:
    wait_s = 45

    async def scene(rig: SecureRig) -> None:
        octt, loop = rig.octt, asyncio.get_running_loop()
        await octt.set_variable("SecurityCtrlr", "CertSigningWaitMinimum", str(wait_s))
        await octt.set_variable("SecurityCtrlr", "CertSigningRepeatTimes", "1")
        octt.csms.answer["SignCertificate"] = {"status": "Accepted"}
        await rig.triggered()
        requests, times_s = [], []
        for _ in range(3):
            requests.append(await rig.asked_to_sign())
            times_s.append(loop.time())
        assert times_s[1] - times_s[0] > wait_s - 0.1
        assert times_s[2] - times_s[1] > 2 * wait_s - 0.1
        await octt.expect_none("SignCertificate", for_s=5 * wait_s)
        dials = len(rig.dials)
        statuses = []
        for request in requests:
            statuses.append((await rig.signed(rig.root.sign(request)))["status"])
            if statuses[-1] == "Accepted":
                await rig.reconnected(dials)
        assert set(statuses) <= {"Accepted", "Rejected"}
        assert "Accepted" in statuses

    run_secured(scene, tmp_path, profile=3)


# --- beside the cases -----------------------------------------------------------------------------


def test_a_csms_without_a_good_suite_is_not_talked_to(tmp_path: Path) -> None:
    """A00.FR.323."""

    async def scene(rig: SecureRig) -> None:
        version = ssl.TLSVersion.TLSv1_2
        weak = rig.first_context(version=version, suites="ECDHE-ECDSA-AES128-SHA256")
        assert await rig.refuses_until_good(weak) == ["NO_SHARED_CIPHER"]
        event = await rig.octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidTLSCipherSuite"

    run_secured(scene, tmp_path)


def test_a_wildcard_is_taken_where_the_csms_was_told_to(tmp_path: Path) -> None:
    """AllowCSMSTLSWildcards."""

    async def scene(rig: SecureRig) -> None:
        await rig.octt.set_variable("SecurityCtrlr", "AllowCSMSTLSWildcards", "true")
        await rig.listen(rig.first, rig.context(rig.root.server("*.bench.test")))
        await rig.octt.csms.wait_connected()
        await rig.octt.expect_none("SecurityEventNotification")

    run_secured(scene, tmp_path)


def test_an_outage_by_a_bad_certificate_is_one_event_and_the_back_off_goes_on(
    tmp_path: Path,
) -> None:
    async def scene(rig: SecureRig) -> None:
        await rig.octt.set_variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "10")
        before = len(rig.dials)
        await rig.listen(rig.first, rig.context(rig.root.server(FIRST_HOST, end=PAST)))
        await asyncio.sleep(400)
        assert len(rig.dials) - before == 5, "10, 20, ... 160 s apart"
        await rig.listen(rig.first, rig.first_context())
        await rig.octt.csms.wait_connected()
        await rig.octt.expect("SecurityEventNotification")
        await rig.octt.expect_none("SecurityEventNotification")

    run_secured(scene, tmp_path)


def test_a_certificate_that_the_csms_does_not_take_is_given_up_for_the_one_before(
    tmp_path: Path,
) -> None:
    """A02.FR.28, FR.29: the station does not strand, and tells."""

    async def scene(rig: SecureRig) -> None:
        octt = rig.octt
        await octt.set_variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "2")
        other = Root("the other authority of this CSMS")
        await octt.certificate_installed(CSMS, other.pem)
        await rig.triggered()
        chain = other.sign(await rig.asked_to_sign())
        dials = len(rig.dials)
        assert (await rig.signed(chain))["status"] == "Accepted"
        await rig.reconnected(dials + 2)
        event = await octt.expect("SecurityEventNotification", within_s=600)
        assert event["type"] == "DiscardedRenewedClientCertificate"
        keys = list((rig.bench.directory / "keys").iterdir())
        assert keys == [], "the key of the one that was given up is gone"

    run_secured(scene, tmp_path, profile=3)


def test_a_month_before_it_expires_a_new_one_is_asked_for(tmp_path: Path) -> None:
    """A03.FR.02."""
    spare = timedelta(minutes=20)

    async def scene(rig: SecureRig) -> None:
        octt, month = rig.octt, timedelta(days=30)
        begun = datetime.fromtimestamp(rig.bench.utc_s(), UTC)
        await rig.triggered()
        chain = rig.root.sign(await rig.asked_to_sign(), end=begun + month + spare)
        dials = len(rig.dials)
        assert (await rig.signed(chain))["status"] == "Accepted"
        await rig.reconnected(dials)
        await octt.expect_none("SignCertificate", for_s=spare.total_seconds() - 60)
        await rig.asked_to_sign()
        left = begun + month + spare - datetime.fromtimestamp(rig.bench.utc_s(), UTC)
        assert month - timedelta(seconds=30) < left <= month

    run_secured(scene, tmp_path, profile=3, utc_at_zero_s=FUTURE.timestamp())


def test_the_key_is_made_here_and_shown_to_nobody(tmp_path: Path) -> None:
    """A02.FR.02, FR.05: a new key for each request, readable for the service alone."""

    async def scene(rig: SecureRig) -> None:
        keys = rig.bench.directory / "keys"
        numbers = []
        for _ in range(2):
            await rig.triggered()
            request = await rig.asked_to_sign()
            numbers.append(read_request(request).public_key().public_numbers())  # type: ignore[union-attr]
            (file,) = keys.iterdir()
            assert file.stat().st_mode & 0o777 == 0o600
            assert keys.stat().st_mode & 0o777 == 0o700
        assert numbers[0] != numbers[1]
        secret = file.read_text().splitlines()[1]
        frames = "".join(frame for _, _, frame in rig.octt.csms.trace)
        assert secret not in frames
        assert secret.encode() not in (rig.bench.directory / "chargepoint.db").read_bytes()
        assert PASSWORD not in frames
        log = (rig.bench.directory / "security.log").read_text()
        assert "StartupOfTheDevice" in log
        assert PASSWORD not in log
        assert secret not in log

    run_secured(scene, tmp_path, profile=3)


def json_lines(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_text().splitlines()]


def test_every_event_is_in_the_security_log_the_trifling_ones_too(tmp_path: Path) -> None:
    """A04.FR.02, A01.FR.11."""

    async def scene(rig: SecureRig) -> None:
        await rig.octt.certificate_installed("ManufacturerRootCertificate", Root("maker").pem)
        await rig.octt.csms.send_text("no frame")
        await asyncio.sleep(1)
        log = rig.bench.directory / "security.log"
        types = [line["type"] for line in json_lines(log)]
        assert types[0] == "StartupOfTheDevice"
        assert "ReconfigurationOfSecurityParameters" in types
        assert types[-1] == "InvalidMessages"
        assert log.stat().st_mode & 0o777 == 0o600
        sent = {event["type"] for event in rig.octt.csms.of("SecurityEventNotification")}
        assert sent == {"StartupOfTheDevice"}
        rig.octt.csms.errors.clear()

    run_secured(scene, tmp_path)


def test_a_security_log_that_was_removed_and_an_outbox_that_fills_up_are_told() -> None:
    """SecurityLogWasCleared, MemoryExhaustion: both critical."""

    def small(settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, queue_rows=20)

    async def scene() -> None:
        async with SimBench(change=small) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.offline()
            await bench.stop()
            (bench.directory / "security.log").unlink()
            for _ in range(20):
                await bench.start()
                await asyncio.sleep(3)
                await bench.stop()
            await bench.start()
            await octt.online()
            await asyncio.sleep(60)
            events = [event["type"] for event in bench.csms.of("SecurityEventNotification")]
            assert events.count("SecurityLogWasCleared") == 1
            assert events.count("MemoryExhaustion") >= 1
            logged = [line["type"] for line in json_lines(bench.directory / "security.log")]
            assert logged[:2] == ["StartupOfTheDevice", "SecurityLogWasCleared"]
            assert logged.count("MemoryExhaustion") == events.count("MemoryExhaustion")

    run_virtual(scene())
