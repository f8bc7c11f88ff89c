"""What the demo shows, and how it ends when it cannot play."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil import demo
from hil.demo_view import details, state_line

ROOT = Path(__file__).parent.parent.parent


# --- the view -------------------------------------------------------------------------------------


def test_the_state_line_shows_state_current_register_link_and_queue() -> None:
    status = {
        "link": "online",
        "queue": 3,
        "connectors": [
            {
                "evse_id": 1,
                "status": "Occupied",
                "charging_state": "Charging",
                "offered_a": 20.0,
                "current_a": 16.0,
                "energy_kwh": 1234.5678,
            },
            {"evse_id": 2, "status": "Faulted"},
        ],
    }
    assert state_line(status) == (
        "online, 3 waiting | EVSE 1 Charging, 16 of 20 A, 1234.568 kWh | "
        "EVSE 2 Faulted, 0 of 0 A, - kWh"
    )


def test_a_transaction_event_is_told_with_its_number_register_and_offline_flag() -> None:
    payload = {
        "eventType": "Ended",
        "seqNo": 2,
        "triggerReason": "StopAuthorized",
        "transactionInfo": {"transactionId": "transaction-a"},
        "offline": True,
        "meterValue": [{"sampledValue": [{"value": 1040.0, "context": "Transaction.End"}]}],
    }
    assert list(details("TransactionEvent", payload)) == [
        "transact #2 Ended",
        "StopAuthorized",
        "1040 Wh",
        "happened or waited offline",
    ]


# --- how it ends ----------------------------------------------------------------------------------


def test_an_agent_that_does_not_run_fails_the_demo_and_its_log_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert demo.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "demo: FAILED: the agent ended with exit code 1" in "\n".join(lines)
    (log,) = tmp_path.glob("*/agent.log")
    assert lines[-1] == f"demo: FAILED: read {log}, mend what is named and run the demo again"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="cp-") as directory:
        yield Path(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_its_agent_and_leaves_nothing(
    number: signal.Signals, short_path: Path
) -> None:
    demo_process = subprocess.Popen(
        [sys.executable, "-u", "-m", "hil.demo"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(short_path), "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert demo_process.stdout is not None
    for line in demo_process.stdout:
        if "BootNotification" in line:
            break
    assert agents_of(short_path)
    demo_process.send_signal(number)
    rest, _ = demo_process.communicate(timeout=60)
    assert demo_process.returncode == 130
    assert rest.splitlines()[-1] == "demo: stopped; nothing was compared"
    assert not agents_of(short_path)
    assert list(short_path.iterdir()) == []


def agents_of(directory: Path) -> list[int]:
    """Processes that were started with a charger.yaml in this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if entry.name.isdigit() and any(w.startswith(bytes(directory)) for w in words):
            found.append(int(entry.name))
    return found
