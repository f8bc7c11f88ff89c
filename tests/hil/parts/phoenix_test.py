"""The bench's Phoenix controller as its registers show it, asked by frames made here."""

import asyncio

from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.modbus_slave import answer
from hil.parts.phoenix import BOOT_S, Phoenix
from hil.virtual_time import run_virtual

HERE = (1, 1)
ENABLE, AVAILABLE = 20000, 20001


class Board:
    def __init__(self, **options: bool) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.live.catch_up()
        self.part = Phoenix(self.live, HERE, **options)

    async def boot(self) -> None:
        self.part.settings |= {4000: 3, 4001: 2, 4006: 1}
        self.part.start()
        await asyncio.sleep(BOOT_S + 0.1)

    def read(self, register: int, function: int = 3) -> int:
        told = answer(self.part.unit, bytes([function]) + register.to_bytes(2, "big") + b"\x00\x01")
        assert told[0] == function, told.hex()
        return int.from_bytes(told[2:], "big")

    def status(self) -> str:
        return self.read(24000).to_bytes(2, "big").decode()

    def coil(self, address: int, on: bool) -> None:
        request = b"\x05" + address.to_bytes(2, "big") + (b"\xff\x00" if on else b"\x00\x00")
        assert answer(self.part.unit, request) == request

    @property
    def closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    async def charge(self, **ev: object) -> None:
        await self.boot()
        self.coil(AVAILABLE, True)
        self.coil(ENABLE, True)
        self.live.catch_up()
        self.world.plug_in(HERE, Ev(ready_after_s=0.1, **ev))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert (self.status(), self.closed) == ("C2", True)


def test_its_states_as_letters() -> None:
    async def scene() -> None:
        board = Board()
        await board.boot()
        assert board.status() == "F0"
        board.coil(AVAILABLE, True)
        assert board.status() == "A1"
        board.live.catch_up()
        board.world.plug_in(HERE, Ev(ready_after_s=0.1))
        assert board.status() == "B1"
        board.coil(ENABLE, True)
        assert (board.status(), board.read(24003)) == ("B2", 6)
        await asyncio.sleep(1)
        assert board.status() == "C2"

    run_virtual(scene())


def test_without_pwm_it_waits_for_the_ev_and_state_f_does_not() -> None:
    async def scene() -> None:
        board = Board()
        await board.charge(ignores_pilot=True)
        board.coil(ENABLE, False)
        await asyncio.sleep(60)
        assert (board.status(), board.closed) == ("C1", True)
        board.coil(AVAILABLE, False)
        await asyncio.sleep(0.1)
        assert (board.status(), board.closed) == ("F0", False)

    run_virtual(scene())


def test_a_contactor_that_does_not_open_is_an_error() -> None:
    async def scene() -> None:
        board = Board()
        await board.charge()
        board.live.catch_up()
        board.world.weld(HERE)
        board.coil(ENABLE, False)
        await asyncio.sleep(2)
        assert board.read(24025) == 1 << 11
        assert board.status() == "F0"

    run_virtual(scene())


def test_a_restart_forgets_coils_and_current_but_no_settings() -> None:
    async def scene() -> None:
        board = Board()
        await board.charge()
        board.part.start()
        await asyncio.sleep(BOOT_S + 0.1)
        assert board.read(ENABLE, function=1) == 0
        assert (board.read(22000), board.read(4000)) == (6, 3)
        assert not board.closed

    run_virtual(scene())


def test_what_it_does_not_have_is_refused() -> None:
    board = Board()
    assert answer(board.part.unit, bytes.fromhex("03 0fa3 0001")) == b"\x83\x02"
    assert answer(board.part.unit, bytes.fromhex("06 5dc0 0001")) == b"\x86\x02"
