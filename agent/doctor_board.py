"""`chargepoint doctor`: clock, storage, service unit and watchdog of the board."""

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from agent.clock import SYNCED
from agent.csms.tls import build_date_s
from agent.doctor_finding import Board, Finding, Level
from agent.settings import Settings

LEAST_FREE_MB, LOW_FREE_MB = 50, 250
LEAST_FREE_INODES = 1_000
SLOW_SYNC_S = 0.5
"""The agent takes 2 s for a fault of the disk; a card that needs this much idle is on the way."""
GONE_AT_POWER_OFF = ("tmpfs", "ramfs", "overlay")
NOT_JOURNALLED = ("vfat", "exfat", "ext2", "msdos")
WORN_TENTHS = 9
"""eMMC life time estimate: tenths of its life that are used, of 10."""
UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
UNIT = "chargepoint.service"
WANTED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
WATCHDOG_KEY = "RuntimeWatchdogSec="


def clock(board: Board, now_s: float) -> Iterator[Finding]:
    """Set and kept by a time service, as the agent sees it. `now_s`: UTC seconds since 1970."""
    shown = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if now_s < build_date_s():
        yield Finding(
            "bad",
            f"the clock stands at {shown}, before this agent was built",
            "`timedatectl set-ntp true`, and check the network's way to a time server",
        )
    elif board.exists(SYNCED):
        yield Finding("ok", f"the clock is synchronised: {shown}")
    else:
        yield Finding(
            "warn",
            f"the clock is not synchronised by systemd-timesyncd: {shown}",
            "`timedatectl set-ntp true`; until then the CSMS's time is taken (Heartbeat)",
        )


def storage(board: Board, settings: Settings) -> Iterator[Finding]:
    """The data directory lasts, takes and keeps what is written, and has room."""
    directory = settings.data_directory
    if not board.exists(directory):
        yield Finding(
            "bad",
            f"the data directory {directory} is not there",
            "install systemd/chargepoint.tmpfiles and run `systemd-tmpfiles --create`, or correct "
            "data_directory",
        )
        return
    yield from mount(board, directory)
    yield from space(board, directory)
    yield writing(board, directory)


def mount(board: Board, directory: str) -> Iterator[Finding]:
    """The file system below the data directory, and the wear of its chip."""
    device, place, kind, options = _mount_of(board, directory)
    if not kind:
        return
    if "ro" in options:
        yield Finding(
            "bad",
            f"{place} ({device}) is mounted read-only",
            f"`mount -o remount,rw {place}`; if it went read-only by itself, read `dmesg`: the "
            "card is failing",
        )
    if kind in GONE_AT_POWER_OFF:
        yield Finding(
            "bad",
            f"{directory} is on {kind}: everything in it is gone with the next power cut",
            "put data_directory on a partition of its own (ext4)",
        )
    elif kind in NOT_JOURNALLED:
        yield Finding(
            "warn",
            f"{directory} is on {kind}, which power cuts damage",
            "put data_directory on ext4 or f2fs",
        )
    weak = [o for o in options if o in ("nobarrier", "barrier=0", "data=writeback")]
    if weak:
        yield Finding(
            "bad",
            f"{place} is mounted with {', '.join(weak)}: what was synced may be lost",
            "remove that from /etc/fstab and reboot",
        )
    yield from wear(board, device)


def _mount_of(board: Board, directory: str) -> tuple[str, str, str, tuple[str, ...]]:
    """(device, place, type, options) of the mount that holds the directory, as the kernel says."""
    found: tuple[str, str, str, tuple[str, ...]] = ("", "", "", ())
    for line in board.text("/proc/mounts").splitlines():
        device, place, kind, options = (*line.split(" "), "", "", "", "")[:4]
        base = place.rstrip("/") + "/"
        # of two mounts on one place the later one counts
        if f"{directory}/".startswith(base) and len(place) >= len(found[1]):
            found = (device, place, kind, tuple(options.split(",")))
    return found


def wear(board: Board, device: str) -> Iterator[Finding]:
    """What the chip says of its age (eMMC); an SD card says nothing."""
    name = device.removeprefix("/dev/").partition("p")[0]
    if not name.startswith("mmcblk"):
        return
    facts = f"/sys/block/{name}/device"
    if board.text(f"{facts}/type") == "SD":
        yield Finding(
            "warn",
            f"{device} is an SD card and tells nothing of its wear",
            "use an industrial card or eMMC, and note the day of its first use",
        )
        return
    life = [int(word, 16) for word in board.text(f"{facts}/life_time").split()]
    end = board.text(f"{facts}/pre_eol_info")
    if end and int(end, 16) >= 2:
        yield Finding(
            "bad", f"{device} says it is near its end", "replace the board's eMMC or the board"
        )
    elif life and max(life) >= WORN_TENTHS:
        yield Finding(
            "warn",
            f"{device} has used {(max(life) - 1) * 10} % of its life",
            "plan its replacement, and raise TxUpdatedInterval to write less",
        )
    elif life:
        yield Finding("ok", f"{device} has used at most {max(life) * 10} % of its life")


def space(board: Board, directory: str) -> Iterator[Finding]:
    """Room for the queue of many days offline."""
    figures = os.statvfs(board.path(directory))
    free_mb = figures.f_bavail * figures.f_frsize // 1_000_000
    step = "free some space (`du -xh / | sort -h | tail`), or enlarge the partition"
    if free_mb < LOW_FREE_MB:
        level: Level = "bad" if free_mb < LEAST_FREE_MB else "warn"
        yield Finding(level, f"{directory} has {free_mb} MB free", step)
    elif figures.f_files and figures.f_favail < LEAST_FREE_INODES:
        yield Finding("bad", f"{directory} has no more room for files (inodes)", step)
    else:
        yield Finding("ok", f"{directory} has {free_mb} MB free")


def writing(board: Board, directory: str) -> Finding:
    """A file can be written and synced there, in a time that power can wait for."""
    try:
        with tempfile.NamedTemporaryFile(dir=board.path(directory), prefix="doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            began_s = time.monotonic()
            os.fsync(file.fileno())
            took_s = time.monotonic() - began_s
    except PermissionError:
        return Finding(
            "warn",
            f"{directory} cannot be written by this user, so writing was not tried",
            "run `sudo chargepoint doctor`",
        )
    except OSError as error:
        return Finding(
            "bad",
            f"{directory} takes no file ({error.strerror})",
            "check space (`df -h`) and `dmesg`; replace the card if it reports errors",
        )
    return judged_sync(directory, took_s)


def judged_sync(directory: str, took_s: float) -> Finding:
    """Whether one sync was fast enough."""
    if took_s > SLOW_SYNC_S:
        return Finding(
            "warn",
            f"{directory} took {took_s:.1f} s for one sync",
            "try again when the board is idle; if it stays so, replace the card",
        )
    return Finding("ok", f"{directory} keeps what is written (sync in {took_s * 1000:.0f} ms)")


def service(board: Board) -> Iterator[Finding]:
    """The unit is installed, starts with the board, and its program is there."""
    place = next((f"{folder}/{UNIT}" for folder in UNITS if board.exists(f"{folder}/{UNIT}")), "")
    if not place:
        yield Finding(
            "warn",
            "the service is not installed",
            f"copy systemd/{UNIT} to {UNITS[0]}, `systemctl enable --now chargepoint`",
        )
        return
    if not board.exists(WANTED):
        yield Finding(
            "warn",
            f"{place} does not start with the board",
            "`systemctl enable chargepoint`",
        )
    for line in board.text(place).splitlines():
        if line.startswith("ExecStart="):
            program = line.removeprefix("ExecStart=").lstrip("-+!@:").split(" ")[0]
            if board.exists(program):
                yield Finding("ok", f"{place} runs {program}")
            else:
                yield Finding(
                    "bad",
                    f"{place} runs {program}, which is not there",
                    "install the package into /opt/chargepoint (README), or correct ExecStart",
                )


def watchdog(board: Board) -> Iterator[Finding]:
    """A board that hangs starts anew."""
    devices = [name for name in board.names("/dev") if name.startswith("watchdog")]
    if not devices:
        yield Finding(
            "warn",
            "the board has no /dev/watchdog: if it hangs, somebody has to go there",
            "enable its driver (Raspberry Pi: dtparam=watchdog=on in config.txt)",
        )
        return
    folder = "/etc/systemd/system.conf.d"
    files = ["/etc/systemd/system.conf", *(f"{folder}/{name}" for name in board.names(folder))]
    lines = [line.strip() for name in files for line in board.text(name).splitlines()]
    values = [line.removeprefix(WATCHDOG_KEY) for line in lines if line.startswith(WATCHDOG_KEY)]
    if values and values[-1] not in ("0", "off", "infinity", ""):
        yield Finding("ok", f"/dev/{devices[0]} is fed by systemd ({WATCHDOG_KEY}{values[-1]})")
    else:
        yield Finding(
            "warn",
            f"nobody feeds /dev/{devices[0]}: a board that hangs stays so",
            f"write {WATCHDOG_KEY}10 into /etc/systemd/system.conf, reboot",
        )
