"""What of the station others can reach, how much of anything they can make it hold, and what a
harmful CSMS can never bring about."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.batches import INBOX_LENGTH, MOST_FRAMES
from agent.console import REQUEST_BYTES, Console
from agent.core import effects as ef
from agent.csms.words import MAX_BYTES
from agent.jobs import logs, transfer
from agent.jobs.security_log import MOST_BYTES as MOST_LOG_BYTES
from agent.ocpp import certificates, customers, rpc, turns
from agent.ocpp.blocks.a_security.certificate import MAX_CHAIN_SIZE
from agent.ocpp.calls import Stream
from agent.ocpp.charging import rules
from agent.ocpp.router import MOST_OPEN
from agent.settings import Settings
from hil.desk import DeskBench
from hil.parts.csms import Refused, Silent, StationError
from hil.parts.pki import Root
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

LISTENS, UNCONNECTED = "0A", "07"
NOBODY = 65534
CARD = "04A1B2C3"


# --- sockets --------------------------------------------------------------------------------------


def open_ports(pid: int) -> list[str]:
    """Sockets of the process that take what comes from a network, as /proc tells it."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            inodes.add(os.readlink(path).removeprefix("socket:[").rstrip("]"))
    found = []
    for kind, state in (("tcp", LISTENS), ("tcp6", LISTENS), ("udp", UNCONNECTED), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes and words[3] == state:
                found.append(f"{kind} {words[1]}")
    return found


def test_an_open_port_would_be_seen() -> None:
    assert open_ports(os.getpid()) == []
    with socket.create_server(("127.0.0.1", 0)):
        assert [port.split()[0] for port in open_ports(os.getpid())] == ["tcp"]


async def test_the_agent_listens_on_no_network() -> None:
    async with DeskBench() as bench:
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        assert (await bench.status())["link"] == "online", "the console does listen"
        assert bench.pid is not None
        assert open_ports(bench.pid) == []
        events = [event["type"] for event in bench.csms.of("SecurityEventNotification")]
        assert "MaintenanceLoginAccepted" not in events, "who only looks does not log in"
        assert (await bench.service())["waiting"] == {}
        login = await bench.csms.wait_for(
            "SecurityEventNotification", lambda event: "Maintenance" in event["type"]
        )
        user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
        assert login["type"] == "MaintenanceLoginAccepted"
        assert login["techInfo"] == f"{{'user': '{user}', 'origin': 'console'}}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user for this")
async def test_another_user_of_the_board_is_refused_even_if_the_socket_lets_him_in() -> None:
    """SO_PEERCRED is asked, whatever somebody did to the modes of socket and directory."""
    with tempfile.TemporaryDirectory(prefix="console-") as directory:  # pytest's own are for root
        await _refused(Path(directory))


async def _refused(directory: Path) -> None:
    path = directory / "console.sock"
    asked: list[dict[str, Any]] = []
    commands = {"status": lambda request: asked.append(request) or {"secret": "yes"}}
    code = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(9999).decode())"
    )
    console = asyncio.create_task(Console(str(path), commands).run())
    await asyncio.sleep(0)
    for place in (path, directory):
        place.chmod(0o777)
    words = (sys.executable, "-I", "-c", code, str(path))
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True)
    console.cancel()
    await asyncio.gather(console, return_exceptions=True)
    assert "may not ask" in done.stdout, done.stderr
    assert asked == []


# --- how much -------------------------------------------------------------------------------------


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1, **bench) as sim:
            await sim.csms.wait_for("StatusNotification")
            await test(sim)

    run_virtual(scene())


BOUNDS = {
    "bytes of a websocket frame": (MAX_BYTES, 1 << 20),
    "bytes of an OCPP frame": (rpc.MAX_BYTES, 1 << 18),
    "levels of nesting": (rpc.MAX_DEPTH, 64),
    "charging profiles": (rules.MAX_PROFILES, 32),
    "periods of a schedule": (rules.MAX_PERIODS, 100),
    "root certificates of one use": (certificates.MOST, 20),
    "characters of a certificate chain": (MAX_CHAIN_SIZE, 10_000),
    "reports that wait": (turns.MOST_REPORTS, 4),
    "CALLs that wait": (turns.MOST_CALLS, 100),
    "answers that wait for a result": (MOST_OPEN, 16),
    "requests for a customer's data": (customers.MOST_OPEN, 8),
    "frames in the inbox while the disk hangs": (INBOX_LENGTH, 1_000),
    "facts in the inbox before the link is read on": (MOST_FRAMES, 200),
    "bytes of a console request": (REQUEST_BYTES, 65_536),
    "bytes of the security log": (MOST_LOG_BYTES, 256 * 1024),
    "bytes of a diagnostics bundle": (logs.MOST_BYTES, 4 << 20),
    "bytes of its report": (logs.REPORT_BYTES, 1 << 20),
    "bytes of its journal": (logs.JOURNAL_BYTES, 2 << 20),
    "bytes left free by a download": (transfer.RESERVE_BYTES, 64 << 20),
    "bytes left free for a log to be written": (logs.RESERVE_BYTES, 8 << 20),
    "places that a download is sent on to": (transfer.MOST_MOVES, 5),
    "lines of an FTP server's answer": (transfer.MOST_REPLY_LINES, 100),
}
"""Name -> (what the code says, what docs/security.md says); each is obeyed by a test of its own."""


def test_the_bounds_stand_as_told_in_the_threat_model() -> None:
    text = (Path(__file__).parent.parent / "docs" / "security.md").read_text()
    rows = dict(
        (cell.strip() for cell in line.strip("| ").split("|")[:2])
        for line in text.split("## Bounds")[1].split("\n## ")[0].splitlines()
        if line.startswith("| ") and "---" not in line
    )
    for name, (is_so, told) in BOUNDS.items():
        assert is_so == told, name
        assert rows[name] == f"{told:,}", name


def test_profiles_periods_and_levels_beyond_the_bounds_are_refused() -> None:
    async def scene(bench: SimBench) -> None:
        async def install(number: int, periods: int = 1) -> str:
            steps = [{"startPeriod": n, "limit": 6.0} for n in range(periods)]
            schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": steps}
            profile = {
                "id": number,
                "stackLevel": number % 10,
                "chargingProfilePurpose": ("TxDefaultProfile", "ChargingStationMaxProfile")[
                    number // 10 % 2
                ],
                "chargingProfileKind": "Absolute",
                "validFrom": f"20{30 + number}-01-01T00:00:00Z",
                "validTo": f"20{30 + number}-02-01T00:00:00Z",
                "chargingSchedule": [schedule | {"startSchedule": "2026-09-22T00:00:00Z"}],
            }
            order = {"evseId": 0, "chargingProfile": profile}
            answer = await bench.csms.call("SetChargingProfile", order)
            return str(answer["status"])

        assert await install(1, periods=rules.MAX_PERIODS + 1) == "Rejected"
        answers = [await install(number) for number in range(60)]
        assert answers.count("Accepted") == rules.MAX_PROFILES
        assert len(bench.agent.view.profiles.installed) == rules.MAX_PROFILES

    run(scene)


def test_lists_beyond_the_bounds_are_refused_whole() -> None:
    async def scene(bench: SimBench) -> None:
        name = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "OfflineThreshold"}}
        for action, field in (("GetVariables", "getVariableData"), ("SetVariables", None)):
            item = name if field else name | {"attributeValue": "77"}
            with pytest.raises(StationError, match="at most 64 items"):
                await bench.csms.call(action, {field or "setVariableData": [item] * 65})
        answer = await bench.csms.call("GetVariables", {"getVariableData": [name]})
        assert answer["getVariableResult"][0]["attributeValue"] != "77"

    run(scene)


def test_roots_beyond_the_bound_are_refused() -> None:
    async def scene(bench: SimBench) -> None:
        answers = []
        for number in range(certificates.MOST + 3):
            order = {
                "certificateType": "CSMSRootCertificate",
                "certificate": Root(f"R{number}").pem,
            }
            answers.append((await bench.csms.call("InstallCertificate", order))["status"])
        assert answers.count("Accepted") <= certificates.MOST
        assert "Accepted" not in answers[certificates.MOST :]

    run(scene)


def test_a_csms_that_asks_and_never_answers_fills_no_memory() -> None:
    """Reports and triggered messages wait in bounded numbers, then the order is refused."""

    async def scene(bench: SimBench) -> None:
        for action in ("NotifyReport", "Heartbeat", "StatusNotification"):
            bench.csms.answer[action] = Silent()
        refused = 0
        for number in range(300):
            orders = (
                ("GetBaseReport", {"requestId": number, "reportBase": "FullInventory"}),
                ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
            )
            for action, order in orders:
                try:
                    answer = await bench.csms.call(action, order)
                    refused += answer["status"] == "Rejected"
                except StationError:
                    refused += 1
        waiting = bench.agent.view.connection.turns._queue
        reports = [queued for queued in waiting if isinstance(queued.item, Stream)]
        assert refused > 400
        assert len(waiting) <= turns.MOST_CALLS + turns.MOST_REPORTS
        assert 0 < len(reports) <= turns.MOST_REPORTS

    run(scene)


def test_a_csms_that_asks_faster_than_it_is_answered_fills_no_memory() -> None:
    """Checks of certificates take their time on a slow board, and each keeps what it is about."""

    async def scene(bench: SimBench) -> None:
        pem = Root("one").pem
        order = {"certificateType": "CSMSRootCertificate", "certificate": pem}
        calls = [bench.csms.call("InstallCertificate", order) for _ in range(100)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StationError)]
        taken = [answer for answer in answers if isinstance(answer, dict)]
        assert refused
        assert taken
        assert len(refused) + len(taken) == len(answers)
        assert "too many answers" in str(refused[0])
        assert (await bench.csms.call("InstallCertificate", order))["status"] == "Accepted"

    run(scene)


def test_a_csms_that_floods_waits_in_its_own_buffers() -> None:
    """The link is read no faster than frames are dealt with; the board would run out of memory."""

    async def scene(bench: SimBench) -> None:
        longest = 0

        def look(effect: object) -> None:
            nonlocal longest
            longest = max(longest, len(bench.agent.runtime._inbox))

        bench._on_effect = look
        for number in range(5000):
            await bench.csms.send_text(json.dumps([2, f"f{number}", "ClearCache", {}]))
        await asyncio.sleep(60)
        answered = [frame for _, _, frame in bench.csms.trace if frame.startswith('[3,"f')]
        assert len(answered) == 5000, "each gets its answer all the same"
        assert longest <= 2 * MOST_FRAMES

    run(scene)


# --- what a harmful CSMS can never do -------------------------------------------------------------


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
