"""`chargepoint doctor`: the ports of the devices and who may open them."""

import re
from collections.abc import Iterator
from stat import S_IRGRP, S_IROTH, S_IRUSR, S_IWGRP, S_IWOTH, S_IWUSR

from agent.doctor_finding import Board, Finding
from agent.settings import Settings
from agent.settings_gpio import signals
from drivers.contract import GpioBoardOptions, GpioContactorOptions

BARE_PORT = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
OURS = re.compile(r"chargepoint|agent\.cli")
"""The command line of the service, and of this command."""
BY_ID, BY_PATH = "/dev/serial/by-id", "/dev/serial/by-path"
SYSUSERS = "install systemd/chargepoint.sysusers and run `systemd-sysusers`"


def ports_of(settings: Settings) -> dict[str, str]:
    """Device paths of charger.yaml -> who names them."""
    found: dict[str, str] = {}
    for block, entries in (("line", settings.lines), ("device", settings.devices)):
        for name, entry in entries.items():
            port = getattr(entry, "port", "")
            if port and "://" not in port:
                found.setdefault(port, f"{block} {name}")
    return found


def ports(board: Board, settings: Settings) -> Iterator[Finding]:
    """They are there, under names that last, and the service may open them."""
    for port, owner in ports_of(settings).items():
        if not board.exists(port):
            yield Finding("bad", f"{port} ({owner}) is not there", _where_it_may_be(board, port))
            continue
        if BARE_PORT.fullmatch(port):
            yield _bare(board, port, owner)
        yield right_to(board, port, owner)


def _where_it_may_be(board: Board, port: str) -> str:
    directory = "/dev/input/by-id" if port.startswith("/dev/input/") else BY_ID
    there = board.names(directory)
    if not there:
        return f"plug the adapter in and look for it with `dmesg`; {directory} is empty"
    shown = ", ".join(there[:4])
    return f"plug it in, or use a name that is there: {directory} holds {shown}"


def _bare(board: Board, port: str, owner: str) -> Finding:
    link = board.links_to(BY_ID, port) or board.links_to(BY_PATH, port)
    better = f"write port: {link}" if link else "name it by a udev rule (99-chargepoint.rules)"
    return Finding("warn", f"{port} ({owner}) may be another device after a reboot", better)


def others(board: Board, settings: Settings) -> Iterator[Finding]:
    """No other program has the ports open; one that does not lock them takes the answers away. What
    belongs to other users is seen by root alone."""
    wanted = {
        str(board.path(port).resolve()): (port, owner)
        for port, owner in ports_of(settings).items()
        if board.exists(port)
    }
    for pid in filter(str.isdigit, board.names("/proc")):
        command = board.text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        if OURS.search(command):
            continue
        held = {str(target) for target in board.targets(f"/proc/{pid}/fd")}
        for port, owner in (wanted[target] for target in sorted(held & wanted.keys())):
            program = command.split(" ")[0].rpartition("/")[2] or "a program"
            yield Finding(
                "bad",
                f"{port} ({owner}) is also open in {program} (process {pid})",
                "stop and disable it (`systemctl status "
                + pid
                + "` names its service; for a login "
                "on the port: serial-getty@, and console= in the kernel's command line)",
            )


def right_to(board: Board, port: str, owner: str) -> Finding:
    """Whether the service's user may read and write a device file that is there."""
    groups, user = board.groups_of_service(), board.user_id()
    if groups is None:
        return Finding("ok", f"{port} ({owner}) is there")  # that there is no user is told once
    status = board.path(port).stat()
    if status.st_uid == user:
        wanted = S_IRUSR | S_IWUSR
    elif status.st_gid in groups.values():
        wanted = S_IRGRP | S_IWGRP
    else:
        wanted = S_IROTH | S_IWOTH
    if status.st_mode & wanted == wanted:
        return Finding("ok", f"{port} ({owner}) is there and open to {board.service_user}")
    return Finding(
        "bad",
        f"{port} ({owner}) is closed to {board.service_user} (group {status.st_gid}, mode "
        f"{status.st_mode & 0o777:o})",
        "install systemd/99-chargepoint.rules, `udevadm control --reload && udevadm trigger`",
    )


def groups(board: Board, settings: Settings) -> Iterator[Finding]:
    """The service's user belongs to the groups that own what it opens."""
    needed = _needed(settings)
    has = board.groups_of_service()
    if has is None:
        yield Finding("bad", f"there is no user {board.service_user}", SYSUSERS)
        return
    for name, why in needed.items():
        if name in has:
            yield Finding("ok", f"{board.service_user} is in the group {name} ({why})")
        else:
            yield Finding(
                "bad",
                f"{board.service_user} is not in the group {name}, which owns {why}",
                f"`usermod -aG {name} {board.service_user}`, then restart the service",
            )


def _needed(settings: Settings) -> dict[str, str]:
    needed: dict[str, str] = {}
    for port in ports_of(settings):
        if port.startswith("/dev/input/"):
            needed["input"] = "readers that type like a keyboard"
        else:
            needed["dialout"] = "serial ports"
    if gpio_lines(settings):
        needed["gpio"] = "GPIO chips"
    return needed


def gpio_lines(settings: Settings) -> list[str]:
    """Lines of the board itself that charger.yaml names, each once."""
    gpio = (GpioBoardOptions, GpioContactorOptions)
    lines = [
        signal.line.removeprefix("/dev/")
        for options in settings.devices.values()
        if isinstance(options, gpio)
        for _, signal in signals((), options)
    ]
    return list(dict.fromkeys(lines))
