"""A reader that types: events to lines, and the device through a pipe."""

import asyncio
from pathlib import Path

import pytest

from drivers.contract import (
    CardSeen,
    DeviceFound,
    DeviceLost,
    DriverError,
    KeyboardReaderOptions,
    Observation,
)
from drivers.readers import listening
from drivers.readers.keyboard import KeyboardReader
from drivers.readers.keys import MAX_LENGTH, Typing
from hil.parts.keyboard import CODES, ENTER, REPEAT, SHIFT, TypingReader, event, stroke


def typed(text: str) -> bytes:
    return b"".join(stroke(CODES[letter]) for letter in text)


LINES = [
    (typed("04A2B3C4D5E680") + stroke(ENTER), ["04A2B3C4D5E680"]),
    (
        typed("1234567890QWERTYUIOPASDFGHJKLZXCVBNM") + stroke(96),
        ["1234567890QWERTYUIOPASDFGHJKLZXCVBNM"],
    ),
    (
        b"".join(stroke(code) for code in (79, 80, 81, 75, 76, 77, 71, 72, 73, 82, ENTER)),
        ["1234567890"],
    ),
    (stroke(ENTER) + stroke(ENTER), []),
    (typed("A") + event(1, CODES["A"], REPEAT) + stroke(ENTER), ["A"]),
    (
        typed("04")
        + event(1, SHIFT, 1)
        + stroke(39)
        + event(1, SHIFT, 0)
        + typed("A2")
        + stroke(ENTER),
        ["04:A2"],
    ),
    (typed("1") + stroke(183) + typed("2") + stroke(ENTER), ["12"]),
    (typed("7" * (MAX_LENGTH + 1)) + stroke(ENTER) + typed("12") + stroke(ENTER), ["12"]),
    (event(2, 0, 5) + event(1, 272, 1) + typed("5") + stroke(ENTER), ["5"]),
]


@pytest.mark.parametrize(("events", "lines"), LINES)
@pytest.mark.parametrize("size", [1, 7, 24, 4096])
def test_events_become_lines_however_they_are_cut(
    events: bytes, lines: list[str], size: int
) -> None:
    typing = Typing()
    parts = [events[start : start + size] for start in range(0, len(events), size)]
    assert [line for part in parts for line in typing.feed(part)] == lines


@pytest.fixture
async def bench(tmp_path: Path, eventually):
    """A typing reader plugged in, and what the agent's driver reports of it."""
    tasks = []
    part = TypingReader(str(tmp_path / "event-kbd"))

    async def start(
        plugged: bool = True, **options: object
    ) -> tuple[TypingReader, list[Observation]]:
        if plugged:
            part.plug()
        seen: list[Observation] = []
        reader = KeyboardReader("r", KeyboardReaderOptions(port=part.path, **options))  # type: ignore[arg-type]
        tasks.append(asyncio.create_task(reader.run(seen.append)))
        await asyncio.sleep(0.02)
        return part, seen

    yield start
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_typed_card_is_one_presentation(bench, eventually) -> None:
    part, seen = await bench()
    for _ in range(3):
        part.swipe("04A2B3C4D5E680")
    await eventually(lambda: seen)
    part.swipe("1EA68671")
    await eventually(lambda: len(seen) == 2)
    assert seen == [
        CardSeen("r", "04A2B3C4D5E680", "ISO14443", "04A2B3C4D5E680"),
        CardSeen("r", "1EA68671", "ISO14443", "1EA68671"),
    ]


async def test_decimal_digits_become_the_number_of_the_card(bench, eventually) -> None:
    part, seen = await bench(format="dec", pattern="^([0-9]{10})$", reverse_bytes=True)
    part.swipe(f"{0x7186A61E:010d}")
    await eventually(lambda: seen)
    assert seen == [CardSeen("r", "1EA68671", "ISO14443", f"{0x7186A61E:010d}")]


async def test_a_random_number_is_refused_in_the_journal_without_telling_it(
    bench, eventually, caplog
) -> None:
    part, seen = await bench()
    part.swipe("08112233")
    part.swipe("08112233")
    await eventually(lambda: caplog.records)
    part.swipe("1EA68671")
    await eventually(lambda: len(seen) == 2)
    refused, taken = seen
    assert (refused.device, refused.raw, taken.uid) == ("r", "08112233", "1EA68671")
    assert refused.reason in caplog.text
    (record,) = caplog.records
    assert record.getMessage().startswith("reader r: card refused: its number is a random one")
    assert "08112233" not in record.getMessage()


async def test_a_reader_pulled_is_lost_once_and_found_again(bench, eventually, monkeypatch) -> None:
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.02)
    part, seen = await bench()
    part.unplug()
    await eventually(lambda: seen)
    await asyncio.sleep(0.1)
    part.plug()
    await eventually(lambda: len(seen) == 2)
    part.swipe("1EA68671")
    await eventually(lambda: len(seen) == 3)
    assert [type(o) for o in seen] == [DeviceLost, DeviceFound, CardSeen]


async def test_a_reader_that_is_not_there_is_told_with_the_next_step(bench, eventually) -> None:
    _, seen = await bench(plugged=False)
    await eventually(lambda: seen)
    assert isinstance(seen[0], DeviceLost)
    assert "ls -l /dev/input/by-id" in seen[0].reason


async def test_a_device_that_cannot_be_grabbed_is_not_read(eventually) -> None:
    """A character device that is no input device refuses the grab."""
    seen: list[Observation] = []
    reader = KeyboardReader("r", KeyboardReaderOptions(port="/dev/null"))
    task = asyncio.create_task(reader.run(seen.append))
    await eventually(lambda: seen)
    assert isinstance(seen[0], DeviceLost)
    assert "cannot be had alone" in seen[0].reason
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("pattern", ["(", "abc"])
def test_a_pattern_that_cannot_be_used_is_named(pattern: str) -> None:
    with pytest.raises(DriverError, match=r"correct it|brackets"):
        KeyboardReader("r", KeyboardReaderOptions(port="/x", pattern=pattern))
