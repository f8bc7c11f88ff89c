"""`safe-off` with drivers that obey, refuse, or cannot be built."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import safe_off
from agent.console import bind
from agent.settings import Settings
from drivers.contract import Device, DeviceLost, DriverError, PowerPath
from hil.sim import settings_of
from hil.virtual_time import run_virtual

NAME = "wiring.json"


class Pilot:
    """Opens its path `opens_after_s` after it was told to; None: never."""

    def __init__(self, name: str, opens_after_s: float | None, error: str = "") -> None:
        self.name = name
        self.orders: list[str] = []
        self._opens_after_s = opens_after_s
        self._error = error
        self._path = PowerPath.UNKNOWN

    def emergency_stop(self) -> None:
        self.orders.append("emergency_stop")

    def power_path(self) -> PowerPath:
        return self._path

    async def run(self, report: Callable[[Any], None]) -> None:
        if self._error:
            raise RuntimeError(self._error)
        report(DeviceLost(self.name, "nobody answers on the line"))
        if self._opens_after_s is None:
            await asyncio.sleep(1e9)
        else:
            await asyncio.sleep(self._opens_after_s)
        if self.orders:
            self._path = PowerPath.OPEN
        await asyncio.sleep(1e9)


def open_all(
    pilots: dict[str, Pilot], directory: Path, monkeypatch: pytest.MonkeyPatch, stored: bool = True
) -> int:
    monkeypatch.setenv("STATE_DIRECTORY", str(directory))
    monkeypatch.setattr(asyncio, "run", run_virtual)
    if stored:
        settings = settings_of(str(directory))
        (directory / NAME).write_bytes(msgspec.json.encode(settings))

    def build(name: str, options: Any) -> Device:
        if name not in pilots:
            raise DriverError(f"{name}: the port is gone; plug the adapter in")
        return pilots[name]  # type: ignore[return-value]

    def build_from(settings: Settings) -> Callable[[str, Any], Device]:
        return build

    return safe_off.open_all(None, NAME, build_from)


def test_all_paths_seen_open_is_success_and_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pilots = {"pilot1": Pilot("pilot1", 0.5), "pilot2": Pilot("pilot2", 5.0)}
    assert open_all(pilots, tmp_path, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "EVSE 1 connector 1: power path open" in out
    assert "EVSE 2 connector 1: power path open" in out
    assert all(pilot.orders == ["emergency_stop"] for pilot in pilots.values())


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (Pilot("pilot2", None), "nobody answers on the line"),
        (Pilot("pilot2", 20.0), "not seen open"),
        (Pilot("pilot2", 0.0, "the line is broken"), "the line is broken"),
        (None, "plug the adapter in"),
    ],
)
def test_one_path_not_seen_open_is_a_failure_and_the_others_are_opened_all_the_same(
    second: Pilot | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pilots = {"pilot1": Pilot("pilot1", 0.5)} | ({"pilot2": second} if second else {})
    assert open_all(pilots, tmp_path, monkeypatch) == 1
    out = capsys.readouterr().out
    assert "EVSE 1 connector 1: power path open" in out
    assert words in out


def test_where_the_service_holds_the_ports_it_names_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(safe_off, "ASK_S", 0.05)
    assert open_all({}, tmp_path, monkeypatch) == 1
    assert "systemctl" not in capsys.readouterr().out
    with bind(str(tmp_path / "console.sock")):
        assert open_all({}, tmp_path, monkeypatch) == 1
    assert "`systemctl stop chargepoint` opens the contactors by itself" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_without_a_stored_wiring_it_says_what_to_do_by_hand(
    content: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    assert open_all({}, tmp_path, monkeypatch, stored=False) == 1
    assert "switch the supply off by hand" in capsys.readouterr().out
