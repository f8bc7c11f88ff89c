"""Part 6, block L: firmware updates, from the request to the report of the new image.

The station downloads while it charges (AQ-7), installs only when no transaction runs (not C-43),
restarts to activate the new firmware, and can cancel until it installs (C-60).
"""

from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec.structs import replace

from agent.core.jobs import FetchFirmware, InstallFirmware, VerifyFirmware
from agent.settings import Security, Settings
from hil.cases import play
from hil.conformance import OTHER_CARD, Octt, firmware
from hil.parts.csms import StationError
from hil.parts.pki import Root

Payload = dict[str, Any]

REQUEST_ID = 42
ALLOW_NEW = ("ChargingStation", "AllowNewSessionsPendingFirmwareUpdate")
UNTIL_VERIFIED = ("Downloading", "Downloaded", "SignatureVerified")


async def update(octt: Octt, status: str = "Accepted", number: int = 0, **times: float) -> None:
    wanted = {"requestId": REQUEST_ID + number, "firmware": await firmware(octt, **times)}
    octt.csms.forget()
    answer = await octt.call("UpdateFirmware", wanted)
    assert answer["status"] == status, answer


async def told(octt: Octt, *statuses: str, number: int = 0) -> None:
    """Exactly these notifications come next, each with the requestId (L01.FR.10, FR.20)."""
    for status in statuses:
        found = await octt.expect("FirmwareStatusNotification", within_s=7200)
        assert found == {"status": status, "requestId": REQUEST_ID + number}


async def unavailable(octt: Octt, *places: tuple[int, int]) -> None:
    for evse_id, connector_id in places:
        await octt.expect_status("Unavailable", evseId=evse_id, connectorId=connector_id)


async def installed(octt: Octt, number: int = 0) -> None:
    """RebootBeforeFirmwareActivation, then the new image reports."""
    bench = octt.bench
    await told(octt, "Installing", "InstallRebooting", number=number)
    await bench.until(lambda: not bench.is_running)
    assert bench.agent.runtime.restart is not None
    assert bench.agent.runtime.restart.scope == "board"
    bench.forget_agent()
    octt.csms.forget()
    await bench.start()
    boot = await octt.expect("BootNotification")
    assert boot["reason"] == "FirmwareUpdate", boot
    await told(octt, "Installed", number=number)
    await octt.csms.wait_for(
        "SecurityEventNotification", lambda event: event["type"] == "FirmwareUpdated"
    )
    for evse_id in (1, 2):
        await octt.csms.wait_for(
            "StatusNotification",
            lambda p, at=evse_id: p["evseId"] == at and p["connectorStatus"] == "Available",
        )


def test_TC_L_01_CS() -> None:
    async def scene(octt: Octt) -> None:
        await update(octt, install_s=-7200)
        await told(octt, *UNTIL_VERIFIED)
        await installed(octt)

    play(scene)


def test_TC_L_02_CS() -> None:
    async def scene(octt: Octt) -> None:
        due_s = octt.bench.utc_s() + 600
        await update(octt, install_s=600)
        await told(octt, *UNTIL_VERIFIED, "InstallScheduled")
        await installed(octt)
        assert octt.bench.utc_s() > due_s
        assert octt.bench.work.of(InstallFirmware)

    play(scene)


def test_TC_L_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        due_s = octt.bench.utc_s() + 600
        await update(octt, retrieve_s=600, install_s=-7200)
        await told(octt, "DownloadScheduled", "Downloading")
        assert octt.bench.utc_s() >= due_s
        await told(octt, "Downloaded", "SignatureVerified")
        await installed(octt)

    play(scene)


def test_TC_L_05_CS() -> None:
    async def scene(octt: Octt) -> None:
        wanted = await firmware(octt)
        wanted["signingCertificate"] = Root("stranger").signer()
        octt.csms.forget()
        request = {"requestId": REQUEST_ID, "firmware": wanted}
        answer = await octt.call("UpdateFirmware", request)
        assert answer["status"] in ("InvalidCertificate", "RevokedCertificate")
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidFirmwareSigningCertificate"
        assert not octt.bench.work.of(FetchFirmware)

    play(scene)


def test_a_certificate_of_the_makers_for_something_else_signs_no_firmware() -> None:
    """A station's own, for one: its key lies on every board."""

    async def scene(octt: Octt) -> None:
        maker = Root("maker")
        await octt.certificate_installed("ManufacturerRootCertificate", maker.pem)
        wanted = await firmware(octt, maker=maker)
        wanted["signingCertificate"] = maker.signer((ExtendedKeyUsageOID.CLIENT_AUTH,))
        answer = await octt.call("UpdateFirmware", {"requestId": REQUEST_ID, "firmware": wanted})
        assert answer["status"] == "InvalidCertificate"
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidFirmwareSigningCertificate"
        assert "key usage" in event["techInfo"]

    play(scene)


def test_the_makers_root_of_the_file_vouches_for_a_signer(tmp_path: Path) -> None:
    """Nothing has to be installed first: the charger leaves the factory with it."""
    maker = Root("maker")
    (tmp_path / "maker.pem").write_text(maker.pem)

    def with_root(settings: Settings) -> Settings:
        return replace(settings, security=Security(manufacturer_ca_file=f"{tmp_path}/maker.pem"))

    async def scene(octt: Octt) -> None:
        wanted = await firmware(octt, maker=maker)
        answer = await octt.call("UpdateFirmware", {"requestId": REQUEST_ID, "firmware": wanted})
        assert answer["status"] == "Accepted", answer

    play(scene, change=with_root)


@pytest.mark.parametrize("url", ["sftp://files.invalid/f", "file:///etc/hostname", "scp://x/y"])
def test_what_no_client_here_fetches_is_refused_at_once(url: str) -> None:
    async def scene(octt: Octt) -> None:
        wanted = await firmware(octt) | {"location": url}
        answer = await octt.call("UpdateFirmware", {"requestId": REQUEST_ID, "firmware": wanted})
        assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidURL"}}
        assert not octt.bench.work.started
        log = {"logType": "SecurityLog", "requestId": 1, "log": {"remoteLocation": url}}
        answer = await octt.call("GetLog", log)
        assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidURL"}}

    play(scene)


def test_where_the_servers_keys_are_known_files_go_by_sftp() -> None:
    def with_keys(settings: Settings) -> Settings:
        return replace(settings, security=Security(known_hosts_file="/etc/known_hosts"))

    async def scene(octt: Octt) -> None:
        url = "sftp://files.invalid/f"
        log = {"logType": "SecurityLog", "requestId": 1, "log": {"remoteLocation": url}}
        answer = await octt.call("GetLog", log)
        assert answer["status"] == "Accepted", answer
        assert octt.bench.work.started[-1].url == url
        known = await octt.get_variable("OCPPCommCtrlr", "FileTransferProtocols")
        assert known["attributeValue"] == "FTP,FTPS,HTTP,HTTPS,SFTP"

    play(scene, change=with_keys)


def test_no_file_server_no_publishing() -> None:
    """L03, L04 belong to a local controller."""

    async def scene(octt: Octt) -> None:
        request = {"location": "https://x/f", "checksum": "0" * 32, "requestId": 1}
        for action, payload in (
            ("PublishFirmware", request),
            ("UnpublishFirmware", {"checksum": "0" * 32}),
        ):
            with pytest.raises(StationError) as error:
                await octt.call(action, payload)
            assert error.value.code == "NotSupported"

    play(scene)


def test_TC_L_06_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.work.fails[VerifyFirmware] = ["InvalidSignature"]
        await update(octt, install_s=-7200)
        await told(octt, "Downloading", "Downloaded", "InvalidSignature")
        event = await octt.expect("SecurityEventNotification")
        assert event["type"] == "InvalidFirmwareSignature"
        assert not octt.bench.work.of(InstallFirmware)

    play(scene)


def test_TC_L_07_CS() -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.work.fails[FetchFirmware] = ["DownloadFailed"] * 4
        await update(octt, install_s=-7200)
        await told(octt, "Downloading", "DownloadFailed")
        assert len(octt.bench.work.of(FetchFirmware)) == 4

    play(scene)


@pytest.mark.parametrize("status", ["InstallVerificationFailed", "InstallationFailed"])
def test_TC_L_08_CS(status: str) -> None:
    async def scene(octt: Octt) -> None:
        octt.bench.work.fails[InstallFirmware] = [status]
        await update(octt, install_s=-7200)
        await told(octt, *UNTIL_VERIFIED, "Installing", status)
        await unavailable(octt, (1, 1), (2, 1))
        for evse_id in (1, 2):
            await octt.expect_status("Available", evseId=evse_id, connectorId=1)

    play(scene)


def test_TC_L_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        await update(octt, install_s=-7200)
        await told(octt, "Downloading")
        await update(octt, "AcceptedCanceled", number=1, install_s=-7200)
        await told(octt, *UNTIL_VERIFIED, number=1)
        await installed(octt, number=1)

    play(scene)


async def left(octt: Octt) -> None:
    """ParkingBayUnoccupied: the session is stopped and the cable taken out."""
    await octt.stop_authorized()
    octt.bench.plug_out(octt.evse_id, octt.connector_id)


def test_TC_L_14_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable(*ALLOW_NEW, "true")
        other = Octt(octt.bench, evse_id=2)
        await octt.energy_transfer_started()
        await update(octt, install_s=-7200)
        await told(octt, *UNTIL_VERIFIED, "InstallScheduled")
        await other.authorized(card=OTHER_CARD)
        await other.ev_connected_pre_session()
        await other.energy_transfer_started()
        await left(octt)
        assert not octt.bench.work.of(InstallFirmware)
        await other.stop_authorized(card=OTHER_CARD)
        octt.bench.plug_out(2)
        await installed(octt)

    play(scene)


def test_TC_L_15_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable(*ALLOW_NEW, "false")
        await octt.energy_transfer_started()
        await update(octt, install_s=-7200)
        await told(octt, *UNTIL_VERIFIED, "InstallScheduled")
        await unavailable(octt, (2, 1))
        octt.bench.plug_in(2)
        octt.bench.swipe(OTHER_CARD)
        await octt.bench.until(lambda: bool(octt.bench.agent.view.station.evses[2].connected))
        assert not octt.bench.work.of(InstallFirmware)
        octt.bench.plug_out(2)
        await left(octt)
        await installed(octt)

    play(scene)


def test_nothing_restarts_or_replaces_an_installation() -> None:
    """L01.FR.27."""

    async def scene(octt: Octt) -> None:
        await update(octt)
        await told(octt, *UNTIL_VERIFIED, "Installing")
        answer = await octt.call("Reset", {"type": "Immediate"})
        assert answer["status"] == "Rejected", answer
        await update(octt, "Rejected", number=1)

    play(scene)


def test_TC_L_18_CS() -> None:
    async def scene(octt: Octt) -> None:
        wanted = await firmware(octt, install_s=-7200)
        del wanted["signingCertificate"], wanted["signature"]
        request = {"requestId": REQUEST_ID, "firmware": wanted}
        answer = await octt.call("UpdateFirmware", request)
        assert answer["status"] in ("Rejected", "InvalidCertificate"), answer
        assert not octt.bench.work.of(FetchFirmware)

    play(scene)
