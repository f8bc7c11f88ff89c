"""`chargepoint probe` through its command: with a service, without one, with wrong files."""

import json
import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import cli, probe, screen
from agent.devices import DeviceSeen
from agent.errors import ChargepointError
from agent.probe_text import COLUMNS, text
from drivers.contract import Counters
from tests.agent.probe_judge_test import meter, pilot

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "config" / "charger.yaml"


def file_in(folder: Path) -> str:
    """charger.yaml of a station whose ports do not exist and whose service does not run."""
    file = folder / "charger.yaml"
    file.write_text(EXAMPLE.read_text() + f"data_directory: {folder}\n")
    return str(file)


def answers(monkeypatch: pytest.MonkeyPatch, rows: list[DeviceSeen]) -> list[dict[str, Any]]:
    """A service that sees `rows`; the answer lists what it was asked."""
    asked: list[dict[str, Any]] = []

    def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"ok": True, "station": "X", "devices": msgspec.to_builtins(rows)}

    monkeypatch.setattr(probe, "ask", ask)
    return asked


def test_the_running_service_is_asked_and_nothing_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answers(monkeypatch, [meter(), pilot()])
    assert cli.main(["probe", file_in(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "station CP-0001, asked from the running service"
    assert lines[-1] == "nothing looks wrong"
    assert any("1.234 kWh   11040 W   50.00 Hz   0.5 s old   serial 77" in line for line in lines)
    assert any(line.split() == ["L2", "230.0", "V", "16.00", "A", "3680", "W"] for line in lines)
    assert any("state C   contactor closed   offers 16 A" in line for line in lines)
    assert asked == [{"cmd": "probe", "cards": False}]


def test_what_is_wrong_ends_with_1_and_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = meter(
        {"voltage_v": (23000.0,) * 3},
        counters=Counters(requests=1000, timeouts=300, latency_s=0.0123, opens=2),
        doubts=("the word order is told differently by two manuals " * 4,),
        port="/dev/serial/by-id/usb-" + "x" * 120,
    )
    answers(monkeypatch, [broken])
    assert cli.main(["probe", file_in(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= COLUMNS
    assert "! L1 2.3e+04 V" in out
    assert "? the word order is told differently" in out
    assert "1000 requests: 300 timeouts, 0 unusable, 0 exceptions, 1 reconnects" in out
    assert "latency 12 ms" in out
    assert out.endswith("\n2 complaints, each marked ! above\n")


def test_json_is_for_benches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, [meter(lost="gone; look", counters=Counters(opens=3))])
    assert cli.main(["probe", file_in(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["station"], told["source"]) == ("CP-0001", "service")
    (row,) = told["devices"]
    assert row["complaints"] == ["gone; look"]
    assert (row["meter"]["serial"], row["counters"]["reconnects"]) == ("77", 2)


def test_without_the_service_the_ports_are_opened_and_each_lost_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pymodbus")
    assert cli.main(["probe", file_in(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert [record for record in caplog.records if record.name.startswith("pymodbus")] == []
    assert out.startswith("station CP-0001, read directly")
    assert " ".join(out.split()).count("there is no such port; plug the adapter in") == 3
    assert "not asked yet" in out
    assert out.endswith("3 complaints, each marked ! above\n")


def test_a_file_that_cannot_be_used_is_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["probe", str(tmp_path / "none.yaml")]) == 78
    assert "chargepoint check" in capsys.readouterr().err


def test_watching_goes_on_over_a_restart_and_never_takes_the_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([[meter()], probe.NotRunning("gone; start it"), [pilot()]])

    def from_service(path: str) -> list[DeviceSeen]:
        look = next(looks, KeyboardInterrupt())
        if isinstance(look, BaseException):
            raise look
        return look

    monkeypatch.setattr(probe, "from_service", from_service)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert cli.main(["probe", file_in(tmp_path), "--watch"]) == 130
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert [line.split()[1] for line in lines] == ["m:", "p:"]
    assert "energy 1.234 kWh" in lines[0]
    assert "! " not in out.out
    assert out.err.count("gone; start it") == 1


def test_on_a_terminal_watching_is_a_table_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([[meter(lost="gone; look")], probe.NotRunning("gone; start it"), [pilot()]])

    def from_service(path: str) -> list[DeviceSeen]:
        look = next(looks, KeyboardInterrupt())
        if isinstance(look, BaseException):
            raise look
        return look

    monkeypatch.setattr(probe, "from_service", from_service)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.main(["probe", file_in(tmp_path), "--watch"]) == 130
    out = capsys.readouterr()
    assert out.err == ""
    _, *looks_shown = out.out.split(screen.HOME)
    first, second, third = ["".join(look.split(screen.END_OF_LINE)) for look in looks_shown]
    assert "asked from the running service" in first
    assert "! m: gone; look" in first
    assert "start it" in second
    assert "! m: gone; look" in second, "the last values stay"
    assert "nothing looks wrong" in third
    assert "offers" in third


def test_json_is_watched_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([[meter()], [pilot()]])

    def from_service(path: str) -> list[DeviceSeen]:
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        return look

    monkeypatch.setattr(probe, "from_service", from_service)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert cli.main(["probe", file_in(tmp_path), "--watch", "--json"]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["devices"][0]["name"] for line in lines] == ["m", "p"]


def test_a_service_of_another_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_: {"ok": True, "devices": [{"name": 1}]})
    with pytest.raises(ChargepointError, match="restart it"):
        probe.from_service("/x")


def test_a_device_cannot_write_on_the_terminal() -> None:
    shown = text("S", "here", [meter({"serial": "7\x1b[2J"})], [])
    assert "\x1b" not in shown


def test_the_arguments_reach_the_command() -> None:
    seen = cli._parser().parse_args(["probe", "x.yaml", "--watch", "--json"])
    assert isinstance(seen, Namespace)
    assert (seen.config, seen.watch, seen.json) == ("x.yaml", True, True)


def test_notes_of_a_controller_and_its_temperature_are_shown() -> None:
    warm = pilot(notes=("when this board dies: goes on " * 8,))
    assert warm.pilot is not None
    warm.pilot = msgspec.structs.replace(warm.pilot, temperature_c=41.0)
    shown = text("X", "here", [warm], [])
    assert "41 °C" in shown
    assert "- when this board dies: goes on" in shown
    assert max(map(len, shown.splitlines())) <= COLUMNS


def test_a_controller_below_a_contactor_is_opened_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(file_in(tmp_path))
    contactor = """
  contactor:
    driver: gpio_contactor
    controller: pilot1
    contactor: {coil: {line: "gpiochip0:17"}, aux: {line: "gpiochip0:27"}}
"""
    text = file.read_text().replace("pilot: pilot1", "pilot: contactor")
    file.write_text(text.replace("\ndevices:\n", "\ndevices:" + contactor))
    cli.main(["probe", str(file), "--json"])
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["devices"]]
    assert names == ["contactor", "meter1", "reader1"]
