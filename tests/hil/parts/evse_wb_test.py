"""The bench's EVSE-WB as its registers show it, asked by frames made here."""

import asyncio

import pytest

from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.evse_wb import BOOT_S, EvseWb
from hil.parts.modbus_slave import answer
from hil.virtual_time import run_virtual

HERE = (1, 1)
SET, PWM, VEHICLE, CABLE, COMMANDS, FIRMWARE, EVSE, STATUS = range(8)


class Board:
    def __init__(self) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.part = EvseWb(self.live, HERE)

    async def boot(self, after_boot_a: int = 0) -> None:
        self.part.after_boot_a = after_boot_a
        self.part.start()
        await asyncio.sleep(BOOT_S + 0.1)

    def view(self) -> list[int]:
        told = answer(self.part.unit, bytes.fromhex("03 03e8 0008"))
        assert told[:2] == b"\x03\x10", told.hex()
        return [int.from_bytes(told[at : at + 2], "big") for at in range(2, len(told), 2)]

    def write(self, register: int, value: int) -> bytes:
        request = b"\x06" + register.to_bytes(2, "big") + value.to_bytes(2, "big")
        return answer(self.part.unit, request)

    @property
    def closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    def plug_in(self, **ev: object) -> None:
        self.live.catch_up()
        self.world.plug_in(HERE, Ev(ready_after_s=0.1, **ev), cable_a=20)  # type: ignore[arg-type]


def test_it_offers_after_boot_what_register_2000_says() -> None:
    async def scene() -> None:
        board = Board()
        await board.boot(after_boot_a=10)
        board.plug_in()
        await asyncio.sleep(1)
        assert board.view()[:3] == [10, 10, 3]
        assert board.view()[EVSE:] == [2, 1]
        assert board.closed

    run_virtual(scene())


def test_a_current_of_nothing_waits_for_the_ev_and_the_command_does_not() -> None:
    async def scene() -> None:
        board = Board()
        await board.boot()
        board.write(1000, 13)
        board.plug_in(ignores_pilot=True)
        await asyncio.sleep(1)
        assert board.closed
        assert board.write(1000, 0) == bytes.fromhex("06 03e8 0000")
        await asyncio.sleep(60)
        assert board.closed
        assert board.view()[SET : VEHICLE + 1] == [0, 0, 3]
        board.write(1004, 1)
        await asyncio.sleep(0.1)
        assert not board.closed
        assert board.view()[STATUS] == 0

    run_virtual(scene())


@pytest.mark.parametrize(("fault", "status"), [("diode", 2), ("rcd", 32)])
def test_faults_open_and_stand_in_the_status(fault: str, status: int) -> None:
    async def scene() -> None:
        board = Board()
        await board.boot()
        board.write(1000, 16)
        board.plug_in()
        await asyncio.sleep(1)
        board.live.catch_up()
        board.world.raise_fault(HERE, fault)
        await asyncio.sleep(0.1)
        assert (board.view()[VEHICLE], board.view()[STATUS]) == (5, status)
        assert not board.closed

    run_virtual(scene())


def test_what_it_does_not_have_is_refused() -> None:
    board = Board()
    assert answer(board.part.unit, bytes.fromhex("03 03e8 000b")) == b"\x83\x02"
    assert answer(board.part.unit, bytes.fromhex("03 03f0 0009")) == b"\x83\x02"
    assert board.write(1003, 1) == b"\x86\x02"
