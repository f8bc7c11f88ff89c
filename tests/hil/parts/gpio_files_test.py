"""Lines that are files, between a bench and the real driver in another process."""

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import pytest
from gpiod import EdgeEvent, LineSettings, line

from drivers.contract import GpioBoardOptions, InputSeen, Observation
from drivers.gpio.board import GpioBoard
from drivers.gpio.gpiod_pins import GpiodFactory
from drivers.gpio.lines import Pins
from drivers.gpio_options import GpioInput, GpioLamps, GpioOutput
from hil.desk import DeskBench
from hil.desk_file import BAY_LEFT, DOOR, LAMP_CHARGING, LAMP_FAULT, LAMP_FREE
from hil.parts.gpio_files import GpioFiles
from hil.parts.gpio_program import FileGpiod, FileRequest

BUTTON, LAMP = 0, 1
INPUT = LineSettings(direction=line.Direction.INPUT)
ON = LineSettings(direction=line.Direction.OUTPUT, output_value=line.Value.ACTIVE)


@pytest.fixture
def files(tmp_path: Path) -> GpioFiles:
    return GpioFiles(tmp_path, 4)


@pytest.fixture
def gpiod(tmp_path: Path, files: GpioFiles) -> FileGpiod:
    return FileGpiod(tmp_path)


def requested(gpiod: FileGpiod, offset: int, settings: LineSettings = INPUT) -> FileRequest:
    return gpiod.request_lines("/dev/gpiochip0", {offset: settings})


def test_edges_and_levels_cross(gpiod: FileGpiod, files: GpioFiles) -> None:
    request = requested(gpiod, BUTTON)
    files.drive(BUTTON, True)
    files.drive(BUTTON, True)
    assert request.get_value(BUTTON) is line.Value.ACTIVE
    files.drive(BUTTON, False)
    kinds = [event.event_type for event in request.read_edge_events()]
    assert kinds == [EdgeEvent.Type.RISING_EDGE, EdgeEvent.Type.FALLING_EDGE]
    assert request.read_edge_events() == []
    request.release()
    files.drive(BUTTON, True)


def test_a_line_belongs_to_one_and_stays_as_its_dead_owner_left_it(
    gpiod: FileGpiod, files: GpioFiles, tmp_path: Path
) -> None:
    request = requested(gpiod, LAMP, ON)
    assert files.level(LAMP)
    with pytest.raises(OSError, match="busy") as error:
        requested(gpiod, LAMP)
    assert error.value.errno == errno.EBUSY
    request.release()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.hil.parts.gpio_files_test import *\n"
        "requested(FileGpiod(Path(sys.argv[1])), LAMP, ON)\n"
        "os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert files.level(LAMP)
    requested(gpiod, LAMP).release()


@pytest.mark.parametrize(
    ("chip", "offset", "said"),
    [("gpiochip9", 0, "No such file"), ("gpiochip0", 4, "Invalid argument")],
)
def test_what_is_not_there_is_refused(gpiod: FileGpiod, chip: str, offset: int, said: str) -> None:
    with pytest.raises(OSError, match=said):
        gpiod.request_lines(f"/dev/{chip}", {offset: INPUT})
    with pytest.raises(OSError, match="no line has the name"), gpiod.Chip("gpiochip0") as there:
        there.line_offset_from_id("K1")


async def test_the_driver_finds_its_inputs_and_lamps_there(
    gpiod: FileGpiod, files: GpioFiles, tmp_path: Path
) -> None:
    options = GpioBoardOptions(
        emergency_stop=GpioInput(f"gpiochip0:{BUTTON}"),
        lamps=GpioLamps(available=GpioOutput(f"gpiochip0:{LAMP}")),
    )
    seen = asyncio.Queue[Observation]()
    board = GpioBoard("board", options, Pins(board=GpiodFactory(gpiod, tmp_path)))
    running = asyncio.create_task(board.run(seen.put_nowait))
    async with asyncio.timeout(30):
        first = await seen.get()
        board.show({1: "available"})
        assert files.level(LAMP)
        files.drive(BUTTON, True)
        second = await seen.get()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert isinstance(first, InputSeen)
    assert isinstance(second, InputSeen)
    assert (first.active, second.active) == (False, True)
    assert not files.level(LAMP)


async def test_a_door_a_bay_and_the_lamps_of_the_desk() -> None:
    async with DeskBench(gpio=True) as bench:
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        await bench.wait_until(lambda: bench.gpio.level(LAMP_FREE), "the lamp of a free EVSE")
        assert not bench.gpio.level(LAMP_FAULT)
        bench.gpio.drive(DOOR, True)
        told = bench.csms.of
        await bench.wait_until(
            lambda: any("Tamper" in one["type"] for one in told("SecurityEventNotification")),
            "a security event",
        )
        bench.gpio.drive(BAY_LEFT, True)
        bench.world.raise_fault((1, 1), "rcd")
        await bench.wait_until(lambda: bench.gpio.level(LAMP_FAULT), "the lamp of a fault")
        assert not bench.gpio.level(LAMP_CHARGING)
        bench.csms.check()
