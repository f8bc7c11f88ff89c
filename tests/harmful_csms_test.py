"""What a harmful CSMS can never bring about, and what stays in the security log."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.core import effects as ef
from agent.settings import Settings
from hil.parts.csms import Refused, StationError
from hil.parts.pki import Root
from hil.scenarios.day import begin
from hil.sim import SimBench
from tests.surface_bench import run

CARD = "04A1B2C3"


def test_no_limit_of_a_csms_exceeds_the_file() -> None:
    """The supply is 20 A here; every purpose asks for a million, in A and in W."""

    async def scene(bench: SimBench) -> None:
        await begin(bench, 1, CARD, current_a=32.0)
        transaction_id = bench.connector()["transaction_id"]
        for number, (purpose, unit) in enumerate(
            (p, u)
            for p in ("ChargingStationMaxProfile", "TxDefaultProfile", "TxProfile")
            for u in ("A", "W")
        ):
            schedule = {
                "id": 1,
                "chargingRateUnit": unit,
                "startSchedule": "2026-09-21T00:00:00Z",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1e6}],
            }
            profile = {
                "id": number,
                "stackLevel": number,
                "chargingProfilePurpose": purpose,
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [schedule],
            }
            if purpose == "TxProfile":
                profile["transactionId"] = transaction_id
            evse_id = 0 if purpose == "ChargingStationMaxProfile" else 1
            order = {"evseId": evse_id, "chargingProfile": profile}
            await bench.csms.call("SetChargingProfile", order)
            await asyncio.sleep(60)
            assert bench.connector()["offered_a"] == 20.0
            assert bench.board.connector(1, 1).drawn_a == 20.0

    run(scene, supply_a=20.0)


def test_a_csms_cannot_put_itself_in_the_makers_place(tmp_path: Path) -> None:
    """Who vouches for firmware came with the station: what it signs may come beside it, no other;
    and it cannot be deleted to make room for one."""
    maker, use = Root("maker"), "ManufacturerRootCertificate"
    (tmp_path / "maker.pem").write_text(maker.pem)

    def made(settings: Settings) -> Settings:
        from msgspec.structs import replace

        security = replace(settings.security, manufacturer_ca_file=str(tmp_path / "maker.pem"))
        return replace(settings, security=security)

    async def scene(bench: SimBench) -> None:
        async def install(root: Root) -> str:
            order = {"certificateType": use, "certificate": root.pem}
            return str((await bench.csms.call("InstallCertificate", order))["status"])

        async def delete(root: Root) -> str:
            order = {"certificateHashData": root.hash_data()}
            return str((await bench.csms.call("DeleteCertificate", order))["status"])

        assert await install(Root("the CSMS's own")) == "Rejected"
        assert await delete(maker) == "Failed"
        assert await install(maker) == "Accepted"
        assert await delete(maker) == "Failed", "nor after it was installed once more"
        next_one = Root("next", signer=maker)
        assert await install(next_one) == "Accepted"
        assert await install(Root("the CSMS's own", signer=next_one)) == "Rejected"
        await bench.power_cut()
        await bench.start()
        await bench.csms.wait_connected()
        assert await delete(maker) == "Failed", "nor by the next process"
        assert await delete(next_one) == "Accepted"

    run(scene, change=made)


def security_log(bench: SimBench) -> list[dict[str, str]]:
    text = (bench.directory / "security.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_changes_of_who_is_trusted_are_in_the_security_log() -> None:
    async def scene(bench: SimBench) -> None:
        named = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "OrganizationName"}}
        item = named | {"attributeValue": "Somebody else"}
        await bench.csms.call("SetVariables", {"setVariableData": [item]})
        data = {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "ws://other.invalid/x",
            "messageTimeout": 30,
            "securityProfile": 1,
            "ocppInterface": "Wired0",
        }
        order = {"configurationSlot": 3, "connectionData": data}
        assert (await bench.csms.call("SetNetworkProfile", order))["status"] == "Accepted"
        await asyncio.sleep(1)
        words = [
            line["info"]
            for line in security_log(bench)
            if line["type"] == "ReconfigurationOfSecurityParameters"
        ]
        assert words == [
            "SecurityCtrlr/OrganizationName changed",
            "network slot 3: security profile 1",
        ]

    run(scene)


def test_a_security_log_that_was_emptied_is_told_at_the_next_start() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.stop()
        (bench.directory / "security.log").write_text("")
        await bench.start()
        await bench.csms.wait_for(
            "SecurityEventNotification", lambda event: event["type"] == "SecurityLogWasCleared"
        )

    run(scene)


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        '[2,"1","Reset",{"type":"Sometimes"}]',
        '[2,"1","Reset",{}]',
        '[2,"1","NoSuchThing",{}]',
    ],
)
def test_what_is_no_ocpp_is_in_the_security_log(frame: str) -> None:
    async def scene(bench: SimBench) -> None:
        for _ in range(3):
            await bench.csms.send_text(frame)
        await asyncio.sleep(1)
        types = [line["type"] for line in security_log(bench)]
        assert types.count("InvalidMessages") == 1

    run(scene)


EVERY_ORDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ChangeAvailability", {"operationalStatus": "Operative"}),
    ("UnlockConnector", {"evseId": 1, "connectorId": 1}),
    ("TriggerMessage", {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}),
    ("RequestStopTransaction", {"transactionId": "none"}),
    ("ClearCache", {}),
    ("GetTransactionStatus", {}),
    ("CostUpdated", {"totalCost": 0, "transactionId": "none"}),
    ("DataTransfer", {"vendorId": "x", "data": "close the contactor"}),
    ("Reset", {"type": "Immediate"}),
)


def test_only_a_token_energises() -> None:
    """A plugged-in EV and every order but a start, which names who pays for it."""

    async def scene(bench: SimBench) -> None:
        bench.plug_in(1)
        await asyncio.sleep(10)
        for action, order in EVERY_ORDER:
            try:
                await bench.csms.call(action, order)
            except StationError:
                pass
            await asyncio.sleep(30)
        if not bench.is_running:
            await bench.restarted()
        await asyncio.sleep(120)
        assert not bench.board.connector(1, 1).closed
        assert not [effect for effect in bench.effects if isinstance(effect, ef.AllowPower)]

    run(scene)


def test_a_start_without_an_ev_closes_nothing() -> None:
    async def scene(bench: SimBench) -> None:
        token = {"idToken": "APP", "type": "Central"}
        order = {"idToken": token, "remoteStartId": 1, "evseId": 1}
        await bench.csms.call("RequestStartTransaction", order)
        await asyncio.sleep(600)
        assert not bench.board.connector(1, 1).closed

    run(scene)


def with_firmware(settings: Settings) -> Settings:
    import msgspec

    plain = msgspec.to_builtins(settings)
    plain["firmware"] = {"installer": {"kind": "command", "command": ["/bin/true"]}}
    return msgspec.convert(plain, Settings)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/shadow",
        "file://localhost/etc/shadow",
        "FILE:///etc/shadow",
        "/etc/shadow",
        "data:,x",
    ],
)
def test_no_file_of_the_station_is_fetched_or_sent(url: str) -> None:
    async def scene(bench: SimBench) -> None:
        times = {"retrieveDateTime": "2026-09-21T00:00:00Z"}
        update = {"requestId": 1, "firmware": {"location": url} | times}
        log = {"logType": "DiagnosticsLog", "requestId": 2, "log": {"remoteLocation": url}}
        for action, order in (("UpdateFirmware", update), ("GetLog", log)):
            answer = await bench.csms.call(action, order)
            assert answer["status"] == "Rejected", answer
        await asyncio.sleep(60)
        assert not bench.work.started

    run(scene, change=with_firmware)


def test_the_url_of_another_csms_leads_to_no_file() -> None:
    async def scene(bench: SimBench) -> None:
        for url in ("file:///etc/shadow", "http://h/x", "unix:///run/x", "ws://"):
            data = {
                "ocppVersion": "OCPP20",
                "ocppTransport": "JSON",
                "ocppCsmsUrl": url,
                "messageTimeout": 30,
                "securityProfile": 1,
                "ocppInterface": "Wired0",
            }
            order = {"configurationSlot": 3, "connectionData": data}
            answer = await bench.csms.call("SetNetworkProfile", order)
            assert answer["status"] == "Rejected", url

    run(scene)


def test_a_csms_that_refuses_everything_and_provokes_events_does_not_fill_the_disk() -> None:
    """An event each second, each of them refused; and what it can provoke itself."""

    async def scene(bench: SimBench) -> None:
        for name, value in (
            ("SampledDataCtrlr.TxUpdatedInterval", "1"),
            ("OCPPCommCtrlr.MessageAttempts", "1"),
        ):
            component, _, variable = name.partition(".")
            named: dict[str, Any] = {"name": variable}
            if variable == "MessageAttempts":
                named["instance"] = "TransactionEvent"
            item = {"component": {"name": component}, "variable": named, "attributeValue": value}
            await bench.csms.call("SetVariables", {"setVariableData": [item]})
        await begin(bench, 1, CARD)
        for action in ("TransactionEvent", "SecurityEventNotification"):
            bench.csms.answer[action] = Refused("GenericError", "x" * 255)
        bad = {
            "location": "https://files.invalid/f",
            "retrieveDateTime": "2026-09-21T00:00:00Z",
            "signingCertificate": Root("stranger").signer(),
            "signature": "c2lnbmF0dXJl",
        }
        sizes = []
        for _ in range(6):
            for _ in range(40):
                await bench.csms.send_text("no frame")
            for _ in range(10):
                answer = await bench.csms.call("UpdateFirmware", {"requestId": 1, "firmware": bad})
                assert answer["status"] == "InvalidCertificate"
            await asyncio.sleep(60)
            files = [path for path in bench.directory.rglob("*") if path.is_file()]
            sizes.append(sum(path.stat().st_size for path in files))
        assert bench.agent.status()["set_aside"] <= 45
        assert bench.agent.status()["thinned"] > 250
        assert sizes[-1] < 1.2 * sizes[2], sizes

    run(scene, change=few_rows)


def few_rows(settings: Settings) -> Settings:
    from msgspec.structs import replace

    return replace(settings, queue_rows=40)


def test_what_is_kept_of_a_frame_in_the_journal_is_bounded() -> None:
    async def scene(bench: SimBench) -> None:
        for _ in range(500):
            await bench.csms.send_text(json.dumps([2, "x", "DataTransfer", {"e" * 9_000: 1}]))
            await asyncio.sleep(0.1)
        lines = [effect.text for effect in bench.effects if isinstance(effect, ef.Log)]
        assert sum(len(line) for line in lines) < 20_000

    run(scene)
