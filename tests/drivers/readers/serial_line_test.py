import asyncio
import os
import pty

import pytest

from drivers.contract import CardSeen, DeviceFound, DeviceLost, SerialReaderOptions
from drivers.readers import listening, presenting
from drivers.readers.serial_line import SerialLineReader


@pytest.fixture
async def bench(far_end, eventually):
    """Starts a reader with options; gives the list of what it reports."""
    tasks = []

    async def start(**options: object) -> list[object]:
        seen: list[object] = []
        reader = SerialLineReader("r", SerialReaderOptions(port=far_end.path, **options))
        tasks.append(asyncio.create_task(reader.run(seen.append)))
        await asyncio.sleep(0.02)
        return seen

    yield start
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("options", "sent", "uid"),
    [
        ({}, b"04a2b3c4d5e680\r\n", "04A2B3C4D5E680"),
        ({}, b"1EA68671\n", "1EA68671"),
        ({}, b"04:a2:b3:c4:d5:e6:80\r\n", "04A2B3C4D5E680"),
        ({}, b" 1e a6 86 71 \r\n", "1EA68671"),
        ({"reverse_bytes": True}, b"1EA68671\n", "7186A61E"),
        ({"reverse_bytes": True}, b"1E-A6-86-71\n", "7186A61E"),
        ({"pattern": "^([0-9-]+)$", "format": "text"}, b"123-45\n", "123-45"),
        ({"profile": "rdm6300"}, b"\x020F00A1B2C3DF\x03", "0F00A1B2C3"),
        ({"profile": "rdm6300"}, b"\x020F00A1B2C4DF\x03\x020F00A1B2C3DF\x03", "0F00A1B2C3"),
        ({"profile": "twn4"}, b"04A2B3C4D5E680\r", "04A2B3C4D5E680"),
        ({"format": "dec", "pattern": "^([0-9]+)$"}, b"0515278449\r\n", "1EB68671"),
        ({"pattern": r"^UID=([0-9a-f]+);"}, b"UID=deadbeef; type 2\r", "DEADBEEF"),
        ({"pattern": r"^([0-9A-F]{10})[0-9A-F]{2}$"}, b"\x020F00A1B2C3DF\x03", "0F00A1B2C3"),
        ({}, b"\xff\x00garbage\r\n12\r\n" + b"9" * 999 + b"\r1EA68671\r", "1EA68671"),
    ],
)
async def test_a_line_with_a_card_is_one_presentation(
    bench, far_end, eventually, options: dict[str, object], sent: bytes, uid: str
) -> None:
    seen = await bench(**options)
    for start in range(0, len(sent), 5):
        far_end.send(sent[start : start + 5])
    await eventually(lambda: seen)
    assert [(o.uid, o.token_type) for o in seen] == [(uid, "ISO14443")]


async def test_a_card_that_stays_is_seen_once_and_another_one_at_once(
    bench, far_end, eventually
) -> None:
    seen = await bench(token_type="Local")
    far_end.send(b"11111111\r\n11111111\r\n11111111\r\n22222222\r\n")
    await eventually(lambda: len(seen) == 2)
    assert seen == [
        CardSeen("r", "11111111", "Local", "11111111"),
        CardSeen("r", "22222222", "Local", "22222222"),
    ]


async def test_a_card_shown_again_later_is_a_new_presentation(
    bench, far_end, eventually, monkeypatch
) -> None:
    seen = await bench()
    far_end.send(b"11111111\r\n")
    await eventually(lambda: seen)
    monkeypatch.setattr(presenting, "REPEAT_S", 0.0)
    far_end.send(b"11111111\r\n")
    await eventually(lambda: len(seen) == 2)


async def test_a_card_left_on_the_reader_for_long_is_still_one_presentation(
    bench, far_end, eventually, monkeypatch
) -> None:
    monkeypatch.setattr(presenting, "REPEAT_S", 1.0)
    seen = await bench()
    for _ in range(12):
        far_end.send(b"11111111\r\n")
        await asyncio.sleep(0.1)
    assert len(seen) == 1


async def test_a_pulled_reader_is_lost_once_and_found_when_it_is_back(
    tmp_path, eventually, monkeypatch
) -> None:
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.02)
    link = tmp_path / "reader"
    reader = SerialLineReader("r", SerialReaderOptions(port=str(link)))
    seen: list[object] = []
    task = asyncio.create_task(reader.run(seen.append))
    await eventually(lambda: len(seen) == 1)
    await asyncio.sleep(0.1)
    master, slave = pty.openpty()
    link.symlink_to(os.ttyname(slave))
    await eventually(lambda: len(seen) == 2)
    assert [type(o) for o in seen] == [DeviceLost, DeviceFound]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    os.close(master)
    os.close(slave)


async def test_a_reader_at_another_baud_is_counted_as_garble(far_end, eventually) -> None:
    reader = SerialLineReader("r", SerialReaderOptions(port=far_end.path))
    seen: list[object] = []
    task = asyncio.create_task(reader.run(seen.append))
    await eventually(lambda: reader.counters.opens)
    far_end.send(b"hello\r\n\x9e\xf8\xe6A\x98\x80\x00\xff1EA68671\r\n1EA68671\r\n")
    await eventually(lambda: seen)
    assert reader.counters.garbled == 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
