"""`chargepoint learn`: which lines make the number of a card the expected one."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent import cli, learn
from agent.console import NotRunning
from agent.devices import Card, DeviceSeen
from agent.errors import UsageError
from agent.settings_load import load
from drivers.bus.serial_port import SerialPort
from drivers.bus.tap import TAP
from drivers.readers import serial_line
from drivers.readers.uid import converted
from hil.parts.pty_port import PtyPort

EXAMPLE = Path(__file__).parent.parent.parent / "config" / "charger.yaml"
UID = "04A2B3C4D5E680"
SHORT = "7186A61E"


def card(raw: str, uid: str = "", number: int = 1, reason: str = "") -> Card:
    return Card(number, "reader1", uid, "ISO14443", raw, reason)


@pytest.mark.parametrize(
    ("raw", "expected", "lines"),
    [
        (UID, UID, ["format: hex"]),
        ("04:a2:b3:c4:d5:e6:80", UID, ["format: hex"]),
        ("1EA68671", SHORT, ["format: hex", "reverse_bytes: true"]),
        (str(0x7186A61E), SHORT, ["format: dec"]),
        (str(0x1EA68671), SHORT, ["format: dec", "reverse_bytes: true"]),
        (str(0x0012A61E), "0012A61E", ["format: dec"]),
        (str(0x12A61E), "0000000012A61E", ["format: dec", "uid_bytes: [7]"]),
        ("7186A61E4F", SHORT, ["format: hex", "strip_bcc: true"]),
        ("7186A61E4E", SHORT, None),
        ("7186A6", SHORT, None),
        ("hello", SHORT, None),
    ],
)
def test_the_lines_that_make_the_expected_number(
    raw: str, expected: str, lines: list[str] | None
) -> None:
    profile = learn.advice(raw, expected)
    assert (None if profile is None else profile.yaml()) == lines
    if profile is not None:
        assert converted(raw, profile) == expected


def test_what_is_said_of_a_card() -> None:
    lines, is_right = learn.told(card(UID, UID), UID)
    assert is_right
    assert lines[-1] == "as expected"
    lines, is_right = learn.told(card("1EA68671", "1EA68671"), SHORT)
    assert not is_right
    assert lines[-3:] == [
        f"it is {SHORT} with these lines at reader1 in charger.yaml:",
        "    format: hex",
        "    reverse_bytes: true",
    ]
    lines, is_right = learn.told(card("08123456", reason="a random one; use another"), None)
    assert not is_right
    assert "  refused: a random one; use another" in lines
    assert "\x1b" not in "".join(learn.told(card("\x1b[2J", "00"), None)[0])
    assert "compare the card itself" in learn.told(card("77", "77"), UID)[0][-1]


def test_the_expected_number_may_be_written_apart_but_must_be_one() -> None:
    assert learn.wanted("04:a2-b3 c4") == "04A2B3C4"
    assert learn.wanted(None) is None
    for wrong in ("4A2", "card", ""):
        with pytest.raises(UsageError, match="two digits a byte"):
            learn.wanted(wrong)


def test_the_service_is_asked_for_the_next_card_not_for_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([(card("old", "AA", 1),), (card("old", "AA", 1),), (card(UID, UID, 2),)])

    def from_service(path: str, *, with_cards: bool) -> list[DeviceSeen]:
        assert with_cards
        row = DeviceSeen(
            name="reader1", roles=("reader",), driver="serial_reader", cards=next(looks)
        )
        return [row]

    monkeypatch.setattr(learn, "from_service", from_service)
    monkeypatch.setattr(learn.time, "sleep", lambda _: None)
    assert cli.main(["learn", str(EXAMPLE), "--expect", UID]) == 0
    out = capsys.readouterr().out
    assert "the station runs" in out
    assert out.endswith("as expected\n")


def test_of_several_readers_one_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = EXAMPLE.read_text()
    second = "  reader2: {driver: serial_reader, port: /dev/serial/by-id/none}\n"
    file = tmp_path / "charger.yaml"
    file.write_text(text.replace("\ndevices:\n", f"\ndevices:\n{second}"))
    other = Card(9, "reader2", "BB", "ISO14443", "BB")
    looks = iter([(), (card(UID, UID, 4),)])

    def from_service(path: str, *, with_cards: bool) -> list[DeviceSeen]:
        return [
            DeviceSeen(
                name="reader1", roles=("reader",), driver="serial_reader", cards=next(looks)
            ),
            DeviceSeen(name="reader2", roles=("reader",), driver="serial_reader", cards=(other,)),
        ]

    monkeypatch.setattr(learn, "from_service", from_service)
    monkeypatch.setattr(learn.time, "sleep", lambda _: None)
    assert cli.main(["learn", str(file), "--reader", "reader1", "--expect", UID]) == 0
    out = capsys.readouterr().out
    assert "hold a card to reader1 (" in out
    assert out.endswith("as expected\n")
    assert cli.main(["learn", str(file), "--reader", "reader9"]) == 2
    assert "choose one of" in capsys.readouterr().err


def test_without_service_and_card_it_says_what_is_wrong_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(*_: object, **__: object) -> list[DeviceSeen]:
        raise NotRunning("gone; start it")

    monkeypatch.setattr(learn, "from_service", nobody)
    monkeypatch.setattr(learn, "WAIT_S", 0.3)
    assert cli.main(["learn", str(EXAMPLE)]) == 1
    out = capsys.readouterr().out
    assert "reader reader1: " in out
    assert "cannot be opened" in out
    assert "no card within" in out


RDM = "    profile: rdm6300\n    token_type: Local\n"


@pytest.mark.parametrize(
    ("sent", "then", "more", "step"),
    [
        (b"\xff\x8a\x11\xfe\r\n", b"04A2B3C4D5E680\r\n", "", "set `baud`"),
        (b"04A2B3C4D5E680", b"\r\n", "", "end each number with CR or LF"),
        (b"card? yes\r\n", b"04A2B3C4D5E680\r\n", "", "correct `profile` or `pattern`"),
        (b"\x020A00D1B5C300\x03", b"\x020A00D1B5C3AD\x03", RDM, "show the card again"),
    ],
)
def test_what_a_reader_sent_that_is_no_card_is_shown_with_the_next_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: bytes,
    then: bytes,
    more: str,
    step: str,
) -> None:
    """At a pseudo-terminal: `sent` once it is open, `then` after it was told of."""
    port = PtyPort(link=str(tmp_path / "reader"))
    old = "/dev/serial/by-id/usb-Prolific_Technology_Inc._USB-Serial_Controller-if00-port0\n"
    file = tmp_path / "charger.yaml"
    text = EXAMPLE.read_text().replace(old, f"{tmp_path}/reader\n{more}")
    file.write_text(f"{text}\ndata_directory: {tmp_path}\n")

    class Opened(SerialPort):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            port.write(sent)

    lines = learn.Unread.lines

    def told(unread: learn.Unread) -> list[str]:
        found = lines(unread)
        if found:
            port.write(then)
        return found

    async def opened(main: Coroutine[Any, Any, Any]) -> Any:
        port.open()
        try:
            return await main
        finally:
            port.unplug()

    run = asyncio.run
    monkeypatch.setattr(learn, "LOOK_S", 0.02)
    monkeypatch.setattr(learn.Unread, "lines", told)
    monkeypatch.setattr(serial_line, "SerialPort", Opened)
    monkeypatch.setattr(learn.asyncio, "run", lambda main: run(opened(main)))
    assert cli.main(["learn", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"reader reader1: sent {sent!r}, which is no card; " in out
    assert step in out
    assert "the CSMS gets" in out
    assert TAP.seen is None


def test_half_a_line_is_not_told_of_before_the_reader_pauses() -> None:
    settings = load(str(EXAMPLE)).settings
    assert settings is not None
    port = settings.devices["reader1"].port  # type: ignore[union-attr]
    unread = learn.Unread(settings, ["reader1"])
    unread.hear(port, True, b"asked")
    unread.hear("/dev/other", False, b"not a reader's")
    unread.hear(port, False, b"04A2")
    assert unread.lines() == []
    unread.hear(port, False, b"B3C4\r\n")
    assert unread.lines() == []
    (line,) = unread.lines()
    assert "sent b'04A2B3C4\\r\\n'" in line
    assert unread.lines() == []
