"""`chargepoint doctor`: GPIO chips, the packages that reach them, and what a crash leaves."""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.doctor_finding import Board, Finding
from agent.doctor_ports import gpio_lines, right_to
from agent.settings import Settings

RASPBERRY_PI = "pi:"
"""Prefix of lines that gpiozero reaches by itself."""
CHIP = re.compile(r"(gpiochip[0-9]+):.+")
GPIOD_MAJOR = 2
"""What pip takes for `gpiod` where it finds no wheel, 1.5.4, is another library."""


def installed(package: str) -> str:
    """Its version in this environment; empty where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def gpio(
    board: Board, settings: Settings, version_of: Callable[[str], str] = installed
) -> Iterator[Finding]:
    """What lines of the board need; nothing where charger.yaml names none."""
    lines = gpio_lines(settings)
    if not lines:
        return
    by_pi = [line for line in lines if line.startswith(RASPBERRY_PI)]
    others = [line for line in lines if not line.startswith(RASPBERRY_PI)]
    if board.root == Path("/"):  # a mounted system's packages are not those of this program
        yield from packages(by_pi, others, version_of)
    yield from chips(board, others)
    yield from after_a_crash(board)


def packages(
    by_pi: list[str], others: list[str], version_of: Callable[[str], str] = installed
) -> Iterator[Finding]:
    """The Python packages behind the lines."""
    pip = "`/opt/chargepoint/bin/pip install"
    if others:
        found = version_of("gpiod")
        if not found:
            yield Finding(
                "bad", f"{others[0]} needs the Python package gpiod", f"{pip} 'gpiod>=2.5,<3'`"
            )
        elif int(found.partition(".")[0]) < GPIOD_MAJOR:
            yield Finding(
                "bad",
                f"the Python package gpiod {found} is another library than version 2",
                f"{pip} 'gpiod>=2.5,<3'`; on armv7 build it from its source distribution",
            )
        else:
            yield Finding("ok", f"the Python package gpiod {found} is there")
    if by_pi and not version_of("lgpio"):
        yield Finding(
            "bad",
            f"{by_pi[0]} needs the Python package lgpio",
            f"{pip} lgpio`, or write the line as gpiochip0:17",
        )


def chips(board: Board, lines: list[str]) -> Iterator[Finding]:
    """The chips that the lines are on are there, and the service may open them; a line that is
    known by its name alone may be on any."""
    there = [name for name in board.names("/dev") if name.startswith("gpiochip")]
    if not there:
        yield Finding(
            "bad", "there is no /dev/gpiochip", "enable GPIO_CDEV in the board's kernel or image"
        )
        return
    on_chip = [CHIP.fullmatch(line) for line in lines]
    wanted = {match[1]: line for match, line in zip(on_chip, lines, strict=True) if match}
    for chip, line in wanted.items():
        if chip not in there:
            yield Finding(
                "bad",
                f"there is no /dev/{chip} for the line {line}",
                f"`gpiodetect` shows the chips: here {', '.join(there)}",
            )
    used = wanted if all(on_chip) else dict.fromkeys(there)
    for chip in there:
        if chip in used:
            yield right_to(board, f"/dev/{chip}", "GPIO")


def after_a_crash(board: Board) -> Iterator[Finding]:
    """What a Raspberry Pi does with outputs that nobody holds any more."""
    if "Raspberry Pi" not in board.text("/proc/device-tree/model"):
        return
    kept = board.text("/sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs")
    if kept in ("Y", "1"):
        yield Finding(
            "bad",
            "persist_gpio_outputs=Y: outputs stay as they are after a crash, the contactor closed",
            "add dtparam=strict_gpiod to config.txt (or pinctrl_bcm2835.persist_gpio_outputs=n to "
            "cmdline.txt), reboot",
        )
    elif kept:
        yield Finding("ok", "persist_gpio_outputs=N: outputs fall back when the agent ends")
