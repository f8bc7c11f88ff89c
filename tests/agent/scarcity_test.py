"""MemoryExhaustion: told while there is some memory left, once for each time."""

import asyncio
from pathlib import Path

import pytest

from agent import scarcity
from agent.core.events import SecurityNoted
from agent.scarcity import Scarcity, disk_left, memory_left, watch_room
from hil.sim import SimBench
from hil.virtual_time import run_virtual


def test_it_is_told_once_and_again_after_there_was_plenty() -> None:
    kind = Scarcity("the disk", 1000)
    seen = [bool(kind.look(left)) for left in (5000, 1000, 999, 1, 1500, 999, 2000, 0)]
    assert seen == [False, False, True, False, False, False, False, True]


def test_disk_and_memory_are_known_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (disk_left(tmp_path) or 0) > 0
    assert (memory_left() or 0) > scarcity.LEAST_MEMORY_BYTES
    assert disk_left(tmp_path / "gone") is None
    for text in ("", "MemTotal: 9 kB\n"):
        (tmp_path / "meminfo").write_text(text)
        monkeypatch.setattr(scarcity, "MEMINFO", tmp_path / "meminfo")
        assert memory_left() is None
    monkeypatch.setattr(scarcity, "MEMINFO", tmp_path / "gone")
    assert memory_left() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    monkeypatch.setattr(scarcity, "MEMINFO", tmp_path / "meminfo")
    assert memory_left() == 3 * 1024


async def test_each_of_the_two_is_posted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scarcity, "disk_left", lambda directory: 1024)
    monkeypatch.setattr(scarcity, "memory_left", lambda: None)
    posted: asyncio.Queue[object] = asyncio.Queue()
    task = asyncio.create_task(watch_room(tmp_path, posted.put_nowait))
    event = await posted.get()
    task.cancel()
    assert event == SecurityNoted("MemoryExhaustion", "1 kB of the disk left")
    assert posted.empty()


def test_the_csms_hears_of_a_disk_that_fills_up(monkeypatch: pytest.MonkeyPatch) -> None:
    left = 1 << 30

    async def scene() -> None:
        nonlocal left
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await asyncio.sleep(300)
            left = 1 << 20
            await asyncio.sleep(300)
            events = bench.csms.of("SecurityEventNotification")[1:]
            assert [(event["type"], event["techInfo"]) for event in events] == [
                ("MemoryExhaustion", "1024 kB of the disk left")
            ]

    monkeypatch.setattr(scarcity, "disk_left", lambda directory: left)
    run_virtual(scene())
