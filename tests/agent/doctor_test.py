"""`chargepoint doctor`: clock, storage, service and watchdog on a file system made for it, and the
command whole."""

import os
from pathlib import Path

import pytest

from agent import cli, doctor_board
from agent.clock import SYNCED
from agent.csms.tls import build_date_s
from agent.doctor import COLUMNS, shown
from agent.doctor_finding import Finding
from tests.agent.doctor_made import (
    DATA,
    EMMC,
    PROGRAM,
    START,
    UNIT,
    WANTED,
    Made,
    levels,
    made,
    one,
    settings_with,
)

__all__ = ["made"]


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
