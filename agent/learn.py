"""`chargepoint learn`: a card as its reader sends it and as the CSMS gets it, and the lines of
charger.yaml that make the number the expected one."""

import argparse
import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from itertools import product

from msgspec import Struct

from agent.console import NotRunning, socket_path
from agent.devices import Card, DeviceSeen, registry_of
from agent.errors import SettingsError
from agent.probe import from_service, reading, settings_of
from agent.settings import Settings
from drivers.reader_options import UidFormat
from drivers.readers.uid import Refused, converted
from drivers.registry import roles_of

LOOK_S = 0.5
WAIT_S = 60.0
LONGEST_UID_BYTES = 10
SEPARATORS = re.compile("[ :.-]")


class Profile(Struct, frozen=True):
    """The keys of a reader that change a number, as charger.yaml has them."""

    token_type: str = "ISO14443"
    format: UidFormat = "hex"
    reverse_bytes: bool = False
    strip_bcc: bool = False
    uid_bytes: tuple[int, ...] = ()

    def yaml(self) -> list[str]:
        """Its lines; what is left out stays at its default."""
        lines = [f"format: {self.format}"]
        lines += ["reverse_bytes: true"] if self.reverse_bytes else []
        lines += ["strip_bcc: true"] if self.strip_bcc else []
        lines += [f"uid_bytes: [{self.uid_bytes[0]}]"] if self.uid_bytes else []
        return lines


def learn(arguments: argparse.Namespace) -> int:
    """0: a card was read and is as expected; 1: it is not, or none came."""
    settings = settings_of(arguments.config)
    readers = [name for name, options in settings.devices.items() if "reader" in roles_of(options)]
    if not readers:
        raise SettingsError(
            f"{arguments.config} has no card reader; add one under devices, see config/charger.yaml"
        )
    if arguments.reader is not None:
        readers = [chosen(arguments.reader, readers)]
    expected = wanted(arguments.expect)
    card = _next_card(settings, readers)
    if card is None:
        print(
            f"no card within {WAIT_S:.0f} s; hold it flat to the reader, and if that does not "
            "help, look at the reader with `chargepoint probe`"
        )
        return 1
    lines, is_right = told(card, expected)
    print("\n".join(lines))
    return 0 if is_right else 1


def chosen(name: str, readers: list[str]) -> str:
    """A reader of charger.yaml. Raises SettingsError."""
    if name in readers:
        return name
    raise SettingsError(f"there is no card reader {name!r}; choose one of {', '.join(readers)}")


def wanted(text: str | None) -> str | None:
    """The expected number: hex without separators. Raises SettingsError."""
    if text is None:
        return None
    number = SEPARATORS.sub("", text).upper()
    if re.fullmatch("([0-9A-F]{2})+", number):
        return number
    raise SettingsError(
        f"--expect {text} is no card number in hex, two digits a byte; copy it from the CSMS or "
        "from an app that reads cards, for example 04:A2:B3:C4:D5:E6:80"
    )


def told(card: Card, expected: str | None) -> tuple[list[str], bool]:
    """What to print of a card, and whether it is as expected."""
    lines = [f"reader {card.reader}", f"  it sends     {_printable(card.raw) or '(not told)'}"]
    if card.uid:
        lines.append(f"  the CSMS gets  {card.uid}  ({card.token_type})")
    else:
        lines.append(f"  refused: {card.refused}")
    if expected is None:
        if card.uid:
            lines.append("run it with --expect and the number the CSMS has, to compare")
        return lines, bool(card.uid)
    if card.uid == expected:
        return [*lines, "as expected"], True
    profile = advice(card.raw, expected)
    if profile is None:
        lines.append(
            f"no reading of it makes {expected}: another card, or a reader that sends a part of "
            "the number only; compare the card itself, then the reader's own settings"
        )
    else:
        lines.append(f"it is {expected} with these lines at {card.reader} in charger.yaml:")
        lines += [f"    {line}" for line in profile.yaml()]
    return lines, False


def advice(raw: str, expected: str) -> Profile | None:
    """The plainest profile that makes `expected` of what the reader sent."""
    for profile in _profiles(len(expected) // 2):
        try:
            number = converted(raw, profile)
        except Refused:
            continue
        if number == expected:
            return profile
    return None


def _profiles(size: int) -> Iterator[Profile]:
    """Plain ones first. A decimal number does not tell how many bytes it has, so it is said; the
    check byte is one more."""
    kinds: tuple[UidFormat, ...] = ("hex", "dec")
    for strip_bcc, kind, reverse_bytes in product((False, True), kinds, (False, True)):
        yield Profile("ISO14443", kind, reverse_bytes, strip_bcc)
        if kind == "dec" and size <= LONGEST_UID_BYTES:
            yield Profile("ISO14443", kind, reverse_bytes, strip_bcc, (size,))


def _next_card(settings: Settings, readers: list[str]) -> Card | None:
    """Through the running service, or from the readers themselves."""
    path = socket_path(settings.data_directory, settings.console_socket)
    try:
        before = newest(from_service(path, with_cards=True), readers)
        _prompt(readers, "the station runs: the card is also taken as it always is")
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            time.sleep(LOOK_S)
            card = newest(from_service(path, with_cards=True), readers)
            if card is not None and (before is None or card.number != before.number):
                return card
    except NotRunning:
        return asyncio.run(_from_readers(settings, readers))
    return None


async def _from_readers(settings: Settings, readers: list[str]) -> Card | None:
    """Opens the readers alone; no controller is touched."""
    build = registry_of(settings).build
    devices = {name: build(name, settings.devices[name]) for name in readers}
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    async with reading(settings, devices, news.set) as book:
        _prompt(readers, "the service does not run: only shown")
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    await news.wait()
                    news.clear()
                    rows = book.rows(loop.time(), with_cards=True)
                    if (card := newest(rows, readers)) is not None:
                        return card
                    _tell_lost({row.name: row.lost for row in rows if row.lost})
        except TimeoutError:
            return None


def _tell_lost(lost: Mapping[str, str]) -> None:
    for name, reason in lost.items():
        print(f"reader {name}: {reason}", flush=True)


def _prompt(readers: list[str], note: str) -> None:
    print(f"hold a card to {' or '.join(readers)} ({note}) ...", flush=True)


def newest(rows: list[DeviceSeen], readers: list[str]) -> Card | None:
    """The card that was presented last at any of these readers."""
    cards = [card for row in rows if row.name in readers for card in row.cards]
    return max(cards, key=lambda card: card.number, default=None)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
