"""A board made of files for the checks of `chargepoint doctor`, and what they find there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import doctor_board
from agent.doctor_finding import Board, Finding
from agent.settings import Settings
from agent.settings_load import load

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "config" / "charger.yaml"
USERS = "root:x:0:0::/:/bin/sh\nchargepoint:x:990:991::/:/bin/false\n"
GROUPS = "root:x:0:\nchargepoint:x:991:\ndialout:x:20:chargepoint\ngpio:x:30:chargepoint\n"
DATA = "/var/lib/chargepoint"
PI = {"/proc/device-tree/model": "Raspberry Pi 4 Model B\0"}
PERSIST = "/sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs"
EMMC = "/sys/block/mmcblk0/device"
UNIT = "/etc/systemd/system/chargepoint.service"
WANTED = doctor_board.WANTED
PROGRAM = "/opt/chargepoint/bin/chargepoint"
START = f"[Service]\nExecStart={PROGRAM} run /etc/chargepoint/charger.yaml\n"
TWO_PORTS = """
station: {identity: A, vendor: B, model: C}
csms: [{url: "ws://127.0.0.1:9/x", lab_unsecured: true}]
supply: {current_a: 32}
evses: [{id: 1, meter: m, connectors: [{id: 1, pilot: p}]}]
devices:
  p: {driver: openevse, port: PORT}
  m: {driver: modbus_meter, line: bus, model: eastron_sdm630_v2}
lines: {bus: {port: "tcp://192.0.2.1:502"}}
"""

Made = Callable[..., Board]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A board with these files: path -> content; a path that ends in / is a directory."""

    def make(*more: dict[str, str]) -> Board:
        files: dict[str, str] = {"/etc/passwd": USERS, "/etc/group": GROUPS}
        for each in more:
            files |= each
        for name, content in files.items():
            path = tmp_path / "root" / name.lstrip("/")
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return Board(tmp_path / "root")

    return make


def settings_with(tmp_path: Path, port: str, more: str = "") -> Settings:
    file = tmp_path / "charger.yaml"
    file.write_text(TWO_PORTS.replace("PORT", port) + more)
    found = load(str(file))
    assert found.settings is not None, found.mistakes
    return found.settings


def levels(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """Level and text; each that is not ok has a next step."""
    found = list(findings)
    assert all(bool(finding.next_step) is (finding.level != "ok") for finding in found), found
    return [(finding.level, f"{finding.what}; {finding.next_step}") for finding in found]


def one(findings: Iterator[Finding], level: str, *said: str) -> None:
    ((found, text),) = levels(findings)
    assert found == level, text
    for words in said:
        assert words in text
