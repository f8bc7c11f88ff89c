"""`chargepoint doctor`: ports, groups and GPIO lines on a file system made for it."""

import os
from pathlib import Path

import pytest

from agent import doctor_gpio, doctor_ports
from agent.doctor import local
from agent.doctor_finding import Board
from agent.settings import Settings
from agent.settings_load import load
from tests.agent.doctor_made import (
    PERSIST,
    PI,
    PROGRAM,
    TWO_PORTS,
    USERS,
    Made,
    levels,
    made,
    one,
    settings_with,
)

__all__ = ["made"]


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
