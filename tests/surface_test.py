"""What of the station others can reach, and how much of anything they can make it hold."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from agent.batches import INBOX_LENGTH, MOST_FRAMES
from agent.console import REQUEST_BYTES, Console
from agent.csms.words import MAX_BYTES
from agent.jobs import ftp, logs, pieces, sftp_child, watch, web
from agent.jobs.security_log import MOST_BYTES as MOST_LOG_BYTES
from agent.ocpp import certificates, customers, rpc, turns
from agent.ocpp.blocks.a_security.certificate import MAX_CHAIN_SIZE
from agent.ocpp.calls import Stream
from agent.ocpp.charging import rules
from agent.ocpp.router import MOST_OPEN
from hil.desk import DeskBench
from hil.parts.csms import Silent, StationError
from hil.parts.pki import Root
from hil.sim import SimBench
from tests.surface_bench import run

LISTENS, UNCONNECTED = "0A", "07"


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
    "bytes left free by a download": (pieces.RESERVE_BYTES, 64 << 20),
    "bytes left free for a log to be written": (logs.RESERVE_BYTES, 8 << 20),
    "places that a download is sent on to": (web.MOST_MOVES, 5),
    "lines of an FTP server's answer": (ftp.MOST_REPLY_LINES, 100),
    "bytes of memory that an SFTP server can fill": (sftp_child.MEMORY_BYTES, 96 << 20),
    "seconds in which a transfer may stand still": (watch.PATIENCE_S, 120),
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
