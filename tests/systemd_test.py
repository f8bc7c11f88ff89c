"""The files for systemd, read by systemd's own tools."""

import configparser
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from agent import cli, console, daemon
from agent.settings_load import load

HERE = Path(__file__).parent.parent
UNIT = HERE / "systemd" / "chargepoint.service"
PROGRAM = "/opt/chargepoint/bin/chargepoint"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"{program} is missing: apt-get install systemd"
    )


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


class Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def service() -> dict[str, str]:
    """The [Service] section; of a key given twice, the last."""
    unit = Unit(strict=False, delimiters=("=",), comment_prefixes=("#",))
    unit.read(UNIT)
    return dict(unit["Service"])


def after_stop() -> list[str]:
    """The ExecStopPost lines, in their order."""
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith("ExecStopPost=")]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The unit with a program that exists here, as `verify` asks for."""
    text = UNIT.read_text()
    assert text.count(PROGRAM) == 2
    stand_in = tmp_path / "chargepoint"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(PROGRAM, str(stand_in)))
    return unit


@needs("systemd-analyze")
def test_systemd_reads_the_unit_without_a_complaint(copy: Path) -> None:
    done = run("systemd-analyze", "verify", str(copy))
    about_us = [line for line in done.stderr.splitlines() if "chargepoint" in line]
    assert (done.returncode, about_us) == (0, [])


@needs("systemd-analyze")
def test_verify_would_notice_a_mistake(copy: Path) -> None:
    copy.write_text(copy.read_text().replace("Restart=always", "Restrat=always"))
    assert "Restrat" in run("systemd-analyze", "verify", str(copy)).stderr


@needs("systemd-analyze")
def test_the_exposure_is_at_most_one_and_a_half(copy: Path) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", str(copy))
    assert done.returncode == 0, done.stdout
    level = re.search(r"exposure level.*: ([0-9.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= 1.5


@needs("systemd-analyze")
def test_all_that_counts_against_the_unit_is_explained_in_it(copy: Path) -> None:
    """Each line that systemd marks stands beside the word by which the unit's comments tell why."""
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(copy))
    marked = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")}
    said = "\n".join(line for line in UNIT.read_text().splitlines() if line.startswith("#"))
    explained = {
        "RootDirectory=/RootImage=": "RootDirectory=",
        "PrivateDevices=": "/dev, because ports are opened by name",
        "DeviceAllow=": "/dev, because ports are opened by name",
        "RestrictAddressFamilies=~AF_UNIX": "AF_UNIX, for",
        "RestrictAddressFamilies=~AF_(INET|INET6)": "the network (",
        "PrivateNetwork=": "PrivateNetwork=",
        "IPAddressDeny=": "IPAddressDeny=",
        "ProcSubset=": "/proc beyond processes",
        "PrivateUsers=": "PrivateUsers=",
    }
    assert marked, done.stdout
    assert marked <= set(explained), "one more is left open; say why in the unit and here"
    assert [name for name in marked if explained[name] not in said] == []


@needs("systemd-sysusers")
@pytest.mark.skipif(os.geteuid() != 0, reason="systemd-sysusers needs root")
def test_the_user_and_its_directories_come_to_be(tmp_path: Path) -> None:
    (tmp_path / "etc" / "chargepoint").mkdir(parents=True)
    made = run(
        "systemd-sysusers", f"--root={tmp_path}", str(HERE / "systemd" / "chargepoint.sysusers")
    )
    assert made.returncode == 0, made.stderr
    assert "chargepoint:x:" in (tmp_path / "etc" / "passwd").read_text()
    groups = (tmp_path / "etc" / "group").read_text().splitlines()
    members = {line.split(":")[0]: line.split(":")[3] for line in groups}
    needed = ("dialout", "gpio", "input", "systemd-journal")
    assert {members.get(group) for group in needed} == {"chargepoint"}


def test_the_unit_and_the_command_line_agree() -> None:
    keys = service()
    assert keys["ExecStart"] == f"{PROGRAM} run {cli.DEFAULT_CONFIG}"
    safe_off, _ = after_stop()
    assert safe_off == f"-{PROGRAM} safe-off {cli.DEFAULT_CONFIG}"
    assert keys["RestartPreventExitStatus"] == str(cli.EX_CONFIG)
    assert "ExecStartPre" not in keys


@pytest.mark.parametrize(
    ("status", "reboots"), [(str(daemon.REBOOT_EXIT_CODE), True), ("0", False), ("78", False)]
)
def test_the_board_restarts_when_the_agent_asks_for_it_and_never_else(
    status: str, reboots: bool, tmp_path: Path
) -> None:
    """The line as systemd hands it to the shell, with a `systemctl` that only notes its orders."""
    stand_in, orders = tmp_path / "systemctl", tmp_path / "orders"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {orders}\n')
    stand_in.chmod(0o755)
    safe_off, reboot = after_stop()
    assert "safe-off" in safe_off, "power off first"
    assert reboot.startswith("+-/bin/sh -c ")
    words = shlex.split(reboot.removeprefix("+-").replace("$$", "$"))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXIT_STATUS": status}
    done = subprocess.run(words, env=environment, check=False, timeout=60)
    assert done.returncode == 0
    assert orders.exists() is reboots
    assert not reboots or orders.read_text() == "--no-block reboot\n"


def test_a_restart_of_the_board_is_no_failure_and_a_missing_one_no_end() -> None:
    keys = service()
    assert keys["SuccessExitStatus"] == str(daemon.REBOOT_EXIT_CODE)
    assert str(daemon.REBOOT_EXIT_CODE) not in keys["RestartPreventExitStatus"]


def test_the_service_starts_again_for_ever_and_needs_no_network() -> None:
    text = UNIT.read_text()
    directives = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "StartLimitIntervalSec=0" in directives
    assert "Restart=always" in directives
    assert not [line for line in directives if "network-online" in line]


def test_a_missing_password_file_does_not_stop_the_start() -> None:
    keys = service()
    name, _, source = keys["LoadCredential"].partition(":")
    assert source == "/etc/chargepoint/csms-password"
    fallback, _, value = keys["SetCredential"].partition(":")
    assert fallback == name
    assert value == "\\n"


def test_the_shipped_file_names_the_credential_and_the_state_directory_of_the_unit() -> None:
    settings = load(str(HERE / "config" / "charger.yaml")).settings
    assert settings is not None
    name = service()["LoadCredential"].partition(":")[0]
    assert settings.csms[0].password_file == f"/run/credentials/{UNIT.name}/{name}"
    assert settings.data_directory == f"/var/lib/{service()['StateDirectory']}"


def test_the_ports_of_a_charger_are_allowed() -> None:
    text = UNIT.read_text()
    for kind in ("ttyUSB", "ttyACM", "ttyS", "ttyAMA", "ttymxc", "ttyLP", "ttySTM", "gpiochip"):
        assert f"\nDeviceAllow=char-{kind} rw\n" in text
    assert "\nDeviceAllow=char-input r\n" in text, "readers that type"


def test_the_console_stays_open_to_its_group_whatever_the_mask_of_new_files(tmp_path: Path) -> None:
    keys = service()
    before = os.umask(int(keys["UMask"], 8))
    try:
        console.bind(str(tmp_path / "console.sock")).close()
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "console.sock").stat().st_mode) == 0o660
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o600
    assert keys["StateDirectoryMode"] == "0750", "its group must reach the socket"


def test_each_directive_left_open_has_its_reason() -> None:
    """A line like `X=no` or a wide choice stands under a comment that begins with `# Left open`."""
    lines = UNIT.read_text().splitlines()
    keys = ("PrivateDevices=no", "ProcSubset=all", "PrivateUsers=no", "RestrictAddressFamilies")
    for key in keys:
        number = next(i for i, line in enumerate(lines) if line.startswith(key))
        above = number - 1
        while lines[above].startswith("#") and not lines[above].startswith("# Left open"):
            above -= 1
        assert lines[above].startswith("# Left open"), key
