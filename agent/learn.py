"""`chargepoint learn`: a card as its reader sends it and as the CSMS gets it, and the lines of
charger.yaml that make the number the expected one."""

import argparse
import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from itertools import product

from msgspec import Struct

from agent.console import NotRunning, socket_path
from agent.devices import Card, DeviceSeen, registry_of
from agent.errors import SettingsError, UsageError
from agent.probe import from_service, reading, settings_of
from agent.settings import Settings
from drivers.bus.tap import TAP
from drivers.contract import SerialReaderOptions
from drivers.reader_options import UidFormat
from drivers.readers.uid import Refused, converted
from drivers.registry import roles_of

LOOK_S = 0.5
WAIT_S = 60.0
LONGEST_UID_BYTES = 10
BYTES_SHOWN = 40
LINE_ENDS = b"\r\n\x02\x03\x00"
TEXT = bytes(range(0x20, 0x7F)) + LINE_ENDS
GARBLE_SHARE = 0.2
"""More bytes that are no text than this come of another baud."""
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
    """A reader of charger.yaml. Raises UsageError."""
    if name in readers:
        return name
    raise UsageError(f"there is no card reader {name!r}; choose one of {', '.join(readers)}")


def wanted(text: str | None) -> str | None:
    """The expected number: hex without separators. Raises UsageError."""
    if text is None:
        return None
    number = SEPARATORS.sub("", text).upper()
    if re.fullmatch("([0-9A-F]{2})+", number):
        return number
    raise UsageError(
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
    unread, told = Unread(settings, readers), dict[str, str]()
    TAP.seen = unread.hear
    async with reading(settings, devices, news.set) as book:
        _prompt(readers, "the service does not run: only shown")
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await news.wait()
                    news.clear()
                    rows = book.rows(loop.time(), with_cards=True)
                    if (card := newest(rows, readers)) is not None:
                        return card
                    _tell_lost({row.name: row.lost for row in rows if row.lost}, told)
                    for line in unread.lines():
                        print(line, flush=True)
        except TimeoutError:
            return None
        finally:
            TAP.seen = None


def _tell_lost(lost: Mapping[str, str], told: dict[str, str]) -> None:
    """Each reason once; `told` keeps them."""
    for name, reason in lost.items():
        if told.get(name) != reason:
            print(f"reader {name}: {reason}", flush=True)
    told |= lost


class Unread:
    """What serial readers sent and nobody took for a card."""

    def __init__(self, settings: Settings, readers: list[str]) -> None:
        self._names = {
            options.port: name
            for name in readers
            if isinstance(options := settings.devices[name], SerialReaderOptions)
        }
        self._heard: dict[str, bytes] = {}
        self._fresh: set[str] = set()

    def hear(self, port: str, leaves: bool, data: bytes) -> None:
        """See drivers.bus.tap."""
        if port in self._names and not leaves:
            self._heard[port] = (self._heard.get(port, b"") + data)[-BYTES_SHOWN:]
            self._fresh.add(port)

    def lines(self) -> list[str]:
        """Once, of the readers that paused since the last look: a card would be read by now."""
        done = [port for port in self._heard if port not in self._fresh]
        self._fresh.clear()
        return [
            f"reader {self._names[port]}: sent {data!r}, which is no card; {_mended(data)}"
            for port in done
            for data in (self._heard.pop(port),)
        ]


def _mended(data: bytes) -> str:
    """The next step, by the looks of what came."""
    noise = len(data.translate(None, TEXT))
    if noise > GARBLE_SHARE * len(data):
        return "set `baud` to the reader's own, then look at its wires and ground"
    if not set(data) & set(LINE_ENDS):
        return "have the reader end each number with CR or LF, by its own settings"
    return "show the card again; if it stays so, correct `profile` or `pattern` in charger.yaml"


def _prompt(readers: list[str], note: str) -> None:
    print(f"hold a card to {' or '.join(readers)} ({note}) ...", flush=True)


def newest(rows: list[DeviceSeen], readers: list[str]) -> Card | None:
    """The card that was presented last at any of these readers."""
    cards = [card for row in rows if row.name in readers for card in row.cards]
    return max(cards, key=lambda card: card.number, default=None)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
