"""PN532: frames by the manual, and the reader against one that is simulated on a pty."""

import asyncio

import pytest

from drivers.contract import (
    CardRefused,
    CardSeen,
    DeviceFound,
    DeviceLost,
    Observation,
    Pn532Options,
)
from drivers.readers import pn532
from drivers.readers.pn532 import Pn532Reader
from drivers.readers.pn532_frames import Answer, Splitter, frame, uid_of
from hil.parts.pn532 import Pn532
from hil.parts.pty_port import PtyPort

FRAMES = [
    (0x02, b"", "0000ff02fed4022a00"),
    (0x14, b"\x01\x14\x01", "0000ff05fbd41401140102 00"),
    (0x4A, b"\x01\x00", "0000ff04fcd44a0100e100"),
]
"""The last one stands in many a trace: 00 00 FF 04 FC D4 4A 01 00 E1 00."""


@pytest.mark.parametrize(("command", "data", "sent"), FRAMES)
def test_a_command_has_two_checks(command: int, data: bytes, sent: str) -> None:
    assert frame(command, data) == bytes.fromhex(sent)


ACK = "0000ff00ff00"
NO_CARD = "0000ff03fdd54b00e000"
FIRMWARE = Answer(0x03, bytes.fromhex("32010607"))
STREAMS = [
    (ACK + "0000ff06fad50332010607e800", [FIRMWARE], 0),
    ("0000ff06fad50332010607e800" * 2, [FIRMWARE, FIRMWARE], 0),
    ("ffee00" + ACK + NO_CARD, [Answer(0x4B, b"\x00")], 0),
    ("0000ff06fad50332010608e800" + NO_CARD, [Answer(0x4B, b"\x00")], 1),
    ("0000ff06fbd50332010607e800" + NO_CARD, [Answer(0x4B, b"\x00")], 1),
    ("0000ff01ff7f8100", [Answer(0, refused=True)], 0),
    ("0000ff02fed4022a00", [], 0),
    ("0000ffff0000", [], 0),
    ("", [], 0),
]


@pytest.mark.parametrize(("stream", "answers", "damaged"), STREAMS)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_answers_are_found_however_the_bytes_come(
    stream: str, answers: list[Answer], damaged: int, size: int
) -> None:
    splitter, data = Splitter(), bytes.fromhex(stream)
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    assert [answer for part in parts for answer in splitter.feed(part)] == answers
    assert splitter.damaged == damaged


@pytest.mark.parametrize(
    ("data", "uid"),
    [
        ("00", None),
        ("", None),
        ("0101000400041ea68671", "1ea68671"),
        ("01010044000704a2b3c4d5e680", "04a2b3c4d5e680"),
        ("01010044000704a2b3c4d5e680067577810280", "04a2b3c4d5e680"),
        ("01010044000704a2b3", None),
        ("0101000400051ea6867100", None),
    ],
)
def test_the_uid_stands_in_the_answer_in_air_order(data: str, uid: str | None) -> None:
    found = uid_of(bytes.fromhex(data))
    assert (found.hex() if found is not None else None) == uid


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pn532, "ANSWERS_WITHIN_S", 0.3)
    monkeypatch.setattr(pn532, "FIRST_PAUSE_S", 0.02)
    port = PtyPort()
    port.open()
    part = Pn532(port)
    seen: list[Observation] = []
    reader = Pn532Reader("r", Pn532Options(port=port.path, poll_s=0.01))
    task = asyncio.create_task(reader.run(seen.append))
    yield part, seen, reader
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    port.unplug()


async def test_it_is_woken_up_set_up_and_gives_each_card_once(bench, eventually) -> None:
    part, seen, _ = bench
    await eventually(lambda: 0x4A in part.commands)
    assert part.commands[:3] == [0x14, 0x02, 0x32]
    part.uid = bytes.fromhex("04a2b3c4d5e680")
    await eventually(lambda: seen)
    count = len(part.commands)
    await eventually(lambda: len(part.commands) > count + 5)
    part.uid = bytes.fromhex("1ea68671")
    await eventually(lambda: len(seen) == 2)
    assert seen == [
        CardSeen("r", "04A2B3C4D5E680", "ISO14443", "04A2B3C4D5E680"),
        CardSeen("r", "1EA68671", "ISO14443", "1EA68671"),
    ]


async def test_a_random_uid_is_refused(bench, eventually, caplog) -> None:
    part, seen, _ = bench
    part.uid = bytes.fromhex("08a1b2c3")
    await eventually(lambda: caplog.records)
    assert "random one" in caplog.text
    assert "A1B2C3" not in caplog.text.upper()
    assert [type(o) for o in seen] == [CardRefused]


DAMAGED = bytes.fromhex("0000ff0cf4d54b010100040004aabbccdd0000")
MISFIT = bytes.fromhex("0000ff0cf4d515010100040004aabbccddfe00")
"""A card by its looks, but the answer to another command."""


@pytest.mark.parametrize(("spoilt", "damaged"), [(DAMAGED, 1), (MISFIT, 0)])
async def test_an_answer_that_does_not_fit_is_no_card_and_costs_one_question(
    bench, eventually, spoilt: bytes, damaged: int
) -> None:
    part, seen, reader = bench
    await eventually(lambda: 0x4A in part.commands)
    part.spoil = spoilt
    await eventually(lambda: reader.counters.timeouts)
    part.uid = bytes.fromhex("1ea68671")
    await eventually(lambda: seen)
    assert [o.uid for o in seen] == ["1EA68671"]
    assert (reader.counters.timeouts, reader.counters.unusable) == (1, damaged)


async def test_a_reader_that_falls_silent_is_lost_once_and_woken_up_until_it_is_back(
    bench, eventually
) -> None:
    part, seen, _ = bench
    await eventually(lambda: 0x4A in part.commands)
    part.is_silent = True
    await eventually(lambda: seen)
    assert isinstance(seen[0], DeviceLost)
    assert "HSU" in seen[0].reason
    part.is_awake, part.is_silent = False, False
    part.uid = bytes.fromhex("1ea68671")
    await eventually(lambda: len(seen) == 3)
    assert [type(o) for o in seen] == [DeviceLost, DeviceFound, CardSeen]


async def test_a_reader_that_fell_asleep_is_woken_up_without_being_lost(bench, eventually) -> None:
    part, seen, reader = bench
    await eventually(lambda: 0x4A in part.commands)
    part.is_awake = False
    await eventually(lambda: part.is_awake)
    part.uid = bytes.fromhex("1ea68671")
    await eventually(lambda: seen)
    assert [type(o) for o in seen] == [CardSeen]
    assert reader.counters.timeouts >= 1


async def test_another_device_that_refuses_the_commands_is_told(bench, eventually) -> None:
    part, seen, _ = bench
    part.refuses = True
    await eventually(lambda: seen)
    assert "check that it is a PN532" in seen[0].reason
