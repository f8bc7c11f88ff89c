import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from drivers.sim.connector import Ev
from drivers.sim.live import LiveWorld
from drivers.sim.world import World
from hil.parts.openevse import OpenEvse
from hil.parts.pty_port import PtyPort
from hil.virtual_time import run_virtual

HERE = (1, 1)


class Bench:
    """An OpenEVSE whose serial bytes are kept with their time; the host's end is ours."""

    def __init__(self) -> None:
        self.world = World({1: [1]})
        self.live = LiveWorld(self.world)
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self.heard: list[tuple[float, bytes]] = []
        self.evse = OpenEvse(self, self.live, HERE)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self.heard.append((asyncio.get_running_loop().time(), data))

    @property
    def lines(self) -> list[str]:
        return [data.decode().rstrip() for _, data in self.heard]

    @property
    def closed(self) -> bool:
        self.live.catch_up()
        return self.world.connectors[HERE].closed

    async def ask(self, text: str, wait_s: float = 2.0) -> list[str]:
        """What comes back on raw bytes within `wait_s`, without checksums."""
        self.heard.clear()
        self.on_bytes(text.encode("latin-1"))
        await asyncio.sleep(wait_s)
        return [line.partition("^")[0] for line in self.lines]

    def plug_in(self, ev: Ev | None = None) -> None:
        self.live.catch_up()
        self.world.plug_in(HERE, ev or Ev(ready_after_s=0))


def play(scene: Callable[[Bench], Awaitable[None]], boot: bool = True) -> None:
    async def run() -> None:
        bench = Bench()
        bench.evse.start()
        if boot:
            await asyncio.sleep(4)
            bench.heard.clear()
        await scene(bench)

    run_virtual(run())


def test_boot_is_silent_then_texts_then_ab_and_enabled() -> None:
    async def scene(bench: Bench) -> None:
        await asyncio.sleep(10)
        assert [(round(at_s, 3), data) for at_s, data in bench.heard] == [
            (1.9, b"relayCloseMs: 100\r\n"),
            (1.9, b"relayHoldPwm: 255\r\n"),
            (1.9, b"$AT 00 00 0 0200^03\r"),
            (3.0, b"$AB 00 8.2.3.EU^20\r"),
            (3.0, b"$AT 01 01 32 0200^32\r"),
        ]

    play(scene, boot=False)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("$GV^35\r", "$OK 8.2.3.EU 5.2.1"),
        ("$GV*C1\r", "$OK 8.2.3.EU 5.2.1"),
        ("$GV\r", "$OK 8.2.3.EU 5.2.1"),
        ("$GV :A5\r", "$OK 8.2.3.EU 5.2.1 :A5"),
        ("$GV:0F\r", "$OK 8.2.3.EU 5.2.1 :0F"),
        ("$GV^36\r", "$NK"),
        ("$GV^zz\r", "$NK"),
        ("$ZZ\r", "$NK"),
        ("$ZZ :11\r", "$NK"),
        ("$\r", "$NK"),
        ("noise\r$GV\r", "$OK 8.2.3.EU 5.2.1"),
        ("$GS\r", "$OK 01 0 01 0200"),
        ("$GC\r", "$OK 6 80 32 32"),
        ("$GG\r", "$OK 0 240000"),
        ("$GU\r", "$OK 0 0"),
        ("$GP\r", "$OK 250 -2560 -2560"),
        ("$GF\r", "$OK 0 0 0"),
        ("$G0\r", "$OK 0"),
        ("$SV 230000\r", "$OK"),
        ("$SV x\r", "$NK"),
        ("$SC\r", "$NK"),
        ("$SY 30 6\r", "$OK 30 6 0"),
        ("$SY 30 0\r", "$OK 30 6 0"),
        ("$SY 1 2 3\r", "$NK"),
    ],
)
def test_commands_answer(sent: str, answer: str) -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.ask(sent) == [answer]

    play(scene)


def test_a_refusal_is_nk_with_its_checksum_and_no_sequence() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ask("$GV :11^00\r")
        assert bench.lines == ["$NK^21"]

    play(scene)


@pytest.mark.parametrize("length", [32, 40, 63])
def test_a_command_longer_than_31_bytes_vanishes(length: int) -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.ask("$GV " + "x" * (length - 4) + "\r") == []
        assert await bench.ask("$GV " + "x" * (31 - 4) + "\r") == ["$OK 8.2.3.EU 5.2.1"]

    play(scene)


def test_a_line_feed_instead_of_cr_poisons_the_next_command() -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.ask("$GV\n") == []
        assert await bench.ask("$GS^30\r") == ["$NK"]
        assert await bench.ask("$GS^30\r") == ["$OK 01 0 01 0200"]

    play(scene)


def test_only_what_fits_the_64_byte_buffer_of_a_burst_is_answered() -> None:
    async def scene(bench: Bench) -> None:
        burst = "".join(f"$GV :{number:02X}^00\r" for number in range(1, 13))
        assert len(await bench.ask(burst)) == 5
        burst = "$GV^35\r" * 12
        assert len(await bench.ask(burst)) == 9

    play(scene)


def test_an_enabled_controller_charges_by_itself_after_a_silent_self_test() -> None:
    async def scene(bench: Bench) -> None:
        began_s = asyncio.get_running_loop().time()
        bench.plug_in(Ev(ready_after_s=0.1))
        await asyncio.sleep(0.2)
        bench.on_bytes(b"$GS^30\r")
        await asyncio.sleep(4.8)
        assert bench.closed
        rows = [(round(at_s - began_s, 2), data) for at_s, data in bench.heard]
        assert rows[0][1].startswith(b"$AT 02 02 32 0300")
        quiet = [row for row in rows if 0 < row[0] < 1.2]
        assert quiet == []
        texts = [data.decode().partition("^")[0].strip() for _, data in rows[1:]]
        assert texts == ["relayCloseMs: 100", "$AT 03 03 32 0140", "$OK 03 0 03 0140"]
        assert await bench.ask("$GS\r", 10) == ["$OK 03 3 03 0140"]

    play(scene)


def test_sleep_opens_the_relay_without_load_once_the_current_is_gone() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in()
        await asyncio.sleep(5)
        began_s = asyncio.get_running_loop().time()
        bench.on_bytes(b"$FS^31\r")
        await asyncio.sleep(0.07)
        assert bench.world.meter(1).power_w == 0
        assert bench.closed
        await asyncio.sleep(0.05)
        assert not bench.closed
        assert asyncio.get_running_loop().time() - began_s < 0.2
        assert await bench.ask("$GS\r") == ["$OK fe 0 03 0100", "$AT fe 02 32 0100"]
        assert await bench.ask("$GS\r") == ["$OK fe 0 02 0100"]

    play(scene)


def test_sleep_cuts_an_ev_that_keeps_drawing_after_three_seconds() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in(Ev(ready_after_s=0, ignores_pilot=True))
        await asyncio.sleep(5)
        bench.on_bytes(b"$FS^31\r")
        await asyncio.sleep(2.9)
        assert bench.closed
        await asyncio.sleep(0.3)
        assert not bench.closed

    play(scene)


def test_disable_opens_at_once_under_load_and_hides_the_plug() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in(Ev(ready_after_s=0, ignores_pilot=True))
        await asyncio.sleep(5)
        bench.on_bytes(b"$FD^26\r")
        await asyncio.sleep(0.1)
        assert not bench.closed
        await asyncio.sleep(1)
        bench.live.catch_up()
        bench.world.plug_out(HERE)
        assert await bench.ask("$G0\r") == ["$OK 2"]
        assert await bench.ask("$GS\r") == ["$OK ff 0 03 0100"]
        assert await bench.ask("$FS\r") == ["$OK", "$AT fe 01 32 0200"]

    play(scene)


def test_unplugging_opens_the_relay() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in()
        await asyncio.sleep(5)
        bench.live.catch_up()
        bench.world.plug_out(HERE)
        await asyncio.sleep(0.1)
        assert not bench.closed
        assert await bench.ask("$GS\r") == ["$OK 01 0 01 0200"]

    play(scene)


def test_current_is_clamped_and_only_written_to_eeprom_without_v() -> None:
    async def scene(bench: Bench) -> None:
        rows = [
            ("$SC 16 V\r", "$OK 16"),
            ("$GC\r", "$OK 6 80 16 32"),
            ("$SC 40 V\r", "$NK 32"),
            ("$SC 5 V\r", "$NK 6"),
            ("$GC\r", "$OK 6 80 6 32"),
            ("$SC 5\r", "$NK 6"),
            ("$SC 16 V\r", "$NK 6"),
            ("$SC 20 M\r", "$OK 20"),
            ("$SC 30 M\r", "$NK 20"),
            ("$SC 30\r", "$NK 20"),
            ("$SC 16\r", "$OK 16"),
            ("$GC\r", "$OK 6 20 16 16"),
        ]
        for sent, answer in rows:
            assert (await bench.ask(sent))[0] == answer, sent
        bench.evse.start()
        await asyncio.sleep(4)
        assert await bench.ask("$GC\r") == ["$OK 6 20 16 16"]

    play(scene)


def test_a_new_current_reaches_the_ev_at_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in(Ev(current_a=32, ready_after_s=0))
        await asyncio.sleep(5)
        await bench.ask("$SC 10 V\r")
        assert bench.world.meter(1).current_a == (10, 10, 10)
        assert await bench.ask("$GG\r") == ["$OK 10000 240000"]

    play(scene)


def test_a_missing_heartbeat_limits_the_current_until_it_is_set_again() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ask("$SY 30 8\r")
        await bench.ask("$SC 20 V\r")
        assert await bench.ask("$SY\r", 29) == ["$OK 30 8 0"]
        assert await bench.ask("$GC\r", 0.5) == ["$OK 6 80 20 32"]
        await asyncio.sleep(1.5)
        assert await bench.ask("$GC\r") == ["$OK 6 80 8 32"]
        assert await bench.ask("$GY\r") == ["$OK 30 8 2"]
        assert await bench.ask("$SY\r") == ["$NK 30 8 2"]
        assert await bench.ask("$SY 30 8\r") == ["$OK 30 8 0"]
        assert await bench.ask("$GC\r") == ["$OK 6 80 8 32"]

    play(scene)


def test_acknowledging_a_missed_heartbeat_restores_the_saved_maximum() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ask("$SC 20 V\r")
        await bench.ask("$SY 10 6\r", 11)
        assert await bench.ask("$SY 165\r") == ["$OK 10 6 1", "$AT 01 01 32 0200"]

    play(scene)


@pytest.mark.parametrize(("interval_s", "trips"), [(65, False), (66, True)])
def test_the_heartbeat_interval_overflows_sixteen_bits(interval_s: int, trips: bool) -> None:
    async def scene(bench: Bench) -> None:
        await bench.ask(f"$SY {interval_s} 6\r", 1)
        assert (await bench.ask("$GC\r"))[0] == f"$OK 6 80 {6 if trips else 32} 32"

    play(scene)


@pytest.mark.parametrize(
    ("fault", "code", "flags"),
    [
        ("rcd", "06", "0180"),
        ("ground", "07", "0120"),
        ("over_temperature", "0a", "0100"),
        ("over_current", "0b", "0100"),
        ("relay_closure", "0e", "0100"),
        ("diode", "05", "0100"),
    ],
)
def test_a_fault_opens_the_relay_and_shows_its_code(fault: str, code: str, flags: str) -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in()
        await asyncio.sleep(5)
        bench.live.catch_up()
        bench.world.raise_fault(HERE, fault)
        await asyncio.sleep(1)
        assert not bench.closed
        assert await bench.ask("$GS\r") == [f"$OK {code} 0 02 {flags}"]
        bench.world.clear_fault(HERE, fault)
        await asyncio.sleep(2)
        assert bench.closed, "it closes again by itself"

    play(scene)


def test_state_d_is_a_fault_until_the_ev_is_unplugged() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in(Ev(ready_after_s=0, wants="D"))
        await asyncio.sleep(5)
        assert await bench.ask("$GS\r") == ["$OK 04 0 02 0302"]
        bench.world.plug_out(HERE)
        await asyncio.sleep(1)
        assert await bench.ask("$GS\r") == ["$OK 01 0 01 0200"]

    play(scene)


def test_a_stuck_relay_is_found_a_second_after_opening_and_stays_until_restart() -> None:
    async def scene(bench: Bench) -> None:
        bench.plug_in()
        await asyncio.sleep(5)
        bench.live.catch_up()
        bench.world.weld(HERE)
        assert (await bench.ask("$FS\r", 0.9))[0] == "$OK"
        assert (await bench.ask("$GS\r", 0.1))[0].startswith("$OK fe")
        await asyncio.sleep(1)
        assert await bench.ask("$GS\r") == ["$OK 08 0 02 0102"]
        bench.world.clear_fault(HERE, "welded_contactor")
        assert (await bench.ask("$FE\r"))[0] == "$OK"
        assert not bench.closed
        assert await bench.ask("$GF\r") == ["$OK 0 0 1"]

    play(scene)


def test_a_restart_is_not_answered_and_comes_back_enabled_four_seconds_later() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ask("$FS\r")
        lines = await bench.ask("$FR\r", 3.9)
        assert not any(line.startswith("$AB") for line in lines)
        await asyncio.sleep(0.3)
        assert bench.lines[-2:] == ["$AB 00 8.2.3.EU^20", "$AT 01 01 32 0200^32"]

    play(scene)


def test_a_cut_serial_line_carries_nothing_but_the_controller_goes_on() -> None:
    async def scene(bench: Bench) -> None:
        bench.live.catch_up()
        bench.world.raise_fault(HERE, "pilot_lost")
        bench.plug_in()
        await asyncio.sleep(5)
        assert bench.closed
        assert await bench.ask("$GS\r") == []

    play(scene)


def test_time_scale_shortens_the_boot() -> None:
    async def run() -> None:
        bench = Bench()
        OpenEvse(bench, bench.live, HERE, time_scale=0.01).start()  # type: ignore[arg-type]
        await asyncio.sleep(0.031)
        assert any(line.startswith("$AB") for line in bench.lines)

    run_virtual(run())


async def test_it_answers_raw_bytes_on_a_real_pseudo_terminal() -> None:
    port = PtyPort()
    port.open()
    evse = OpenEvse(port, LiveWorld(World({1: [1]})), HERE, time_scale=0.01)
    evse.start()
    agent = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    got = bytearray()
    try:
        async with asyncio.timeout(20):
            while b"$AB" not in got:
                got += await asyncio.to_thread(os.read, agent, 100)
            os.write(agent, b"$GV :3C^5F\r")
            while b":3C" not in got:
                got += await asyncio.to_thread(os.read, agent, 100)
        assert b"$OK 8.2.3.EU 5.2.1 :3C^" in got
    finally:
        evse.stop()
        os.close(agent)
        port.unplug()
