"""Each check of `chargepoint doctor` on a file system made for it, and the command whole."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import cli, doctor_board, doctor_gpio, doctor_ports
from agent.clock import SYNCED
from agent.csms.tls import build_date_s
from agent.doctor import COLUMNS, local, shown
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


# --- ports and groups -----------------------------------------------------------------------------


def test_a_port_that_is_not_there_names_those_that_are(made: Made, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "/dev/serial/by-id/usb-A")
    one(doctor_ports.ports(made(), settings), "bad", "usb-A (device p) is not there", "dmesg")
    board = made({"/dev/serial/by-id/usb-B": ""})
    one(doctor_ports.ports(board, settings), "bad", "by-id holds usb-B")


def test_a_reader_that_types_is_looked_for_among_the_inputs(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "charger.yaml"
    reader = "  k: {driver: keyboard_reader, port: /dev/input/by-id/usb-K-event-kbd}\n  m:"
    file.write_text(TWO_PORTS.replace("PORT", "/dev/charger/pilot").replace("  m:", reader))
    settings = load(str(file)).settings
    assert settings is not None
    board = made({"/dev/charger/pilot": "", "/dev/input/by-id/usb-R-event-kbd": ""})
    board.path("/dev/charger/pilot").chmod(0o666)
    _, (level, text) = levels(doctor_ports.ports(board, settings))
    assert level == "bad"
    assert "/dev/input/by-id holds usb-R-event-kbd" in text


@pytest.mark.parametrize(
    ("mode", "level", "said"),
    [
        (0o666, "ok", "open to chargepoint"),
        (0o600, "bad", "udevadm trigger"),
        (0o660, "bad", "udevadm trigger"),
    ],
)
def test_the_service_may_open_the_port_or_is_told_how(
    made: Made, tmp_path: Path, mode: int, level: str, said: str
) -> None:
    board = made({"/dev/charger/pilot": ""})
    board.path("/dev/charger/pilot").chmod(mode)
    settings = settings_with(tmp_path, "/dev/charger/pilot")
    one(doctor_ports.ports(board, settings), level, said)


def test_group_and_owner_count_as_the_kernel_has_it(made: Made, tmp_path: Path) -> None:
    port = "/dev/charger/pilot"
    board = made(
        {
            "/etc/passwd": USERS.replace(":990:", f":{os.geteuid() + 7}:"),
            "/etc/group": f"dialout:x:{os.getegid()}:chargepoint\n",
            port: "",
        }
    )
    settings = settings_with(tmp_path, port)
    board.path(port).chmod(0o660)
    one(doctor_ports.ports(board, settings), "ok", "open to")
    board.path(port).chmod(0o606)
    one(doctor_ports.ports(board, settings), "bad", "mode 606")
    made({"/etc/passwd": USERS.replace(":990:", f":{os.geteuid()}:")})
    board.path(port).chmod(0o600)
    one(doctor_ports.ports(board, settings), "ok", "open to")


def test_a_bare_port_is_given_its_lasting_name(made: Made, tmp_path: Path) -> None:
    board = made({"/dev/ttyUSB0": "", "/dev/serial/by-id/": ""})
    board.path("/dev/ttyUSB0").chmod(0o666)
    settings = settings_with(tmp_path, "/dev/ttyUSB0")
    assert "udev rule" in levels(doctor_ports.ports(board, settings))[0][1]
    board.path("/dev/serial/by-id/usb-FTDI").symlink_to("../../ttyUSB0")
    (warned, fine) = levels(doctor_ports.ports(board, settings))
    assert warned[0] == "warn"
    assert "write port: /dev/serial/by-id/usb-FTDI" in warned[1]
    assert fine[0] == "ok"


def test_that_the_services_user_is_missing_is_told_once(made: Made, tmp_path: Path) -> None:
    board = made({"/etc/passwd": "root:x:0:0::/:/bin/sh\n", "/dev/x": ""})
    settings = settings_with(tmp_path, "/dev/x")
    one(doctor_ports.ports(board, settings), "ok", "/dev/x (device p) is there")
    one(doctor_ports.groups(board, settings), "bad", "there is no user chargepoint", "sysusers")


def test_a_port_that_another_program_has_open_is_named_with_it(made: Made, tmp_path: Path) -> None:
    commands = {"7": "/sbin/agetty\0-o\0", "8": f"{PROGRAM}\0run\0", "9": "/usr/bin/other\0"}
    board = made(
        {"/dev/ttyS1": "", "/dev/ttyS2": ""},
        {f"/proc/{pid}/cmdline": command for pid, command in commands.items()},
    )
    for pid, port in (("7", "ttyS1"), ("8", "ttyS1"), ("9", "ttyS2")):
        folder = board.path(f"/proc/{pid}/fd")
        folder.mkdir()
        (folder / "0").symlink_to(board.path(f"/dev/{port}").resolve())
    board.path("/dev/serial/by-id").mkdir(parents=True)
    board.path("/dev/serial/by-id/usb-A").symlink_to("../../ttyS1")
    settings = settings_with(tmp_path, "/dev/serial/by-id/usb-A")
    found = (finding for finding in local(board, settings) if "also" in finding.what)
    one(found, "bad", "usb-A (device p) is also open in agetty (process 7)", "serial-getty@")


def test_groups(made: Made, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "/dev/x")
    one(doctor_ports.groups(made(), settings), "ok", "dialout")
    poor = made({"/etc/group": "chargepoint:x:991:\ndialout:x:20:other\n"})
    one(doctor_ports.groups(poor, settings), "bad", "usermod -aG dialout chargepoint")
    reader = "  k: {driver: keyboard_reader, port: /dev/input/by-id/usb-kbd}"
    typed = settings_with(tmp_path, "/dev/x}\n" + reader.removesuffix("}"))
    _, (level, text) = levels(doctor_ports.groups(poor, typed))
    assert (level, "usermod -aG input chargepoint" in text) == ("bad", True)


GPIO = """
  contactor:
    driver: gpio_contactor
    controller: p
    contactor: {coil: {line: "gpiochip0:17"}, aux: {line: "gpiochip0:27"}}
"""


@pytest.fixture
def with_gpio(tmp_path: Path) -> Settings:
    text = TWO_PORTS.replace("PORT", "/dev/x").replace("pilot: p}", "pilot: contactor}")
    file = tmp_path / "gpio.yaml"
    file.write_text(text.replace("\nlines:", GPIO + "lines:"))
    found = load(str(file))
    assert found.settings is not None, found.mistakes
    return found.settings


OPEN = ("ok", "/dev/gpiochip0 (GPIO) is there and open")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/dev/gpiochip0": ""}, [OPEN]),
        ({}, [("bad", "there is no /dev/gpiochip")]),
        (
            {"/dev/gpiochip1": "", "/dev/gpiochip4": ""},
            [("bad", "/dev/gpiochip0 for the line gpiochip0:27; `gpiodetect`")],
        ),
        (PI | {"/dev/gpiochip0": "", PERSIST: "Y\n"}, [OPEN, ("bad", "dtparam=strict_gpiod")]),
        (PI | {"/dev/gpiochip0": "", PERSIST: "N\n"}, [OPEN, ("ok", "fall back")]),
        (PI | {"/dev/gpiochip0": ""}, [OPEN]),
    ],
)
def test_chips_and_what_a_crash_leaves_on_a_raspberry_pi(
    made: Made, with_gpio: Settings, files: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    board = made(files)
    for chip in board.path("/dev").glob("gpiochip*"):
        chip.chmod(0o666)
    found = levels(doctor_gpio.gpio(board, with_gpio))
    assert [level for level, _ in found] == [level for level, _ in expected]
    assert all(said in text for (_, text), (_, said) in zip(found, expected, strict=True))


def test_a_chip_that_is_closed_to_the_service(made: Made, with_gpio: Settings) -> None:
    board = made({"/dev/gpiochip0": "", "/dev/gpiochip1": ""})
    board.path("/dev/gpiochip0").chmod(0o600)
    one(doctor_gpio.gpio(board, with_gpio), "bad", "closed to chargepoint", "99-chargepoint.rules")
    board.path("/dev/gpiochip1").chmod(0o600)
    found = levels(doctor_gpio.chips(board, ["gpiochip0:1", "K1_COIL"]))
    assert [level for level, _ in found] == ["bad", "bad"], "a name may be on any chip"


@pytest.mark.parametrize(
    ("by_pi", "others", "versions", "expected"),
    [
        ([], ["gpiochip0:1"], {}, [("bad", "pip install 'gpiod>=2.5,<3'")]),
        ([], ["gpiochip0:1"], {"gpiod": "1.5.4"}, [("bad", "1.5.4 is another library")]),
        ([], ["gpiochip0:1"], {"gpiod": "2.5.0"}, [("ok", "gpiod 2.5.0 is there")]),
        (["pi:GPIO17"], [], {}, [("bad", "write the line as gpiochip0:17")]),
        (["pi:GPIO17"], [], {"lgpio": "0.2.2.0"}, []),
    ],
)
def test_the_packages_behind_the_lines(
    by_pi: list[str],
    others: list[str],
    versions: dict[str, str],
    expected: list[tuple[str, str]],
) -> None:
    found = levels(doctor_gpio.packages(by_pi, others, lambda name: versions.get(name, "")))
    assert [level for level, _ in found] == [level for level, _ in expected]
    assert all(said in text for (_, text), (_, said) in zip(found, expected, strict=True))


def test_packages_are_looked_for_on_this_board_only(made: Made, with_gpio: Settings) -> None:
    asked: list[str] = []

    def version_of(name: str) -> str:
        asked.append(name)
        return ""

    mounted = made({"/dev/gpiochip0": ""})
    assert len(levels(doctor_gpio.gpio(mounted, with_gpio, version_of))) == 1
    assert asked == []
    found = levels(doctor_gpio.gpio(Board(), with_gpio, version_of))
    assert asked == ["gpiod"]
    assert "needs the Python package gpiod" in found[0][1]


def test_who_uses_no_gpio_hears_nothing_of_it(made: Made, tmp_path: Path) -> None:
    board = made(PI | {PERSIST: "Y"})
    assert levels(doctor_gpio.gpio(board, settings_with(tmp_path, "/dev/x"))) == []


# --- clock and storage ----------------------------------------------------------------------------


def test_the_clock(made: Made) -> None:
    now_s = build_date_s() + 1e6
    one(doctor_board.clock(made(), build_date_s() - 1), "bad", "before this agent was built")
    one(doctor_board.clock(made(), now_s), "warn", "timedatectl set-ntp true")
    one(doctor_board.clock(made({SYNCED: ""}), now_s), "ok", "synchronised")


def mounts(
    kind: str = "ext4", options: str = "rw,relatime", device: str = "/dev/mmcblk0p2"
) -> dict[str, str]:
    return {"/proc/mounts": f"/dev/sda1 / ext4 rw 0 0\n{device} /var/lib {kind} {options} 0 0\n"}


MOUNTS: list[tuple[dict[str, str], list[tuple[str, str]]]] = [
    ({}, []),
    (mounts(), []),
    ({"/proc/mounts": "/dev/sda1 / ext4 ro 0 0\n/dev/sdb1 /var/lib ext4 rw 0 0\n"}, []),
    (
        {"/proc/mounts": "/dev/sda1 / ext4 ro 0 0\n/dev/sdb1 /var/library ext4 rw 0 0\n"},
        [("bad", "/ (/dev/sda1) is mounted read-only")],
    ),
    (mounts(options="ro,relatime"), [("bad", "mount -o remount,rw /var/lib")]),
    (mounts(kind="tmpfs"), [("bad", "gone with the next power cut")]),
    (mounts(kind="vfat"), [("warn", "ext4 or f2fs")]),
    (mounts(options="rw,data=writeback"), [("bad", "data=writeback")]),
    (mounts(options="rw,barrier=0"), [("bad", "/etc/fstab")]),
    (mounts() | {f"{EMMC}/type": "SD"}, [("warn", "industrial card")]),
    (
        mounts() | {f"{EMMC}/type": "MMC", f"{EMMC}/life_time": "0x01 0x02"},
        [("ok", "at most 20 %")],
    ),
    (mounts() | {f"{EMMC}/life_time": "0x0a 0x01"}, [("warn", "has used 90 %")]),
    (mounts() | {f"{EMMC}/pre_eol_info": "0x03"}, [("bad", "near its end")]),
]


@pytest.mark.parametrize(("files", "expected"), MOUNTS)
def test_mounts_and_wear(
    made: Made, files: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    found = levels(doctor_board.mount(made(files), DATA))
    assert [level for level, _ in found] == [level for level, _ in expected], found
    assert all(said in text for (_, text), (_, said) in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("free_mb", "inodes", "level", "said"),
    [
        (5000, 10**6, "ok", "5000 MB free"),
        (249, 10**6, "warn", "du -xh"),
        (49, 10**6, "bad", "49 MB"),
        (5000, 10, "bad", "inodes"),
    ],
)
def test_space(
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    free_mb: int,
    inodes: int,
    level: str,
    said: str,
) -> None:
    figures = os.statvfs_result((1000, 1000, 0, 0, free_mb * 1000, 10**7, 0, inodes, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: figures)
    one(doctor_board.space(made(), DATA), level, said)


def test_writing_is_tried_and_leaves_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    board = made({f"{DATA}/": ""})
    one(iter([doctor_board.writing(board, DATA)]), "ok", "keeps what is written")
    assert board.names(DATA) == []

    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    one(iter([doctor_board.writing(board, DATA)]), "bad", "Input/output error", "replace the card")
    one(iter([doctor_board.judged_sync(DATA, 0.9)]), "warn", "0.9 s for one sync")


def test_a_data_directory_that_is_not_there(made: Made, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "/dev/x")
    one(doctor_board.storage(made(), settings), "bad", "systemd-tmpfiles --create")


# --- service and watchdog -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ["warn"]),
        ({UNIT: START}, ["warn", "bad"]),
        ({UNIT: START, WANTED: ""}, ["bad"]),
        ({UNIT: START, WANTED: "", PROGRAM: ""}, ["ok"]),
        ({f"/usr/lib/systemd/system/{Path(UNIT).name}": START, PROGRAM: ""}, ["warn", "ok"]),
    ],
)
def test_the_service(made: Made, files: dict[str, str], expected: list[str]) -> None:
    assert [level for level, _ in levels(doctor_board.service(made(files)))] == expected


def test_a_service_that_is_not_installed_is_not_told_to_be_enabled_alone(made: Made) -> None:
    one(doctor_board.service(made()), "warn", "the service is not installed", "enable --now")


@pytest.mark.parametrize(
    ("files", "level", "said"),
    [
        ({}, "warn", "dtparam=watchdog=on"),
        ({"/dev/watchdog0": ""}, "warn", "RuntimeWatchdogSec=10"),
        (
            {"/dev/watchdog": "", "/etc/systemd/system.conf": "#RuntimeWatchdogSec=off\n"},
            "warn",
            "nobody feeds",
        ),
        (
            {"/dev/watchdog": "", "/etc/systemd/system.conf.d/w.conf": "RuntimeWatchdogSec=10\n"},
            "ok",
            "RuntimeWatchdogSec=10",
        ),
    ],
)
def test_the_watchdog(made: Made, files: dict[str, str], level: str, said: str) -> None:
    one(doctor_board.watchdog(made(files)), level, said)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_all_and_ends_with_1_for_what_is_bad(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = made()
    settings_with(tmp_path, "/dev/x", f"data_directory: {tmp_path}/none\n")
    file = str(tmp_path / "charger.yaml")
    assert cli.main(["doctor", file, "--offline", "--root", str(board.root)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(("ok    ", "warn  "))
    assert "BAD   /dev/x (device p) is not there" in out
    assert "the service does not run; `systemctl start chargepoint`" in out
    assert "CSMS 1" not in out
    assert max(map(len, out.splitlines())) <= COLUMNS


def test_a_good_board_ends_with_0(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {UNIT: START, WANTED: "", PROGRAM: "", "/dev/x": "", SYNCED: ""}
    board = made(files, {f"{tmp_path}/data/": "", "/dev/watchdog": ""})
    board.path("/dev/x").chmod(0o666)
    settings_with(tmp_path, "/dev/x", f"data_directory: {tmp_path}/data\n")
    command = ["doctor", str(tmp_path / "charger.yaml"), "--offline", "--root", str(board.root)]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.endswith(", 0 bad\n")


def test_a_file_that_cannot_be_used_is_the_first_thing_bad(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "charger.yaml"
    file.write_text("station: x\n")
    assert cli.main(["doctor", str(file), "--offline", "--root", str(made().root)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("BAD   ")
    assert f"`chargepoint check {file}`" in " ".join(out.split())
    assert "watchdog" in out


def test_a_mistake_in_a_register_map_is_one_of_the_file(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_with(tmp_path, "/dev/x")
    file = tmp_path / "charger.yaml"
    (tmp_path / "mine.yaml").write_text("names: [x]\nphases: 2\n")
    file.write_text(file.read_text().replace("eastron_sdm630_v2", f"{tmp_path}/mine.yaml"))
    assert cli.main(["doctor", str(file), "--offline", "--root", str(made().root)]) == 1
    assert " ".join(capsys.readouterr().out.split()).startswith(f"BAD {file} has 1 mistake;")


def test_a_finding_cannot_write_on_the_terminal() -> None:
    assert "\x1b" not in shown(Finding("bad", "a\x1b[2J", "b"))
