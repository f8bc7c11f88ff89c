import asyncio
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import agent
from agent import cli, safe_off, status_table
from agent.console import Console, ConsoleError
from agent.errors import StoreError
from agent.settings import Settings
from drivers.contract import PortError

ROOT = Path(__file__).parent.parent.parent
LAB = ROOT / "config" / "examples" / "lab.yaml"

STATUS: dict[str, Any] = {
    "station": "LAB-1",
    "link": "online since 10:00",
    "queue": 3,
    "set_aside": 0,
    "clock_known": True,
    "connectors": [
        {
            "evse_id": 1,
            "connector_id": 1,
            "status": "Occupied",
            "pilot": "C",
            "current_a": 15.98,
            "energy_kwh": 1.25,
            "faults": [],
        },
        {"evse_id": 2, "connector_id": 1, "status": "Faulted", "faults": ["rcd", "ground"]},
    ],
}


@pytest.fixture
def bad(tmp_path: Path) -> str:
    file = tmp_path / "bad.yaml"
    file.write_text(LAB.read_text().replace("driver: sim_meter", "driver: sim_metre"))
    return str(file)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Stands in for agent.daemon and agent.safe_off, and notes what it was asked to do."""
    fake = ModuleType("agent.daemon")
    fake.calls = []  # type: ignore[attr-defined]

    def run(settings: Settings) -> int:
        fake.calls.append(("run", settings.station.identity))
        return 7

    def open_all(config_path: str) -> int:
        fake.calls.append(("safe_off", config_path))
        return 3

    fake.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "agent.daemon", fake)
    monkeypatch.setattr(agent, "daemon", fake, raising=False)
    monkeypatch.setattr(safe_off, "open_all", open_all)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield fake
    root.handlers[:] = handlers
    root.setLevel(level)


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environ,
    )


def test_check_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "config" / "charger.yaml")
    assert cli.main(["check", file]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_check_names_every_mistake_and_ends_with_78(
    bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", bad]) == 78
    mistake, warning, total = capsys.readouterr().out.splitlines()
    assert mistake.startswith(f"{bad}:26:13: devices.meter.driver: ")
    assert "did you mean 'sim_meter'?" in mistake
    assert ": warning: csms[0].lab_unsecured: " in warning
    assert total == "1 mistake, 1 warning"


def test_check_with_warnings_only_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(LAB)]) == 0
    assert capsys.readouterr().out.endswith("\n0 mistakes, 1 warning\n")


def test_run_becomes_check_when_the_file_is_wrong(bad: str) -> None:
    done = command("run", bad)
    assert done.returncode == 78
    assert done.stdout.endswith("1 mistake, 1 warning\n")
    assert "did you mean 'sim_meter'?" in done.stdout


def test_run_hands_the_settings_to_the_daemon(
    daemon: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(LAB)]) == 7
    assert daemon.calls == [("run", "LAB-1")]
    assert "<4>chargepoint: " in capsys.readouterr().err


def test_safe_off_is_tried_even_with_a_wrong_file(daemon: ModuleType, bad: str) -> None:
    assert cli.main(["safe-off", bad]) == 3
    assert cli.main(["safe-off"]) == 3
    assert daemon.calls == [("safe_off", bad), ("safe_off", cli.DEFAULT_CONFIG)]


@pytest.mark.parametrize("error", [StoreError("disk is full; free some"), PortError("no port")])
def test_an_error_of_ours_is_one_line(
    error: Exception,
    daemon: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr(daemon, "run", run)
    assert cli.main(["run", str(LAB)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"chargepoint: {error}"


class Station:
    """A console on its own loop in a thread, as a running station has one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def both() -> None:
            self._task = asyncio.create_task(
                Console(str(self.path), {"status": lambda _: STATUS}).run()
            )
            await asyncio.sleep(0)  # its first step binds and listens
            self._up.set()
            await asyncio.wait([self._task])

        self._loop.run_until_complete(both())
        self._loop.close()

    def __enter__(self) -> "Station":
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)


def lab_in(folder: Path) -> str:
    file = folder / "c.yaml"
    file.write_text(LAB.read_text().replace("/var/tmp/chargepoint-lab", str(folder)))
    return str(file)


def test_status_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Station(tmp_path / "console.sock"):
        assert cli.main(["status", lab_in(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:5] == [
        "station:     LAB-1",
        "link:        online since 10:00",
        "queue:       3",
        "set aside:   0",
        "clock known: yes",
    ]
    assert out[6].split() == ["EVSE", "CONN", "STATUS", "PILOT", "A", "kWh", "FAULTS"]
    assert out[7].split() == ["1", "1", "Occupied", "C", "15.98", "1.250", "-"]
    assert out[8].split() == ["2", "1", "Faulted", "-", "-", "-", "rcd,", "ground"]


def test_status_as_json_is_the_whole_answer(
    tmp_path: Path, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = tmp_path / "s"
    with Station(socket):
        assert cli.main(["status", bad, "--json", "--socket", str(socket)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, **STATUS}


def test_status_without_a_service_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", lab_in(tmp_path)]) == 1
    assert "the service does not run" in capsys.readouterr().err


def test_status_of_a_file_that_cannot_be_used_names_the_way_round(
    bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", bad]) == 78
    assert "--socket" in capsys.readouterr().err


def test_watching_outlives_a_restart_and_ends_with_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: Iterator[Callable[[], dict[str, Any]]] = iter(
        [lambda: {"ok": True, "station": "X"}, _gone, lambda: {"ok": True, "station": "Y"}]
    )
    monkeypatch.setattr("agent.console.ask", lambda *_: next(answers)())
    sleeps = iter([None, None, KeyboardInterrupt()])

    def sleep(_: float) -> None:
        error = next(sleeps)
        if error is not None:
            raise error

    monkeypatch.setattr("time.sleep", sleep)
    assert cli.main(["status", "--watch", "--socket", "/s"]) == 130
    assert capsys.readouterr().out.splitlines() == ["station: X", "chargepoint: gone", "station: Y"]


def _gone() -> dict[str, Any]:
    raise ConsoleError("gone")


def test_a_table_shows_no_control_characters() -> None:
    assert status_table.shown("a\x1b[2Jb\n") == "a[2Jb"
    assert status_table.shown({"a_b": None, "c": False}) == "a b -, c no"


def entry(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    found = importlib.metadata.EntryPoint("demo", value, cli.COMMAND_GROUP)
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group, name: [found] if (group, name) == (cli.COMMAND_GROUP, "demo") else [],
    )


def test_another_verb_comes_from_the_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("fake_bench")
    seen: list[list[str]] = []
    module.main = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_bench", module)
    entry(monkeypatch, "fake_bench:main")
    assert cli.main(["demo", "--fast", "2"]) == 0
    assert seen == [["--fast", "2"]]


@pytest.mark.parametrize("value", [None, "not_installed_bench.demo:main"])
def test_a_board_without_benches_says_what_to_install(
    value: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry(monkeypatch, value or "x:y")
    assert cli.main(["demo" if value else "bench"]) == 2
    assert "make venv" in capsys.readouterr().err


def test_a_bench_that_lacks_something_else_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_bench.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry(monkeypatch, "broken_bench:main")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        cli.main(["demo"])


def test_a_mistyped_verb_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chek"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_the_version_is_printed() -> None:
    done = command("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("chargepoint ")


def test_check_loads_no_network_and_no_loop() -> None:
    code = (
        "import sys; from agent.cli import main; main(['check', sys.argv[1]]); "
        "print([m for m in ('asyncio', 'ssl', 'sqlite3', 'jsonschema', 'websockets', 'pymodbus')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(LAB)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_early_is_no_traceback(bad: str) -> None:
    code = "import sys; from agent.cli import main; sys.exit(main(['check', sys.argv[1]]))"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, bad],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=environ,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("limit", "10", "--for", "30", "c.yaml"),
        ("limit", "10", "c.yaml", "--for", "30"),
        ("limit", "--for", "30", "10", "c.yaml"),
    ],
)
def test_the_file_may_stand_before_and_behind_the_options(words: tuple[str, ...]) -> None:
    arguments = cli._parsed([*words])
    assert (arguments.config, arguments.AMPS, arguments.for_s) == ("c.yaml", "10", 30.0)


@pytest.mark.parametrize(
    "words", [("check", "a", "b"), ("status", "a", "--wach"), ("check", "--x")]
)
def test_a_word_too_many_is_named_with_the_help(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert (
        f"{words[-1]}: not understood; `chargepoint {words[0]} --help`" in capsys.readouterr().err
    )
