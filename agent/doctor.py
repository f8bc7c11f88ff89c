"""`chargepoint doctor`: everything around the agent that a charger needs, and the next step where
something is missing. Works without the service and without root, and says what it could not see."""

import argparse
import asyncio
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent import doctor_board, doctor_gpio, doctor_limit, doctor_ports
from agent.check import checked, counted
from agent.console import ConsoleError, NotRunning, ask, socket_path
from agent.doctor_finding import Board, Finding
from agent.settings import Settings

COLUMNS = 100
WORDS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}
Tell = Callable[[Finding], None]


def doctor(arguments: argparse.Namespace) -> int:
    """0: nothing bad, 1: something is; warnings alone change nothing."""
    board = Board(Path(arguments.root))
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        print(shown(finding), flush=True)

    loaded, mistakes = checked(arguments.config)
    tell(file_finding(arguments.config, len(mistakes), len(loaded.warnings)))
    for finding in local(board, loaded.settings):
        tell(finding)
    if loaded.settings is not None:
        is_online = _asked(loaded.settings, tell)
        if not arguments.offline:
            asyncio.run(_network(loaded.settings, is_online, tell))
    print(total(found))
    return 1 if any(finding.level == "bad" for finding in found) else 0


def file_finding(config: str, mistakes: int, warnings: int) -> Finding:
    """charger.yaml itself, with its register maps."""
    if mistakes:
        return Finding(
            "bad",
            f"{config} has {counted(mistakes, 'mistake')}",
            f"`chargepoint check {config}` names what to mend",
        )
    if warnings:
        return Finding(
            "warn",
            f"{config} can be used, with {counted(warnings, 'warning')}",
            f"`chargepoint check {config}` names them",
        )
    return Finding("ok", f"{config} can be used")


def local(board: Board, settings: Settings | None) -> Iterator[Finding]:
    """All that the board itself shows; without settings what needs none."""
    if settings is not None:
        yield from doctor_ports.ports(board, settings)
        yield from doctor_ports.others(board, settings)
        yield from doctor_ports.groups(board, settings)
        yield from doctor_gpio.gpio(board, settings)
        yield from doctor_board.storage(board, settings)
    yield from doctor_board.clock(board, time.time())
    yield from doctor_board.service(board)
    yield from doctor_board.watchdog(board)


def _asked(settings: Settings, tell: Tell) -> bool:
    """Whether the service runs and is online."""
    path = socket_path(settings.data_directory, settings.console_socket)
    try:
        status = ask(path, {"cmd": "status"})
    except NotRunning:
        tell(Finding("warn", "the service does not run", "`systemctl start chargepoint`"))
        return False
    except ConsoleError as error:
        what, _, step = str(error).partition("; ")
        tell(Finding("warn", what, step))
        return False
    tell(Finding("ok", f"the service runs, link {status.get('link')}"))
    steered = doctor_limit.energy_manager(status)
    if steered is not None:
        tell(steered)
    return bool(status.get("link") == "online")


async def _network(settings: Settings, is_online: bool, tell: Tell) -> None:
    from agent.doctor_kept import kept
    from agent.doctor_network import reachability

    known, in_the_way = kept(settings)
    if in_the_way is not None:
        tell(in_the_way)
    async for finding in reachability(settings, is_online=is_online, kept=known):
        tell(finding)


def shown(finding: Finding) -> str:
    """One finding, wrapped for a terminal of 100 columns."""
    text = finding.what + (f"; {finding.next_step}" if finding.next_step else "")
    text = "".join(c for c in text if c.isprintable())
    return "\n".join(
        textwrap.wrap(
            text,
            COLUMNS,
            initial_indent=f"{WORDS[finding.level]}  ",
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
    )


def total(found: list[Finding]) -> str:
    """The last line."""
    counts = {level: sum(f.level == level for f in found) for level in WORDS}
    return f"{counts['ok']} ok, {counts['warn']} to look at, {counts['bad']} bad"
